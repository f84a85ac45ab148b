//! How connections are made and taken: TCP, unless whoever starts the node brings something else, as the simulation does.
//! Those of callers are limited in number ([`connections`]) and take turns ([`turns`]).

mod connections;
#[cfg(test)]
mod tests;
mod turns;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

use self::connections::Connections;
pub(crate) use self::connections::{Request, Use};
use self::turns::{Caller, Turns};

/// How long to wait when the system gives no connection: as a rule it has no file handle left, and asking again at once would
/// take a whole processor.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// A connection that is not TCP.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// Makes a connection to `host:port`.
pub type Dial = dyn Fn(String) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> + Send + Sync;

/// Dials other nodes. By default over TCP.
#[derive(Clone, Default)]
pub struct Dialer(Option<Arc<Dial>>);

impl Dialer {
    /// Dials by `dial` instead.
    pub fn by(dial: Arc<Dial>) -> Self {
        Self(Some(dial))
    }

    /// A channel that connects when it is first used.
    pub(crate) fn channel(&self, endpoint: &Endpoint) -> Channel {
        let Some(dial) = self.0.clone() else { return endpoint.connect_lazy() };
        endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: http::Uri| {
            let address = uri.authority().map_or_else(String::new, ToString::to_string);
            let dialled = dial(address);
            async move { dialled.await.map(TokioIo::new) }
        }))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Dialer::by(..)" } else { "Dialer::Tcp" })
    }
}

/// The connections that arrive at one address.
pub struct Incoming(BoxStream<'static, io::Result<Accepted>>);

impl Incoming {
    /// Those of a socket.
    pub fn tcp(listener: TcpListener) -> Self {
        let accepted = stream::unfold(listener, |listener| async {
            let stream = accept(&listener).await;
            Some((Ok(Accepted::Tcp(stream)), listener))
        });
        Self(accepted.boxed())
    }

    /// Those of clients and executors: `max` at most, fewer if the system allows fewer files, of which `turns` are read from at
    /// the same time.
    pub fn callers(listener: TcpListener, max: usize, turns: usize) -> Self {
        // Elsewhere than on Linux there is no such file, and `max` stands.
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let allowed = connections::within_open_files(max, &limits);
        if allowed < max {
            tracing::info!(
                connections = allowed,
                "fewer connections than limits.connections_max: half of the files that this process may open; raise that limit \
                 (LimitNOFILE, ulimit -n)"
            );
        }
        let max = allowed;
        let (turns, connections) = (Turns::new(turns), Connections::new(max));
        let accepted = stream::unfold((listener, connections), move |(listener, mut connections)| {
            let turns = turns.clone();
            async move {
                let stream = accept(&listener).await;
                let caller = Caller::new(stream, turns, connections.seat().await);
                Some((Ok(Accepted::Caller(caller)), (listener, connections)))
            }
        });
        Self(accepted.boxed())
    }

    /// Those that `connections` gives.
    pub fn by(connections: BoxStream<'static, io::Result<Box<dyn Connection>>>) -> Self {
        Self(connections.map(|connection| connection.map(Accepted::Other)).boxed())
    }

    pub(crate) fn into_stream(self) -> BoxStream<'static, io::Result<Accepted>> {
        self.0
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Small messages must not wait for each other; a socket that refuses works all the same.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "the system gives no connection; if there are too many open files, raise their limit");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// One of them.
pub(crate) enum Accepted {
    Tcp(TcpStream),
    Caller(Caller),
    Other(Box<dyn Connection>),
}

/// What requests find in their extensions.
#[derive(Clone)]
pub(crate) struct ConnectInfo(Option<Arc<Use>>);

impl ConnectInfo {
    /// Counts a request on its connection until what is returned is dropped; nothing where connections have no limits.
    pub(crate) fn begin(&self, is_executor: bool) -> Option<Request> {
        Some(self.0.as_ref()?.begin(is_executor))
    }

    /// What the connection is used for; nothing where connections have no limits.
    pub(crate) fn use_of(&self) -> Option<Arc<Use>> {
        self.0.clone()
    }
}

impl Connected for Accepted {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        match self {
            Accepted::Caller(caller) => ConnectInfo(Some(caller.seat().use_of().clone())),
            Accepted::Tcp(_) | Accepted::Other(_) => ConnectInfo(None),
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Accepted::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Accepted::Caller(caller) => caller.poll_read(cx, into),
            Accepted::Other(other) => Pin::new(other).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Accepted::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Accepted::Caller(caller) => caller.poll_written(cx, |stream, cx| stream.poll_write(cx, bytes)),
            Accepted::Other(other) => Pin::new(other).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Accepted::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Accepted::Caller(caller) => {
                caller.poll_written(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
            }
            Accepted::Other(other) => Pin::new(other).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Accepted::Tcp(stream) => stream.is_write_vectored(),
            Accepted::Caller(caller) => caller.is_write_vectored(),
            Accepted::Other(other) => other.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Accepted::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Accepted::Caller(caller) => caller.poll_written(cx, |stream, cx| stream.poll_flush(cx)),
            Accepted::Other(other) => Pin::new(other).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Accepted::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Accepted::Caller(caller) => caller.poll_written(cx, |stream, cx| stream.poll_shutdown(cx)),
            Accepted::Other(other) => Pin::new(other).poll_shutdown(cx),
        }
    }
}
