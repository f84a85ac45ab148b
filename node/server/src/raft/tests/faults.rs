//! What ends a node, and what keeps it from starting.

use std::io;
use std::sync::Arc;

use belfry_core::FEATURE_LEVEL;
use belfry_core::state::{Record, Totals};
use belfry_proto::internal as pb;
use bytes::Bytes;
use prost::Message as _;

use super::super::checkpoint::Head;
use super::super::{Fault, ProposeError, StartError};
use super::cluster::Cluster;
use super::site::Disk;
use super::{create, eventually, until};
use crate::codec::{decode_block, encode_block};
use crate::store::{BlockKey, Blocks, CheckpointPort, LogEntry, LogId, LogPort, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_ends_the_node() {
    let mut cluster = Cluster::start([Disk::twin()]).await;
    cluster.write(&create("before")).await;
    let replica = cluster.replica(1);
    cluster.site(1).disk.twin_mut().log.fail(std::io::ErrorKind::StorageFull.into());
    let refused = replica.propose(&create("after")).await.unwrap_err();
    assert!(matches!(refused, ProposeError::OutcomeUnknown | ProposeError::Stopped), "{refused:?}");
    let fault = eventually("the fault", replica.fatal()).await;
    assert!(
        matches!(&fault, Fault::Storage(cause) if !cause.contains("LogId") && cause.contains("free some space")),
        "{fault}"
    );
    assert_eq!(replica.propose(&create("later")).await.unwrap_err(), ProposeError::Stopped);
    assert_eq!(replica.read_barrier().await, Err(ProposeError::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_cannot_be_written_ends_the_node() {
    let mut cluster = Cluster::start([Disk::twin()]).await;
    cluster.site(1).disk.twin_mut().checkpoint.fail_writes();
    let replica = cluster.replica(1);
    // The checkpoint may fail before this is answered.
    replica.propose(&create("dirty")).await.ok();
    let fault = eventually("the fault", replica.fatal()).await;
    assert!(fault.to_string().starts_with("cannot write the checkpoint"), "{fault}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_core_that_panics_ends_the_node() {
    let cluster = Cluster::start([Disk::twin()]).await;
    cluster.write(&create("before")).await;
    let replica = cluster.replica(1);
    replica.inner.raft.with_raft_state(|_| panic!("a bug in consensus")).await.ok();
    let fault = eventually("the fault", replica.fatal()).await;
    assert!(matches!(fault, Fault::Consensus(_)), "{fault}");
}

async fn checkpointed() -> Cluster {
    let mut cluster = Cluster::start([Disk::twin()]).await;
    let at = cluster.write(&create("x")).await;
    let replica = cluster.replica(1);
    until("a checkpoint", || replica.status().checkpoint_index >= at.index).await;
    cluster.stop(1).await;
    cluster
}

async fn refused(cluster: &mut Cluster) -> StartError {
    let config = cluster.config(1);
    cluster.site(1).try_start(config).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_with_a_missing_block_is_refused() {
    let mut cluster = checkpointed().await;
    let checkpoint = cluster.site(1).disk.twin_mut().checkpoint.clone();
    let head = checkpoint.head().unwrap().unwrap();
    // The answers: nothing refers to them, so only the digest can tell.
    checkpoint.commit(head, vec![(BlockKey { kind: 5, number: 0 }, None)]).unwrap();
    let error = refused(&mut cluster).await;
    assert!(matches!(error, StartError::Checkpoint(_)) && error.to_string().contains("digest"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_with_a_garbled_block_is_refused() {
    let mut cluster = checkpointed().await;
    let checkpoint = cluster.site(1).disk.twin_mut().checkpoint.clone();
    let head = checkpoint.head().unwrap().unwrap();
    let garbled = Bytes::from_static(b"\xff\xff\xff\xff");
    checkpoint.commit(head, vec![(BlockKey { kind: 2, number: 0 }, Some(garbled))]).unwrap();
    assert!(matches!(refused(&mut cluster).await, StartError::Checkpoint(_)));
}

/// What the store says is passed on as it is: it has its own advice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_cannot_be_read_is_refused_in_the_words_of_the_store() {
    struct Unreadable(fn() -> StoreError);
    impl CheckpointPort for Unreadable {
        fn head(&self) -> io::Result<Option<Bytes>> {
            Ok(None)
        }
        fn blocks(&self) -> io::Result<Blocks<'_>> {
            Ok(Box::new(std::iter::once(Err(self.0().into()))))
        }
        fn commit(&self, _: Bytes, _: Vec<(BlockKey, Option<Bytes>)>) -> io::Result<()> {
            unreachable!("it does not get so far")
        }
        fn replace(
            &self,
            _: Bytes,
            _: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
        ) -> io::Result<()> {
            unreachable!("it does not get so far")
        }
        fn close(&self) -> io::Result<()> {
            Ok(())
        }
    }
    let damaged = || StoreError::Damaged {
        path: "state".into(),
        offset: None,
        what: "a value is not what was written".into(),
    };
    let busy =
        || StoreError::Io { action: "read", path: "state".into(), source: io::ErrorKind::Other.into() };
    for error in [damaged, busy] {
        let mut cluster = checkpointed().await;
        let config = cluster.config(1);
        let refused = cluster.site(1).try_start_with(config, Arc::new(Unreadable(error))).await.unwrap_err();
        assert!(matches!(refused, StartError::Store(_)), "{refused}");
        assert_eq!(refused.to_string(), error().to_string());
    }
}

/// A release to come raised the level: this one does not start, and does not speak of damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_a_newer_release_is_refused_as_newer() {
    let mut cluster = checkpointed().await;
    let checkpoint = cluster.site(1).disk.twin_mut().checkpoint.clone();
    let head = Head::decode(checkpoint.head().unwrap().unwrap()).unwrap();

    let (key, value) = checkpoint.blocks().unwrap().map(Result::unwrap).next().unwrap();
    let Ok([Record::Totals(totals)]) =
        decode_block(&value).map(|records| <[_; 1]>::try_from(records).unwrap())
    else {
        panic!("the totals come first");
    };
    let newer = Record::Totals(Totals { feature_level: FEATURE_LEVEL + 1, ..totals.clone() });
    let digest = head.digest.minus(Record::Totals(totals).digest()).plus(newer.digest());
    let raised = Head { digest, ..head.clone() };
    checkpoint.commit(raised.encode(), vec![(key, Some(encode_block(&[newer])))]).unwrap();
    let error = refused(&mut cluster).await;
    assert!(matches!(error, StartError::TooOld { .. }), "{error}");

    let mut wire = pb::CheckpointHead::decode(head.encode()).unwrap();
    wire.format = 3;
    checkpoint.commit(wire.encode_to_vec().into(), vec![]).unwrap();
    let error = refused(&mut cluster).await;
    assert!(matches!(error, StartError::NewerCheckpoint(_)), "{error}");
    assert!(error.to_string().contains("has format 3") && !error.to_string().contains("damaged"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_entry_that_is_not_readable_stops_the_node() {
    let mut cluster = checkpointed().await;
    let log = cluster.site(1).disk.twin_mut().log.clone();
    let last = log.state().last.unwrap();
    let id = LogId { index: last.index + 1, ..last };
    let command = super::super::types::Proposal::new(Bytes::from_static(b"of a release to come"));
    log.append(vec![LogEntry { id, payload: command.framed() }], Box::new(|result| result.unwrap()));
    log.save_committed(Some(id));
    let error = refused(&mut cluster).await.to_string();
    assert!(
        error.contains(&format!("log entry {}", id.index)) && error.contains("start the release"),
        "{error}"
    );
}
