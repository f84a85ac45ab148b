//! Who is read from, and who is let in, over real sockets.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use futures_util::FutureExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use super::*;

type Arriving = BoxStream<'static, io::Result<Accepted>>;

async fn listen(max: usize, turns: usize) -> (SocketAddr, Arriving) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, Incoming::callers(listener, max, turns).into_stream())
}

/// Both ends of a connection: the peer's, and the one that takes turns.
async fn connect(address: SocketAddr, arriving: &mut Arriving) -> (TcpStream, Accepted) {
    let peer = TcpStream::connect(address).await.unwrap();
    (peer, arriving.next().await.unwrap().unwrap())
}

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

async fn reads(connection: &mut Accepted, expected: u8) {
    let mut byte = [0];
    let read = connection.read_exact(&mut byte);
    tokio::time::timeout(PATIENCE, read).await.expect("it gets its turn").unwrap();
    assert_eq!(byte, [expected]);
}

/// Waits until `connection` has bytes to read, and finds that they are not its turn.
async fn waits_for_a_turn(connection: &mut Accepted) {
    let Accepted::Caller(caller) = connection else { panic!("it takes turns") };
    poll_fn(|cx| caller.poll_readable(cx)).await.unwrap();
    let mut byte = [0];
    assert!(connection.read(&mut byte).now_or_never().is_none(), "it reads out of turn");
}

/// Writes until the peer takes no more.
async fn stall(connection: &mut Accepted) {
    let mut is_stalled = false;
    while !is_stalled {
        let write = poll_fn(|cx| {
            let written = Pin::new(&mut *connection).poll_write(cx, &[0; 64 * 1024]);
            Poll::Ready(written.is_pending())
        });
        is_stalled = write.await;
    }
}

#[tokio::test]
async fn turn_2_who_is_not_listened_to_gives_way() {
    let (address, mut arriving) = listen(16, 1).await;
    let (mut one, mut deaf) = connect(address, &mut arriving).await;
    let (mut two, mut next) = connect(address, &mut arriving).await;
    one.write_all(b"1").await.unwrap();
    two.write_all(b"2").await.unwrap();
    reads(&mut deaf, b'1').await;
    waits_for_a_turn(&mut next).await;
    stall(&mut deaf).await;
    reads(&mut next, b'2').await;
    // Nor does it keep a turn that it was waiting for.
    one.write_all(b"1").await.unwrap();
    waits_for_a_turn(&mut deaf).await;
    stall(&mut deaf).await;
    let mut byte = [0];
    assert!(next.read(&mut byte).now_or_never().is_none(), "there is nothing to read: its turn ends");
    two.write_all(b"3").await.unwrap();
    reads(&mut next, b'3').await;
}

#[tokio::test]
async fn turn_1_executors_need_no_turn_and_keep_none() {
    let (address, mut arriving) = listen(16, 1).await;
    let (mut one, mut first) = connect(address, &mut arriving).await;
    let (mut two, mut executor) = connect(address, &mut arriving).await;
    let (mut three, mut last) = connect(address, &mut arriving).await;
    for (peer, byte) in [(&mut one, b"1"), (&mut two, b"2"), (&mut three, b"3")] {
        peer.write_all(byte).await.unwrap();
    }
    reads(&mut first, b'1').await;
    waits_for_a_turn(&mut executor).await;
    waits_for_a_turn(&mut last).await;
    // It waits for a turn when its first request shows what it is.
    let session = executor.connect_info().begin(true);
    reads(&mut executor, b'2').await;
    drop(first);
    reads(&mut last, b'3').await;
    drop(session);
}

#[tokio::test]
async fn conn_2_who_comes_takes_the_place_of_who_has_been_idle_for_longest() {
    let (address, mut arriving) = listen(2, 4).await;
    let (_one, busy) = connect(address, &mut arriving).await;
    let call = busy.connect_info().begin(false);
    let (mut two, mut idle) = connect(address, &mut arriving).await;
    let three = TcpStream::connect(address).await.unwrap();
    // Whoever serves it finds that it has ended.
    let served = async {
        let mut byte = [0];
        assert_eq!(idle.read(&mut byte).await.unwrap(), 0);
        drop(idle);
    };
    let ((), third) = tokio::join!(served, arriving.next());
    let third = third.unwrap().unwrap();
    let mut byte = [0];
    assert_eq!(two.read(&mut byte).await.unwrap(), 0, "its peer is told");

    // CONN-3: while all are busy, who comes waits.
    let watch = third.connect_info().begin(false);
    let _four = TcpStream::connect(address).await.unwrap();
    let ends = async {
        tokio::task::yield_now().await;
        drop((watch, call));
        let (mut third, mut busy, mut byte, mut other) = (third, busy, [0], [0]);
        // One of the two goes, now that both are idle.
        tokio::select! {
            read = third.read(&mut byte) => assert_eq!(read.unwrap(), 0),
            read = busy.read(&mut other) => assert_eq!(read.unwrap(), 0),
        }
    };
    let ((), fourth) = tokio::join!(ends, arriving.next());
    fourth.unwrap().unwrap();
    drop(three);
}

#[test]
fn conn_1_half_of_the_files_are_not_for_connections() {
    let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                  Max processes             unlimited            unlimited            processes \n\
                  Max open files            1024                 524288               files     \n";
    assert_eq!(connections::within_open_files(16_384, limits), 512);
    assert_eq!(connections::within_open_files(100, limits), 100);
    let unlimited = limits.replace("1024  ", "unlimited");
    assert_eq!(connections::within_open_files(16_384, &unlimited), 16_384);
    assert_eq!(connections::within_open_files(16_384, ""), 16_384);
}
