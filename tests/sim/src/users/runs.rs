//! Users and runs: they end some, say what became of others, and ask for instants of the past.

use belfry_sdk::{ClientError, pb};

use super::request::{Answer, Request};
use super::{User, is_undecided};
use crate::invariants::api_1;

/// How far back a backfill reaches.
const BACKFILL_MS: std::ops::Range<u64> = 1_000..20_000;

/// What somebody was told of a run, for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// It has not begun and never will again, or it was told to end.
    Cancelled,
    /// It did its work.
    Resolved,
}

impl User {
    /// A run of a schedule in one of these states, if there is one.
    async fn some_run(&mut self, schedule: &str, states: &[pb::run::State]) -> Option<String> {
        let request = pb::ListRunsRequest {
            parent: schedule.to_owned(),
            page_size: 5,
            states: states.iter().map(|state| i32::from(*state)).collect(),
            ..pb::ListRunsRequest::default()
        };
        let runs = self.clients[0].list_runs(request).await.ok()?.runs;
        (!runs.is_empty()).then(|| self.chance.pick(&runs).name.clone())
    }

    pub(super) async fn cancel(&mut self, schedule: &str) {
        let states = [pb::run::State::Due, pb::run::State::Running];
        let Some(run) = self.some_run(schedule, &states).await else { return };
        let (request, answered) = self.ask(Request::cancel(&run)).await;
        match answered {
            Ok(answer) => {
                if let Answer::Cancelled(run, true) = &answer {
                    self.told.push((run.clone(), Told::Cancelled));
                    // From now on none of its attempts may start.
                    let mut record = self.record.lock();
                    let now = record.now;
                    record.cancelled.insert(run.clone(), now);
                }
                self.remember(request, answer);
            }
            // It ended meanwhile, and its schedule is gone.
            Err(error) => api_1::refused(&self.record, &run, "cancel", &error),
        }
    }

    pub(super) async fn resolve(&mut self, schedule: &str) {
        let Some(run) = self.some_run(schedule, &[pb::run::State::Unknown]).await else { return };
        let (request, answered) = self.ask(Request::resolve(&run)).await;
        match answered {
            Ok(answer) => {
                self.told.push((run, Told::Resolved));
                self.remember(request, answer);
            }
            // Its executor came back and knew better.
            Err(error) => api_1::refused(&self.record, &run, "resolve", &error),
        }
    }

    pub(super) async fn backfill(&mut self, schedule: &str) {
        let reaches = i64::try_from(self.chance.within(BACKFILL_MS)).expect("small");
        // The clock of the leader may be behind: the range must be in its past, too.
        let until = self.record.lock().true_now.0 - 5_000;
        let mode = *self.chance.pick(&[pb::backfill::Mode::Missing, pb::backfill::Mode::Reprocess]);
        let (request, answered) = self.ask(Request::backfill(schedule, until - reaches, until, mode)).await;
        match answered {
            Ok(answer) => self.remember(request, answer),
            // So it does, where a clock is wrong by more.
            Err(ClientError::InvalidArgument(_)) => {}
            Err(error) => api_1::refused(&self.record, schedule, "backfill", &error),
        }
    }

    /// What was acknowledged of runs is still so.
    pub(super) async fn look_back_at_runs(&mut self) {
        for (name, told) in std::mem::take(&mut self.told) {
            let run = loop {
                match self.clients[0].get_run(pb::GetRunRequest { name: name.clone() }).await {
                    Ok(run) => break Some(run),
                    Err(ClientError::NotFound(_)) => break None,
                    Err(error) if is_undecided(&error) => {
                        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
                    }
                    Err(error) => {
                        self.record.violation("API-1", format!("{name} cannot be read: {error}"));
                        break None;
                    }
                }
            };
            let (state, by) = match (&run, told) {
                (Some(run), Told::Cancelled) => (run.state(), run.cancel.as_ref()),
                (Some(run), Told::Resolved) => (run.state(), run.resolution.as_ref()),
                (None, _) => (pb::run::State::Unspecified, None),
            };
            let expected = match told {
                Told::Cancelled => pb::run::State::Cancelled,
                Told::Resolved => pb::run::State::Succeeded,
            };
            let by_us = by.is_some_and(|verdict| verdict.reason == "simulated");
            // A newer instant had taken its place already (CANCEL_RUNNING): the first verdict stays.
            let before_us = told == Told::Cancelled
                && by.is_some_and(|verdict| verdict.reason.contains("CANCEL_RUNNING"));
            if state != expected || !(by_us || before_us) {
                self.record.violation("API-1", format!("{name} was {told:?} and is {state:?} by {by:?}"));
            }
        }
    }
}
