//! The cluster's status as a document and a screen.

use belfry_sdk::pb;
use serde::Serialize;

use super::{ExecutorView, Instant};
use crate::output::{Cell, Printer, Row as _, Table, Tone};
use crate::text;

/// What a node knows of the cluster, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ClusterView {
    cluster_id: String,
    node_id: u64,
    pub(crate) leader_id: u64,
    term: u64,
    feature_level: u32,
    version: String,
    tzdata_version: String,
    cluster_tzdata_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone_change: Option<ZoneChangeView>,
    nodes: Vec<NodeView>,
    executors: Vec<ExecutorView>,
    schedule_count: u64,
    due_count: u64,
    running_count: u64,
    run_count: u64,
    applied_index: u64,
    state_digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    now: Option<Instant>,
    pub(crate) writable: bool,
    clock_offset_max_ms: u64,
}

/// What newer time-zone data moved.
#[derive(Clone, Debug, Serialize)]
struct ZoneChangeView {
    from_version: String,
    to_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_time: Option<Instant>,
    moved_count: u64,
    moves: Vec<MoveView>,
}

#[derive(Clone, Debug, Serialize)]
struct MoveView {
    schedule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    former_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_time: Option<Instant>,
}

#[derive(Clone, Debug, Serialize)]
struct NodeView {
    node_id: u64,
    api_address: String,
    peer_address: String,
    voter: bool,
    leader: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    matched_index: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_ahead_ms: Option<i64>,
}

impl From<pb::ClusterStatus> for ClusterView {
    fn from(status: pb::ClusterStatus) -> Self {
        Self {
            nodes: status.nodes.into_iter().map(NodeView::from).collect(),
            executors: status.executors.into_iter().map(ExecutorView::from).collect(),
            now: Instant::of(status.now.as_ref()),
            cluster_id: status.cluster_id,
            node_id: status.node_id,
            leader_id: status.leader_id,
            term: status.term,
            feature_level: status.feature_level,
            version: status.version,
            tzdata_version: status.tzdata_version,
            cluster_tzdata_version: status.cluster_tzdata_version,
            zone_change: status.zone_change.map(ZoneChangeView::from),
            schedule_count: status.schedule_count,
            due_count: status.due_count,
            running_count: status.running_count,
            run_count: status.run_count,
            applied_index: status.applied_index,
            state_digest: status.state_digest,
            writable: status.writable,
            clock_offset_max_ms: status.clock_offset_max_ms,
        }
    }
}

impl From<pb::ZoneChange> for ZoneChangeView {
    fn from(change: pb::ZoneChange) -> Self {
        let moved = |moved: pb::zone_change::Move| MoveView {
            former_time: Instant::of(moved.former_time.as_ref()),
            next_time: Instant::of(moved.next_time.as_ref()),
            schedule: moved.schedule,
        };
        Self {
            change_time: Instant::of(change.change_time.as_ref()),
            from_version: change.from_version,
            to_version: change.to_version,
            moved_count: change.moved_count,
            moves: change.moves.into_iter().map(moved).collect(),
        }
    }
}

impl From<pb::NodeStatus> for NodeView {
    fn from(node: pb::NodeStatus) -> Self {
        Self {
            node_id: node.node_id,
            api_address: node.api_address,
            peer_address: node.peer_address,
            voter: node.voter,
            leader: node.leader,
            matched_index: node.matched_index,
            silent_ms: node.silent_ms,
            clock_ahead_ms: node.clock_ahead_ms,
        }
    }
}

impl ClusterView {
    /// Whether it takes writes: a leader is known and a quorum answers it.
    pub(crate) fn has_leader(&self) -> bool {
        self.leader_id != 0 && self.writable
    }

    /// Whether this node leads, so that it knows the executors.
    pub(crate) fn is_answered_by_leader(&self) -> bool {
        self.leader_id != 0 && self.leader_id == self.node_id
    }

    /// How many executors could take a run of this handler in this pool, among those that are not draining.
    pub(crate) fn fitting_executors(&self, pool: &str, handler: &str) -> usize {
        let fits = |executor: &&ExecutorView| {
            let pool_matches = executor.pool == pool || (executor.pool.is_empty() && pool == "default");
            pool_matches && !executor.draining && executor.handlers.iter().any(|name| name == handler)
        };
        self.executors.iter().filter(fits).count()
    }

    /// Everything about it, for a screen.
    pub(crate) fn screen(&self, printer: &Printer) -> String {
        let leader = match (self.leader_id, self.writable) {
            (0, _) => Cell::new("none known: most nodes must be up and reach each other", Tone::Bad),
            (id, true) => Cell::new(format!("node {id}, term {}", self.term), Tone::Good),
            (id, false) => Cell::new(format!("node {id}, but no quorum answers it"), Tone::Bad),
        };
        let now = self.now.map_or("-".to_owned(), |now| now.to_string());
        let digest = match self.state_digest.as_str() {
            "" => "not computed, as the state is large",
            digest => digest,
        };
        let rows = [
            ("Cluster", self.cluster_id.as_str().into()),
            ("Leader", leader),
            ("Answered by", format!("node {}, version {}", self.node_id, self.version).into()),
            ("Its clock", now.into()),
            ("Time zones", self.zones()),
            ("Feature level", self.feature_level.to_string().into()),
            ("Schedules", self.schedule_count.to_string().into()),
            (
                "Runs",
                format!(
                    "{} due, {} running, {} in the ledger",
                    self.due_count, self.running_count, self.run_count
                )
                .into(),
            ),
            ("State", format!("index {}, digest {digest}", self.applied_index).into()),
        ]
        .map(|(label, value)| vec![Cell::new(label, Tone::Faint), value]);
        let mut text = printer.lay_out(&mut Table::plain(), &rows);
        if let Some(change) = self.zone_change.as_ref().filter(|change| change.moved_count > 0) {
            text.push('\n');
            text.push_str(&change.table(printer));
        }
        text.push('\n');
        text.push_str(&self.node_table(printer));
        text.push('\n');
        text.push_str(&self.executor_table(printer));
        text
    }

    /// Which time-zone data decides; during an upgrade a node may have another.
    fn zones(&self) -> Cell {
        let Self { tzdata_version: own, cluster_tzdata_version: clusters, .. } = self;
        if clusters.is_empty() || own == clusters {
            return format!("tzdata {own}").into();
        }
        format!("tzdata {clusters}; this node has {own}").into()
    }

    fn node_table(&self, printer: &Printer) -> String {
        let mut table = Table::new(vec!["NODE", "ROLE", "API", "PEERS", "MATCHED", "SILENT FOR", "CLOCK"]);
        let row = |node: &NodeView| -> Vec<Cell> {
            let role = match (node.leader, node.voter) {
                (true, _) => Cell::new("leader", Tone::Good),
                (false, true) => "voter".into(),
                (false, false) => "learner".into(),
            };
            vec![
                node.node_id.to_string().into(),
                role,
                node.api_address.as_str().into(),
                node.peer_address.as_str().into(),
                node.matched_index.map_or("-".to_owned(), |index| index.to_string()).into(),
                node.silent_ms.map_or("-".to_owned(), text::rough).into(),
                self.clock(node),
            ]
        };
        printer.lay_out(&mut table, &self.nodes.iter().map(row).collect::<Vec<_>>())
    }

    /// How far its clock is from the median of all.
    fn clock(&self, node: &NodeView) -> Cell {
        let Some(ahead) = node.clock_ahead_ms else { return "-".into() };
        let is_out = self.clock_offset_max_ms > 0 && ahead.unsigned_abs() > self.clock_offset_max_ms;
        let text = format!("{ahead:+} ms");
        if is_out { Cell::new(text + ", must not lead", Tone::Bad) } else { text.into() }
    }

    fn where_executors_are_known(&self) -> String {
        match self.nodes.iter().find(|node| node.leader) {
            Some(leader) => format!(
                "Executors are known to the leader only: `belfry cluster status --endpoint {}`.\n",
                leader.api_address
            ),
            None => "Executors are known to the leader only, and there is none.\n".to_owned(),
        }
    }

    fn executor_table(&self, printer: &Printer) -> String {
        if self.executors.is_empty() {
            return if self.is_answered_by_leader() {
                "No executors: runs wait until one connects (`belfry executor`).\n".to_owned()
            } else {
                self.where_executors_are_known()
            };
        }
        let is_wide = printer.is_wide();
        // Relative times are none of its columns.
        let rows: Vec<_> = self.executors.iter().map(|executor| executor.cells(is_wide, 0)).collect();
        printer.lay_out(&mut Table::new(ExecutorView::headers(is_wide)), &rows)
    }
}

impl ZoneChangeView {
    fn table(&self, printer: &Printer) -> String {
        let mut table = Table::new(vec!["SCHEDULE", "WAS NEXT", "IS NEXT"]);
        let time = |at: &Option<Instant>| at.map_or("never".to_owned(), |at| at.to_string());
        let row = |moved: &MoveView| -> Vec<Cell> {
            vec![
                moved.schedule.as_str().into(),
                time(&moved.former_time).into(),
                time(&moved.next_time).into(),
            ]
        };
        let rows: Vec<_> = self.moves.iter().map(row).collect();
        let Self { from_version, to_version, moved_count, .. } = self;
        let shown = rows.len();
        let listed = if *moved_count > shown as u64 { format!(", {shown} of them:") } else { ":".to_owned() };
        let head =
            format!("tzdata {to_version} after {from_version} moved {moved_count} schedule(s){listed}\n");
        head + &printer.lay_out(&mut table, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn status() -> pb::ClusterStatus {
        pb::ClusterStatus {
            node_id: 1,
            leader_id: 1,
            writable: true,
            nodes: vec![pb::NodeStatus { node_id: 1, voter: true, leader: true, ..Default::default() }],
            executors: vec![pb::ExecutorStatus {
                display_name: "host/1".into(),
                pool: "default".into(),
                handlers: vec!["command".into()],
                slots: 4,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn counts_the_executors_that_fit() {
        let view = ClusterView::from(status());
        assert_eq!(view.fitting_executors("default", "command"), 1);
        assert_eq!(view.fitting_executors("default", "http"), 0);
        assert_eq!(view.fitting_executors("gpu", "command"), 0);
    }

    #[test]
    fn a_leader_without_a_quorum_is_none() {
        assert!(ClusterView::from(status()).has_leader());
        assert!(!ClusterView::from(pb::ClusterStatus { writable: false, ..status() }).has_leader());
        assert!(!ClusterView::from(pb::ClusterStatus { leader_id: 0, ..status() }).has_leader());
    }

    #[test]
    fn a_clock_that_is_out_is_said() {
        let printer = Printer::new(Format::Table, true);
        let mut status = pb::ClusterStatus { clock_offset_max_ms: 500, ..status() };
        status.nodes[0].clock_ahead_ms = Some(-3);
        let screen = ClusterView::from(status.clone()).screen(&printer);
        assert!(screen.contains("-3 ms") && !screen.contains("must not lead"), "{screen}");
        status.nodes[0].clock_ahead_ms = Some(501);
        let screen = ClusterView::from(status).screen(&printer);
        assert!(screen.contains("+501 ms, must not lead"), "{screen}");
    }

    #[test]
    fn a_change_of_the_zones_says_which_schedules_it_moved() {
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let moved = |schedule: &str, next_time| pb::zone_change::Move {
            schedule: schedule.into(),
            former_time: time(1_800_000_000),
            next_time,
        };
        let change = pb::ZoneChange {
            from_version: "2026a".into(),
            to_version: "2026b".into(),
            moved_count: 30,
            moves: vec![
                moved("namespaces/ops/schedules/backup", time(1_800_003_600)),
                moved("namespaces/ops/schedules/last", None),
            ],
            ..Default::default()
        };
        let changed = pb::ClusterStatus {
            tzdata_version: "2026a".into(),
            cluster_tzdata_version: "2026b".into(),
            zone_change: Some(change),
            ..status()
        };
        let view = ClusterView::from(changed);
        let screen = view.screen(&Printer::new(Format::Table, true));
        for part in [
            "tzdata 2026b; this node has 2026a",
            "moved 30 schedule(s), 2 of them:",
            "2027-01-15T09:00:00Z",
            "never",
            "namespaces/ops/schedules/backup",
        ] {
            assert!(screen.contains(part), "no {part:?} in\n{screen}");
        }
        assert_eq!(serde_json::to_value(&view).unwrap()["zone_change"]["moved_count"], 30);
    }

    #[test]
    fn the_screen_shows_nodes_and_executors() {
        let printer = Printer::new(Format::Table, true);
        let screen = ClusterView::from(status()).screen(&printer);
        assert!(screen.contains("NODE") && screen.contains("host/1") && screen.contains("ready"), "{screen}");
        let alone = ClusterView::from(pb::ClusterStatus { executors: vec![], ..status() }).screen(&printer);
        assert!(alone.contains("No executors"), "{alone}");
    }
}
