//! The commands: each turns its arguments into calls and their answers into output.

pub(crate) mod apply;
pub(crate) mod backfill;
pub(crate) mod bench;
pub(crate) mod calendar;
pub(crate) mod cluster;
pub(crate) mod completion;
pub(crate) mod dev;
mod documents;
pub(crate) mod executor;
pub(crate) mod import;
pub(crate) mod namespace;
pub(crate) mod node;
pub(crate) mod pool;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod simulate;
mod timings;
pub(crate) mod watch;
pub(crate) mod why;

use std::future::Future;

use belfry_sdk::{Client, ClientOptions};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::{Cli, Command, GlobalArgs};
use crate::exit::{Exit, Failure};
use crate::logs::{self, LogFormat, Usually};
use crate::output::Printer;
use crate::text;

/// What every command works with.
pub(crate) struct Context {
    pub(crate) global: GlobalArgs,
    pub(crate) printer: Printer,
}

impl Context {
    /// A client of the cluster that the global flags name. It connects with its first call.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        logs::start(LogFormat::Text, Usually::Warnings, self.global.verbose);
        let options =
            ClientOptions { timeout: self.global.timeout, ..ClientOptions::new(&self.global.endpoint) };
        Ok(Client::connect(options)?)
    }

    /// `namespaces/{namespace}`.
    pub(crate) fn parent(&self) -> String {
        format!("namespaces/{}", self.global.namespace)
    }

    /// The resource name of a schedule.
    pub(crate) fn schedule(&self, name: &str) -> Result<String, Failure> {
        text::schedule_name(&self.global.namespace, name).map_err(Failure::usage)
    }

    /// The resource name of a run.
    pub(crate) fn run(&self, name: &str) -> Result<String, Failure> {
        text::run_name(&self.global.namespace, name).map_err(Failure::usage)
    }
}

/// Carries out a command line.
pub(crate) fn run(cli: Cli) -> Result<(), Failure> {
    let no_color = cli.global.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let context = Context { printer: Printer::new(cli.global.output, no_color), global: cli.global };
    match cli.command {
        Command::Schedule(command) => schedule::run(&context, command),
        Command::Run(command) => run::run(&context, command),
        Command::Apply(args) => apply::run(&context, &args),
        Command::Diff(args) => apply::run_diff(&context, &args),
        Command::Export(args) => apply::run_export(&context, &args),
        Command::Simulate(args) => simulate::run(&context, &args),
        Command::Calendar(command) => calendar::run(&context, command),
        Command::Backfill(command) => backfill::run(&context, command),
        Command::Pool(command) => pool::run(&context, command),
        Command::Namespace(command) => namespace::run(&context, command),
        Command::Report(args) => report::run(&context, &args),
        Command::Why(args) => why::run(&context, &args),
        Command::Cluster(command) => cluster::run(&context, command),
        Command::Bench(args) => bench::run(&context, &args),
        Command::Import(command) => import::run(&context, command),
        Command::Executor(args) => executor::run(&context, args),
        Command::Node(args) => node::run(&context, args),
        Command::Dev(args) => dev::run(&context, args),
        Command::Completion(args) => completion::run(&context, &args),
    }
}

/// Talks to a cluster until it is done or interrupted.
pub(crate) fn converse(conversation: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    // One thread: a few calls are all there is to do.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    runtime.block_on(async {
        tokio::select! {
            result = conversation => result,
            // Without a handler for signals the default applies, which ends the process too.
            Ok(()) = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
        }
    })
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from here on: the defaults, which end the process, no longer apply.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| cannot_start(&error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A failure of the system at start.
pub(crate) fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot start: {error}"))
}
