//! The shipping code's connections, over turmoil's network.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use belfry_server::transport::{Connection, Dialer, Incoming};
use futures_util::{StreamExt as _, stream};
use turmoil::net::{TcpListener, TcpStream};

/// Port of the client API on every node.
pub const API_PORT: u16 = 7400;
/// Port of the node-to-node service.
pub const PEER_PORT: u16 = 7401;

/// Connections to a port of the host that asks.
pub async fn incoming(port: u16) -> io::Result<Incoming> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
    let accepted = stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| Box::new(stream) as Box<dyn Connection>);
        Some((accepted, listener))
    });
    Ok(Incoming::by(accepted.boxed()))
}

/// How nodes dial each other.
pub fn dialer() -> Dialer {
    Dialer::by(Arc::new(|address| {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Connection>) })
    }))
}

/// How the SDK dials nodes.
pub fn sdk_dialer() -> belfry_sdk::transport::Dialer {
    use belfry_sdk::transport::Connection;
    belfry_sdk::transport::Dialer::by(Arc::new(|address| {
        Box::pin(async move { Ok(Box::new(TcpStream::connect(address).await?) as Box<dyn Connection>) })
    }))
}
