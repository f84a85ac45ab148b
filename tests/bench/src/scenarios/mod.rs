//! The scenarios: most are `belfry bench …` against a cluster of real processes; those that need the processes themselves
//! (a node that is killed, a cluster that starts cold) do with them what they need.

mod bench;
mod cold_start;
mod instant;
mod kill;
mod tenants;

pub use bench::{Bench, Figures, Interval};
pub use cold_start::cold_start;
pub use kill::kill_the_leader;
pub use tenants::{Tenants, storm_beside_others};

/// How much of everything.
#[derive(Clone, Debug)]
pub struct Sizes {
    /// Schedules that are due at once.
    pub storms: Vec<u64>,
    /// The storm of one tenant beside which the others' lag is looked at.
    pub tenants: u64,
    /// The storm that stands beside PostgreSQL.
    pub beside: u64,
    /// Of it, what PostgreSQL does one by one.
    pub one_by_one: u64,
    /// How often these two are measured in turn.
    pub rounds: u32,
    /// Runs per second, and for so many seconds.
    pub steady: (u64, u64),
    /// Calls of each kind.
    pub crud: u64,
    /// Schedules that are made in batches.
    pub bulk: u64,
    /// Schedules that are due when leadership moves, and how often each case is repeated.
    pub failover: (u64, u32),
    /// Schedules that sleep: what they cost, and a start with them.
    pub asleep: u64,
    /// Schedules that are deleted, and moved: few and many.
    pub change: [u64; 2],
    /// Schedules that sleep beside a storm, from few to many.
    pub growth: Vec<u64>,
    /// That storm.
    pub growth_storm: u64,
    /// Rows that a day leaves in the ledger, of which some days lie beside that storm. More than the storm itself leaves.
    pub history_day: u64,
}

impl Sizes {
    /// Those that figures are asked for.
    pub fn full() -> Self {
        Self {
            storms: vec![1_000, 10_000, 100_000, 1_000_000],
            tenants: 1_000_000,
            beside: 100_000,
            one_by_one: 10_000,
            rounds: 5,
            steady: (10_000, 300),
            crud: 10_000,
            bulk: 100_000,
            failover: (10_000, 5),
            asleep: 1_000_000,
            change: [10_000, 1_000_000],
            growth: vec![10_000, 100_000, 1_000_000],
            growth_storm: 10_000,
            // Thirty of them are nine tenths of what the ledger keeps.
            history_day: 30_000,
        }
    }

    /// Some minutes: whether all of it works, and orders of magnitude.
    pub fn quick() -> Self {
        Self {
            storms: vec![1_000, 10_000],
            tenants: 10_000,
            beside: 10_000,
            one_by_one: 2_000,
            rounds: 2,
            steady: (500, 10),
            crud: 1_000,
            bulk: 20_000,
            // Fewer are over before the leader is killed.
            failover: (10_000, 1),
            asleep: 5_000,
            change: [1_000, 5_000],
            growth: vec![0, 1_000, 5_000],
            growth_storm: 1_000,
            history_day: 2_000,
        }
    }
}
