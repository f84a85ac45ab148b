//! Time-zone data: which version the next instants were computed with, and what a new one moved.
//!
//! Zone tables differ between builds. A leader with newer data than the cluster's looks at every schedule once and moves the
//! next instants that the new rules put elsewhere; what has come stays as it was. It goes forward only: older data moves
//! nothing.

use crate::command::{Effect, Outcome, Rezoned};
use crate::ids::{ScheduleKey, UnixMillis};
use crate::state::State;

/// Moved schedules that are named in the report; all of them are counted.
pub const MOVES_NAMED_MAX: usize = 20;

/// The time-zone data of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZoneData {
    /// Its version, such as `2026a`; empty as long as nobody said.
    pub version: String,
    /// The change to this version, or the one that is under way.
    pub change: Option<ZoneChange>,
}

/// What a new version moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneChange {
    /// The version before.
    pub from: String,
    /// The version after.
    pub to: String,
    /// When it began.
    pub at: UnixMillis,
    /// Schedules whose next instant moved.
    pub moved: u64,
    /// The first of them.
    pub named: Vec<ZoneMove>,
}

/// A schedule whose next instant moved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ZoneMove {
    /// Which.
    pub key: ScheduleKey,
    /// Its next instant by the rules before.
    pub former: UnixMillis,
    /// And by those after; none if it has none any more.
    pub next: Option<UnixMillis>,
}

impl State {
    /// Moves next instants to where a version of the zone data puts them; the last part of it puts the version in force.
    pub(super) fn rezone(
        &mut self,
        now: UnixMillis,
        version: String,
        rezoned: Vec<Rezoned>,
        last: LastPart,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        // Versions are years and letters: they sort as texts.
        if version <= self.totals.zones.version {
            return Outcome::Retimed(0);
        }
        let mut moved = 0;
        let mut named = Vec::new();
        for rezoned in rezoned {
            if let Some(step) = self.rezone_one(now, rezoned, effects) {
                moved += 1;
                named.push(step);
            }
        }
        let zones = &mut self.totals_mut().zones;
        let from = zones.version.clone();
        let under_way = zones.change.take().filter(|change| change.to == version);
        let mut change = under_way.unwrap_or_else(|| ZoneChange {
            from,
            to: version.clone(),
            at: now,
            moved: 0,
            named: Vec::new(),
        });
        change.moved += u64::from(moved);
        let room = MOVES_NAMED_MAX.saturating_sub(change.named.len());
        change.named.extend(named.into_iter().take(room));
        zones.change = Some(change);
        if last == LastPart::Yes {
            zones.version = version;
        }
        Outcome::Retimed(moved)
    }

    fn rezone_one(
        &mut self,
        now: UnixMillis,
        rezoned: Rezoned,
        effects: &mut Vec<Effect>,
    ) -> Option<ZoneMove> {
        let id = rezoned.schedule;
        let schedule = &self.slots.get(&id)?.schedule;
        let fits = schedule.generation == rezoned.generation
            && schedule.remains().deleted_at.is_none()
            && schedule.next_fire_at == Some(rezoned.former)
            && rezoned.former > now
            && rezoned.next_fire_at.is_none_or(|next| next > now && next > schedule.watermark);
        if !fits {
            return None;
        }
        let key = schedule.key.clone();
        self.move_next(id, now, rezoned.next_fire_at);
        self.offer_ready(id, now, effects);
        Some(ZoneMove { key, former: rezoned.former, next: rezoned.next_fire_at })
    }

    /// The time-zone data of the cluster.
    pub fn zones(&self) -> &ZoneData {
        &self.totals.zones
    }
}

/// Whether every schedule has been looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastPart {
    /// The version is in force now.
    Yes,
    /// There is more to come.
    No,
}
