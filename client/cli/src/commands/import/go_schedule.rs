//! Schedules in the words of robfig/cron, which Kubernetes and Dkron share: a zone in front, words that begin with `@`, fields.

use std::time::Duration;

use super::dialect::robfig::{Expression, Seconds};
use super::dialect::{self, Source, go};
use super::plan::{Remarks, Rule, When};

/// A schedule and what else decides its fires.
pub(super) struct GoSchedule<'a> {
    /// The path of its field.
    pub(super) field: &'a str,
    pub(super) text: &'a str,
    pub(super) seconds: Seconds,
    /// An instant that `@every` fires at there.
    pub(super) anchor: Option<i64>,
}

/// Where the zone of a schedule comes from.
pub(super) enum Zone<'a> {
    /// Somebody named it: the source, or a flag.
    Known(&'a str),
    /// It is that of the machine that schedules.
    Machine,
}

/// The zone in front of a schedule, and the rest.
pub(super) fn split_zone(text: &str) -> (Option<&str>, &str) {
    let zone = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ="));
    match zone.map(|rest| rest.split_once(' ').unwrap_or((rest, ""))) {
        Some((zone, rest)) => (Some(zone), rest.trim()),
        None => (None, text),
    }
}

impl GoSchedule<'_> {
    /// When it fires there and here. `unknown` says what to do about a zone that the source does not tell.
    pub(super) fn when(&self, zone: &Zone<'_>, unknown: &str, remarks: &mut Remarks) -> Result<When, String> {
        if let Some(duration) = self.text.strip_prefix("@every ") {
            return self.every(duration, remarks);
        }
        let zone = match zone {
            Zone::Known(zone) => *zone,
            Zone::Machine => {
                remarks.change("zone", unknown);
                "UTC"
            }
        };
        let refuse = |why: String| format!("{}: {why}", self.field);
        let tz = belfry_timing::TimeZone::parse(zone).map_err(|error| refuse(error.to_string()))?;
        let (fields, rule) = match alias(self.text) {
            Some(fields) => (fields, Some(self.text)),
            None if self.text.starts_with('@') => {
                return Err(refuse(format!("`{}` is no schedule there", self.text)));
            }
            None => (self.text, None),
        };
        let seconds = if rule.is_some() { Seconds::None } else { self.seconds };
        let expression =
            Expression::parse(fields, seconds).map_err(|why| refuse(format!("`{}`: {why}", self.text)))?;
        let rule = rule.map_or_else(|| expression.in_belfry(seconds), str::to_owned);
        let written = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        if rule != written && rule.replace('*', "?") != written.replace('*', "?") {
            remarks.note(format!("`{written}` is written `{rule}`, which has the same fires here"));
        }
        let source = dialect::zone(tz.name()).map(|zone| Source::Robfig(Box::new(expression), zone));
        Ok(When {
            rule: Rule::Cron(rule),
            time_zone: tz.name().to_owned(),
            source,
            start: None,
            end: None,
            spread: None,
        })
    }

    /// Whole seconds from an anchor, which becomes the phase.
    fn every(&self, text: &str, remarks: &mut Remarks) -> Result<When, String> {
        let every = go::duration(text).map_err(|why| format!("{}: {why}", self.field))?;
        let every = Duration::from_secs(every.as_secs().max(1));
        let every_millis =
            i64::try_from(every.as_millis()).map_err(|_too_long| format!("{}: too long", self.field))?;
        let anchor = self.anchor.map(|anchor| anchor.div_euclid(1000) * 1000);
        if anchor.is_none() {
            let meaning =
                "there it counts from when the schedule was created or its scheduler started; here from 1970";
            remarks.change(self.field, meaning);
        }
        let phase = anchor.unwrap_or(0).rem_euclid(every_millis);
        Ok(When {
            rule: Rule::Every { every, phase: Duration::from_millis(phase.unsigned_abs()) },
            time_zone: "UTC".to_owned(),
            source: anchor.map(|anchor| Source::Every { every_millis, anchor }),
            start: None,
            end: None,
            spread: None,
        })
    }
}

/// The fields of a word, without seconds. There, capital letters are another word.
fn alias(text: &str) -> Option<&'static str> {
    match text {
        "@yearly" | "@annually" => Some("0 0 1 1 *"),
        "@monthly" => Some("0 0 1 * *"),
        "@weekly" => Some("0 0 * * 0"),
        "@daily" | "@midnight" => Some("0 0 * * *"),
        "@hourly" => Some("0 * * * *"),
        _other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_stand_in_front() {
        assert_eq!(split_zone("CRON_TZ=Asia/Tokyo 0 6 * * ?"), (Some("Asia/Tokyo"), "0 6 * * ?"));
        assert_eq!(split_zone("TZ=UTC   @daily"), (Some("UTC"), "@daily"));
        assert_eq!(split_zone("TZ=UTC"), (Some("UTC"), ""));
        assert_eq!(split_zone("0 6 * * *"), (None, "0 6 * * *"));
    }

    #[test]
    fn intervals_keep_their_phase() {
        let text = "@every 1h30m";
        let schedule =
            GoSchedule { field: "f", text, seconds: Seconds::None, anchor: Some(5_400_000 * 7 + 61_500) };
        let mut remarks = Remarks::default();
        let when = schedule.when(&Zone::Machine, "", &mut remarks).unwrap();
        match when.rule {
            Rule::Every { every, phase } => assert_eq!((every.as_secs(), phase.as_secs()), (5400, 61)),
            Rule::Cron(_) | Rule::At(_) => panic!("not an interval"),
        }
        assert_eq!(remarks, Remarks::default());
    }
}
