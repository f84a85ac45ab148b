//! From matching wall times to instants: the daylight-saving rule.

use super::walker::Walker;
use crate::{
    HORIZON_SECONDS,
    zone::{Span, TimeZone},
};

/// How a rule meets a change of the zone's offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DstRule {
    /// DST-1.
    Fixed,
    /// DST-2.
    Wildcard,
}

/// Which way a search goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Backward,
}

/// Matching wall times in a zone.
#[derive(Clone, Debug)]
pub(crate) struct WallRule {
    pub(crate) walker: Walker,
    pub(crate) dst: DstRule,
    pub(crate) zone: TimeZone,
}

impl WallRule {
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

    /// The last fire strictly before `before`, in seconds since the epoch.
    pub(crate) fn previous(&self, before: i64) -> Option<i64> {
        let before = before.clamp(0, HORIZON_SECONDS);
        let fire = match self.dst {
            DstRule::Fixed => self.previous_fixed(before),
            DstRule::Wildcard => self.previous_wildcard(before),
        }?;
        assert!(fire < before, "TIMING-1: a previous fire lies before the instant asked about");
        (fire >= 0).then_some(fire)
    }

    /// DST-1 and DST-3: every wall time has exactly one instant, and these never decrease, so the next fire is the
    /// instant of the next matching wall time after all those whose instants have passed.
    fn next_fixed(&self, after: i64) -> Option<i64> {
        let wall = self.walker.from(self.zone.last_wall_passed(after) + 1)?;
        Some(self.zone.first_instant(wall))
    }

    fn previous_fixed(&self, before: i64) -> Option<i64> {
        let wall = self.walker.until(self.zone.last_wall_passed(before - 1))?;
        Some(self.zone.first_instant(wall))
    }

    /// DST-2: each span of constant offset shows its own piece of wall time.
    fn next_wildcard(&self, after: i64) -> Option<i64> {
        let mut from = after + 1;
        let mut search = Search::new();
        for span in self.zone.spans_from(after + 1) {
            from = from.max(span.start);
            let wall = search.from(&self.walker, from + span.offset);
            if let Some(wall) = wall.filter(|wall| wall - span.offset < span.end) {
                return Some(wall - span.offset);
            }
        }
        None
    }

    fn previous_wildcard(&self, before: i64) -> Option<i64> {
        let mut until = before - 1;
        let mut search = Search::new();
        for span in self.zone.spans_back_from(before - 1) {
            until = until.min(span.end - 1);
            let wall = search.until(&self.walker, until + span.offset);
            if let Some(wall) = wall.filter(|wall| wall - span.offset >= span.start) {
                return Some(wall - span.offset);
            }
        }
        None
    }

    /// Whether the clocks show a matching wall time at `instant` and a fire is due for it: not one that a gap moved here.
    pub(crate) fn shows(&self, instant: i64) -> bool {
        let span = self.zone.span_at(instant);
        let wall = instant + span.offset;
        self.walker.contains(wall)
            && match self.dst {
                DstRule::Fixed => wall >= span.fresh_wall,
                DstRule::Wildcard => true,
            }
    }

    /// The earliest matching wall time that a gap before `instant` swallowed, if the gap ended just then.
    pub(crate) fn swallowed_at(&self, instant: i64) -> Option<i64> {
        let span = self.zone.span_at(instant);
        let (missing, shown) = (span.fresh_wall, span.start + span.offset);
        match self.dst {
            DstRule::Fixed if instant == span.start => self.walker.from(missing).filter(|wall| *wall < shown),
            DstRule::Fixed | DstRule::Wildcard => None,
        }
    }

    /// The part of `span`'s wall time for which this rule fires: all of it, or what no earlier span has shown.
    pub(crate) fn fresh_walls(&self, span: &Span) -> i64 {
        match self.dst {
            DstRule::Fixed => (span.start + span.offset).max(span.fresh_wall),
            DstRule::Wildcard => span.start + span.offset,
        }
    }
}

/// What a walk over spans has already learnt. Most rules that fire seldom are asked about one span after another with the
/// same answer; walking the calendar again for each of them would cost a hundred times as much (TIMING-2).
struct Search {
    /// Where the last walk began, and what it found.
    walked: Option<(i64, Option<i64>)>,
}

impl Search {
    fn new() -> Search {
        Search { walked: None }
    }

    fn from(&mut self, walker: &Walker, wall: i64) -> Option<i64> {
        match self.walked {
            // A match found earlier stands, unless the clock went back behind the search or jumped over the match.
            Some((start, found)) if start <= wall && found.is_none_or(|found| wall <= found) => found,
            Some(_) | None => {
                let found = walker.from(wall);
                self.walked = Some((wall, found));
                found
            }
        }
    }

    fn until(&mut self, walker: &Walker, wall: i64) -> Option<i64> {
        match self.walked {
            Some((start, found)) if wall <= start && found.is_none_or(|found| found <= wall) => found,
            Some(_) | None => {
                let found = walker.until(wall);
                self.walked = Some((wall, found));
                found
            }
        }
    }
}
