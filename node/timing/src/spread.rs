//! Spread: how long after its instant a run is due, so that not everything begins at the top of the minute.
//!
//! - SPREAD-1: the offset depends on the uid and the arguments alone, on every build, for ever.
//! - SPREAD-2: it lies in `[0, window)` and leaves the last quarter of the gap to the next instant free, or its last minute if that is
//!   less: a run that is due there could not begin before the next one takes its place, and so it would be with each of them.

use xxhash_rust::xxh3::xxh3_64;

/// From this window on offsets are whole seconds: people read them in previews.
const WHOLE_SECONDS_FROM: i64 = 60_000;

/// Kept free at the end of a long gap: enough for a change of the leader, and for runs that wait for their turn.
const KEPT_FREE_MAX: i64 = 60_000;

/// The offset of a schedule's runs, in milliseconds (SPREAD-1, SPREAD-2). A window or a gap of nothing gives 0;
/// `gap_to_next_millis` is `None` for the last instant, which nothing limits but the window.
pub fn spread_offset_millis(uid: &str, window_millis: i64, gap_to_next_millis: Option<i64>) -> i64 {
    let unit = if window_millis >= WHOLE_SECONDS_FROM { 1000 } else { 1 };
    let hash = i64::try_from(xxh3_64(uid.as_bytes()) >> 1).expect("63 bits are never negative");
    let units = (window_millis / unit).max(1);
    let offset = hash % units;
    // What does not fit is folded rather than cut: cut offsets would all meet at one instant. The room is rounded up to
    // units, as the offset 0 of the last one still lies in it.
    let fitting = match gap_to_next_millis {
        Some(gap) => offset % (room_in(gap).saturating_sub(1) / unit + 1).max(1),
        None => offset,
    };
    fitting * unit
}

/// What a gap leaves for offsets (SPREAD-2).
fn room_in(gap_millis: i64) -> i64 {
    let kept_free = (gap_millis / 4).min(KEPT_FREE_MAX);
    gap_millis.saturating_sub(kept_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_never_change() {
        // Golden values: a difference here moves every schedule that is spread.
        let offsets = ["01J9ZK3V5T", "01J9ZK3V5V", ""].map(|uid| spread_offset_millis(uid, 3_600_000, None));
        assert_eq!(offsets, [1_839_000, 1_307_000, 3_569_000]);
        let offsets = ["01J9ZK3V5T", "01J9ZK3V5V", ""].map(|uid| spread_offset_millis(uid, 10_000, None));
        assert_eq!(offsets, [639, 9_707, 1_569]);
    }

    #[test]
    fn offsets_stay_within_window_and_gap() {
        for uid in (0..500).map(|number: u32| number.to_string()) {
            for window in [i64::MIN, -1, 0, 1, 2, 999, 59_999, 60_000, 60_500, 3_600_000, i64::MAX] {
                for gap in
                    [None, Some(i64::MIN), Some(0), Some(1), Some(2), Some(1000), Some(1001), Some(45_500)]
                {
                    let offset = spread_offset_millis(&uid, window, gap);
                    assert!(
                        (0..window.max(1)).contains(&offset),
                        "SPREAD-2: {uid} {window} {gap:?} {offset}"
                    );
                    assert!(
                        offset < gap.map_or(i64::MAX, room_in).max(1),
                        "SPREAD-2: {uid} {window} {gap:?} {offset}"
                    );
                    assert!(window < 60_000 || offset % 1000 == 0);
                }
            }
        }
    }

    #[test]
    fn a_run_has_time_to_begin_before_the_next_instant() {
        for uid in (0..500).map(|number: u32| number.to_string()) {
            assert!(spread_offset_millis(&uid, i64::MAX, Some(1000)) < 750);
            assert!(spread_offset_millis(&uid, i64::MAX, Some(3_600_000)) < 3_540_000);
        }
    }

    /// temporal#3059: without a following instant the cap became negative, which made offsets of up to 50 days, also for
    /// schedules without any jitter.
    #[test]
    fn the_last_instant_is_spread_within_the_window_only() {
        for uid in (0..500).map(|number: u32| number.to_string()) {
            assert_eq!(spread_offset_millis(&uid, 0, None), 0);
            assert!((0..5_000).contains(&spread_offset_millis(&uid, 5_000, None)));
        }
    }

    #[test]
    fn offsets_fill_the_window_and_a_narrow_gap() {
        let fill = |window, gap, parts: i64| {
            let mut counts = vec![0; usize::try_from(parts).unwrap()];
            for uid in (0..10_000).map(|number: u32| number.to_string()) {
                let part = spread_offset_millis(&uid, window, gap) * parts / gap.map_or(window, room_in);
                counts[usize::try_from(part).unwrap()] += 1;
            }
            counts
        };
        for counts in [fill(3_600_000, None, 10), fill(3_600_000, Some(660_000), 10), fill(5_000, None, 10)] {
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
    }
}
