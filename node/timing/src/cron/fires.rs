//! From matching wall times to instants: the daylight-saving rule.

use super::{
    grammar::{DstRule, Expression},
    walk::Walker,
};
use crate::{HORIZON_SECONDS, zone::TimeZone};

/// An expression in a zone.
#[derive(Debug)]
pub(crate) struct CronRule {
    walker: Walker,
    dst: DstRule,
    zone: TimeZone,
}

impl CronRule {
    pub(crate) fn new(expression: &Expression, zone: TimeZone) -> CronRule {
        CronRule { walker: Walker::new(expression), dst: expression.dst, zone }
    }

    pub(crate) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first fire strictly after `after`, in seconds since the epoch.
    pub(crate) fn next(&self, after: i64) -> Option<i64> {
        // TIMING-3: from here on every sum of seconds and offsets fits easily.
        let after = after.clamp(-1, HORIZON_SECONDS);
        let fire = match self.dst {
            DstRule::Fixed => self.next_fixed(after),
            DstRule::Wildcard => self.next_wildcard(after),
        }?;
        assert!(fire > after, "TIMING-1: a fire lies after the instant asked about");
        (fire < HORIZON_SECONDS).then_some(fire)
    }

    /// DST-1 and DST-3: every wall time has exactly one instant, and these never decrease, so the next fire is the
    /// instant of the next matching wall time after all those whose instants have passed.
    fn next_fixed(&self, after: i64) -> Option<i64> {
        let wall = self.walker.next_after(self.zone.last_wall_passed(after))?;
        Some(self.zone.first_instant(wall))
    }

    /// DST-2: each span of constant offset shows its own piece of wall time.
    fn next_wildcard(&self, after: i64) -> Option<i64> {
        let mut spans = self.zone.spans_from(after);
        let span = spans.next()?;
        let mut searched = after + span.offset;
        let mut found = self.walker.next_after(searched);
        if let Some(wall) = found.filter(|wall| wall - span.offset < span.end) {
            return Some(wall - span.offset);
        }
        for span in spans {
            let shown_before = span.start + span.offset - 1;
            // A match found earlier stands, unless the clock went back behind the search or jumped over the match.
            if shown_before < searched || found.is_some_and(|wall| wall <= shown_before) {
                found = self.walker.next_after(shown_before);
                searched = shown_before;
            }
            if let Some(wall) = found.filter(|wall| wall - span.offset < span.end) {
                return Some(wall - span.offset);
            }
        }
        None
    }
}
