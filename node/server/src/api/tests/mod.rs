//! The API over the wire: one node with everything behind it, and the edge before stand-ins.

mod batch;
mod clocks;
mod edge;
mod executors;
mod explain;
mod flood;
mod hand;
mod levels;
mod liveness;
mod outage;
mod report;
mod resources;
mod runs;
mod schedules;
mod watch;
mod whole;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use belfry_core::{State, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_proto::v1::cluster_service_client::ClusterServiceClient;
use belfry_proto::v1::run_service_client::RunServiceClient;
use belfry_proto::v1::schedule_service_client::ScheduleServiceClient;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::clock::{Clock, SharedClock, ShiftedClock, SystemClock};
use crate::config::{Config, Listen};
use crate::node::{Handover, Listeners, Node};
use crate::raft::Leadership;

/// A node that is alone, with clients.
struct Alone {
    node: Node,
    clock: Arc<ShiftedClock>,
    api: SocketAddr,
    admin: SocketAddr,
    channel: Channel,
    config: Config,
    data: TempDir,
}

/// A clock that stands still: what moves it is the [`ShiftedClock`] before it.
#[derive(Debug)]
struct StillClock(UnixMillis);

impl Clock for StillClock {
    fn now(&self) -> UnixMillis {
        self.0
    }
}

impl Alone {
    async fn start() -> Self {
        Self::start_by(Arc::new(SystemClock), |_| {}).await
    }

    /// By another clock, with another configuration.
    async fn start_by(clock: SharedClock, tune: impl FnOnce(&mut Config)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let any = || "127.0.0.1:0".to_owned();
        let mut config =
            Config { listen: Listen { api: any(), peer: any(), admin: any() }, ..Config::default() };
        config.node.id = 1;
        config.node.data = data.path().display().to_string();
        tune(&mut config);
        Self::begin(config, data, Arc::new(ShiftedClock::new(clock))).await
    }

    async fn begin(config: Config, data: TempDir, clock: Arc<ShiftedClock>) -> Self {
        let listeners = Listeners::bind(&config).await.unwrap();
        let [api, _, admin] = listeners.addresses().unwrap();
        let node = Box::pin(Node::start(&config, listeners, clock.clone())).await.unwrap();
        let mut leadership = node.replica().leadership();
        leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap();
        node.upgraded().await;
        let channel = Endpoint::from_shared(format!("http://{api}")).unwrap().connect_lazy();
        Self { node, clock, api, admin, channel, config, data }
    }

    /// Nobody leads for so long, by the clock.
    async fn be_away_for(self, millis: i64) -> Self {
        self.node.stop(Handover::Skip).await;
        self.clock.step_ms(millis);
        Self::begin(self.config, self.data, self.clock).await
    }

    /// Waits until the state is as it should be; it is looked at whenever something was applied.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        let mut applied = self.node.replica().applied();
        while !self.node.replica().read(|state| holds(state)) {
            applied.changed().await.unwrap();
        }
    }

    async fn stop(self) {
        self.node.stop(Handover::Skip).await;
    }

    fn schedules(&self) -> ScheduleServiceClient<Channel> {
        ScheduleServiceClient::new(self.channel.clone())
    }

    fn runs(&self) -> RunServiceClient<Channel> {
        RunServiceClient::new(self.channel.clone())
    }

    fn cluster(&self) -> ClusterServiceClient<Channel> {
        ClusterServiceClient::new(self.channel.clone())
    }

    async fn create(&self, namespace: &str, id: &str) -> pb::Schedule {
        self.schedules().create_schedule(creation(namespace, id)).await.unwrap().into_inner()
    }

    async fn get(&self, name: &str) -> pb::Schedule {
        self.schedules()
            .get_schedule(pb::GetScheduleRequest { name: name.into() })
            .await
            .unwrap()
            .into_inner()
    }

    async fn trigger(&self, name: &str) -> pb::Run {
        let request =
            pb::TriggerScheduleRequest { name: name.into(), actor: "ann".into(), ..Default::default() };
        self.schedules().trigger_schedule(request).await.unwrap().into_inner()
    }

    async fn delete(&self, name: &str) {
        let request = pb::DeleteScheduleRequest { name: name.into(), ..Default::default() };
        self.schedules().delete_schedule(request).await.unwrap();
    }
}

/// Fires once a year, so that nothing happens by itself while a test runs.
fn yearly() -> pb::Timing {
    let cron = pb::Cron { expression: "30 4 1 1 *".into(), ..Default::default() };
    pb::Timing {
        include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
        time_zone: String::new(),
        ..Default::default()
    }
}

fn handler(name: &str) -> pb::Target {
    let handler = pb::HandlerTarget { handler: name.into(), payload: "{}".into() };
    pb::Target { target: Some(pb::target::Target::Handler(handler)) }
}

fn schedule() -> pb::Schedule {
    pb::Schedule { timing: Some(yearly()), target: Some(handler("bill")), ..Default::default() }
}

fn creation(namespace: &str, id: &str) -> pb::CreateScheduleRequest {
    pb::CreateScheduleRequest {
        parent: format!("namespaces/{namespace}"),
        schedule_id: id.into(),
        schedule: Some(schedule()),
        ..Default::default()
    }
}

/// Code and reason of a refusal.
fn told(status: &Status) -> (Code, String) {
    let details = status.get_error_details();
    let reason = details.error_info().map_or_else(String::new, |info| info.reason.clone());
    (status.code(), reason)
}

fn metadata(status: &Status) -> HashMap<String, String> {
    status.get_error_details().error_info().map(|info| info.metadata.clone()).unwrap_or_default()
}

fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations =
        details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}
