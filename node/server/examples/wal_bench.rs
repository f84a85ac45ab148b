//! How fast the log becomes durable on this disk: `cargo run --release -p belfry-server --example wal_bench -- FOLDER`.
//!
//! Keeps a number of entries in flight and prints entries per second, batches per second, and the time from
//! `append` to the acknowledgement.

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use belfry_server::store::{LogEntry, LogId, LogOwner, LogPort, WalLog, WalOptions};
use bytes::Bytes;
use ulid::Ulid;

const PAYLOAD_BYTES: usize = 200;
const MEASURED_FOR: Duration = Duration::from_secs(3);

fn main() -> Result<(), Box<dyn Error>> {
    let folder =
        PathBuf::from(std::env::args().nth(1).ok_or("usage: wal_bench FOLDER (it is filled and emptied)")?);
    for in_flight in [1, 16, 256, 4096] {
        let run = folder.join(format!("wal-bench-{in_flight}"));
        std::fs::create_dir_all(&run)?;
        measure(&run, in_flight)?;
        std::fs::remove_dir_all(&run)?;
    }
    Ok(())
}

fn measure(folder: &std::path::Path, in_flight: u64) -> Result<(), Box<dyn Error>> {
    let owner = LogOwner { cluster_id: None, node_id: 1, incarnation: Ulid::nil() };
    let log = WalLog::open(folder, owner, WalOptions::default())?;
    let payload = Bytes::from(vec![7; PAYLOAD_BYTES]);
    let (told, acknowledged) = mpsc::channel();
    let append = |index: u64| {
        let (told, began) = (told.clone(), Instant::now());
        let entry = LogEntry { id: LogId { term: 1, node: 1, index }, payload: payload.clone() };
        log.append(
            vec![entry],
            Box::new(move |outcome| {
                // The receiver is gone once the measurement has ended.
                let _ = told.send((outcome, began.elapsed()));
            }),
        );
    };
    let began = Instant::now();
    (0..in_flight).for_each(append);
    let mut waited = Vec::new();
    while began.elapsed() < MEASURED_FOR {
        let (outcome, after) = acknowledged.recv()?;
        outcome?;
        waited.push(after);
        append(in_flight + waited.len() as u64 - 1);
        if waited.len() % 100_000 == 0 {
            log.purge(LogId { term: 1, node: 1, index: waited.len() as u64 - 1 }, Box::new(|_| {}));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let counters = log.counters();
    waited.sort_unstable();
    println!(
        "{in_flight:>5} in flight: {:>8.0} entries/s {:>6.0} syncs/s  p50 {:>7.3} ms  p99 {:>7.3} ms",
        waited.len() as f64 / seconds,
        counters.batches as f64 / seconds,
        waited[waited.len() / 2].as_secs_f64() * 1e3,
        waited[waited.len() * 99 / 100].as_secs_f64() * 1e3,
    );
    Ok(())
}
