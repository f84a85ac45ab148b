//! A TCP proxy that hands on everything, later: a slow network on a machine whose kernel cannot delay packets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::cluster::free_port;

/// Pieces under way in one direction of a connection; when there are more, the sender waits.
const PIECES_MAX: usize = 256;
const PIECE_BYTES: usize = 16 * 1024;

/// How late each piece arrives: between `least` and `most`, in order.
#[derive(Clone, Copy, Debug)]
pub struct Delay {
    /// Of every piece.
    pub least: Duration,
    /// Of the slowest.
    pub most: Duration,
}

/// Stands in front of one port. Ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    delayed: Arc<AtomicU64>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// A proxy in front of `target`, on a port of its own.
    pub async fn start(target: SocketAddr, delay: Delay) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(free_port()?).await?;
        let address = listener.local_addr()?;
        let delayed = Arc::new(AtomicU64::new(0));
        let line = Line { delay, delayed: delayed.clone() };
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                connections.spawn(serve(near, target, line.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, delayed, _task: AbortOnDropHandle::new(task) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pieces that were handed on late so far: the proof that there was a delay.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }
}

#[derive(Clone)]
struct Line {
    delay: Delay,
    delayed: Arc<AtomicU64>,
}

async fn serve(near: TcpStream, target: SocketAddr, line: Line) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    // Errors end the connection, as they would without us.
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(one_way(near_in, far_out, line.clone()), one_way(far_in, near_out, line));
}

async fn one_way(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut piece = vec![0; PIECE_BYTES];
        let mut number = 0_u32;
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            number = number.wrapping_add(1);
            // A saw of sixteen steps: as good as chance here, and the same each time.
            let jitter = (line.delay.most - line.delay.least) * (number.wrapping_mul(7) % 16) / 15;
            let at = Instant::now() + line.delay.least + jitter;
            if sender.send((at, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let delayed = line.delayed;
    let write = async move {
        while let Some((at, piece)) = pieces.recv().await {
            tokio::time::sleep_until(at).await;
            delayed.fetch_add(1, Ordering::Relaxed);
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write);
}
