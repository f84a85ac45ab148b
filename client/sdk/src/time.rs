//! Instants as the contract counts them.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// What "for ever" comes to where an instant or a header must express it: callers mean it by [`Duration::MAX`].
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// The instant this much later. However long that is, it does not overflow.
pub(crate) fn after(instant: Instant, by: Duration) -> Instant {
    instant + by.min(FOR_EVER)
}

/// Waits until an instant; for ever where there is none.
pub(crate) async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// An instant in milliseconds since 1970-01-01T00:00:00Z. Displays as RFC 3339 in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// The wall clock of this machine.
    #[must_use]
    pub fn now() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// This instant, later by `by`; the end of time when that is beyond it.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The same instant as the standard library writes it, or none where that cannot express it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = Duration::from_millis(self.0.unsigned_abs());
        if self.0 >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.div_euclid(1000);
        let nanos = i32::try_from(self.0.rem_euclid(1000) * 1_000_000).expect("below one second");
        prost_types::Timestamp { seconds, nanos }.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(UnixMillis(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(UnixMillis(1_700_000_000_250).to_string(), "2023-11-14T22:13:20.250Z");
        assert_eq!(UnixMillis(-1).to_string(), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn converts_instants_before_and_after_the_epoch() {
        assert_eq!(UnixMillis(-1500).to_system_time(), UNIX_EPOCH.checked_sub(Duration::from_millis(1500)));
        assert_eq!(UnixMillis(1500).to_system_time(), UNIX_EPOCH.checked_add(Duration::from_millis(1500)));
    }
}
