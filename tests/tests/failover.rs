//! The main job, for real: three nodes, two executors, fifty schedules a second; leaders and executors are killed, and
//! nothing is lost and nothing is doubled. The judge is the file that the commands wrote.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use belfry_sdk::{Client, pb};
use belfry_tests::cluster::Cluster;
use belfry_tests::journal::Journal;
use belfry_tests::ledger::{self, millis};
use prost_types::Duration as WireDuration;

const SCHEDULES: usize = 50;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

async fn create_schedules(client: &Client, journal: &Journal) {
    let lease = WireDuration { seconds: 3, nanos: 0 };
    for number in 0..SCHEDULES {
        let schedule = pb::Schedule {
            timing: Some(pb::Timing {
                include: vec![pb::Rule {
                    rule: Some(pb::rule::Rule::Cron(pb::Cron {
                        expression: "* * * * * *".into(),
                        ..Default::default()
                    })),
                }],
                time_zone: String::new(),
                ..Default::default()
            }),
            target: Some(pb::Target {
                target: Some(pb::target::Target::Command(pb::CommandTarget {
                    shell: journal.command(),
                    ..Default::default()
                })),
            }),
            policies: Some(pb::Policies { lease_duration: Some(lease), ..Default::default() }),
            ..Default::default()
        };
        let request = pb::CreateScheduleRequest {
            parent: "namespaces/default".into(),
            schedule_id: format!("s{number:02}"),
            schedule: Some(schedule),
            ..Default::default()
        };
        client.create_schedule(request).await.unwrap();
    }
}

async fn pause_schedules(client: &Client) {
    for number in 0..SCHEDULES {
        let request = pb::PauseScheduleRequest {
            name: format!("namespaces/default/schedules/s{number:02}"),
            reason: "the test is over".into(),
            ..Default::default()
        };
        client.pause_schedule(request).await.unwrap();
    }
}

/// Kills the leader, waits for the next one, starts the killed node again. Returns when the leader died and when the next
/// one was first seen, both on the wall clock.
async fn kill_leader(cluster: &mut Cluster) -> (i64, i64) {
    let leader = cluster.wait_for_leader().await.unwrap();
    let died = now_ms();
    cluster.kill_node(leader).await.unwrap();
    cluster.wait_for_leader().await.unwrap();
    let elected = now_ms();
    cluster.start_node(leader).unwrap();
    (died, elected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_and_executors_lose_and_double_nothing() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    cluster.start_executor("one", 64).unwrap();
    cluster.start_executor("two", 64).unwrap();
    let journal = Journal::new(cluster.folder());
    let client = cluster.client().unwrap();
    create_schedules(&client, &journal).await;

    let start = Instant::now();
    let at = async |seconds: u64| {
        tokio::time::sleep_until((start + Duration::from_secs(seconds)).into()).await;
    };
    let mut outages = Vec::new();
    at(7).await;
    outages.push(kill_leader(&mut cluster).await);
    at(13).await;
    cluster.kill_executor("one").await.unwrap();
    at(15).await;
    cluster.start_executor("three", 64).unwrap();
    at(19).await;
    outages.push(kill_leader(&mut cluster).await);
    at(26).await;
    // A graceful stop in the same run: hand-over instead of election.
    let leader = cluster.wait_for_leader().await.unwrap();
    let stopped = now_ms();
    cluster.stop_node(leader).await.unwrap();
    cluster.start_node(leader).unwrap();
    at(31).await;

    pause_schedules(&client).await;
    ledger::wait_until_ended(&client).await.unwrap();
    let digests = cluster.settled_digests().await.unwrap();

    let verdict = judge(&client, &journal).await;
    eprintln!("{verdict}");
    for (died, elected) in outages {
        let first = verdict.created.range(elected..).next();
        eprintln!(
            "leader killed: next one seen after {} ms, first fire {} ms after that; rows of that outage at most {} ms late",
            elected - died,
            first.map_or(0, |(created, _)| created - elected),
            verdict.latest_between(died, elected + 2000),
        );
    }
    eprintln!(
        "leader stopped: rows around it at most {} ms late",
        verdict.latest_between(stopped - 1000, stopped + 3000)
    );
    if !verdict.problems.is_empty() {
        eprintln!("{}", cluster.logs());
    }
    assert_eq!(verdict.problems, Vec::<String>::new());
    let distinct: BTreeSet<_> = digests.values().collect();
    assert_eq!(distinct.len(), 1, "APPLY-1: replicas differ: {digests:?}");
}

#[derive(Default)]
struct Verdict {
    rows: usize,
    begun: usize,
    by_state: BTreeMap<&'static str, usize>,
    late: usize,
    problems: Vec<String>,
    /// Creation of rows, with how late after their nominal time.
    created: BTreeMap<i64, i64>,
}

impl Verdict {
    fn latest_between(&self, from: i64, to: i64) -> i64 {
        self.created.range(from..to).map(|(_, late)| *late).max().unwrap_or(0)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rows, {} begun by the journal, {} begun more than a second late, by state {:?}",
            self.rows, self.begun, self.late, self.by_state
        )
    }
}

/// Holds the ledger against the journal.
async fn judge(client: &Client, journal: &Journal) -> Verdict {
    let begins = journal.begins().unwrap();
    let mut verdict = Verdict { begun: begins.len(), ..Verdict::default() };
    let mut known = BTreeSet::new();
    for ((schedule, nominal), count) in &begins {
        if *count != 1 {
            verdict.problems.push(format!("RUN-2: {schedule} at {nominal} began {count} times"));
        }
    }
    for number in 0..SCHEDULES {
        let schedule = format!("s{number:02}");
        let rows = ledger::rows(client, &schedule).await.unwrap();
        judge_schedule(&schedule, &rows, &begins, &mut known, &mut verdict);
    }
    for begin in begins.keys().filter(|begin| !known.contains(*begin)) {
        verdict.problems.push(format!("LEDGER-1: {begin:?} began and has no row"));
    }
    verdict
}

fn judge_schedule(
    schedule: &str,
    rows: &[pb::Run],
    begins: &BTreeMap<(String, String), u32>,
    known: &mut BTreeSet<(String, String)>,
    verdict: &mut Verdict,
) {
    use pb::run::State;
    let mut expected = None;
    for row in rows {
        verdict.rows += 1;
        *verdict.by_state.entry(row.state().as_str_name()).or_default() += 1;
        let nominal = millis(row.nominal_time.as_ref()).unwrap();
        let created = millis(row.create_time.as_ref()).unwrap();
        let late = verdict.created.entry(created).or_default();
        *late = (*late).max(created - nominal);
        let mut problem = |what: String| verdict.problems.push(format!("{schedule} at {nominal}: {what}"));

        // One row per nominal second, none missing, none twice.
        if expected.is_some_and(|expected| expected != nominal) {
            problem(format!("LEDGER-1: the row before it was at {:?}", expected.map(|at: i64| at - 1000)));
        }
        expected = Some(nominal + 1000);

        let time = row.nominal_time.as_ref().unwrap().to_string();
        let key = (schedule.to_owned(), time);
        let began = begins.contains_key(&key);
        known.insert(key);
        match row.state() {
            State::Succeeded => {
                if !began {
                    problem("RUN-4: SUCCEEDED, but the command wrote nothing".into());
                }
            }
            // It may have run, or not: that is what the row says. The reason says why nobody knows.
            State::Unknown => {}
            // Due when the test paused its schedule: it would begin after a resume.
            State::Due if row.reason() == pb::run::Reason::Paused && !began => {}
            State::Merged | State::Skipped | State::Cancelled | State::Expired => {
                if began {
                    problem(format!("RUN-4: {} but the command ran", row.state().as_str_name()));
                }
            }
            State::Unspecified | State::Due | State::Running | State::Failed | State::TimedOut => {
                problem(format!("{}: {}", row.state().as_str_name(), row.message));
            }
        }
        let begun_late = millis(row.begin_time.as_ref()).is_some_and(|begun| begun - nominal > 1000);
        verdict.late += usize::from(begun_late);
        let on_time = row.begin_time.is_some() && !begun_late;
        if row.reason() == pb::run::Reason::Unspecified && !on_time {
            verdict.problems.push(format!("{schedule} at {nominal}: not begun on time, and no reason given"));
        }
    }
    if rows.len() < 25 {
        verdict.problems.push(format!("{schedule} has only {} rows", rows.len()));
    }
}
