//! APPLY-1: the same log gives the same state: replicas that have applied as much have one digest.

use std::collections::BTreeMap;

use belfry_core::digest::Digest;

use super::{Invariant, Look, Say};

/// Digests by how much of the log they stand for.
#[derive(Default)]
pub(super) struct Digests(BTreeMap<u64, (u64, Digest)>);

impl Invariant for Digests {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        let digest = look.state.digest();
        let (node, known) = *self.0.entry(look.index).or_insert((look.node, digest));
        if known != digest {
            say("APPLY-1", format!("its digest is {digest}, that of n{node} was {known}"));
        }
    }
}
