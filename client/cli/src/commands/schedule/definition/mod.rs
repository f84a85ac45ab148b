//! The flags that define a schedule, and what they make of one.
//!
//! - DEF-1: a flag replaces what it names, whole, and nothing else: `--env` all variables, `--label` all labels.

mod rules;
mod target;
mod timing;

use belfry_sdk::pb;
use clap::Args;

use self::rules::RuleArgs;
use self::target::TargetArgs;
use self::timing::TimingArgs;
use crate::exit::Failure;

/// The flags of `create` and `set`.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct DefinitionArgs {
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    rules: RuleArgs,
}

impl DefinitionArgs {
    /// Whether no flag was given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The schedule that these flags define by themselves.
    pub(crate) fn new_schedule(&self) -> Result<pb::Schedule, Failure> {
        let mut schedule = pb::Schedule::default();
        self.apply(&mut schedule)?;
        if schedule.timing.as_ref().is_none_or(|timing| timing.include.is_empty()) {
            return Err(Failure::usage("say when it fires: --cron EXPR, --every DURATION or --at TIME"));
        }
        if schedule.target.is_none() {
            return Err(Failure::usage(
                "say what it runs: --command SHELL, --argv -- PROGRAM…, --http-post URL, --url URL or --handler NAME",
            ));
        }
        Ok(schedule)
    }

    /// Changes what the flags name (DEF-1), and says which paths of the update mask that is.
    pub(crate) fn apply(&self, schedule: &mut pb::Schedule) -> Result<Vec<&'static str>, Failure> {
        let mut paths = Vec::new();
        if self.timing.apply(&mut schedule.timing)? {
            paths.push("timing");
        }
        if self.target.apply(&mut schedule.target)? {
            paths.push("target");
        }
        paths.extend(self.rules.apply(schedule));
        Ok(paths)
    }
}

/// Replaces a text when there is a new one, and says so.
fn replace(field: &mut String, text: Option<&String>) -> bool {
    if let Some(text) = text {
        field.clone_from(text);
    }
    text.is_some()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::text;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        definition: DefinitionArgs,
    }

    fn args(words: &[&str]) -> DefinitionArgs {
        try_args(words).unwrap()
    }

    fn try_args(words: &[&str]) -> Result<DefinitionArgs, clap::Error> {
        Line::try_parse_from(std::iter::once(&"belfry").chain(words)).map(|line| line.definition)
    }

    fn command_of(schedule: &pb::Schedule) -> pb::CommandTarget {
        match schedule.target.clone().and_then(|target| target.target) {
            Some(pb::target::Target::Command(command)) => command,
            other => panic!("not a command: {other:?}"),
        }
    }

    fn nightly() -> pb::Schedule {
        args(&["--cron", "0 3 * * *", "--tz", "Europe/Berlin", "--command", "backup", "--env", "A=1"])
            .new_schedule()
            .unwrap()
    }

    #[test]
    fn a_schedule_needs_a_timing_and_a_target() {
        let message = |words: &[&str]| args(words).new_schedule().unwrap_err().to_string();
        assert!(message(&["--command", "true"]).starts_with("say when it fires"));
        assert!(message(&["--tz", "UTC", "--command", "true"]).starts_with("say when it fires"));
        assert!(message(&["--every", "1h"]).starts_with("say what it runs"));
        assert!(message(&["--every", "1h", "--env", "A=1"]).starts_with("say what it runs"));
    }

    #[test]
    fn what_excludes_each_other_is_refused() {
        for words in [
            &["--cron", "* * * * *", "--every", "1h"][..],
            &["--command", "true", "--handler", "h"],
            &["--command", "true", "--", "prog"],
            &["--argv"],
            &["--phase", "1m"],
            &["--http-post", "u", "--http-method", "PUT"],
            &["--success-code", "99"],
            &["--every", "soon"],
        ] {
            assert!(try_args(words).is_err(), "{words:?}");
        }
        for words in [
            &["--every", "1h", "--allow-never", "--command", "true"][..],
            &["--every", "1h", "--command", "true", "--header", "A:b"],
            &["--every", "1h", "--handler", "h", "--env", "A=b"],
            &["--every", "1h", "--url", "u", "--workdir", "/"],
            &["--at", "tomorrow", "--command", "true"],
            &["--at", "2026-11-23T02:00", "--tz", "Mars/Base", "--command", "true"],
            &["--every", "1h", "--url", "u", "--body", "@/no/such/file"],
        ] {
            assert!(args(words).new_schedule().is_err(), "{words:?}");
        }
    }

    #[test]
    fn programs_come_from_behind_the_dashes() {
        let schedule =
            args(&["--every", "1h", "--argv", "--", "tar", "--create", "x"]).new_schedule().unwrap();
        assert_eq!(command_of(&schedule).argv, ["tar", "--create", "x"]);
    }

    #[test]
    fn civil_times_are_read_by_the_clocks_of_the_zone() {
        let words = ["--at", "2026-11-23T03:00", "--tz", "Europe/Berlin", "--command", "true"];
        let rule = args(&words).new_schedule().unwrap().timing.unwrap().include.remove(0).rule.unwrap();
        assert_eq!(rule, pb::rule::Rule::AtTime(text::timestamp(1_795_399_200_000)));
    }

    #[test]
    fn set_changes_what_is_named_and_nothing_else() {
        let mut schedule = nightly();
        let paths = args(&["--env", "B=2", "--start-deadline", "1h"]).apply(&mut schedule).unwrap();
        assert_eq!(paths, ["target", "policies.start_deadline"]);
        let command = command_of(&schedule);
        assert_eq!((command.shell.as_str(), command.environment.len()), ("backup", 1));
        assert_eq!(command.environment["B"], "2");

        let paths = args(&["--tz", "UTC"]).apply(&mut schedule).unwrap();
        assert_eq!(paths, ["timing"]);
        let timing = schedule.timing.clone().unwrap();
        assert_eq!((timing.time_zone.as_str(), timing.include.len()), ("UTC", 1));

        let paths = args(&["--start-deadline", "none", "--pool", "gpu"]).apply(&mut schedule).unwrap();
        assert_eq!(paths, ["pool", "policies.start_deadline"]);
        assert_eq!(schedule.policies.as_ref().unwrap().start_deadline, None);

        assert!(args(&[]).is_empty() && args(&[]).apply(&mut schedule).unwrap().is_empty());
        assert_eq!(command_of(&schedule).shell, "backup");
    }

    #[test]
    fn an_empty_pair_clears_the_map() {
        let mut schedule = nightly();
        args(&["--env", "", "--label", ""]).apply(&mut schedule).unwrap();
        assert!(command_of(&schedule).environment.is_empty());
    }

    #[test]
    fn another_kind_of_target_starts_from_nothing() {
        let mut schedule = nightly();
        args(&["--handler", "h", "--payload", "p"]).apply(&mut schedule).unwrap();
        match schedule.target.unwrap().target.unwrap() {
            pb::target::Target::Handler(handler) => assert_eq!(&handler.payload[..], b"p"),
            other => panic!("not a handler: {other:?}"),
        }
    }
}
