//! Blocks are compressed once every member can read that, and what was stored before stays readable.

use std::sync::Arc;

use belfry_core::state::BlockId;
use belfry_core::{Action, State};
use belfry_proto::internal as pb;
use bytes::Bytes;
use prost::Message as _;

use super::super::checkpoint::Checkpoints;
use super::super::machine::Shared;
use super::{command, create, entry};
use crate::store::{BlockKey, CheckpointPort, MemoryCheckpoint, Offload};

/// Schedules of one block; there are more.
const SPAN: u64 = 64;

struct Node {
    port: Arc<MemoryCheckpoint>,
    checkpoints: Arc<Checkpoints>,
    shared: Arc<Shared>,
    index: u64,
    _snapshots: tempfile::TempDir,
}

impl Node {
    fn open(port: Arc<MemoryCheckpoint>) -> Self {
        let snapshots = tempfile::tempdir().unwrap();
        let folder = snapshots.path().to_owned();
        let (checkpoints, replicated) = Checkpoints::open(port.clone(), folder, Offload::default()).unwrap();
        let index = replicated.applied.as_ref().map_or(0, |applied| applied.index);
        let shared = Shared::new(replicated, usize::MAX);
        Self { port, checkpoints, shared, index, _snapshots: snapshots }
    }

    fn apply(&mut self, action: Action) {
        self.index += 1;
        self.shared.apply(entry(self.index, &command(action))).unwrap().remove(0).outcome.unwrap();
    }

    fn create(&mut self, numbers: std::ops::Range<u64>) {
        numbers.for_each(|number| self.apply(create(&format!("s{number}")).action));
    }

    async fn save(&self) {
        self.checkpoints.save(&self.shared).await.unwrap();
    }

    /// The format in the head, and the blocks that are compressed.
    fn stored(&self) -> (u32, Vec<BlockKey>) {
        let head = pb::CheckpointHead::decode(self.port.head().unwrap().unwrap()).unwrap();
        let blocks = self.port.blocks().unwrap().map(Result::unwrap);
        let compressed = blocks.filter(|(_, value)| is_compressed(value)).map(|(key, _)| key);
        (head.format, compressed.collect())
    }
}

fn is_compressed(value: &Bytes) -> bool {
    !pb::Block::decode(value.clone()).unwrap().lz4.is_empty()
}

#[tokio::test]
async fn blocks_are_compressed_from_feature_level_4_on() {
    let mut node = Node::open(Arc::default());
    node.apply(Action::RaiseFeatureLevel(3));
    node.create(0..2 * SPAN);
    node.save().await;
    assert_eq!(node.stored(), (1, vec![]), "members of level 3 could not read it");

    node.apply(Action::RaiseFeatureLevel(4));
    node.create(2 * SPAN..2 * SPAN + 8);
    node.save().await;
    let (format, compressed) = node.stored();
    assert_eq!(format, 2, "level 3 is told that it is newer, not that it is damaged");
    assert!(!compressed.is_empty() && compressed.iter().all(|key| key.number >= 2), "{compressed:?}");

    // Some blocks are of either kind.
    let restarted = Node::open(node.port.clone());
    assert_eq!(restarted.shared.read(State::digest), node.shared.read(State::digest));
    let blocks = |node: &Node| node.shared.read(|state| state.blocks().into_iter().collect::<Vec<BlockId>>());
    assert_eq!(blocks(&restarted), blocks(&node));

    // So they are in what a member gets that was away for long.
    let applied = node.shared.applied();
    let snapshot = node.checkpoints.clone().write_snapshot(applied, None).await.unwrap();
    let away = Node::open(Arc::default());
    away.checkpoints.install(snapshot, &away.shared).await.unwrap();
    assert_eq!(away.shared.read(State::digest), node.shared.read(State::digest));
    assert_eq!(away.stored(), node.stored());
}
