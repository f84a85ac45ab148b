//! How nodes are dialled: over TCP, unless whoever makes the client or the executor brings something else, as the simulation
//! does.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::http::Uri;
use tonic::transport::{Channel, Endpoint, Error};

/// A connection that is not TCP.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// A connection that is being made.
pub type Dialling = Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>>;

/// Makes a connection to `host:port`.
pub type Dial = dyn Fn(String) -> Dialling + Send + Sync;

/// Dials nodes. By default over TCP.
#[derive(Clone, Default)]
pub struct Dialer(Option<Arc<Dial>>);

impl Dialer {
    /// Dials by `dial` instead.
    #[must_use]
    pub fn by(dial: Arc<Dial>) -> Self {
        Self(Some(dial))
    }

    /// A connection that stands.
    pub(crate) async fn connect(&self, endpoint: Endpoint) -> Result<Channel, Error> {
        let Some(dial) = self.0.clone() else { return endpoint.connect().await };
        let connector = tower::service_fn(move |uri: Uri| {
            let address = uri.authority().map_or_else(String::new, ToString::to_string);
            let dialled = dial(address);
            async move { dialled.await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Dialer::by(..)" } else { "Dialer::Tcp" })
    }
}
