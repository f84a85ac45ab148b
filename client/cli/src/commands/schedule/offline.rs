//! Timings that no cluster knows, answered by the code that decides there.
//!
//! A refused rule exits with 2, like every other value that is refused.

use belfry_sdk::pb;
use belfry_timing::{
    CalendarRule, CalendarUse, Composition, HashSeed, Mark, NeverFiring, Pass, TimeZone, Timing, parse_time,
};
use clap::Args;

use super::definition::TimingArgs;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::{RuleView, TimingView};
use crate::text;

/// A timing on the command line.
#[derive(Debug, Args)]
pub(super) struct SpecArgs {
    /// Cron expression, as for --cron.
    #[arg(value_name = "EXPR")]
    expression: Option<String>,
    #[command(flatten)]
    timing: TimingArgs,
    /// Name of the schedule it is for: what `H` stands for depends on it.
    #[arg(long = "for", value_name = "NAME", default_value = "", hide_default_value = true)]
    schedule: String,
}

/// A timing that was read.
pub(super) struct Spec {
    pub(super) timing: Timing,
    pub(super) zone: TimeZone,
    /// As the contract has it, with every `H` resolved.
    declared: pb::Timing,
}

impl SpecArgs {
    pub(super) fn read(&self, context: &Context) -> Result<Spec, Failure> {
        let mut declared = None;
        self.timing.clone().with_cron(self.expression.as_ref()).apply(&mut declared)?;
        let declared = declared.filter(|timing| !timing.include.is_empty());
        let mut declared = declared.ok_or_else(|| {
            Failure::usage(
                "say when: an expression, --cron EXPR, --every DURATION, --at TIME, --at-local CIVIL or --calendar-rule RULE",
            )
        })?;
        if let Some(used) = declared.calendars.first() {
            return Err(Failure::usage(format!(
                "calendar {} is in the cluster: ask it with `belfry schedule create NAME … --dry-run`",
                used.calendar
            )));
        }
        let seed = HashSeed::new(&context.global.namespace, text::short_name(&self.schedule));
        let never = if self.timing.allows_never() { NeverFiring::Allow } else { NeverFiring::Refuse };
        let (timing, zone) = compile(&mut declared, Vec::new(), never, &seed)?;
        Ok(Spec { timing, zone, declared })
    }
}

/// What a timing means, in sentences. Calendars are named and not looked into.
pub(super) fn in_words(declared: &pb::Timing) -> Vec<String> {
    let view = TimingView::of(Some(declared));
    let mut sentences = match compile_known(declared, Vec::new()) {
        Ok(timing) => sentences(&timing.describe()),
        // A fixed delay, or a rule of a newer cluster.
        Err(_) => vec![format!("{}.", view.short())],
    };
    sentences.extend(view.beside().into_iter().map(|text| format!("{text}.")));
    sentences
}

fn sentences(text: &str) -> Vec<String> {
    text.split_inclusive(". ").map(|sentence| sentence.trim().to_owned()).collect()
}

/// Compiles the timing of a schedule that exists, with the calendars that it uses.
pub(crate) fn compile_known(declared: &pb::Timing, calendars: Vec<CalendarUse>) -> Result<Timing, Failure> {
    let mut resolved = declared.clone();
    for rule in resolved.include.iter_mut().chain(&mut resolved.exclude) {
        if let Some(pb::rule::Rule::Cron(cron)) = &mut rule.rule
            && !cron.resolved_expression.is_empty()
        {
            cron.expression.clone_from(&cron.resolved_expression);
        }
    }
    let seed = HashSeed::new("", "");
    compile(&mut resolved, calendars, NeverFiring::Allow, &seed).map(|(timing, _zone)| timing)
}

/// Compiles a timing, and notes in it what every `H` stands for.
fn compile(
    declared: &mut pb::Timing,
    calendars: Vec<CalendarUse>,
    never: NeverFiring,
    seed: &HashSeed,
) -> Result<(Timing, TimeZone), Failure> {
    let zone = TimeZone::parse(text::zone_or_utc(&declared.time_zone)).map_err(refused)?;
    let rules = |rules: &mut Vec<pb::Rule>, never| -> Result<Vec<Timing>, Failure> {
        rules.iter_mut().map(|rule| compile_rule(rule, &zone, never, seed)).collect()
    };
    let include = rules(&mut declared.include, never)?;
    let exclude = rules(&mut declared.exclude, NeverFiring::Allow)?;
    let millis = |time: &Option<prost_types::Timestamp>| time.as_ref().map(text::millis);
    let composition = Composition {
        exclude,
        calendars,
        start_at: millis(&declared.start_time),
        end_at: millis(&declared.end_time),
        ..Composition::of(include, zone.clone())
    };
    Ok((Timing::compose(&composition, never).map_err(refused)?, zone))
}

fn refused(error: impl ToString) -> Failure {
    Failure::usage(error.to_string())
}

fn compile_rule(
    rule: &mut pb::Rule,
    zone: &TimeZone,
    never: NeverFiring,
    seed: &HashSeed,
) -> Result<Timing, Failure> {
    use pb::rule::Rule;
    let written =
        TimingView::of(Some(&pb::Timing { include: vec![rule.clone()], ..Default::default() })).short();
    match &mut rule.rule {
        Some(Rule::Cron(cron)) => match Timing::parse_cron(&cron.expression, zone, never, seed) {
            Ok(timing) => {
                let resolved = timing.resolved_expression().unwrap_or(&cron.expression);
                cron.resolved_expression = resolved.to_owned();
                Ok(timing)
            }
            Err(error) => {
                let failure = Failure::usage(format!("{error}{}", name_hint(&cron.expression)));
                Err(match error.column() {
                    Some(column) => failure.with_caret(&cron.expression, column),
                    None => failure,
                })
            }
        },
        Some(Rule::Interval(interval)) => {
            let [every, phase] = [&interval.every, &interval.phase]
                .map(|part| part.and_then(|part| part.try_into().ok()).unwrap_or_default());
            Timing::every(every, phase).map_err(refused)
        }
        Some(Rule::AtTime(at)) => Ok(Timing::at(text::millis(at))),
        Some(Rule::AtLocalTime(at)) => Timing::at_local(at, zone).map_err(refused),
        // The document's short form is the text that it was read from.
        Some(Rule::Calendar(_)) => {
            let rule = CalendarRule::parse(&written).map_err(refused)?;
            Timing::calendar(&rule, zone, never).map_err(refused)
        }
        Some(Rule::FixedDelay(_)) => Err(Failure::usage(
            "--delay counts from the end of a run: without a run there is nothing to show",
        )),
        None => Err(Failure::usage("a rule is empty")),
    }
}

impl Spec {
    /// An instant of a flag, by the clocks of the timing; now where none is given.
    pub(super) fn instant(&self, time: Option<&String>) -> Result<i64, Failure> {
        match time {
            Some(time) => parse_time(time, &self.zone).map_err(refused),
            None => Ok(text::now_millis()),
        }
    }

    /// As documents have it.
    pub(super) fn view(&self) -> TimingView {
        TimingView::of(Some(&self.declared))
    }

    /// Says what every `H` stands for, and what the instants that are shown leave open.
    pub(super) fn remark(&self, args: &SpecArgs) {
        for cron in self.view().include.iter().filter_map(|rule: &RuleView| rule.cron.as_ref()) {
            let (written, resolved) = (&cron.expression, &cron.resolved_expression);
            if written.trim() != resolved.trim() {
                prose(&format!("`{written}` is `{resolved}` for the schedule {:?}", args.schedule));
            }
        }
        if let Some(spread) = self.view().spread {
            prose(&format!(
                "each begins up to {spread} later, by an offset that the schedule gets when it is created"
            ));
        }
    }

    /// What it means, in sentences.
    pub(super) fn words(&self) -> Vec<String> {
        sentences(&self.timing.describe())
    }

    /// What somebody who looks at it at an instant may not have meant.
    pub(super) fn warnings(&self, from: i64) -> Vec<String> {
        let warnings = self.timing.warnings().iter().map(ToString::to_string);
        warnings.chain(self.timing.warnings_from(from).iter().map(ToString::to_string)).collect()
    }

    /// What a change of the clocks does to a fire.
    pub(super) fn mark(&self, fire: i64) -> Option<String> {
        Some(match self.timing.mark(fire)? {
            Mark::MovedByGap { wall_time } => format!("for {wall_time}, which the clocks jump over"),
            Mark::RepeatedHour { pass: Pass::First } => "first of two passes of this hour".to_owned(),
            Mark::RepeatedHour { pass: Pass::Second } => "second pass of this hour".to_owned(),
        })
    }
}

/// What to say to somebody who gave the name of a schedule where an expression belongs.
fn name_hint(expression: &str) -> String {
    let is_name = expression.starts_with(|first: char| first.is_ascii_alphabetic())
        && expression.chars().all(|each| each.is_ascii_alphanumeric() || "-_.".contains(each));
    if is_name {
        format!("; for the schedule of that name: `belfry schedule describe {expression}`")
    } else {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(rules: Vec<pb::rule::Rule>, more: pb::Timing) -> Vec<String> {
        let include = rules.into_iter().map(|rule| pb::Rule { rule: Some(rule) }).collect();
        in_words(&pb::Timing { include, ..more })
    }

    #[test]
    fn a_name_in_place_of_an_expression_is_noticed() {
        assert!(name_hint("backup").contains("schedule describe backup"));
        for expression in ["* * * * *", "@daily", "0 3 * * *", "5", ""] {
            assert_eq!(name_hint(expression), "", "{expression}");
        }
    }

    #[test]
    fn timings_are_told_in_sentences_with_what_only_a_cluster_knows_by_name() {
        use pb::rule::Rule;
        let cron = |expression: &str, resolved: &str| {
            Rule::Cron(pb::Cron {
                expression: expression.into(),
                resolved_expression: resolved.into(),
                ..Default::default()
            })
        };
        let berlin = || pb::Timing { time_zone: "Europe/Berlin".into(), ..Default::default() };
        let fixed = words(vec![cron("H 3 * * *", "7 3 * * *")], berlin());
        assert_eq!(fixed[0], "At 03:07 every day by the clocks of Europe/Berlin.");
        assert!(fixed.len() == 2 && fixed[1].starts_with("This is fixed: "), "{fixed:?}");
        let used = pb::CalendarUse { calendar: "holidays".into(), mode: 2 };
        let spread = Some(prost_types::Duration { seconds: 300, nanos: 0 });
        let narrowed = pb::Timing { calendars: vec![used], spread, ..Default::default() };
        let delay = prost_types::Duration { seconds: 3600, nanos: 0 };
        assert_eq!(
            words(vec![Rule::FixedDelay(pb::FixedDelay { delay: Some(delay) })], narrowed),
            [
                "1h after the last run.",
                "Not inside calendar holidays.",
                "Each begins up to 5m later, by an offset of its own."
            ]
        );
    }
}
