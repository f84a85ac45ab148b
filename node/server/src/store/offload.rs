//! Where calls run that wait for the disk, so that no async thread does.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;

/// A call that waits for the disk.
pub type DiskCall = Box<dyn FnOnce() + Send>;

/// Port: carries calls out that block.
pub trait OffloadPort: Send + Sync + 'static {
    /// Carries `call` out, and is ready when it has returned. An error says that it did not.
    fn run(&self, call: DiskCall) -> BoxFuture<'static, io::Result<()>>;
}

/// Tokio's threads for blocking calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct BlockingThreads;

impl OffloadPort for BlockingThreads {
    fn run(&self, call: DiskCall) -> BoxFuture<'static, io::Result<()>> {
        let running = tokio::task::spawn_blocking(call);
        Box::pin(async move { running.await.map_err(io::Error::other) })
    }
}

/// A handle on the port. Clones share.
#[derive(Clone)]
pub struct Offload(Arc<dyn OffloadPort>);

impl Offload {
    /// A handle on this port.
    pub fn new(port: impl OffloadPort) -> Self {
        Self(Arc::new(port))
    }

    /// Runs something that blocks on the disk.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let result = Arc::new(Mutex::new(None));
        let filled = result.clone();
        let call = move || {
            let result = act();
            *filled.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        };
        self.0.run(Box::new(call)).await?;
        let result = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        result.unwrap_or_else(|| Err(io::Error::other("a call to the disk was dropped")))
    }
}

impl Default for Offload {
    fn default() -> Self {
        Self::new(BlockingThreads)
    }
}

impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offload")
    }
}
