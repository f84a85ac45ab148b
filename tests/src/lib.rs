//! Whole systems under test: real processes, real faults, judged by what the commands they ran have written.
//!
//! - [`binary`] finds the `belfry` under test, [`needs`] what a test needs of the machine.
//! - [`cluster`] starts, stalls, kills and restarts nodes and executors, each ended by its own process id.
//! - [`netns`] is a network of namespaces that can be cut and made to lose packets, [`proxy`] one that delays.
//! - [`disk`] is a disk that gets full, and files that are damaged.
//! - [`rolling`] is a rolling deploy under load, with an [`executor`] of its own.
//! - [`journal`] is the judge: a file to which every run appends who it is. Not the database: what really ran.
//! - [`ledger`] reads the rows of a cluster through the SDK, [`judge`] holds them against the journal.
//! - [`usage`] is what processes take of the machine.
//! - [`scenario`] is what most tests begin and end with: schedules of every second, and the verdict.
//! - [`by_hand`] makes schedules that run once, when they are told to.
//! - [`writes`] makes writes and reads through the SDK, [`history`] checks what was answered.

pub mod binary;
pub mod by_hand;
pub mod cluster;
pub mod creation;
pub mod disk;
pub mod executor;
pub mod history;
pub mod journal;
pub mod judge;
pub mod ledger;
pub mod needs;
pub mod netns;
pub mod proxy;
pub mod rolling;
pub mod scenario;
pub mod usage;
pub mod writes;
