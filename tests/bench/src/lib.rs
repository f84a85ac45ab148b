//! Benchmarks of whole clusters, and what they are held against.
//!
//! ```text
//!   bin/report ──► scenarios ──► `belfry bench … -o json`, on clusters of real processes
//!             ├──► postgres      the design that people use today, on a server of its own
//!             └──► page          docs/performance.md, as a pure function of what was measured
//! ```
//!
//! - REPORT-1: a scenario with a missed or a doubled run has failed, whatever its speed.
//! - REPORT-2: what stands side by side was measured in the same round, one after the other.
//! - REPORT-3: what could not be measured here is said to be missing; no figure is carried over from another time.

pub mod machine;
pub mod page;
pub mod postgres;
pub mod scenarios;
