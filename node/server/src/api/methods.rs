//! The methods of the API: where each is answered, and how long it may take.

/// Who answers a method.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// The node that was asked, also without a leader.
    Here,
    /// The leader.
    Leader,
    /// The leader, or the node that was asked if the caller can do with an older state.
    LeaderUnlessStale,
}

/// How a method is limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Counts as a call and has a deadline.
    Call,
    /// Must be answered by a node that is overloaded, too: somebody wants to know how it is.
    Probe,
    /// Lasts for as long as both sides want.
    Stream,
    /// Likewise; and what it carries goes before what callers ask for, because it makes schedules fire.
    Executor,
}

/// A method.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Method {
    path: &'static str,
    /// As metrics and spans name it.
    pub(super) name: &'static str,
    pub(super) place: Place,
    pub(super) kind: Kind,
}

impl Method {
    const fn new(path: &'static str, name: &'static str, place: Place, kind: Kind) -> Self {
        Self { path, name, place, kind }
    }
}

const METHODS: [Method; 47] = [
    Method::new("/belfry.v1.ScheduleService/CreateSchedule", "CreateSchedule", Place::Leader, Kind::Call),
    Method::new(
        "/belfry.v1.ScheduleService/GetSchedule",
        "GetSchedule",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.ScheduleService/ListSchedules",
        "ListSchedules",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new("/belfry.v1.ScheduleService/UpdateSchedule", "UpdateSchedule", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ScheduleService/DeleteSchedule", "DeleteSchedule", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ScheduleService/PauseSchedule", "PauseSchedule", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ScheduleService/ResumeSchedule", "ResumeSchedule", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ScheduleService/TriggerSchedule", "TriggerSchedule", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ScheduleService/WatchSchedules", "WatchSchedules", Place::Here, Kind::Stream),
    Method::new(
        "/belfry.v1.ScheduleService/BatchGetSchedules",
        "BatchGetSchedules",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.ScheduleService/BatchCreateSchedules",
        "BatchCreateSchedules",
        Place::Leader,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.ScheduleService/BatchUpdateSchedules",
        "BatchUpdateSchedules",
        Place::Leader,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.ScheduleService/BatchDeleteSchedules",
        "BatchDeleteSchedules",
        Place::Leader,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.ScheduleService/StreamSchedules",
        "StreamSchedules",
        Place::LeaderUnlessStale,
        Kind::Stream,
    ),
    Method::new("/belfry.v1.RunService/GetRun", "GetRun", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.RunService/ListRuns", "ListRuns", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.RunService/CancelRun", "CancelRun", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.RunService/ResolveRun", "ResolveRun", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.CalendarService/PutCalendar", "PutCalendar", Place::Leader, Kind::Call),
    Method::new(
        "/belfry.v1.CalendarService/GetCalendar",
        "GetCalendar",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.CalendarService/ListCalendars",
        "ListCalendars",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new("/belfry.v1.CalendarService/DeleteCalendar", "DeleteCalendar", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.PoolService/PutPool", "PutPool", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.PoolService/GetPool", "GetPool", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.PoolService/ListPools", "ListPools", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.PoolService/DeletePool", "DeletePool", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.NamespaceService/PutNamespace", "PutNamespace", Place::Leader, Kind::Call),
    Method::new(
        "/belfry.v1.NamespaceService/GetNamespace",
        "GetNamespace",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.NamespaceService/ListNamespaces",
        "ListNamespaces",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new("/belfry.v1.NamespaceService/DeleteNamespace", "DeleteNamespace", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.BackfillService/CreateBackfill", "CreateBackfill", Place::Leader, Kind::Call),
    Method::new(
        "/belfry.v1.BackfillService/GetBackfill",
        "GetBackfill",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new(
        "/belfry.v1.BackfillService/ListBackfills",
        "ListBackfills",
        Place::LeaderUnlessStale,
        Kind::Call,
    ),
    Method::new("/belfry.v1.BackfillService/PauseBackfill", "PauseBackfill", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.BackfillService/ResumeBackfill", "ResumeBackfill", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.BackfillService/CancelBackfill", "CancelBackfill", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ClusterService/DrainExecutor", "DrainExecutor", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ClusterService/ListMembers", "ListMembers", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.ClusterService/AddMember", "AddMember", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ClusterService/RemoveMember", "RemoveMember", Place::Leader, Kind::Call),
    Method::new("/belfry.v1.ClusterService/SaveSnapshot", "SaveSnapshot", Place::Leader, Kind::Stream),
    Method::new("/belfry.v1.RunService/ReportRuns", "ReportRuns", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.RunService/ExplainRun", "ExplainRun", Place::LeaderUnlessStale, Kind::Call),
    Method::new("/belfry.v1.RunService/WatchRuns", "WatchRuns", Place::Here, Kind::Stream),
    Method::new("/belfry.v1.ExecutorService/Session", "Session", Place::Leader, Kind::Executor),
    Method::new("/belfry.v1.ClusterService/GetClusterStatus", "GetClusterStatus", Place::Here, Kind::Probe),
    Method::new(
        "/belfry.v1.ClusterService/TransferLeadership",
        "TransferLeadership",
        Place::Leader,
        Kind::Call,
    ),
];

/// Health, reflection, and methods that do not exist.
const OTHER: Method = Method::new("", "other", Place::Here, Kind::Stream);

/// The method of a path.
pub(super) fn find(path: &str) -> &'static Method {
    METHODS.iter().find(|method| method.path == path).unwrap_or(&OTHER)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    /// A method that is missing here would be answered by followers, from an older state.
    #[test]
    fn the_table_has_every_method_of_the_contract() {
        let files = prost_types::FileDescriptorSet::decode(belfry_proto::DESCRIPTORS).unwrap().file;
        let mut count = 0;
        for file in files.iter().filter(|file| file.package() == "belfry.v1") {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/belfry.v1.{}/{}", service.name(), method.name());
                    let found = find(&path);
                    assert_eq!(found.name, method.name(), "{path} is not in the table");
                    let streams = method.client_streaming() || method.server_streaming();
                    assert_eq!(matches!(found.kind, Kind::Stream | Kind::Executor), streams, "{path}");
                    let verbs = ["Get", "BatchGet", "List", "Stream", "Report", "Explain", "Watch"];
                    let reads = verbs.iter().any(|verb| method.name().starts_with(verb));
                    assert_eq!(found.place == Place::Leader, !reads, "{path}");
                    count += 1;
                }
            }
        }
        assert_eq!(count, METHODS.len());
    }

    #[test]
    fn everything_else_is_answered_here() {
        for path in ["/grpc.health.v1.Health/Check", "/belfry.v1.ScheduleService/GetSchedule2", "", "/"] {
            assert_eq!(find(path), &OTHER, "{path}");
        }
    }
}
