//! The flags that define a schedule, and what they make of one.
//!
//! - DEF-1: a flag replaces what it names, whole, and nothing else: `--env` all variables, `--label` all labels.

mod placement;
mod policies;
mod target;
mod timing;
mod upkeep;
mod values;

use belfry_sdk::pb;
use clap::Args;

use self::placement::PlacementArgs;
use self::policies::PolicyArgs;
use self::target::TargetArgs;
pub(crate) use self::timing::{TimingArgs, instant};
use self::upkeep::UpkeepArgs;
pub(crate) use self::values::{Count, Limit};
use crate::exit::Failure;

/// The flags of `create` and `set`.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct DefinitionArgs {
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    placement: PlacementArgs,
    #[command(flatten)]
    policies: PolicyArgs,
    #[command(flatten)]
    upkeep: UpkeepArgs,
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
            return Err(Failure::usage(
                "say when it fires: --cron EXPR, --every DURATION, --at TIME, --calendar-rule RULE or --delay DURATION",
            ));
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
        paths.extend(self.placement.apply(schedule));
        paths.extend(self.policies.apply(schedule));
        paths.extend(self.upkeep.apply(schedule));
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
            &["--priority", "0", "--every", "1h"][..],
            &["--overlap", "forbid"],
            &["--max-runs", "-1"],
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
            &["--every", "1h", "--every", "2h", "--phase", "1m", "--command", "true"],
            &["--calendar-rule", "months=1", "--command", "true"],
            &["--every", "1h", "--end", "later", "--command", "true"],
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
    fn rules_unite_and_are_narrowed() {
        let words = [
            "--cron",
            "0 3 * * *",
            "--cron",
            "0 15 * * *",
            "--every",
            "1h",
            "--at-local",
            "2026-12-24T18:00",
            "--calendar-rule",
            "days=-1 times=09:00",
            "--exclude-cron",
            "* * 24 12 *",
            "--calendar",
            "open",
            "--freeze-calendar",
            "freeze",
            "--start",
            "2026-01-01T00:00:00Z",
            "--end",
            "2027-01-01T00:00",
            "--spread",
            "5m",
            "--tz",
            "Europe/Berlin",
            "--command",
            "true",
        ];
        let mut schedule = args(&words).new_schedule().unwrap();
        let timing = schedule.timing.clone().unwrap();
        assert_eq!((timing.include.len(), timing.exclude.len(), timing.calendars.len()), (5, 1, 2));
        assert_eq!(timing.end_time, Some(text::timestamp(1_798_758_000_000)));
        assert_eq!(timing.spread, Some(prost_types::Duration { seconds: 300, nanos: 0 }));

        let words = ["--exclude-cron", "none", "--calendar", "none", "--start", "none", "--spread", "none"];
        assert_eq!(args(&words).apply(&mut schedule).unwrap(), ["timing"]);
        let timing = schedule.timing.clone().unwrap();
        assert_eq!((timing.include.len(), timing.exclude.len()), (5, 0));
        assert_eq!(timing.calendars, [pb::CalendarUse { calendar: "freeze".into(), mode: 3 }]);
        assert_eq!((timing.start_time, timing.end_time.is_some(), timing.spread), (None, true, None));

        args(&["--delay", "10m"]).apply(&mut schedule).unwrap();
        assert_eq!(schedule.timing.unwrap().include.len(), 1, "a rule replaces all rules");
    }

    #[test]
    fn every_rule_can_be_set_and_taken_back() {
        let (given, unset): (Vec<&str>, Vec<&str>) = [
            ("--priority", "9"),
            ("--max-runs", "7"),
            ("--start-deadline", "1m"),
            ("--attempt-timeout", "2m"),
            ("--lease", "3m"),
            ("--cancel-grace", "4m"),
            ("--overlap-limit", "5"),
            ("--misfire-window", "6m"),
            ("--misfire-limit", "7"),
            ("--retry-backoff", "8m"),
            ("--retry-max-backoff", "9m"),
            ("--no-retry-code", "-1"),
            ("--pause-after-failures", "3"),
            ("--keep-for", "10d"),
            ("--keep-count", "11"),
            ("--start-grace", "12m"),
            ("--success-within", "13h"),
        ]
        .into_iter()
        .map(|(flag, value)| ([flag, value], [flag, "none"]))
        .fold((vec![], vec![]), |(mut given, mut unset), (one, other)| {
            given.extend(one);
            unset.extend(other);
            (given, unset)
        });
        let chosen = [
            "--overlap",
            "allow",
            "--misfire",
            "fire-all",
            "--on-unknown",
            "retry",
            "--retries",
            "3",
            "--executor-label",
            "gpu=yes",
            "--then-delete",
            "--no-liveness",
        ];
        let mut schedule = nightly();
        let before = schedule.clone();
        let paths = args(&[&given[..], &chosen[..]].concat()).apply(&mut schedule).unwrap();
        assert_eq!(
            paths,
            [
                "executor_labels",
                "priority",
                "max_runs",
                "completion_action",
                "policies.start_deadline",
                "policies.attempt_timeout",
                "policies.lease_duration",
                "policies.cancel_grace",
                "policies.overlap_policy",
                "policies.misfire_policy",
                "policies.misfire_window",
                "policies.unknown_outcome_policy",
                "policies.overlap_limit",
                "policies.misfire_limit",
                "policies.pause_after_failures",
                "policies.retry",
                "history",
                "liveness",
            ]
        );
        let minutes = |count: i64| Some(prost_types::Duration { seconds: 60 * count, nanos: 0 });
        let policies = schedule.policies.clone().unwrap();
        assert_eq!((schedule.priority, schedule.max_runs, policies.overlap_limit), (9, 7, 5));
        assert_eq!((policies.misfire_window, policies.misfire_limit), (minutes(6), 7));
        let retry = pb::Retry {
            max_attempts: 4,
            initial_backoff: minutes(8),
            max_backoff: minutes(9),
            non_retryable_codes: vec![-1],
        };
        assert_eq!(policies.retry, Some(retry));
        assert!(schedule.liveness.as_ref().unwrap().disabled);

        let defaults = [
            "--overlap",
            "hold-one",
            "--misfire",
            "coalesce",
            "--on-unknown",
            "hold",
            "--retries",
            "0",
            "--executor-label",
            "",
            "--then-keep",
            "--liveness",
        ];
        args(&[&unset[..], &defaults[..]].concat()).apply(&mut schedule).unwrap();
        let policies = schedule.policies.take().unwrap();
        let expected = pb::Policies {
            overlap_policy: 1,
            misfire_policy: 1,
            unknown_outcome_policy: 1,
            retry: Some(pb::Retry { max_attempts: 1, ..Default::default() }),
            ..Default::default()
        };
        assert_eq!(policies, expected);
        let expected = pb::Schedule {
            policies: None,
            completion_action: 1,
            history: Some(pb::History::default()),
            liveness: Some(pb::Liveness::default()),
            ..before
        };
        assert_eq!(schedule, expected);
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
