//! A member of the cluster as a document and a table row.

use belfry_sdk::pb;
use serde::Serialize;

use crate::output::{Cell, Printer, Row, Table, Tone};
use crate::text;

/// A member, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemberView {
    node_id: u64,
    role: &'static str,
    api_address: String,
    peer_address: String,
    incarnation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silent_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature_level: Option<u32>,
    /// Its id, as names are text.
    #[serde(skip)]
    name: String,
}

impl From<pb::Member> for MemberView {
    fn from(member: pb::Member) -> Self {
        let role = match member.role() {
            pb::member::Role::Leader => "LEADER",
            pb::member::Role::Follower => "FOLLOWER",
            pb::member::Role::Learner => "LEARNER",
            pb::member::Role::Unspecified => "UNKNOWN",
        };
        Self {
            name: member.node_id.to_string(),
            node_id: member.node_id,
            role,
            api_address: member.api_address,
            peer_address: member.peer_address,
            incarnation: member.incarnation,
            lag: member.lag,
            silent_ms: member.silent_ms,
            feature_level: member.feature_level,
        }
    }
}

impl MemberView {
    pub(crate) fn id(&self) -> String {
        self.name.clone()
    }

    pub(crate) fn votes(&self) -> bool {
        matches!(self.role, "LEADER" | "FOLLOWER")
    }

    /// How far it is, in words.
    pub(crate) fn progress(&self) -> String {
        match (self.lag, self.silent_ms) {
            (_, None) => "it has not answered the leader yet".to_owned(),
            (Some(lag), Some(_)) => format!("{lag} entries of the log are missing"),
            (None, Some(_)) => "it has none of the log yet".to_owned(),
        }
    }

    pub(crate) fn table(&self, printer: &Printer) -> String {
        printer
            .lay_out(&mut Table::new(Self::headers(printer.is_wide())), &[self.cells(printer.is_wide(), 0)])
    }
}

impl Row for MemberView {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NODE", "ROLE", "API", "PEERS", "LAG", "LAST ACK", "LEVEL"];
        if is_wide {
            headers.push("INCARNATION");
        }
        headers
    }

    fn cells(&self, is_wide: bool, _now: i64) -> Vec<Cell> {
        let role = match self.role {
            "LEADER" => Cell::new("leader", Tone::Good),
            other => other.to_lowercase().into(),
        };
        let ack = match self.silent_ms {
            Some(silent) => format!("{} ago", text::rough(silent)).into(),
            None if self.role == "LEADER" => "-".into(),
            None => Cell::new("never", Tone::Bad),
        };
        let level = match self.feature_level {
            Some(level) => level.to_string().into(),
            None => Cell::new("no answer", Tone::Bad),
        };
        let mut cells = vec![
            self.name.as_str().into(),
            role,
            self.api_address.as_str().into(),
            self.peer_address.as_str().into(),
            self.lag.map_or("-".to_owned(), |lag| lag.to_string()).into(),
            ack,
            level,
        ];
        if is_wide {
            cells.push(self.incarnation.as_str().into());
        }
        cells
    }

    fn name(&self) -> &str {
        &self.name
    }
}
