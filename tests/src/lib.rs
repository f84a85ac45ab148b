//! Whole systems under test: real processes on loopback, judged by what the commands they ran have written.
//!
//! - [`binary`] finds the `belfry` under test.
//! - [`cluster`] starts, kills and restarts nodes and executors, each ended by its own process id.
//! - [`journal`] is the judge: a file to which every run appends who it is. Not the database: what really ran.
//! - [`ledger`] reads the rows of a cluster through the SDK.

pub mod binary;
pub mod cluster;
pub mod journal;
pub mod ledger;
