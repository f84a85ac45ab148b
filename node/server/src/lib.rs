//! The daemon around the core.
//!
//! ```text
//!   node ──► { api, admin, leader, liveness } ──► raft ──► { store, core }
//! ```
//! `api` and `leader` see only [`raft::Replica`]: propose, read, watch leadership. `clock`, `codec`, `config`, `metrics`,
//! `random`, `selector`, `timings` and `transport` stand beside them.

pub mod admin;
pub mod api;
pub mod clock;
mod clock_guard;
pub mod codec;
pub mod config;
pub mod leader;
pub mod liveness;
pub mod metrics;
pub mod node;
pub mod offline;
pub mod process;
pub mod raft;
pub mod random;
pub mod selector;
pub mod store;
pub mod timings;
pub mod transport;
