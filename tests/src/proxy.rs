//! A slow link: a TCP proxy that delays, throttles and cuts what passes through it, on a machine whose kernel cannot delay packets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::cluster::free_port;

/// Bytes that are passed on at once.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces on their way: a link of 16 MiB/s with a delay of 250 ms.
const PIECES_MAX: usize = 256;

/// What a link is like, in each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// How long a byte takes at least.
    pub delay: Duration,
    /// How much longer some take; they stay in order.
    pub jitter: Duration,
    /// Bytes per second; none: as many as come.
    pub bytes_per_second: Option<u64>,
    /// Whether anything passes. Connections that stand break when it closes.
    pub open: bool,
}

impl Link {
    /// As if it were not there.
    pub const FAST: Self =
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, bytes_per_second: None, open: true };
    /// Cut.
    pub const CUT: Self = Self { open: false, ..Self::FAST };
}

/// A proxy in front of one address; it ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<Link>,
    delayed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a port of the system's choice.
    pub async fn start(target: SocketAddr, link: Link) -> io::Result<Self> {
        let listener = TcpListener::bind(free_port().map_err(io::Error::other)?).await?;
        let address = listener.local_addr()?;
        let (link, seen) = watch::channel(link);
        let delayed = Arc::new(AtomicU64::new(0));
        let counted = delayed.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, target, seen.clone(), counted.clone()));
            }
        });
        Ok(Self { address, link, delayed, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Pieces that were handed on late so far: the proof that there was a delay.
    pub fn delayed(&self) -> u64 {
        self.delayed.load(Ordering::Relaxed)
    }

    /// Changes what the link is like, also for connections that stand.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.link.send_replace(Link::CUT);
    }
}

async fn serve(
    near: TcpStream,
    target: SocketAddr,
    mut link: watch::Receiver<Link>,
    delayed: Arc<AtomicU64>,
) {
    if !link.borrow().open {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    // Without it, small messages wait for each other: a delay that nobody asked for.
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = pass(near_in, far_out, link.clone(), delayed.clone());
    let back = pass(far_in, near_out, link.clone(), delayed);
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = link.wait_for(|link| !link.open) => {}
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: watch::Receiver<Link>,
    delayed: Arc<AtomicU64>,
) {
    let (sent, mut arriving) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_MAX);
    let read = async move {
        let mut free_at = Instant::now();
        let mut number = 0_u32;
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let Ok(count @ 1..) = from.read(&mut piece).await else { return };
            piece.truncate(count);
            let Link { delay, jitter, bytes_per_second, .. } = *link.borrow();
            number = number.wrapping_add(1);
            // A saw of sixteen steps: as good as chance here, and the same each time.
            let delay = delay + jitter * (number.wrapping_mul(7) % 16) / 15;
            let takes = bytes_per_second
                .map_or(Duration::ZERO, |rate| Duration::from_secs(1) * count as u32 / rate.max(1) as u32);
            // The link is busy until then: what comes next waits for it, and the sender feels it.
            free_at = free_at.max(Instant::now()) + takes;
            sleep_until(free_at).await;
            if sent.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, piece)) = arriving.recv().await {
            if at > Instant::now() {
                delayed.fetch_add(1, Ordering::Relaxed);
                sleep_until(at).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    };
    // Either end may go first: what is on its way still arrives.
    tokio::join!(read, write);
}
