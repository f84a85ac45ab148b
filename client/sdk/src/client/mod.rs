//! The client of the API: one method for each call of the contract.
//!
//! How a call is tried, and tried again, is in [`call`]; this file lists the calls.

mod batch;
mod call;
mod snapshot;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;
use tonic::transport::Channel;

pub use self::batch::{ItemResult, SchedulePages};
pub use self::snapshot::SnapshotParts;
pub use self::watch::Watch;
use crate::address::{Address, Directory, parse_all};
use crate::error::{ClientError, innermost};
use crate::pb;
use crate::pb::backfill_service_client::BackfillServiceClient;
use crate::pb::calendar_service_client::CalendarServiceClient;
use crate::pb::cluster_service_client::ClusterServiceClient;
use crate::pb::namespace_service_client::NamespaceServiceClient;
use crate::pb::pool_service_client::PoolServiceClient;
use crate::pb::run_service_client::RunServiceClient;
use crate::pb::schedule_service_client::ScheduleServiceClient;
use crate::transport::Dialer;

/// Largest answer taken: a page of 1000 schedules with large targets is far below it.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections kept beside those to the named endpoints (to leaders that hints led to).
const HINTED_CONNECTIONS_MAX: usize = 16;

/// Where the nodes are and how long to try.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Nodes as `host:port` or `http://host:port`, tried in this order. Any node takes any call.
    pub endpoints: Vec<String>,
    /// Limit of a call over all its tries. 10 s.
    pub timeout: Duration,
    /// Limit of one try when there is another node to turn to; a node that hangs costs no more than this. 3 s.
    pub try_timeout: Duration,
    /// Limit of connecting to a node. 2 s.
    pub connect_timeout: Duration,
    /// How nodes are dialled. TCP.
    pub dialer: Dialer,
}

impl ClientOptions {
    /// Options with these endpoints and the default limits.
    pub fn new<T: Into<String>>(endpoints: impl IntoIterator<Item = T>) -> Self {
        Self { endpoints: endpoints.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            timeout: Duration::from_secs(10),
            try_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(2),
            dialer: Dialer::default(),
        }
    }
}

/// A client of one cluster. Clones are cheap and share connections and what is known about the leader.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ClientOptions,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    directory: Directory,
    connections: BTreeMap<Address, Channel>,
}

impl Client {
    /// A client with these options. Connects to nobody yet: the first call does.
    pub fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let directory = Directory::new(parse_all(&options.endpoints)?).ok_or(ClientError::NoEndpoints)?;
        let state = Mutex::new(State { directory, connections: BTreeMap::new() });
        Ok(Self { shared: Arc::new(Shared { options, state }) })
    }

    /// Runs `read_or_write` on the state; the lock is never held across an await.
    fn with_state<T>(&self, read_or_write: impl FnOnce(&mut State) -> T) -> T {
        read_or_write(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The node to ask now.
    fn target(&self) -> Address {
        self.with_state(|state| state.directory.target().clone())
    }

    /// A connection to a node, within this time; or why there is none.
    async fn connection(&self, address: &Address, limit: Duration) -> Result<Channel, String> {
        if let Some(connection) = self.with_state(|state| state.connections.get(address).cloned()) {
            return Ok(connection);
        }
        // Not left to the first call, so that a call knows whether anybody can have received it.
        let limit = limit.min(self.shared.options.connect_timeout);
        let connection =
            match timeout(limit, self.shared.options.dialer.connect(address.endpoint(limit))).await {
                Ok(connection) => connection.map_err(|error| innermost(&error))?,
                Err(_) => return Err(format!("not connected within {limit:?}")),
            };
        self.with_state(|state| {
            state.forget_surplus_connections();
            state.connections.insert(address.clone(), connection.clone());
        });
        Ok(connection)
    }
}

impl State {
    fn forget_surplus_connections(&mut self) {
        if self.connections.len() >= self.directory.nodes().len() + HINTED_CONNECTIONS_MAX {
            let named = self.directory.nodes();
            self.connections.retain(|address, _| named.contains(address));
        }
    }
}

/// A request that changes something.
trait Mutation {
    fn request_id(&mut self) -> &mut String;
    fn validate_only(&self) -> bool;
}

macro_rules! mutations {
    ($($request:ident),+ $(,)?) => {$(
        impl Mutation for pb::$request {
            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
            fn validate_only(&self) -> bool {
                self.validate_only
            }
        }
    )+};
}

mutations!(
    CreateScheduleRequest,
    UpdateScheduleRequest,
    DeleteScheduleRequest,
    PauseScheduleRequest,
    ResumeScheduleRequest,
    TriggerScheduleRequest,
    CancelRunRequest,
    ResolveRunRequest,
    PutCalendarRequest,
    DeleteCalendarRequest,
    PutPoolRequest,
    DeletePoolRequest,
    PutNamespaceRequest,
    DeleteNamespaceRequest,
    CreateBackfillRequest,
    ControlBackfillRequest,
);

/// The table of calls: documentation, how it may be repeated (`read`, `mutation`, `once`), name, request, answer.
macro_rules! calls {
    ($($service:ident { $($(#[$doc:meta])* $kind:ident $name:ident($request:ident) -> $answer:ty;)+ })+) => {
        impl Client {$($(
            $(#[$doc])*
            pub async fn $name(&self, request: pb::$request) -> Result<$answer, ClientError> {
                let (request, repeat) = call::Repeat::$kind(request);
                let send = |connection, request| async move {
                    $service::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX).$name(request).await
                };
                self.call(stringify!($name), request, repeat, send).await
            }
        )+)+}
    };
}

calls! {
    ScheduleServiceClient {
        /// Creates a schedule. [`ClientError::AlreadyExists`] when the name is taken.
        mutation create_schedule(CreateScheduleRequest) -> pb::Schedule;
        /// Reads one schedule.
        read get_schedule(GetScheduleRequest) -> pb::Schedule;
        /// Reads one page of schedules, in order of name.
        read list_schedules(ListSchedulesRequest) -> pb::ListSchedulesResponse;
        /// Changes the masked fields. [`ClientError::Conflict`] when the etag is not the current one.
        mutation update_schedule(UpdateScheduleRequest) -> pb::Schedule;
        /// Deletes a schedule; its ledger stays.
        mutation delete_schedule(DeleteScheduleRequest) -> ();
        /// Keeps a schedule from starting runs by itself.
        mutation pause_schedule(PauseScheduleRequest) -> pb::Schedule;
        /// Ends a pause.
        mutation resume_schedule(ResumeScheduleRequest) -> pb::Schedule;
        /// Runs a schedule once, now, without moving its timing.
        mutation trigger_schedule(TriggerScheduleRequest) -> pb::Run;
    }
    RunServiceClient {
        /// Reads one run, with the tail of its output.
        read get_run(GetRunRequest) -> pb::Run;
        /// Reads one page of runs, newest first.
        read list_runs(ListRunsRequest) -> pb::ListRunsResponse;
        /// Ends a run: at once while it waits, through its executor while it is running.
        mutation cancel_run(CancelRunRequest) -> pb::Run;
        /// Says what became of a run whose outcome is unknown.
        mutation resolve_run(ResolveRunRequest) -> pb::Run;
        /// Reads one page of what was expected of schedules in a range of time, and what came of it.
        read report_runs(ReportRunsRequest) -> pb::ReportRunsResponse;
        /// Why a run is where it is, or why there is none.
        read explain_run(ExplainRunRequest) -> pb::RunExplanation;
    }
    CalendarServiceClient {
        /// Makes a calendar or replaces it. [`ClientError::Conflict`] when the etag is not the current one.
        mutation put_calendar(PutCalendarRequest) -> pb::Calendar;
        /// Reads one calendar.
        read get_calendar(GetCalendarRequest) -> pb::Calendar;
        /// Reads one page of calendars, in order of name.
        read list_calendars(ListCalendarsRequest) -> pb::ListCalendarsResponse;
        /// Deletes a calendar that no schedule uses.
        mutation delete_calendar(DeleteCalendarRequest) -> ();
    }
    PoolServiceClient {
        /// Declares a pool or changes it.
        mutation put_pool(PutPoolRequest) -> pb::Pool;
        /// Reads one pool.
        read get_pool(GetPoolRequest) -> pb::Pool;
        /// Reads one page of pools, in order of name.
        read list_pools(ListPoolsRequest) -> pb::ListPoolsResponse;
        /// Forgets the limits of a pool.
        mutation delete_pool(DeletePoolRequest) -> ();
    }
    NamespaceServiceClient {
        /// Declares a namespace or changes it.
        mutation put_namespace(PutNamespaceRequest) -> pb::Namespace;
        /// Reads one namespace.
        read get_namespace(GetNamespaceRequest) -> pb::Namespace;
        /// Reads one page of namespaces, in order of name.
        read list_namespaces(ListNamespacesRequest) -> pb::ListNamespacesResponse;
        /// Forgets the limits of a namespace; its schedules stay.
        mutation delete_namespace(DeleteNamespaceRequest) -> ();
    }
    BackfillServiceClient {
        /// Begins to run instants of the past.
        mutation create_backfill(CreateBackfillRequest) -> pb::Backfill;
        /// Reads one backfill.
        read get_backfill(GetBackfillRequest) -> pb::Backfill;
        /// Reads the backfills of a schedule, newest first.
        read list_backfills(ListBackfillsRequest) -> pb::ListBackfillsResponse;
        /// Keeps a backfill from making further runs.
        mutation pause_backfill(ControlBackfillRequest) -> pb::Backfill;
        /// Lets a backfill go on.
        mutation resume_backfill(ControlBackfillRequest) -> pb::Backfill;
        /// Ends a backfill.
        mutation cancel_backfill(ControlBackfillRequest) -> pb::Backfill;
    }
    ClusterServiceClient {
        /// What the node that is asked knows of the cluster; answered without a leader too.
        read get_cluster_status(GetClusterStatusRequest) -> pb::ClusterStatus;
        /// Hands leadership to another voter. Takes no request id: it is tried again only while it is certain that no
        /// node has received it.
        once transfer_leadership(TransferLeadershipRequest) -> pb::TransferLeadershipResponse;
        /// Asks an executor to take no more runs. Asked again it does no harm.
        read drain_executor(DrainExecutorRequest) -> pb::DrainExecutorResponse;
        /// The members of the cluster, and how far each of them is.
        read list_members(ListMembersRequest) -> pb::ListMembersResponse;
        /// Takes one step towards having a node as a voter; ask until it votes. Asked again it does no harm.
        read add_member(AddMemberRequest) -> pb::AddMemberResponse;
        /// Removes a member. Asked again it does no harm.
        read remove_member(RemoveMemberRequest) -> pb::RemoveMemberResponse;
    }
}
