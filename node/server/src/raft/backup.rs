//! Snapshots that leave the cluster: saved to a file, verified, and made the beginning of another cluster.
//!
//! ```text
//!  "BELFBAK1"
//!  frame       an encoded BackupInfo: of which cluster, by whom, when      frames as in `snapshot`
//!  snapshot    a whole snapshot file
//! ```
//! - BACKUP-1 a file is read as a whole before anything of it is believed: checksums, completeness, and the digest of its records.
//! - BACKUP-2 from the stores of a node that is stopped everything is taken that its log holds, also what it does not know to be
//!   committed: of a lost majority nobody can say, and what may have begun must not begin again.
//! - BACKUP-3 the log of the new cluster begins at an index far above the former one: revisions, and with them etags, are not
//!   given out twice.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use belfry_core::state::COUNTER_GAP;
use belfry_core::{LogPosition, State, UnixMillis};
use belfry_proto::internal as pb;
use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::checkpoint::{Checkpoints, Head, Packing, corrupt, key_of, read_state};
use super::convert;
use super::machine::{Replicated, Shared};
use super::node::Stores;
use super::snapshot::{self, BlockReader, TemporaryPath};
use super::types::{LeaderId, LogId, Membership, StoredMembership};
use super::{Member, NodeId};
use crate::store::{CheckpointPort, Durable, LogPort, Vote};

const MAGIC: &[u8; 8] = b"BELFBAK1";
/// Bytes of entries read from the log at once.
const READ_BYTES: usize = 8 << 20;

/// What a backup says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackupInfo {
    /// The cluster it was taken from.
    pub cluster_id: String,
    /// The node that took it.
    pub node: NodeId,
    /// When, by the clock of that node.
    pub saved_at: UnixMillis,
    /// The release of that node.
    pub release: String,
}

impl BackupInfo {
    /// What stands in front of the snapshot.
    pub(super) fn encode(&self) -> io::Result<Bytes> {
        let info = pb::BackupInfo {
            cluster_id: self.cluster_id.clone(),
            node_id: self.node.0,
            saved_unix_ms: self.saved_at.0,
            release: self.release.clone(),
        };
        let mut out = BytesMut::from(MAGIC.as_slice()).writer();
        snapshot::write_frame(&mut out, &[&info.encode_to_vec()])?;
        Ok(out.into_inner().freeze())
    }

    fn decode(bytes: Bytes) -> io::Result<Self> {
        let info = pb::BackupInfo::decode(bytes).map_err(corrupt)?;
        Ok(Self {
            cluster_id: info.cluster_id,
            node: NodeId(info.node_id),
            saved_at: UnixMillis(info.saved_unix_ms),
            release: info.release,
        })
    }
}

/// A whole state of a cluster, at one position of its log.
pub struct Backup {
    /// Where it is from.
    pub info: BackupInfo,
    /// The position.
    pub position: LogPosition,
    /// The members at that position.
    pub members: Vec<(NodeId, Member)>,
    /// The state.
    pub state: State,
}

/// A cluster that begins with one node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewCluster {
    /// That node.
    pub node: NodeId,
    /// How it is reached, and the life of its disk.
    pub member: Member,
}

impl Backup {
    /// Reads and verifies a file (BACKUP-1).
    pub fn read(path: &Path) -> io::Result<Backup> {
        let mut input = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic).map_err(|_| corrupt("it is too short to be a snapshot"))?;
        if &magic != MAGIC {
            return Err(corrupt(
                "it is not a snapshot that `belfry cluster snapshot save` of this release writes",
            ));
        }
        let info = BackupInfo::decode(snapshot::read_frame(&mut input)?)?;
        let (head, blocks) = BlockReader::read(input)?;
        let (state, ledger) = read_state(blocks)?;
        head.must_have(ledger.total)?;
        let replicated = Replicated { state, applied: head.applied, membership: head.membership };
        Ok(Self::of(info, replicated))
    }

    /// Takes everything that the stores of a stopped node hold (BACKUP-2).
    pub fn of_stores(
        stores: &Stores,
        snapshots: PathBuf,
        node: NodeId,
        now: UnixMillis,
    ) -> io::Result<Backup> {
        let (_, replicated) =
            Checkpoints::open(stores.checkpoint.clone(), snapshots, stores.offload.clone())?;
        let applied = replicated.applied.as_ref().map(convert::log_id_to_store);
        stores.identity.verify(&stores.log.state(), applied)?;
        let shared = Shared::new(replicated, usize::MAX);
        let end = stores.log.state().last.map_or(0, |last| last.index + 1);
        let mut next = applied.map_or(0, |applied| applied.index + 1);
        while next < end {
            let entries = stores.log.read(next, end, READ_BYTES)?;
            if entries.first().is_none_or(|first| first.id.index != next) {
                return Err(corrupt(format!("entry {next} of the log is missing")));
            }
            for entry in entries {
                next = entry.id.index + 1;
                shared.apply(convert::entry_from_store(entry).map_err(corrupt)?)?;
            }
        }
        let info = BackupInfo {
            cluster_id: stores.identity.cluster_id().unwrap_or_default(),
            node,
            saved_at: now,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Self::of(info, shared.take()))
    }

    fn of(info: BackupInfo, replicated: Replicated) -> Backup {
        let Replicated { state, applied, membership } = replicated;
        let position = applied
            .map_or_else(LogPosition::default, |id| LogPosition { term: id.leader_id.term, index: id.index });
        let members = membership.membership().nodes();
        let members = members.map(|(id, member)| (NodeId(*id), member.clone())).collect();
        Backup { info, position, members, state }
    }

    /// Writes it: a temporary file, synced and renamed.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let temporary = TemporaryPath::new(temporary_path(path));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary.path())?);
        out.write_all(&self.info.encode()?)?;
        let voters = self.members.iter().map(|(id, _)| id.0).collect();
        let members = self.members.iter().map(|(id, member)| (id.0, member.clone())).collect();
        let applied = log_id(self.position, self.info.node);
        // Who belonged to it is told, not used: a restored cluster has members of its own.
        let membership = membership(applied, voters, members)?;
        let (digest, packing) = (self.state.digest(), Packing::of(&self.state));
        let head = Head { applied: Some(applied), membership, digest, packing };
        snapshot::write_to(&mut out, &head, blocks(&self.state))?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        put_in_place(temporary, path)
    }

    /// Where the log of a cluster that begins with this backup begins (BACKUP-3).
    pub fn new_position(&self) -> LogPosition {
        LogPosition {
            term: self.position.term.max(1),
            index: self.position.index.saturating_add(COUNTER_GAP),
        }
    }

    /// Makes the state the beginning of a new cluster, in stores that are empty. The log first: without the checkpoint it is
    /// refused (`DataFolder::verify`), and the other way round too.
    pub fn found(
        &self,
        cluster: &NewCluster,
        log: &impl LogPort,
        checkpoint: &impl CheckpointPort,
    ) -> io::Result<()> {
        let applied = log_id(self.new_position(), cluster.node);
        let store_id = convert::log_id_to_store(&applied);
        durably(|durable| log.purge(store_id, durable))?;
        let vote = Vote { term: store_id.term, node: cluster.node.0, committed: false };
        durably(|durable| log.save_vote(vote, durable))?;
        let (voters, member) = ([cluster.node.0].into(), cluster.member.clone());
        let membership = membership(applied, voters, [(cluster.node.0, member)].into())?;
        let (digest, packing) = (self.state.digest(), Packing::of(&self.state));
        let head = Head { applied: Some(applied), membership, digest, packing };
        checkpoint.replace(head.encode(), &mut blocks(&self.state))?;
        log.close();
        checkpoint.close()
    }
}

/// The name of a file that is not whole yet.
pub(crate) fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

/// Gives a written and synced file its name, durably.
fn put_in_place(temporary: TemporaryPath, path: &Path) -> io::Result<()> {
    fs::rename(temporary.path(), path)?;
    temporary.kept();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn blocks(state: &State) -> impl Iterator<Item = io::Result<(crate::store::BlockKey, Bytes)>> + '_ {
    let packing = Packing::of(state);
    state.blocks().into_iter().map(move |id| Ok((key_of(id), packing.pack(&state.block(id)))))
}

fn log_id(position: LogPosition, node: NodeId) -> LogId {
    LogId::new(LeaderId { term: position.term, node_id: node.0 }, position.index)
}

fn membership(
    at: LogId,
    voters: std::collections::BTreeSet<u64>,
    members: std::collections::BTreeMap<u64, Member>,
) -> io::Result<StoredMembership> {
    let membership = Membership::new(vec![voters], members).map_err(|error| corrupt(error.to_string()))?;
    Ok(StoredMembership::new(Some(at), membership))
}

fn durably(ask: impl FnOnce(Durable)) -> io::Result<()> {
    let (answer, answered) = mpsc::sync_channel(1);
    ask(Box::new(move |result| {
        // Nobody stops listening before it is told.
        answer.send(result).ok();
    }));
    answered.recv().map_err(io::Error::other)?
}
