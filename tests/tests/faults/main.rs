//! Faults of every kind, on real processes: one test reads as one scenario.
//!
//! Nothing may be lost and nothing may be doubled in any of them. The judges are the file that the commands wrote, held
//! against the ledger (`belfry_tests::judge`), and the history of reads and writes (`belfry_tests::history`). Each test
//! shows that its fault really happened. What needs root says so when it does not run (`belfry_tests::needs`).

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod clock;
mod disk;
mod kill;
mod partition;
mod power;
mod rolling;
mod slow;
mod stall;
