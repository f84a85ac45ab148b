//! openraft's log over [`LogPort`].
//!
//! - LOG-1 a vote is durable before `save_vote` returns.
//! - LOG-2 an append is acknowledged only after it is durable; the port keeps votes, appends, truncations and purges
//!   in the order they were asked for (STORE-2), so an acknowledged append can never be overtaken.
//! - LOG-3 what is read for replication is bounded by bytes, because a follower bounds the size of a message.
//! - LOG-4 what is read for replication begins with the first entry that was asked for, or is nothing. openraft may go on with a stream
//!   whose entries it has purged meanwhile (it took up an older order after one for a snapshot): sent as read, a follower would get a log
//!   with a hole. What is known to be gone is told to the network, which ends such a stream with an error; openraft then takes the newer
//!   order.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use super::convert;
use super::fault::Faults;
use super::latency::LatencyHistogram;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::store::{Durable, LogPort};

/// Bytes of entries in one append message: large enough to fill the network, small enough to be resent.
const REPLICATE_BYTES_MAX: usize = 2 << 20;

/// The log as openraft sees it. Clones are the same log.
#[derive(Clone)]
pub(super) struct RaftLog {
    port: Arc<dyn LogPort>,
    sync_latency: Arc<LatencyHistogram>,
    appended_bytes: Arc<AtomicU64>,
    sizes: Arc<Mutex<Sizes>>,
    gone: Gone,
    faults: Faults,
}

/// Up to where entries were asked for by replication and found purged (LOG-4). Clones are the same.
#[derive(Clone, Default, Debug)]
pub(super) struct Gone(Arc<AtomicU64>);

impl Gone {
    pub(super) fn note(&self, index: u64) {
        self.0.fetch_max(index + 1, Ordering::AcqRel);
    }

    /// Whether the entry at `index` is known to be gone.
    pub(super) fn covers(&self, index: u64) -> bool {
        index < self.0.load(Ordering::Acquire)
    }
}

impl RaftLog {
    pub(super) fn new(port: Arc<dyn LogPort>, faults: Faults) -> Self {
        let state = port.state();
        let sizes = Sizes::of_existing(state.last.map(|id| id.index), state.retained_bytes);
        Self {
            port,
            sync_latency: Arc::default(),
            appended_bytes: Arc::default(),
            sizes: Arc::new(Mutex::new(sizes)),
            gone: Gone::default(),
            faults,
        }
    }

    /// What replication has asked for in vain.
    pub(super) fn gone(&self) -> &Gone {
        &self.gone
    }

    pub(super) fn port(&self) -> &Arc<dyn LogPort> {
        &self.port
    }

    /// Time from asking for an append until it was durable.
    pub(super) fn sync_latency(&self) -> &Arc<LatencyHistogram> {
        &self.sync_latency
    }

    /// Bytes of all entries that were asked to be appended since the start.
    pub(super) fn appended_bytes(&self) -> u64 {
        self.appended_bytes.load(Ordering::Relaxed)
    }

    /// The greatest index whose purge leaves at least the last `keep_bytes` of entries.
    pub(super) fn purgeable(&self, keep_bytes: u64) -> Option<u64> {
        self.sizes().purgeable(keep_bytes)
    }

    /// Asks the port for something and waits until it is durable.
    async fn durably(&self, ask: impl FnOnce(&dyn LogPort, Durable)) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        let durable = move |result| {
            // The receiver is gone only when the node is going down.
            done.send(result).ok();
        };
        ask(&*self.port, Box::new(durable));
        let closed = || Err(io::Error::other("the log was closed before the change was durable"));
        self.faults.watch(wait.await.unwrap_or_else(|_| closed()))
    }

    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let entries = self.port.read(from, to_exclusive, bytes_max)?;
        entries
            .into_iter()
            .map(|entry| {
                let entry = convert::entry_from_store(entry);
                entry.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
            })
            .collect()
    }

    fn sizes(&self) -> std::sync::MutexGuard<'_, Sizes> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RaftLogReader<TypeConfig> for RaftLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let from = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => index.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to_exclusive = match range.end_bound() {
            Bound::Included(index) => index.saturating_add(1),
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.faults.watch(self.read(from, to_exclusive, usize::MAX))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let entries = self.faults.watch(self.read(start, end, REPLICATE_BYTES_MAX))?;
        if entries.first().is_some_and(|first| first.log_id.index != start) {
            self.gone.note(start);
            return Ok(Vec::new());
        }
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.port.state().vote.map(convert::vote_from_store))
    }
}

impl RaftLogStorage<TypeConfig> for RaftLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.port.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(convert::log_id_from_store),
            last_log_id: state.last.map(convert::log_id_from_store),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = convert::vote_to_store(vote);
        self.durably(|port, durable| port.save_vote(vote, durable)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.port.save_committed(committed.as_ref().map(convert::log_id_to_store));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.port.state().committed.map(convert::log_id_from_store))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().map(convert::entry_to_store).collect();
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(|entry| entry.payload.len() as u64).sum();
            self.appended_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.sizes().append(last.id.index, bytes);
        }
        let (latency, faults) = (self.sync_latency.clone(), self.faults.clone());
        let asked_at = Instant::now();
        let durable: Durable = Box::new(move |result| {
            latency.record(asked_at.elapsed());
            callback.io_completed(faults.watch(result));
        });
        // It may block while too much waits for the disk: then nothing else of the core could go on anyway.
        self.port.append(entries, durable);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.sizes().truncate_after(last.as_ref().map(|id| id.index));
        let last = last.as_ref().map(convert::log_id_to_store);
        self.durably(|port, durable| port.truncate_after(last, durable)).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.sizes().purge(upto.index);
        // Nothing waits for a purge to be durable, and openraft's core must not wait for the disk here.
        let faults = self.faults.clone();
        let durable: Durable = Box::new(move |result| {
            faults.watch(result).ok();
        });
        self.port.purge(convert::log_id_to_store(&upto), durable);
        Ok(())
    }
}

/// Where in the log how many bytes lie, roughly: one sample per [`SAMPLE_BYTES`].
#[derive(Debug, Default)]
struct Sizes {
    /// (index, bytes of everything up to and including it), both increasing.
    samples: VecDeque<(u64, u64)>,
    last: Option<u64>,
    total_bytes: u64,
}

/// Bytes between two samples: the grain of a purge.
const SAMPLE_BYTES: u64 = 64 << 10;

impl Sizes {
    fn of_existing(last: Option<u64>, bytes: u64) -> Self {
        Self { samples: last.map(|index| (index, bytes)).into_iter().collect(), last, total_bytes: bytes }
    }

    fn append(&mut self, last: u64, bytes: u64) {
        self.last = Some(last);
        self.total_bytes += bytes;
        let sampled = self.samples.back().map_or(0, |(_, bytes)| *bytes);
        if self.total_bytes - sampled >= SAMPLE_BYTES {
            self.samples.push_back((last, self.total_bytes));
        }
    }

    fn truncate_after(&mut self, last: Option<u64>) {
        while self.samples.pop_back_if(|(index, _)| last.is_none_or(|last| *index > last)).is_some() {}
        self.last = last;
        self.total_bytes = self.samples.back().map_or(0, |(_, bytes)| *bytes);
    }

    fn purge(&mut self, upto: u64) {
        while self.samples.pop_front_if(|(index, _)| *index <= upto).is_some() {}
    }

    fn purgeable(&self, keep_bytes: u64) -> Option<u64> {
        if keep_bytes == 0 {
            return self.last;
        }
        let limit = self.total_bytes.checked_sub(keep_bytes)?;
        let behind = self.samples.partition_point(|(_, bytes)| *bytes <= limit);
        behind.checked_sub(1).map(|newest| self.samples[newest].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purging_keeps_the_last_bytes() {
        let mut sizes = Sizes::of_existing(Some(10), 1000);
        for index in 11..=20 {
            sizes.append(index, SAMPLE_BYTES);
        }
        assert_eq!(sizes.purgeable(u64::MAX), None);
        assert_eq!(sizes.purgeable(SAMPLE_BYTES * 10), Some(10));
        assert_eq!(sizes.purgeable(SAMPLE_BYTES * 3), Some(17));
        assert_eq!(sizes.purgeable(0), Some(20));
        sizes.purge(15);
        assert_eq!(sizes.purgeable(SAMPLE_BYTES * 8), None);
        sizes.truncate_after(Some(17));
        assert_eq!(sizes.purgeable(SAMPLE_BYTES), Some(16));
    }

    #[test]
    fn small_entries_share_a_sample() {
        let mut sizes = Sizes::default();
        for index in 1..=10_000 {
            sizes.append(index, 100);
        }
        assert!(sizes.samples.len() <= 1_000_000 / usize::try_from(SAMPLE_BYTES).unwrap() + 2);
        assert_eq!(sizes.purgeable(0), Some(10_000));
    }

    #[tokio::test]
    async fn log_4_what_is_read_for_a_follower_has_no_hole() {
        let id = |index| crate::store::LogId { term: 1, node: 1, index };
        let blank = |index| Entry {
            log_id: convert::log_id_from_store(id(index)),
            payload: openraft::EntryPayload::Blank,
        };
        let port = Arc::new(crate::store::MemoryLog::new());
        let entries = (1..9).map(blank).map(convert::entry_to_store).collect();
        port.append(entries, Box::new(|appended| appended.unwrap()));
        port.purge(id(4), Box::new(|purged| purged.unwrap()));
        let mut log = RaftLog::new(port, Faults::new());
        assert_eq!(log.limited_get_log_entries(5, 9).await.unwrap().len(), 4);
        assert!(!log.gone().covers(0));
        assert_eq!(log.limited_get_log_entries(3, 9).await.unwrap(), []);
        assert!(log.gone().covers(3) && !log.gone().covers(4));
    }
}
