//! How many connections of callers and executors a node has, and which of them goes when another one comes.
//!
//! - CONN-1: there are never more than the limit, nor than half of the files that the process may open, so that a flood of
//!   connections leaves the node its files and its memory.
//! - CONN-2: who comes takes the place of the connection that has been idle for longest. Nobody is kept out by those who only
//!   hold on to theirs; clients dial again when they have something to say.
//! - CONN-3: a connection with a call or a stream under way is not closed for another one. If all of them are busy, who comes waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// How long to wait for a place before looking again which connection is idle.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How often it is said that there are too many.
const SAY_PERIOD: Duration = Duration::from_secs(60);

/// As many connections as `max` and half of the open files allow. `limits` is what Linux says in `/proc/self/limits`
/// (proc_pid_limits(5)).
pub(super) fn within_open_files(max: usize, limits: &str) -> usize {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(max, |files| max.min((files / 2).max(1)))
}

/// All connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    places: Arc<Semaphore>,
    seats: Arc<Mutex<HashMap<u64, Arc<Use>>>>,
    next: u64,
    begun_at: Instant,
    said_at: Option<Instant>,
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    id: u64,
    of: Arc<Use>,
    seats: Arc<Mutex<HashMap<u64, Arc<Use>>>>,
    _place: OwnedSemaphorePermit,
}

/// What one connection is used for now. The edge counts; nothing is counted on connections without limits.
#[derive(Debug)]
pub(crate) struct Use {
    /// Calls and streams, those of executors among them.
    requests: AtomicUsize,
    /// Streams of executors.
    executors: AtomicUsize,
    begun_at: Instant,
    /// Milliseconds from the beginning to when it became idle.
    idle_from: AtomicU64,
    taken_away: AtomicBool,
    waker: AtomicWaker,
    handed_over: AtomicBool,
}

/// A call or a stream that is under way on a connection.
#[derive(Debug)]
pub(crate) struct Request {
    of: Arc<Use>,
    is_executor: bool,
}

impl Connections {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max,
            places: Arc::new(Semaphore::new(max)),
            seats: Arc::default(),
            next: 0,
            begun_at: Instant::now(),
            said_at: None,
        }
    }

    /// A place for another connection, as soon as there is one.
    pub(super) async fn seat(&mut self) -> Seat {
        let place = match self.places.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_full) => self.make_place().await,
        };
        self.next += 1;
        let of = Arc::new(Use::new(self.begun_at));
        self.lock().insert(self.next, of.clone());
        Seat { id: self.next, of, seats: self.seats.clone(), _place: place }
    }

    async fn make_place(&mut self) -> OwnedSemaphorePermit {
        if self.said_at.is_none_or(|at| at.elapsed() >= SAY_PERIOD) {
            self.said_at = Some(Instant::now());
            tracing::warn!(
                connections = self.max,
                "as many connections as limits.connections_max allows: those that are idle are closed for those that come; \
                 look for a client that opens a new one for each call"
            );
        }
        loop {
            self.close_idlest();
            let place = self.places.clone().acquire_owned();
            if let Ok(place) = timeout(LOOK_AGAIN, place).await {
                return place.expect("places are never closed");
            }
        }
    }

    /// CONN-2, CONN-3.
    fn close_idlest(&self) {
        let seats = self.lock();
        let idle = seats.values().filter(|of| of.is_idle());
        if let Some(of) = idle.min_by_key(|of| of.idle_from.load(Ordering::Relaxed)) {
            of.taken_away.store(true, Ordering::Release);
            of.waker.wake();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Use>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(crate) fn use_of(&self) -> &Arc<Use> {
        &self.of
    }

    /// Whether its place is for another one.
    pub(super) fn poll_taken_away(&self, cx: &Context<'_>) -> Poll<()> {
        self.of.waker.register(cx.waker());
        if self.of.taken_away.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Use {
    fn new(begun_at: Instant) -> Self {
        let this = Self {
            requests: AtomicUsize::new(0),
            executors: AtomicUsize::new(0),
            begun_at,
            idle_from: AtomicU64::new(0),
            taken_away: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            handed_over: AtomicBool::new(false),
        };
        this.idle_from_now();
        this
    }

    /// Counts a request until it is dropped.
    pub(crate) fn begin(self: &Arc<Self>, is_executor: bool) -> Request {
        self.requests.fetch_add(1, Ordering::AcqRel);
        if is_executor {
            self.executors.fetch_add(1, Ordering::AcqRel);
        }
        Request { of: self.clone(), is_executor }
    }

    pub(crate) fn carries_executors(&self) -> bool {
        self.executors.load(Ordering::Acquire) > 0
    }

    /// From now on it is worked on by other threads.
    pub(crate) fn hand_over(&self) {
        self.handed_over.store(true, Ordering::Release);
    }

    pub(super) fn is_handed_over(&self) -> bool {
        self.handed_over.load(Ordering::Acquire)
    }

    fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0 && !self.taken_away.load(Ordering::Acquire)
    }

    fn idle_from_now(&self) {
        let at = u64::try_from(self.begun_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.idle_from.store(at, Ordering::Relaxed);
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if self.is_executor {
            self.of.executors.fetch_sub(1, Ordering::AcqRel);
        }
        // Before it counts as idle.
        self.of.idle_from_now();
        self.of.requests.fetch_sub(1, Ordering::AcqRel);
    }
}
