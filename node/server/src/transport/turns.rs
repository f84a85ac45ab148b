//! Whose bytes are read next.
//!
//! A runtime works off its tasks in the order in which they woke. A thousand connections that have something to say would be a
//! thousand tasks before that of an executor, and each of them brings further work. So the connections of callers take turns:
//! few of them at a time are read from, and the others wait here, in the order in which they came, with their bytes still in
//! the kernel. The queue of the runtime stays short, and whoever needs no turn finds it so.
//!
//! ```text
//!   callers, 1000 ready ──► turns, a few at a time ──┐
//!   executors ───────────────────────────────────────┴──► queue of the runtime ──► threads
//! ```
//!
//! - TURN-1: a connection on which an executor speaks needs no turn.
//! - TURN-2: a turn ends: with what there is to read, after [`TURN_BYTES`], and when the peer does not take what is written to
//!   it. Who cannot be written to waits for no turn either. So nobody keeps the others from reading.
//! - TURN-3: once it is handed over to other threads, they are those that hear of its bytes, too.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use super::connections::Seat;

/// Bytes read in one turn: some hundred calls. A connection that carries the calls of many, as that of a node that passes them
/// on does, takes one turn after the other.
const TURN_BYTES: usize = 16 * 1024;

/// Turns that are taken at the same time.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }
}

/// A connection that takes turns.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Always there, but while it is moved.
    stream: Option<TcpStream>,
    moved: bool,
    turns: Turns,
    /// There while it waits for a turn.
    queue: Option<PollSemaphore>,
    turn: Option<Turn>,
    seat: Seat,
}

#[derive(Debug)]
struct Turn {
    _permit: OwnedSemaphorePermit,
    bytes_left: usize,
}

impl Caller {
    pub(super) fn new(stream: TcpStream, turns: Turns, seat: Seat) -> Self {
        Self { stream: Some(stream), moved: false, turns, queue: None, turn: None, seat }
    }

    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seat.poll_taken_away(cx).is_ready() {
            // As if the peer had closed it.
            self.give_way();
            return Poll::Ready(Ok(()));
        }
        if self.seat.use_of().carries_executors() {
            // TURN-1.
            self.give_way();
            return Pin::new(self.stream()?).poll_read(cx, into);
        }
        let mut turn = match self.turn.take() {
            Some(turn) => turn,
            None => {
                // An idle connection does not queue.
                ready!(self.stream()?.poll_read_ready(cx))?;
                let queue = self.queue.get_or_insert_with(|| PollSemaphore::new(self.turns.0.clone()));
                let permit = ready!(queue.poll_acquire(cx)).expect("turns are never closed");
                self.queue = None;
                Turn { _permit: permit, bytes_left: TURN_BYTES }
            }
        };
        let before = into.filled().len();
        // Anything but bytes ends the turn (TURN-2).
        ready!(Pin::new(self.stream()?).poll_read(cx, into))?;
        let read = into.filled().len() - before;
        turn.bytes_left = turn.bytes_left.saturating_sub(read);
        if read > 0 && turn.bytes_left > 0 {
            self.turn = Some(turn);
        }
        Poll::Ready(Ok(()))
    }

    #[cfg(test)]
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_read_ready(cx)
    }

    /// Writes by `write`.
    pub(super) fn poll_written<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let written = write(Pin::new(self.stream()?), cx);
        if written.is_pending() {
            // TURN-2.
            self.give_way();
        }
        written
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(TcpStream::is_write_vectored)
    }

    /// The stream, known to the threads that work on it (TURN-3).
    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        if !self.moved && self.seat.use_of().is_handed_over() {
            self.moved = true;
            if let Some(stream) = self.stream.take() {
                self.stream = Some(TcpStream::from_std(stream.into_std()?)?);
            }
        }
        // It could not be moved: there was no room for it among the files that are waited for.
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Holds no turn and waits for none. A queue that is not asked again would keep the turn that it is given.
    fn give_way(&mut self) {
        (self.turn, self.queue) = (None, None);
    }
}
