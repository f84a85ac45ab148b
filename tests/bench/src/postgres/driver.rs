//! A storm on PostgreSQL: everything due at once is claimed, leased and completed by a few workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::Server;

/// How long a lease is: what ours is by default.
const LEASE_MS: i64 = 30_000;
/// The next run of a schedule that was claimed: computing it costs next to nothing on either side.
const NEXT_MS: i64 = 3_600_000;

const TABLES: &str = "
DROP TABLE IF EXISTS schedules, runs;
CREATE TABLE schedules (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    cron text NOT NULL,
    payload bytea NOT NULL,
    enabled boolean NOT NULL DEFAULT true,
    next_run_at bigint NOT NULL
);
CREATE TABLE runs (
    schedule_id bigint NOT NULL,
    nominal_at bigint NOT NULL,
    worker integer NOT NULL,
    lease_until bigint NOT NULL,
    begun_at bigint NOT NULL,
    ended_at bigint,
    PRIMARY KEY (schedule_id, nominal_at)
);";

const FILL: &str = "
INSERT INTO schedules (id, name, cron, payload, next_run_at)
SELECT n, 'storm-' || n, '0 * * * *', '', CASE WHEN n <= $2::bigint THEN $3::bigint ELSE $3::bigint + 86400000 + n END
FROM generate_series(1::bigint, $1::bigint) AS n";

const INDEX: &str = "
CREATE INDEX schedules_due ON schedules (next_run_at) WHERE enabled;
VACUUM ANALYZE schedules;
CHECKPOINT;";

const CLAIM: &str = "
SELECT id, next_run_at, cron, payload FROM schedules
WHERE enabled AND next_run_at <= $1::bigint
ORDER BY next_run_at LIMIT $2::bigint
FOR UPDATE SKIP LOCKED";

const MOVE_ON: &str = "
UPDATE schedules AS s SET next_run_at = c.nominal_at + $3::bigint
FROM unnest($1::bigint[], $2::bigint[]) AS c (id, nominal_at)
WHERE s.id = c.id";

const LEASE: &str = "
INSERT INTO runs (schedule_id, nominal_at, worker, lease_until, begun_at)
SELECT c.id, c.nominal_at, $3::integer, $4::bigint, $5::bigint FROM unnest($1::bigint[], $2::bigint[]) AS c (id, nominal_at)";

const COMPLETE: &str = "
UPDATE runs AS r SET ended_at = $3::bigint
FROM unnest($1::bigint[], $2::bigint[]) AS c (id, nominal_at)
WHERE r.schedule_id = c.id AND r.nominal_at = c.nominal_at";

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    /// Schedules due at once.
    pub due: u32,
    /// Further ones that are not.
    pub asleep: u32,
    /// Connections that claim and complete.
    pub workers: u32,
    /// Runs claimed in one transaction.
    pub batch: u32,
}

/// What was measured.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Measured {
    /// Runs that were claimed and completed.
    pub runs: u64,
    /// From the first claim to the last completion.
    pub taken: Duration,
    /// Of all processes of PostgreSQL, per run.
    pub cpu_us_per_run: f64,
}

impl Measured {
    /// Runs per second.
    pub fn per_second(&self) -> f64 {
        self.runs as f64 / self.taken.as_secs_f64()
    }
}

impl Storm {
    /// Fills the tables anew, lets the workers loose, and holds the rows that they wrote against what was due.
    pub async fn measure(self, server: &Server) -> anyhow::Result<Measured> {
        let client = server.connect().await?;
        let due_at = now_ms() - 1000;
        self.fill(&client, due_at).await?;
        let mut connections = Vec::new();
        for _ in 0..self.workers {
            connections.push(server.connect().await?);
        }
        let cpu_before = server.cpu_s()?;
        let completed = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let mut workers = JoinSet::new();
        for (number, connection) in (0..).zip(connections) {
            workers.spawn(work(connection, number, i64::from(self.batch), completed.clone()));
        }
        while let Some(ended) = workers.join_next().await {
            ended??;
        }
        let taken = start.elapsed();
        let cpu_us = (server.cpu_s()? - cpu_before) * 1e6;
        let runs = completed.load(Ordering::Relaxed);
        let rows = "SELECT count(*) FROM runs WHERE ended_at IS NOT NULL AND nominal_at = $1";
        let in_table: i64 = client.query_one(rows, &[&due_at]).await?.get(0);
        ensure!(
            runs == u64::from(self.due) && in_table == i64::from(self.due),
            "of {} due, {runs} were completed by the workers and {in_table} by the table",
            self.due
        );
        Ok(Measured { runs, taken, cpu_us_per_run: cpu_us / runs as f64 })
    }

    async fn fill(self, client: &Client, due_at: i64) -> anyhow::Result<()> {
        client.batch_execute(TABLES).await?;
        let (all, due) = (i64::from(self.due) + i64::from(self.asleep), i64::from(self.due));
        client.execute(FILL, &[&all, &due, &due_at]).await?;
        // One by one: VACUUM does not run inside a transaction, and several statements at once are one.
        for statement in INDEX.split(';').filter(|statement| !statement.trim().is_empty()) {
            client.batch_execute(statement).await?;
        }
        Ok(())
    }
}

/// Claims, leases and completes until nothing is due.
async fn work(mut client: Client, worker: i32, batch: i64, completed: Arc<AtomicU64>) -> anyhow::Result<()> {
    let claim = client.prepare(CLAIM).await?;
    let move_on = client.prepare(MOVE_ON).await?;
    let lease = client.prepare(LEASE).await?;
    let complete = client.prepare(COMPLETE).await?;
    loop {
        let now = now_ms();
        let transaction = client.transaction().await?;
        let rows = transaction.query(&claim, &[&now, &batch]).await?;
        if rows.is_empty() {
            return Ok(transaction.commit().await?);
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        let nominal: Vec<i64> = rows.iter().map(|row| row.get(1)).collect();
        transaction.execute(&move_on, &[&ids, &nominal, &NEXT_MS]).await?;
        transaction.execute(&lease, &[&ids, &nominal, &worker, &(now + LEASE_MS), &now]).await?;
        transaction.commit().await?;
        // Here the work would be done.
        let ended = client.execute(&complete, &[&ids, &nominal, &now_ms()]).await?;
        completed.fetch_add(ended, Ordering::Relaxed);
    }
}

fn now_ms() -> i64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    i64::try_from(since_epoch.unwrap_or_default().as_millis()).unwrap_or(i64::MAX)
}
