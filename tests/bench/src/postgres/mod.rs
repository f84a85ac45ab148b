//! The baseline: what many teams build on the database they have.
//!
//! One table of schedules with the time of the next run, and an index on it. Workers claim what is due with
//! `FOR UPDATE SKIP LOCKED`, move the schedule on, write a row for the run with its lease, and commit; then the work would
//! be done; then they write that it is complete. In batches of a thousand, which few do, and one by one, which most do.
//!
//! It is one server that replicates nothing and dispatches nothing over a network: what it has to do is less than what a
//! cluster of Belfry does.

mod driver;
mod server;

pub use driver::{Measured, Storm};
pub use server::Server;
