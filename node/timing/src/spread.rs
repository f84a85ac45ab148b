//! Spread: how long after its instant a run is due, so that not everything begins at the top of the minute.
//!
//! - SPREAD-1: the offset depends on the uid and the arguments alone, on every build, for ever.
//! - SPREAD-2: it lies in `[0, window)` and strictly below the gap to the next instant: runs keep the order of their
//!   instants, and none is pushed onto or past the next.

use xxhash_rust::xxh3::xxh3_64;

/// From this window on offsets are whole seconds: people read them in previews.
const WHOLE_SECONDS_FROM: i64 = 60_000;

/// The offset of a schedule's runs, in milliseconds (SPREAD-1, SPREAD-2). A window or a gap of nothing gives 0;
/// `gap_to_next_millis` is `None` for the last instant, which nothing limits but the window.
pub fn spread_offset_millis(uid: &str, window_millis: i64, gap_to_next_millis: Option<i64>) -> i64 {
    let unit = if window_millis >= WHOLE_SECONDS_FROM { 1000 } else { 1 };
    let hash = i64::try_from(xxh3_64(uid.as_bytes()) >> 1).expect("63 bits are never negative");
    let units = (window_millis / unit).max(1);
    let offset = hash % units;
    // What does not fit into the gap is folded into it rather than cut: cut offsets would all meet at the gap's end. The
    // gap is rounded up to units, as the offset 0 of the last one still lies below it.
    let fitting = match gap_to_next_millis {
        Some(gap) => offset % (gap.saturating_sub(1) / unit + 1).max(1),
        None => offset,
    };
    fitting * unit
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
                        offset < gap.unwrap_or(i64::MAX).max(1),
                        "SPREAD-2: {uid} {window} {gap:?} {offset}"
                    );
                    assert!(window < 60_000 || offset % 1000 == 0);
                }
            }
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
                let part = spread_offset_millis(&uid, window, gap) * parts / gap.unwrap_or(window);
                counts[usize::try_from(part).unwrap()] += 1;
            }
            counts
        };
        for counts in [fill(3_600_000, None, 10), fill(3_600_000, Some(600_000), 10), fill(5_000, None, 10)] {
            assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        }
    }
}
