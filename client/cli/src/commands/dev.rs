//! `belfry dev`: a whole cluster in one process, to try Belfry with. The parts are the real ones: nodes that replicate over
//! loopback, stores in a folder, an executor that dials in.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use belfry_sdk::executor::Executor;
use belfry_sdk::{Client, ClientError, ClientOptions, pb};
use belfry_server::clock::SystemClock;
use belfry_server::config::{Config, Member};
use belfry_server::node::{Handover, Listeners, Node};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{Context, Signals, cannot_start};
use crate::args::LOCAL_NODE;
use crate::exit::{Exit, Failure};
use crate::logs::{self, LogFormat, Usually};
use crate::output::Table;
use crate::output::view::RunView;
use crate::text;

const DEMO: &str = "namespaces/default/schedules/hello";

/// How often new rows are looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(300);

/// Rows looked at in one go.
const LOOK_ROWS: i32 = 100;

/// Slots of the executor.
const SLOTS: u32 = 16;

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Nodes of the cluster: 1, 3 or 5.
    #[arg(long, default_value_t = 3, value_parser = number_of_nodes)]
    nodes: u8,
    /// Folder to keep the stores in; the next start carries on from there. Without it: below $XDG_DATA_HOME or
    /// ~/.local/share.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address that the first node listens on for the API; port 0 lets the system choose.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    api: SocketAddr,
    /// Do not create the schedule that shows how it works.
    #[arg(long)]
    no_demo: bool,
}

fn number_of_nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3 | 5)) => Ok(nodes),
        Ok(_) | Err(_) => {
            Err("choose 1, 3 or 5: an even number survives no more failures than one less".to_owned())
        }
    }
}

/// Runs the cluster until it is told to stop.
pub(crate) fn run(context: &Context, args: DevArgs) -> Result<(), Failure> {
    logs::start(LogFormat::Text, Usually::Warnings, context.global.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let result = runtime.block_on(Box::pin(serve(context, &args)));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(context: &Context, args: &DevArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let folder = data_folder(args)?;
    let cluster = DevCluster::start(&folder, args).await?;
    let say = |line: &str| context.printer.text(&format!("{line}\n"));
    // Whoever reads that it is there may use all of it at once.
    tokio::select! {
        () = cluster.upgraded() => context.printer.text(&welcome(&cluster, &folder))?,
        fault = cluster.fatal() => return Err(failed(&fault)),
        () = signals.next() => {
            cluster.stop().await;
            return Ok(());
        }
    }

    let shutdown = CancellationToken::new();
    let builder = Executor::builder().endpoints(cluster.endpoints.clone()).display_name("dev").slots(SLOTS);
    let executor = belfry_executor::stock(builder).build().map_err(|e| failed(&e))?;
    let mut executing = tokio::spawn(executor.run(shutdown.clone().cancelled_owned()));

    let client = Client::connect(ClientOptions::new(cluster.endpoints.clone()))?;
    let mut is_drained = false;
    let mut shown = Box::pin(show(context, &client, &cluster, args));
    let ended = loop {
        tokio::select! {
            result = &mut shown => break result,
            fault = cluster.fatal() => break Err(failed(&fault)),
            result = &mut executing, if !is_drained => match result {
                Ok(Ok(summary)) if summary.drain_requested => {
                    is_drained = true;
                    say(&drained(&program(), &cluster))?;
                }
                other => break Err(failed(&format!("the executor ended by itself: {other:?}"))),
            },
            () = signals.next() => break Ok(()),
        }
    };
    drop(shown);
    say("\ndraining: what runs may end, a second Ctrl-C ends at once")?;
    shutdown.cancel();
    tokio::select! {
        () = async {
            if !executing.is_finished() {
                // What it could not deliver is in its log.
                let _ = executing.await;
            }
            cluster.stop().await;
        } => {}
        () = signals.next() => return Err(Failure::silent(Exit::Interrupted)),
    }
    if ended.is_ok() {
        say("stopped; started again, it carries on from here")?;
    }
    ended
}

fn failed(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}

/// Where the stores are: another number of nodes is another cluster.
fn data_folder(args: &DevArgs) -> Result<PathBuf, Failure> {
    let from_home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/share"));
    let base = match &args.data {
        Some(data) => data.clone(),
        None => match std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(from_home) {
            Some(base) => base.join("belfry/dev"),
            None => return Err(Failure::usage("HOME is not set: name a folder with --data DIR")),
        },
    };
    let folder = base.join(format!("{}-nodes", args.nodes));
    std::fs::create_dir_all(&folder).map_err(|error| {
        failed(&format!("cannot make the folder {}: {error}; name another with --data DIR", folder.display()))
    })?;
    Ok(folder)
}

struct DevCluster {
    nodes: Vec<Node>,
    endpoints: Vec<String>,
    admin: SocketAddr,
}

impl DevCluster {
    async fn start(folder: &Path, args: &DevArgs) -> Result<Self, Failure> {
        let mut bound = Vec::new();
        for id in 1..=u64::from(args.nodes) {
            let mut config = Config::default();
            config.node.id = id;
            config.node.data = folder.join(format!("node-{id}")).to_string_lossy().into_owned();
            let any = SocketAddr::new(args.api.ip(), 0).to_string();
            config.listen.api = if id == 1 { args.api.to_string() } else { any.clone() };
            config.listen.peer.clone_from(&any);
            config.listen.admin = any;
            let listeners = Listeners::bind(&config).await.map_err(|error| {
                failed(&format!("{error} (choose another address with --api, such as 127.0.0.1:0)"))
            })?;
            let addresses = listeners.addresses().map_err(|error| cannot_start(&error))?;
            bound.push((config, listeners, addresses));
        }
        let members: Vec<_> = bound
            .iter()
            .map(|(config, _, [api, peer, _])| Member {
                id: config.node.id,
                api: api.to_string(),
                peer: peer.to_string(),
            })
            .collect();
        let endpoints = members.iter().map(|member| format!("http://{}", member.api)).collect();
        let [_, _, admin] = bound[0].2;
        let mut nodes = Vec::new();
        for (mut config, listeners, _) in bound {
            config.cluster.name = "dev".to_owned();
            config.cluster.bootstrap = true;
            config.cluster.members.clone_from(&members);
            let node = Box::pin(Node::start(&config, listeners, Arc::new(SystemClock))).await;
            nodes.push(node.map_err(|error| failed(&error))?);
        }
        Ok(Self { nodes, endpoints, admin })
    }

    /// Waits until every node has all of this release in force.
    async fn upgraded(&self) {
        futures_util::future::join_all(self.nodes.iter().map(Node::upgraded)).await;
    }

    async fn fatal(&self) -> belfry_server::raft::Fault {
        let (fault, _, _) =
            futures_util::future::select_all(self.nodes.iter().map(|node| Box::pin(node.fatal()))).await;
        fault
    }

    /// All at once: there is nobody to hand leadership over to.
    async fn stop(self) {
        futures_util::future::join_all(self.nodes.into_iter().map(|node| node.stop(Handover::Skip))).await;
    }
}

/// Creates the demo schedule, says what to try, and shows each run as it ends.
async fn show(
    context: &Context,
    client: &Client,
    cluster: &DevCluster,
    args: &DevArgs,
) -> Result<(), Failure> {
    let mut ended = EndedRuns::default();
    // What ended in an earlier session is not news.
    ended.take(list(client).await?);
    if !args.no_demo {
        create_demo(client).await?;
    }
    context.printer.text(&what_to_try(&program(), cluster, args))?;
    let mut table = Table::new(RunView::log_headers());
    loop {
        let runs = ended.take(list(client).await?).into_iter().map(RunView::from);
        let rows: Vec<_> = runs.map(|run| run.log_cells(text::now_millis())).collect();
        if !rows.is_empty() {
            context.printer.text(&context.printer.lay_out(&mut table, &rows))?;
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}

/// The newest rows. Waits for a leader as long as it takes.
async fn list(client: &Client) -> Result<Vec<pb::Run>, Failure> {
    loop {
        let request = pb::ListRunsRequest {
            parent: "namespaces/-/schedules/-".into(),
            page_size: LOOK_ROWS,
            ..Default::default()
        };
        match client.list_runs(request).await {
            Ok(page) => return Ok(page.runs),
            Err(ClientError::NoLeader(_) | ClientError::Unreachable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn create_demo(client: &Client) -> Result<(), Failure> {
    let every = prost_types::Duration { seconds: 5, nanos: 0 };
    let shell = "echo \"hello from attempt $BELFRY_ATTEMPT of $BELFRY_RUN\"";
    let schedule = pb::Schedule {
        description: "made by `belfry dev`".into(),
        timing: Some(pb::Timing {
            include: vec![pb::Rule {
                rule: Some(pb::rule::Rule::Interval(pb::Interval { every: Some(every), phase: None })),
            }],
            time_zone: String::new(),
            ..Default::default()
        }),
        target: Some(pb::Target {
            target: Some(pb::target::Target::Command(pb::CommandTarget {
                shell: shell.into(),
                ..Default::default()
            })),
        }),
        ..Default::default()
    };
    let (parent, schedule_id) = DEMO.split_once("/schedules/").expect("DEMO names a schedule");
    let request = pb::CreateScheduleRequest {
        parent: parent.into(),
        schedule_id: schedule_id.into(),
        schedule: Some(schedule),
        ..Default::default()
    };
    match client.create_schedule(request).await {
        Ok(_) | Err(ClientError::AlreadyExists(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What runs where. The first line names the endpoint, for scripts.
fn welcome(cluster: &DevCluster, folder: &Path) -> String {
    let nodes = match cluster.nodes.len() {
        1 => "one node".to_owned(),
        several => format!("{several} nodes"),
    };
    format!(
        "belfry on {}: {nodes} and an executor in this process\n  stores   {}\n  metrics  http://{}/metrics\n",
        cluster.endpoints[0],
        folder.display(),
        cluster.admin
    )
}

/// Somebody wanted this executor to end, and nothing else: the rest goes on, and has no executor as a cluster may.
fn drained(belfry: &str, cluster: &DevCluster) -> String {
    format!(
        "\nthe executor was drained and has ended; the cluster goes on, and its runs wait for another one:\n  {belfry} executor --endpoint {}\n",
        cluster.endpoints[0]
    )
}

/// How this program was called: under cargo it is not in the PATH.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "belfry".to_owned())
}

fn what_to_try(belfry: &str, cluster: &DevCluster, args: &DevArgs) -> String {
    let endpoint = &cluster.endpoints[0];
    let export = format!("export BELFRY_ENDPOINT={endpoint}");
    let create = format!("{belfry} schedule create tick --cron '*/10 * * * * *' --command date");
    let pause = format!("{belfry} schedule pause hello --reason 'seen enough'");
    let lines = [
        (endpoint != LOCAL_NODE).then_some(export),
        Some(format!("{belfry} cluster status")),
        Some(create),
        Some(format!("{belfry} schedule trigger tick --wait")),
        Some(format!("{belfry} schedule describe tick")),
        (!args.no_demo).then_some(pause),
    ];
    let lines: String = lines.into_iter().flatten().map(|line| format!("  {line}\n")).collect();
    format!("\nIn another terminal:\n{lines}\nRuns as they end (Ctrl-C stops):\n")
}

/// Rows that have ended since they were last looked at.
#[derive(Default)]
struct EndedRuns {
    /// Names said already, oldest first; as many as one look can show.
    said: VecDeque<String>,
}

impl EndedRuns {
    /// Those of `runs` (newest first) that have ended and were not returned before, oldest first.
    fn take(&mut self, runs: Vec<pb::Run>) -> Vec<pb::Run> {
        let new: Vec<_> = runs
            .into_iter()
            .rev()
            .filter(|run| run.end_time.is_some() && !self.said.contains(&run.name))
            .collect();
        self.said.extend(new.iter().map(|run| run.name.clone()));
        while self.said.len() > 2 * LOOK_ROWS as usize {
            self.said.pop_front();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, ended: bool) -> pb::Run {
        let end_time = ended.then_some(prost_types::Timestamp { seconds: 1, nanos: 0 });
        pb::Run { name: name.into(), end_time, ..Default::default() }
    }

    #[test]
    fn each_run_is_said_once_when_it_has_ended() {
        let mut ended = EndedRuns::default();
        let names = |runs: Vec<pb::Run>| runs.into_iter().map(|run| run.name).collect::<Vec<_>>();
        assert_eq!(names(ended.take(vec![run("b", true), run("a", true)])), ["a", "b"]);
        assert_eq!(names(ended.take(vec![run("c", false), run("b", true), run("a", true)])), [""; 0]);
        assert_eq!(names(ended.take(vec![run("c", true), run("b", true)])), ["c"]);
    }
}
