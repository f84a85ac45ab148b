//! The instant at which a storm is due, for scenarios that must know it beforehand.

use std::time::{SystemTime, UNIX_EPOCH};

/// When so many schedules can be due that are made from now on, a whole second: in twice the time that making them took
/// before, and some to start.
pub(super) fn instant_ms(schedules: u64, created_per_second: f64) -> i64 {
    let lead_s = 5 + (2.0 * schedules as f64 / created_per_second.max(50.0)) as i64;
    (now_ms() / 1000 + lead_s) * 1000
}

/// RFC 3339.
pub(super) fn rfc_3339(ms: i64) -> String {
    prost_types::Timestamp { seconds: ms / 1000, nanos: 0 }.to_string()
}

pub(super) fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
