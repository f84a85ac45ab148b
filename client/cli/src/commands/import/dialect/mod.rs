//! How other schedulers read an expression, written anew from what they do, so that a comparison means something: nothing
//! here calls Belfry's own cron.
//!
//! ```text
//! text ── field ──► sets, stars ──┬─ vixie   days, then civil times: the rule of Debian's cron for odd days
//!                                 └─ robfig  the search of Go's robfig/cron v3: Kubernetes, Dkron
//! ```
//!
//! - DIALECT-1: fires lie strictly after the instant asked about, and every search is bounded.

mod field;
pub(super) mod go;
pub(super) mod robfig;
pub(super) mod vixie;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// When something fires by the rules of where it came from. Instants are in milliseconds since the epoch.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Vixie(vixie::Expression, TimeZone),
    Robfig(Box<robfig::Expression>, TimeZone),
    Every {
        every_millis: i64,
        /// An instant that it fires at.
        anchor: i64,
    },
    At(i64),
    /// Only by hand.
    Never,
}

impl Source {
    /// The fires in `(after, until]` in their order, at most `count`.
    pub(super) fn fires(&self, after: i64, until: i64, count: usize) -> Vec<i64> {
        let (after_seconds, until_seconds) = (after.div_euclid(1000), until.div_euclid(1000));
        match self {
            Source::Vixie(expression, zone) => {
                let fires = expression.fires(after_seconds, until_seconds, zone).take(count);
                fires.map(|fire| fire * 1000).collect()
            }
            Source::Robfig(expression, zone) => {
                let fires = expression.fires(after_seconds, zone).take(count);
                fires.take_while(|fire| *fire <= until_seconds).map(|fire| fire * 1000).collect()
            }
            Source::Every { every_millis, anchor } => {
                let passed = (after - anchor).div_euclid(*every_millis);
                let first = anchor + (passed + 1) * every_millis;
                let fires = std::iter::successors(Some(first), |fire| fire.checked_add(*every_millis));
                fires.take_while(|fire| *fire <= until).take(count).collect()
            }
            Source::At(at) => (after < *at && *at <= until).then_some(*at).into_iter().collect(),
            Source::Never => Vec::new(),
        }
    }
}

/// The zone of a name, from the data compiled in.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// The offset in force, in seconds. Instants outside of what the calendar knows have that of UTC.
fn offset_at(zone: &TimeZone, seconds: i64) -> i64 {
    Timestamp::from_second(seconds).map_or(0, |instant| i64::from(zone.to_offset(instant).seconds()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// DIALECT-1
        #[test]
        fn no_text_panics_and_fires_increase(
            text in "[-0-9*/?,~ a-zA-Z@]{0,30}|([*]|[0-9]{1,2}|[*]/[0-9]{1,2})( ([*]|[0-9]{1,2}|[*]/[0-9]{1,2})){4,5}",
            after in 0_i64..4_000_000_000,
            zone_name in "UTC|Europe/Berlin|Africa/Cairo|Australia/Lord_Howe|America/Havana",
        ) {
            let zone = zone(&zone_name).unwrap();
            let robfig = [robfig::Seconds::None, robfig::Seconds::First]
                .into_iter()
                .filter_map(|seconds| robfig::Expression::parse(&text, seconds).ok())
                .map(|expression| Source::Robfig(Box::new(expression), zone.clone()));
            let vixie = vixie::Expression::parse(&text).ok();
            let vixie = vixie.map(|expression| Source::Vixie(expression, zone.clone()));
            for source in robfig.chain(vixie) {
                let (after, until) = (after * 1000, (after + 400 * 86_400) * 1000);
                let fires = source.fires(after, until, 20);
                prop_assert!(fires.first().is_none_or(|first| *first > after));
                prop_assert!(fires.windows(2).all(|pair| pair[0] < pair[1]));
            }
            let _ = go::duration(&text);
        }
    }
}
