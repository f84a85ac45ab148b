//! Those who only hold on to their connections keep nobody out.

use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_gets_in_beside_more_idle_connections_than_are_allowed() {
    const MAX: usize = 16;
    let alone = Alone::start_by(Arc::new(SystemClock), |config| config.limits.connections_max = MAX).await;
    let mut idle = Vec::new();
    for _ in 0..3 * MAX {
        idle.push(tokio::net::TcpStream::connect(alone.api).await.unwrap());
    }
    alone.create("default", "one").await;
    // What was opened first has gone for it.
    let mut settings = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(30), idle[0].read_to_end(&mut settings)).await;
    closed.expect("it is closed").unwrap();
    alone.stop().await;
}
