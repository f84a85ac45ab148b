//! The command line as a whole: global flags and the tree of commands.
//!
//! - ARGS-1: every flag can be given as `BELFRY_…`; the command line wins. The exception is `schedule set`: a variable that
//!   happens to be in the environment must not change a schedule.

use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Args, CommandFactory as _, Parser, Subcommand};

use crate::commands::{
    apply, backfill, bench, calendar, cluster, completion, dev, executor, import, namespace, node, pool,
    report, run, schedule, simulate, why,
};
use crate::exit::{EXIT_CODES, Failure};
use crate::output::Format;

/// Where a node of this machine listens.
pub(crate) const LOCAL_NODE: &str = "http://127.0.0.1:7400";

/// Belfry, a distributed cron: every run starts at most once, and late rather than not at all.
#[derive(Debug, Parser)]
#[command(name = "belfry", version, after_long_help = EXIT_CODES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Node to talk to, as host:port or http://host:port; repeat it, or separate several by commas.
    #[arg(long, global = true, value_name = "URL", value_delimiter = ',', default_value = LOCAL_NODE)]
    pub(crate) endpoint: Vec<String>,
    /// Namespace of names that are not whole resource names.
    #[arg(short = 'N', long, global = true, default_value = "default")]
    pub(crate) namespace: String,
    /// Limit of one call over all its tries.
    #[arg(long, global = true, value_name = "DURATION", default_value = "10s", value_parser = belfry_timing::parse_duration)]
    pub(crate) timeout: Duration,
    /// How data is written to stdout.
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
    /// No colours; as does the variable NO_COLOR.
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Log more to stderr; repeat it for still more.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create, change, look at and start schedules.
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    /// Look at runs: the ledger of what happened.
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Make schedules what documents in files say.
    Apply(apply::ApplyArgs),
    /// Show what an apply would change, and which fires. Exits with 1 when there are differences.
    Diff(apply::DiffArgs),
    /// Write schedules as documents for `belfry apply`.
    Export(apply::ExportArgs),
    /// Run instants of the past.
    #[command(subcommand)]
    Backfill(backfill::BackfillCommand),
    /// Reckon what an outage would come to: what is missed, and what makes up for it.
    Simulate(simulate::SimulateArgs),
    /// Name days and periods that schedules keep to, leave out or freeze in.
    #[command(subcommand)]
    Calendar(calendar::CalendarCommand),
    /// Limit how much of something runs at once, and pause it.
    #[command(subcommand)]
    Pool(pool::PoolCommand),
    /// Give namespaces limits and shares.
    #[command(subcommand)]
    Namespace(namespace::NamespaceCommand),
    /// Say which schedules did not do what they should; exit with 1 if any.
    Report(report::ReportArgs),
    /// Say why a run is where it is, or why there is none, and what to do.
    Why(why::WhyArgs),
    /// Look after the cluster.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Turn what other schedulers run into schedules.
    #[command(subcommand)]
    Import(import::ImportCommand),
    /// Execute runs: commands and HTTP requests.
    Executor(executor::ExecutorArgs),
    /// Be a node of a cluster.
    Node(node::NodeArgs),
    /// Try Belfry: a cluster in this process, with an executor and a schedule.
    Dev(dev::DevArgs),
    /// Measure how fast a cluster is, with load of its own.
    Bench(bench::BenchArgs),
    /// Write the completion script of a shell to stdout.
    Completion(completion::CompletionArgs),
}

/// The command line with the environment behind its flags (ARGS-1).
pub(crate) fn command() -> clap::Command {
    with_environment(Cli::command())
}

fn with_environment(command: clap::Command) -> clap::Command {
    let command = command.mut_args(with_variable);
    command.mut_subcommands(|sub| match sub.get_name() {
        "set" => sub,
        _other => with_environment(sub),
    })
}

fn with_variable(arg: Arg) -> Arg {
    let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else { return arg };
    // clap wants names that live as long as the process, and there are as many as there are flags.
    let variable: &'static str = format!("BELFRY_{}", long.replace('-', "_").to_uppercase()).leak();
    let arg = arg.env(variable).hide_env(true);
    match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _other => arg,
    }
}

/// What is wrong with a command line, in one line (EXIT-1): the finding, the first tip and where to read on.
pub(crate) fn refusal(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let mut message = String::new();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    for line in lines.by_ref().take_while(|line| !line.starts_with("For more")) {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            let is_command = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            let words = usage.split(' ').take_while(|word| is_command(word) && !word.starts_with('-'));
            message.push_str(&format!("; see `{} --help`", words.collect::<Vec<_>>().join(" ")));
            break;
        }
        match line.strip_prefix("tip: ") {
            Some(tip) if !message.contains("; ") => message.push_str(&format!("; {tip}")),
            Some(_) => {}
            None => message.push_str(&format!(" {line}")),
        }
    }
    let message = message.trim_start();
    Failure::usage(message.strip_prefix("error: ").unwrap_or(message))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let words = std::iter::once("belfry").chain(line.split_whitespace());
        command().try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches))
    }

    #[test]
    fn the_tree_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn endpoints_are_lists() {
        let cli = parse("schedule list --endpoint a:1,b:1 --endpoint c:1").unwrap();
        assert_eq!(cli.global.endpoint, ["a:1", "b:1", "c:1"]);
        assert_eq!(parse("schedule list").unwrap().global.endpoint, [LOCAL_NODE]);
    }

    #[test]
    fn every_flag_has_a_variable_except_those_of_set() {
        fn check(path: &str, command: &clap::Command) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                assert_eq!(arg.get_env().is_some(), !path.ends_with(" set"), "{path} --{}", arg.get_id());
            }
            for sub in command.get_subcommands() {
                check(&format!("{path} {}", sub.get_name()), sub);
            }
        }
        check("belfry", &command());
    }

    #[test]
    fn n_is_a_count_and_capital_n_a_namespace() {
        assert!(parse("schedule next @daily -n 3 -N ops").is_ok());
        assert!(parse("schedule next @daily --every 1h -n 0").is_err());
    }

    #[test]
    fn a_wrong_command_line_is_one_line() {
        for (line, expected) in [
            (
                "schedule create x --evry 1h",
                "unexpected argument '--evry' found; a similar argument exists: '--every'; see `belfry schedule create --help`",
            ),
            (
                "schedule pause",
                "the following required arguments were not provided: --reason <TEXT> <NAME>...; see `belfry schedule pause --help`",
            ),
            (
                "schedule list -o xml",
                "invalid value 'xml' for '--output <FORMAT>' [possible values: table, wide, json, yaml, name]; a similar value exists: 'yaml'",
            ),
            (
                "dev --nodes 2",
                "invalid value '2' for '--nodes <NODES>': choose 1, 3 or 5: an even number survives no more failures than one less",
            ),
        ] {
            assert_eq!(refusal(&parse(line).unwrap_err()).to_string(), expected);
        }
    }
}
