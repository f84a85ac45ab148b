//! The one source of chance: ids, and what keeps clients from coming back in step. It is a property of the thread; threads that
//! nobody seeded ask the operating system.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};

use ulid::Ulid;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// From now on chance on this thread repeats itself: for simulations, which run many clients on one thread.
pub fn seed_this_thread(seed: u64) {
    SEED.set(Some(seed));
}

/// A number in 0..1.
pub(crate) fn fraction() -> f64 {
    (number() >> 11) as f64 / (1_u64 << 53) as f64
}

/// An id that nobody else makes. On a seeded thread it does not say when it was made.
pub(crate) fn ulid() -> Ulid {
    match SEED.get() {
        Some(_) => Ulid(u128::from(number()) << 64 | u128::from(number())),
        None => Ulid::generate(),
    }
}

fn number() -> u64 {
    match SEED.get() {
        Some(seed) => {
            SEED.set(Some(seed.wrapping_add(0x9E37_79B9_7F4A_7C15)));
            mixed(seed)
        }
        // The keys of the standard hasher are the randomness at hand: no crate is needed for so little.
        None => RandomState::new().hash_one(0_u8),
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
    fn a_seeded_thread_repeats_itself() {
        let drawn = |seed| {
            let draw = move || {
                seed_this_thread(seed);
                (fraction(), ulid())
            };
            std::thread::spawn(draw).join().unwrap()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert!((0.0..1.0).contains(&drawn(7).0));
    }
}
