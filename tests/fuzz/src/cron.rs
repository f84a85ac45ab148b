//! Text of users: cron expressions and crontabs.

use belfry_timing::{HashSeed, NeverFiring, TimeZone, Timing};

/// Zones whose clocks do what others do not: half an hour of summer time, a skipped day, none at all.
const ZONES: [&str; 5] = ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "Pacific/Apia", "America/New_York"];

/// Instants looked for.
const INSTANTS: usize = 20;

/// A zone, then an expression. It is refused, or its instants rise and lie within the horizon.
pub fn cron(input: &[u8]) {
    let Some((zone, text)) = input.split_first() else { return };
    let zone = TimeZone::parse(ZONES[usize::from(*zone) % ZONES.len()]).expect("the bundled data has it");
    let text = String::from_utf8_lossy(text);
    let seed = HashSeed::new("fuzz", "fuzz");
    let Ok(timing) = Timing::parse_cron(&text, &zone, NeverFiring::Allow, &seed) else { return };
    let mut after = 0;
    for _ in 0..INSTANTS {
        let Some(next) = timing.next(after) else { break };
        assert!(next > after, "{text:?} in {}: {next} does not follow {after}", zone.name());
        assert!(next < belfry_timing::HORIZON_UNIX_MILLIS, "{text:?}: {next} is behind the horizon");
        assert_eq!(timing.previous(next + 1), Some(next), "{text:?} in {}: backwards", zone.name());
        after = next;
    }
    // What is shown of it must not panic either.
    _ = timing.describe();
    _ = timing.warnings();
}

/// A crontab of a user.
pub fn crontab(input: &[u8]) {
    _ = belfry_timing::crontab::parse(&String::from_utf8_lossy(input));
}
