//! The shipping code — core, raft glue, leader, API, the SDK's client and executor runtime — as a whole cluster in one process, from one
//! seed.
//!
//! ```text
//!   seed ─► chance ─► faults ──► turmoil: hosts, time, network ──► n1 n2 n3 (Node), e1 e2 (Executor), users (Client)
//!                        └─────► disks that lose what was not synced, clocks that are wrong
//!   every 250 ms, and at the end: invariants ◄── replicas, what executors wrote down ── record ──► trace and its hash
//! ```
//! - Same seed, same trace, in every process: time is turmoil's, chance is seeded (`chance`, and `random` in server and SDK), nothing runs
//!   on other threads (`disk`), and what is iterated is ordered. It needs `--cfg tokio_unstable` (`.cargo/config.toml`): only so does tokio
//!   seed its own choices.
//! - Not simulated: the files of the log and sled (their in-memory twins stand for them), the admin port, webhooks, processes.
//!
//! How to run it, replay a seed and read a trace: `README.md` beside this crate.

pub mod chance;
pub mod clock;
pub mod disk;
pub mod executor;
pub mod faults;
pub mod invariants;
pub mod net;
pub mod node;
pub mod record;
pub mod run;
pub mod seeds;
pub mod users;

#[cfg(not(tokio_unstable))]
compile_error!(
    "tokio seeds its choices only with --cfg tokio_unstable: see .cargo/config.toml, or unset RUSTFLAGS"
);
