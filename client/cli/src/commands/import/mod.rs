//! `belfry import`: what another scheduler runs, as schedules. Report, never guess.
//!
//! ```text
//! input ── crontab | kubernetes | dkron ──► drafts ── plan ──► compare ──► plans ── apply ──► report
//!             what an entry says, and what        fires there      a cluster, with
//!             has no place or another meaning     and here         --apply only
//! ```
//!
//! - IMPORT-1: without `--apply` nothing is changed and no cluster is needed.
//! - IMPORT-2: an imported schedule starts paused, so that nothing runs twice while the other scheduler is still there; no
//!   import resumes one.
//! - IMPORT-3: importing the same input again changes nothing; a schedule whose source has changed is changed with
//!   `--update` only, and one that somebody has changed here with `--overwrite` only.
//! - IMPORT-4: every entry of the input is a plan or is rejected with a reason, and a field of it is carried, reported as a
//!   changed meaning, or reported as not carried.
//! - IMPORT-5: what means something else here is created with `--accept-changes` only.

mod apply;
mod compare;
mod crontab;
mod dialect;
mod dkron;
mod document;
mod go_schedule;
mod input;
mod kubernetes;
mod plan;
mod report;

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_timing::{TimeZone, parse_duration, parse_time};
use clap::{Args, Subcommand};

use self::plan::{Draft, Plan, Rejected};
use self::report::Report;
use super::Context;
use crate::exit::Failure;
use crate::text;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Import the crontab of a user, or the files of /etc/cron.d. Shows what would be created, unless --apply is given.
    Crontab(crontab::CrontabArgs),
    /// Import CronJobs of Kubernetes. Shows what would be created, unless --apply is given.
    Kubernetes(kubernetes::KubernetesArgs),
    /// Import jobs of Dkron. Shows what would be created, unless --apply is given.
    Dkron(dkron::DkronArgs),
}

pub(crate) fn run(context: &Context, command: ImportCommand) -> Result<(), Failure> {
    match command {
        ImportCommand::Crontab(args) => crontab::run(context, &args),
        ImportCommand::Kubernetes(args) => kubernetes::run(context, &args),
        ImportCommand::Dkron(args) => dkron::run(context, &args),
    }
}

/// Flags of every import.
#[derive(Clone, Debug, Args)]
struct ImportArgs {
    /// Create the schedules, paused.
    #[arg(long)]
    apply: bool,
    /// Also create schedules that mean something else here.
    #[arg(long)]
    accept_changes: bool,
    /// Also change schedules whose source has changed since they were imported.
    #[arg(long, requires = "apply")]
    update: bool,
    /// Also change schedules that somebody has changed in Belfry since.
    #[arg(long, requires = "apply")]
    overwrite: bool,
    /// Only the schedule of this name; repeatable.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Put this in front of every name.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Pool whose executors run them.
    #[arg(long, default_value = "")]
    pool: String,
    /// Longest time of an attempt where the source sets no limit.
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = parse_duration)]
    attempt_timeout: Duration,
    /// Compare fires after this instant instead of now: 2026-11-23T02:00:00Z.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
}

impl ImportArgs {
    /// The instant that fires are compared from.
    fn now(&self) -> Result<i64, Failure> {
        let Some(from) = &self.from else { return Ok(text::now_millis()) };
        parse_time(from, &TimeZone::utc()).map_err(|error| Failure::usage(error.to_string()))
    }

    /// The resource name of an entry, or why it cannot have one.
    fn name(&self, namespace: &str, name: &str) -> Result<String, String> {
        let name = format!("{}{name}", self.prefix);
        for (part, text) in [("namespace", namespace), ("name", name.as_str())] {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            let is_name = !text.is_empty() && text != "-" && !text.starts_with('.') && text.bytes().all(fits);
            if !is_name || text.len() > NAME_BYTES_MAX {
                return Err(format!(
                    "`{text}` cannot be a {part} here: letters, digits, `-`, `_` and `.`, at most {NAME_BYTES_MAX} bytes"
                ));
            }
        }
        Ok(format!("namespaces/{namespace}/schedules/{name}"))
    }
}

/// What no node can be configured to exceed (limits.name_bytes_max).
const NAME_BYTES_MAX: usize = 128;

/// Where schedules come from, and what of a schedule their source decides.
struct Origin {
    name: &'static str,
    /// Whether its schedules have names there, which people know better than where they stand in the input.
    has_names: bool,
    /// Paths of the update mask. What is not among them is for people here to choose: it is neither compared nor changed.
    paths: &'static [&'static str],
}

/// What a reader found in its input.
#[derive(Default)]
struct Found {
    drafts: Vec<Draft>,
    rejected: Vec<Rejected>,
    /// What is to be said about the input as a whole.
    remarks: Vec<String>,
}

/// What is said where a source sets no limit of time.
fn unlimited(limit: Duration) -> String {
    let limit = belfry_timing::format_duration(limit);
    format!("no limit of time there; here an attempt is killed after {limit} (--attempt-timeout)")
}

/// A zone given by a flag.
fn zone(flag: Option<&str>) -> Result<Option<TimeZone>, Failure> {
    flag.map(TimeZone::parse).transpose().map_err(|error| Failure::usage(error.to_string()))
}

/// Plans, compares, applies if asked to, and reports.
fn carry_out(context: &Context, origin: &Origin, args: &ImportArgs, found: Found) -> Result<(), Failure> {
    let now = args.now()?;
    let Found { drafts, mut rejected, remarks } = found;
    let mut plans: Vec<Plan> = Vec::new();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    let drafts = chosen(&args.only, drafts, |draft| &draft.name);
    rejected = chosen(&args.only, rejected, |rejected| &rejected.text);
    let names: Vec<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    let others = rejected.iter().map(|rejected| rejected.text.as_str());
    let names: Vec<&str> = names.into_iter().chain(others).collect();
    if let Some(unknown) = args.only.iter().find(|only| !names.iter().any(|name| is_called(only, name))) {
        return Err(Failure::usage(format!("--only {unknown}: nothing in the input has this name here")));
    }
    for draft in drafts {
        if let Some(first) = taken.get(&draft.name) {
            let reason = format!("{first} has the same name here: import it with another --prefix");
            rejected.push(Rejected { place: draft.place, text: draft.name, reason });
            continue;
        }
        taken.insert(draft.name.clone(), draft.place.clone());
        match Plan::of(draft, origin.name, now) {
            Ok(plan) => plans.push(plan),
            Err(refused) => rejected.push(refused),
        }
    }
    let result = if args.apply { apply::run(context, origin, args, &mut plans) } else { Ok(()) };
    // What was done before a failure is said too.
    let report = Report { origin, plans: &plans, rejected: &rejected, remarks: &remarks };
    report.write(context, now)?;
    result?;
    report.verdict(args)
}

/// Those that `--only` names, or all.
fn chosen<T>(only: &[String], all: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    let is_chosen = |item: &T| only.is_empty() || only.iter().any(|only| is_called(only, name(item)));
    all.into_iter().filter(is_chosen).collect()
}

/// By its whole name or the last part of it.
fn is_called(only: &str, name: &str) -> bool {
    only == name || only == text::short_name(name)
}
