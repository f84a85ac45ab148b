//! `H`: a value that differs between schedules and never changes for one.
//!
//! The hash is part of what schedules mean: changing it would move every schedule that uses `H`.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::fields::Field;

/// What `H` is derived from: the schedule's namespace and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashSeed(u64);

impl HashSeed {
    /// The seed of the schedule `name` in `namespace`. The same pair gives the same seed on every build.
    pub fn new(namespace: &str, name: &str) -> HashSeed {
        let seed = xxh3_64_with_seed(namespace.as_bytes(), 0);
        HashSeed(xxh3_64_with_seed(name.as_bytes(), seed))
    }

    /// A number below `size` for `field`; 0 if `size` is 0.
    pub(crate) fn choose(&self, field: Field, size: u32) -> u32 {
        let hash = xxh3_64_with_seed(field.to_string().as_bytes(), self.0);
        u32::try_from(hash.checked_rem(u64::from(size)).unwrap_or(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_never_changes() {
        // Golden values: a difference here moves every schedule that uses `H`.
        let seed = HashSeed::new("prod", "backup");
        let chosen =
            [Field::Second, Field::Minute, Field::Hour, Field::DayOfMonth, Field::Month, Field::DayOfWeek]
                .map(|field| seed.choose(field, field.hash_range().1));
        assert_eq!(chosen, [14, 11, 2, 6, 4, 4]);
    }

    #[test]
    fn namespace_and_name_are_not_interchangeable() {
        assert_ne!(HashSeed::new("a", "bc"), HashSeed::new("ab", "c"));
        assert_ne!(HashSeed::new("a", "b"), HashSeed::new("b", "a"));
        assert_eq!(HashSeed::new("a", "b").choose(Field::Hour, 0), 0);
    }
}
