//! APPLY-1: the same log gives the same state: replicas that have applied as much have one digest.

use std::collections::BTreeMap;

use belfry_core::State;
use belfry_core::digest::Digest;

use super::{Say, Seen};

/// Digests by how much of the log they stand for.
#[derive(Default)]
pub(super) struct Digests(BTreeMap<u64, Known>);

/// A state that was looked at.
struct Known {
    node: u64,
    digest: Digest,
    /// How many starts it was held against.
    starts: usize,
}

impl Digests {
    /// Looks at the state of a node; whether there is anything in it that no other replica had in the same place.
    pub(super) fn look(&mut self, node: u64, seen: Seen, state: &State, say: &mut Say<'_>) -> bool {
        let digest = state.digest();
        let is_newest = self.0.last_key_value().is_none_or(|(newest, _)| *newest <= seen.index);
        let Some(known) = self.0.get_mut(&seen.index) else {
            self.0.insert(seen.index, Known { node, digest, starts: seen.starts });
            return true;
        };
        if known.digest != digest {
            say("APPLY-1", format!("its digest is {digest}, that of n{} was {}", known.node, known.digest));
            return true;
        }
        // Later starts know of a lease that only a newer state has.
        let more = is_newest && known.starts != seen.starts;
        known.starts = seen.starts;
        more
    }
}
