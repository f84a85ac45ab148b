//! Finding a composition's next fire, or the one before, with a bounded number of questions.
//!
//! A search takes the nearest fire of all includes as its candidate and asks what speaks against it. Calendars and dense
//! exclude rules answer with the whole stretch they take away, so `* * * * *` without `* * * 12 *` costs one step for
//! December and not one per minute.
//!
//! - TIMING-5: one search asks its rules and calendars at most [`SEARCH_QUESTIONS_MAX`] times. An instant that lies
//!   behind more of them does not exist for it. It takes minutes or seconds that excludes take away one by one for weeks
//!   to come that far: a fire on every day of this century is within the limit.

use super::{CalendarMode, Composed, Covered, dense::Pattern};
use crate::{rule::Rule, wall::Direction};

/// The most questions of one search, see TIMING-5.
pub const SEARCH_QUESTIONS_MAX: u32 = 50_000;

struct Search<'a> {
    composed: &'a Composed,
    direction: Direction,
    questions_left: u32,
    /// The fire of each include nearest to where the search has come.
    candidates: Vec<Option<i64>>,
    /// The fire of each exclude at or behind the candidate it was last asked about.
    excluded: Vec<Option<Option<i64>>>,
    /// What the fires of all includes are on, around the candidate it was last worked out for.
    pattern: Option<Pattern>,
}

impl Composed {
    /// The first fire strictly behind `from` in a direction.
    pub(crate) fn neighbour(&self, direction: Direction, from: i64) -> Option<i64> {
        let (start, end) = self.bounds();
        // Strictly behind an instant outside the bounds is at the bound.
        let from = match direction {
            Direction::Forward => from.max(start - 1),
            Direction::Backward => from.min(end),
        };
        let mut search = Search {
            composed: self,
            direction,
            questions_left: SEARCH_QUESTIONS_MAX,
            candidates: vec![None; self.include.len()],
            excluded: vec![None; self.exclude.len()],
            pattern: None,
        };
        let fire = search.run(from)?;
        (start..end).contains(&fire).then_some(fire)
    }
}

impl Search<'_> {
    fn run(&mut self, from: i64) -> Option<i64> {
        for (candidate, rule) in self.candidates.iter_mut().zip(&self.composed.include) {
            *candidate = rule.neighbour(self.direction, from);
        }
        loop {
            let candidate = self.nearest()?;
            let passed = match self.taken_through(candidate)? {
                None => return Some(candidate),
                Some(last) => last,
            };
            self.pass(passed)?;
        }
    }

    fn nearest(&self) -> Option<i64> {
        let candidates = self.candidates.iter().flatten().copied();
        match self.direction {
            Direction::Forward => candidates.min(),
            Direction::Backward => candidates.max(),
        }
    }

    /// The last instant of the stretch from `candidate` on in which nothing can fire; `Some(None)` if it fires, `None` if
    /// the search must end.
    fn taken_through(&mut self, candidate: i64) -> Option<Option<i64>> {
        if self.is_out_of_bounds(candidate) {
            return None;
        }
        let open = self.next_open(candidate)?;
        if open != candidate {
            // The instant just before the open one is the last that is not.
            return Some(Some(self.direction.back_by_one(open)));
        }
        for index in 0..self.composed.exclude.len() {
            if self.excludes(index, candidate)? {
                return Some(Some(self.excluded_through(index, candidate)?));
            }
        }
        Some(None)
    }

    fn is_out_of_bounds(&self, candidate: i64) -> bool {
        let (start, end) = self.composed.bounds();
        match self.direction {
            Direction::Forward => candidate >= end,
            Direction::Backward => candidate < start,
        }
    }

    /// The first instant from `candidate` on that all calendars leave open.
    fn next_open(&mut self, candidate: i64) -> Option<i64> {
        let mut open = candidate;
        loop {
            let before = open;
            for used in &self.composed.calendars {
                self.questions_left = self.questions_left.checked_sub(1)?;
                open = used.next_open(self.direction, open)?;
            }
            if open == before {
                return Some(open);
            }
        }
    }

    fn excludes(&mut self, index: usize, candidate: i64) -> Option<bool> {
        let known = &mut self.excluded[index];
        let is_current = known.is_some_and(|fire| {
            fire.is_none_or(|fire| fire == candidate || self.direction.is_behind(fire, candidate))
        });
        if !is_current {
            self.questions_left = self.questions_left.checked_sub(1)?;
            let from = self.direction.back_by_one(candidate);
            *known = Some(self.composed.exclude[index].neighbour(self.direction, from));
        }
        Some(*known == Some(Some(candidate)))
    }

    /// The last instant of the stretch from `candidate` on that an exclude takes away.
    fn excluded_through(&mut self, index: usize, candidate: i64) -> Option<i64> {
        // What the includes are on changes with their zones' offsets only, a few times a year.
        let is_known = self.pattern.is_some_and(|pattern| pattern.holds_at(candidate));
        if !is_known {
            let rules = u32::try_from(self.composed.include.len()).expect("COMPOSITION_RULES_MAX rules");
            self.questions_left = self.questions_left.checked_sub(rules.div_ceil(8))?;
            self.pattern = self.composed.pattern_at(candidate).filter(|pattern| pattern.holds_at(candidate));
        }
        let rule = &self.composed.exclude[index];
        Some(match &self.pattern {
            Some(pattern) => rule.dense_through(self.direction, candidate, pattern),
            None => candidate,
        })
    }

    /// Moves every include behind `passed`.
    fn pass(&mut self, passed: i64) -> Option<()> {
        for (candidate, rule) in self.candidates.iter_mut().zip(&self.composed.include) {
            if candidate.is_some_and(|fire| !self.direction.is_behind(fire, passed)) {
                self.questions_left = self.questions_left.checked_sub(1)?;
                *candidate = rule.neighbour(self.direction, passed);
            }
        }
        Some(())
    }
}

impl Covered {
    /// The first instant from `instant` on that this calendar leaves open; none if it is closed for good.
    fn next_open(&self, direction: Direction, instant: i64) -> Option<i64> {
        match (self.mode, direction) {
            (CalendarMode::Include, Direction::Forward) => self.coverage.next_inside(instant),
            (CalendarMode::Include, Direction::Backward) => self.coverage.previous_inside(instant),
            (CalendarMode::Exclude, Direction::Forward) => Some(self.coverage.next_outside(instant)),
            (CalendarMode::Exclude, Direction::Backward) => Some(self.coverage.previous_outside(instant)),
            (CalendarMode::Freeze, Direction::Forward | Direction::Backward) => Some(instant),
        }
    }
}

impl Direction {
    /// Whether `one` comes strictly later on the way than `other`.
    fn is_behind(self, one: i64, other: i64) -> bool {
        match self {
            Direction::Forward => one > other,
            Direction::Backward => one < other,
        }
    }

    /// The instant that comes just before `instant` on the way.
    fn back_by_one(self, instant: i64) -> i64 {
        match self {
            Direction::Forward => instant - 1,
            Direction::Backward => instant + 1,
        }
    }
}

impl Rule {
    /// The first fire strictly behind `from` in a direction.
    fn neighbour(&self, direction: Direction, from: i64) -> Option<i64> {
        match direction {
            Direction::Forward => self.next(from),
            Direction::Backward => self.previous(from),
        }
    }
}
