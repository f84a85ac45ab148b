//! The one source of chance of the shell: ids, and what spreads elections. Nothing is decided by it that must be the same twice.
//!
//! It is a property of the thread because openraft asks for its random numbers without any value to hang one on. Threads that
//! nobody seeded ask the operating system.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use ulid::Ulid;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on chance on this thread repeats itself: for simulations, which run whole clusters on one thread.
pub fn seed_this_thread(seed: u64) {
    SEED.set(Some(seed));
}

/// Any number.
pub(crate) fn number() -> u64 {
    match SEED.get() {
        Some(seed) => {
            SEED.set(Some(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)));
            mixed(seed)
        }
        // The keys of the standard hasher are the randomness at hand.
        None => RandomState::new().hash_one(0_u8),
    }
}

/// An id that nobody else makes. On a seeded thread it does not say when it was made.
pub(crate) fn ulid() -> Ulid {
    match SEED.get() {
        Some(_) => Ulid(u128::from(number()) << 64 | u128::from(number())),
        None => Ulid::generate(),
    }
}

/// SplitMix64's finalizer spreads neighbouring numbers.
fn mixed(seed: u64) -> u64 {
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_thread_repeats_itself_and_another_does_not() {
        let numbers = |seed: Option<u64>| {
            let draw = move || {
                seed.into_iter().for_each(seed_this_thread);
                (number(), number(), ulid().to_string())
            };
            std::thread::spawn(draw).join().unwrap()
        };
        assert_eq!(numbers(Some(7)), numbers(Some(7)));
        assert_ne!(numbers(Some(7)), numbers(Some(8)));
        assert_ne!(numbers(None), numbers(None));
        let (first, second, _) = numbers(Some(7));
        assert_ne!(first, second);
    }
}
