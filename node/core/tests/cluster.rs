//! The ledger under what happens to a cluster: outages, clocks that jump, leaders whose view is old, executors that hand back,
//! fail or vanish, and people who edit, pause and delete meanwhile. Proposals are made as the leader makes them, from the state
//! as it is, or as a former leader saw it; a model that knows only timings and leases says what must hold:
//!
//! - LEDGER-1, RUN-1: every instant of the timing in force gets its row, in order, and none a second one, whatever was pruned.
//! - RUN-2: a run has one lease at a time, and another only after a hand-back, or where its policies ask for one.
//! - CATCH-1: a backlog stays within its limit, and one of its runs recovers at a time.
//! - APPLY-1: a replica that is restarted from records in between answers the same.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{
    Action, Applied, Begin, BeginGroup, BeginResult, Command, Completion, CompletionResult, Fire, FireGroup,
    Freeze, LeaseLoss, Outcome, Rejection, ResumeMissed, Retime, Retryable, TriggerOverlap,
};
use belfry_core::definition::{
    Definition, MisfirePolicy, OverlapPolicy, Policies, Retry, Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_core::retention::{Cursor, Retention, select};
use belfry_core::run::{AttemptResult, Reason, Report, Resolution, Run, RunState, Series, Trigger};
use belfry_core::state::LastInstants;
use belfry_core::{
    FencingToken, LogPosition, Revision, RunId, Schedule, ScheduleId, ScheduleKey, State, UnixMillis,
};
use proptest::prelude::*;

const SECOND: i64 = 1000;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Time goes by; a negative time is another leader whose clock is behind.
    Pass(i64),
    /// The leader sees the state as it is now, and no newer one, when it is asked for what is [`View::Old`].
    Look,
    /// The ticker proposes at most so many schedules, with chains of at most so many instants.
    Tick(View, usize, usize),
    /// A proposal that was made once is made again.
    FireAgain,
    Create(u8, Arc<Definition>),
    Update(View, u8, Arc<Definition>),
    Delete(u8),
    /// Until so many seconds from now.
    Pause(u8, Option<i64>),
    Resume(u8, usize),
    EndPauses(View),
    Trigger(u8, usize),
    /// An executor asks to begin some of those that were offered to it.
    Begin(View, &'static str, usize, usize),
    /// One of the leases ends, or one that was lost is heard of again.
    Complete(usize, AttemptResult, View),
    Lose(View, usize),
    ExpireStarts(View),
    AdvanceBackfills,
    Cancel(usize),
    Resolve(usize, usize),
    Retain(View),
    Restart,
}

/// From which state something is proposed.
#[derive(Clone, Copy, PartialEq, Debug)]
enum View {
    Present,
    /// A former leader's, that does not know yet that it leads no more.
    Old,
}

/// How the last lease of a run ended.
#[derive(Clone, Copy, PartialEq, Debug)]
enum LeaseEnd {
    HandedBack,
    Failed,
    Lost,
    /// No other may follow.
    Final,
}

#[derive(Default)]
struct World {
    state: State,
    replica: State,
    old: State,
    now: i64,
    index: u64,
    fired: Option<Action>,
    cursor: Cursor,
    /// The next instant of each schedule that has no row.
    expected: BTreeMap<ScheduleId, i64>,
    newest: RunId,
    held: BTreeMap<RunId, FencingToken>,
    tokens: BTreeMap<RunId, FencingToken>,
    ends: BTreeMap<RunId, LeaseEnd>,
    last_token: FencingToken,
}

fn key(name: u8) -> ScheduleKey {
    ScheduleKey::new("default", format!("s{name}"))
}

/// What a proposer computes: the first instant of a timing after another. The rule of every definition here is one interval.
fn next(definition: &Definition, after: i64) -> i64 {
    match definition.timing.include.as_slice() {
        [Rule::Interval { every, .. }] => {
            let every = i64::try_from(every.as_millis()).unwrap();
            (after.div_euclid(every) + 1) * every
        }
        other => panic!("{other:?} is not what these tests generate"),
    }
}

fn policies_of<'a>(state: &'a State, run: &Run) -> &'a Policies {
    &state.schedule(run.schedule).unwrap().definition_of(run.generation).policies
}

/// Whether a run makes up for missed instants one at a time, by the policy that it was made under.
fn is_backlog(state: &State, run: &Run) -> bool {
    run.trigger == Trigger::CatchUp
        && matches!(policies_of(state, run).misfire, MisfirePolicy::FireAll { .. })
}

impl World {
    fn new() -> Self {
        let mut world = Self::default();
        world.apply(Action::RaiseFeatureLevel(2));
        world
    }

    fn view(&self, view: View) -> &State {
        match view {
            View::Present => &self.state,
            View::Old => &self.old,
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Pass(millis) => self.now = (self.now + millis).max(0),
            Step::Look => self.old = self.state.clone(),
            Step::Tick(view, schedules, chain) => {
                let fire = self.tick(view, schedules, chain);
                self.apply(fire.clone());
                self.fired = Some(fire);
            }
            Step::FireAgain => {
                if let Some(fire) = self.fired.clone() {
                    self.apply(fire);
                }
            }
            Step::Create(name, definition) => self.create(name, definition),
            Step::Update(view, name, definition) => self.update(view, name, definition),
            Step::Delete(name) => drop(self.apply(Action::DeleteSchedule { key: key(name), expected: None })),
            Step::Pause(name, until) => {
                let until = until.map(|seconds| UnixMillis(self.now + seconds * SECOND));
                let (reason, actor) = ("why".into(), "ops".into());
                self.apply(Action::PauseSchedule { key: key(name), expected: None, reason, actor, until });
            }
            Step::Resume(name, missed) => {
                let missed = [
                    ResumeMissed::Skip,
                    ResumeMissed::Coalesce,
                    ResumeMissed::FireAll { from_at: UnixMillis(self.now - 20 * SECOND), expected: 9 },
                ][missed];
                self.apply(Action::ResumeSchedule {
                    key: key(name),
                    expected: None,
                    missed,
                    actor: "ops".into(),
                });
            }
            Step::EndPauses(view) => {
                let ends: Vec<_> = self.view(view).pause_ends().map(|(_, id)| id).collect();
                self.apply(Action::EndPauses(ends));
            }
            Step::Trigger(name, overlap) => {
                let overlap = [TriggerOverlap::Wait, TriggerOverlap::Allow, TriggerOverlap::Refuse][overlap];
                self.apply(Action::TriggerSchedule { key: key(name), actor: "ops".into(), overlap });
            }
            Step::Begin(view, executor, from, count) => self.begin(view, executor, from, count),
            Step::Complete(which, result, view) => self.complete(which, result, view),
            Step::Lose(view, which) => self.lose(view, which),
            Step::ExpireStarts(view) => {
                let due: Vec<_> = self.view(view).start_deadlines().map(|(_, id)| id).collect();
                self.apply(Action::ExpireStarts(due));
            }
            Step::AdvanceBackfills => self.advance_backfills(),
            Step::Cancel(which) => {
                if let Some(run) = self.some_run(which) {
                    self.apply(Action::CancelRun { run, actor: "ops".into(), reason: "why".into() });
                }
            }
            Step::Resolve(which, resolution) => {
                let resolution =
                    [Resolution::Succeeded, Resolution::Failed, Resolution::DidNotRun][resolution];
                if let Some(run) = self.some_run(which) {
                    let (actor, reason) = ("ops".into(), "seen".into());
                    self.apply(Action::ResolveRun { run, resolution, actor, reason });
                }
            }
            Step::Retain(view) => self.retain(view),
            Step::Restart => {
                let blocks = self.replica.blocks();
                let records: Vec<_> =
                    blocks.into_iter().flat_map(|block| self.replica.block(block)).collect();
                self.replica = State::restore(records).unwrap();
                assert_eq!(self.replica.ready(), self.state.ready());
            }
        }
    }

    fn apply(&mut self, action: Action) -> Applied {
        let applied = self.commit(action);
        self.check();
        applied
    }

    /// The caller lets the model follow and checks.
    fn commit(&mut self, action: Action) -> Applied {
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let command = Command { now: UnixMillis(self.now), request: None, action };
        let applied = self.state.apply(at, command.clone());
        assert_eq!(self.replica.apply(at, command.clone()), applied, "APPLY-1: after {command:?}");
        if self.index.is_multiple_of(8) {
            assert_eq!(self.replica.digest(), self.state.digest(), "APPLY-1: after {command:?}");
        }
        applied
    }

    fn check(&mut self) {
        assert_eq!(self.state.violations(), []);
        let new: Vec<_> = self.state.runs_from(self.newest.next()).cloned().collect();
        for run in new {
            self.newest = run.id;
            if run.series() == Series::Timing {
                let expected = self.expected.get_mut(&run.schedule).unwrap();
                assert_eq!(run.nominal_at.0, *expected, "LEDGER-1: of schedule {}", run.schedule);
                *expected = next(&self.state.schedule(run.schedule).unwrap().definition, *expected);
            }
        }
        for id in self.state.schedule_ids_from(ScheduleId(0)) {
            let schedule = self.state.schedule(id).unwrap();
            if schedule.remains().deleted_at.is_none() {
                let expected = UnixMillis(self.expected[&id]);
                assert_eq!(schedule.next_fire_at, Some(expected), "LEDGER-1: of schedule {id}");
                assert!(schedule.watermark < expected, "LEDGER-1: schedule {id} has lost {expected:?}");
            }
            self.check_backlog(id);
        }
        let leases: usize = self.state.leases().executors().map(|(_, count)| count).sum();
        assert_eq!(leases, self.held.len(), "RUN-2: the leases are not those that were given");
    }

    fn check_backlog(&self, schedule: ScheduleId) {
        let (mut backlog, mut recovering, mut limit) = (0, 0, 0);
        for run in self.state.rows(schedule).filter(|run| run.state.ended_at().is_none()) {
            if run.attempt.0 > 0 {
                let recovers = matches!(run.trigger, Trigger::Backfill(_)) || is_backlog(&self.state, run);
                recovering += u32::from(recovers);
            } else if is_backlog(&self.state, run) && run.state.reason() != Some(Reason::NoExecutor) {
                // One that was handed back is not turned away for those that came meanwhile.
                backlog += 1;
                if let MisfirePolicy::FireAll { count_max, .. } = policies_of(&self.state, run).misfire {
                    limit = limit.max(count_max);
                }
            }
        }
        assert!(backlog <= limit, "CATCH-1: schedule {schedule} has a backlog of {backlog}, of {limit}");
        assert!(recovering <= 1, "CATCH-1: schedule {schedule} recovers {recovering} at once");
    }

    /// What the ticker proposes: chains of schedules that are behind, each continuing where the one before ends.
    fn tick(&self, view: View, schedules: usize, chain: usize) -> Action {
        let state = self.view(view);
        let mut groups = BTreeMap::<UnixMillis, Vec<Fire>>::new();
        for (mut nominal_at, id) in state.due().until(UnixMillis(self.now)).take(schedules) {
            let schedule = state.schedule(id).unwrap();
            for _ in 0..chain {
                let next = UnixMillis(next(&schedule.definition, nominal_at.0));
                let second = nominal_at.0 / SECOND;
                groups.entry(nominal_at).or_default().push(Fire {
                    spread_for: Duration::from_millis(if second % 4 == 1 { 700 } else { 0 }),
                    freeze: if second % 7 == 3 { Freeze::Frozen } else { Freeze::Open },
                    ..Fire::new(id, schedule.generation, Some(next))
                });
                if next.0 > self.now {
                    break;
                }
                nominal_at = next;
            }
        }
        let group = |(nominal_at, fires)| FireGroup { nominal_at, fires };
        Action::Fire(groups.into_iter().map(group).collect())
    }

    fn create(&mut self, name: u8, definition: Arc<Definition>) {
        let first = next(&definition, self.now);
        let applied = self.apply_expecting(first, |next_fire_at| Action::CreateSchedule {
            key: key(name),
            uid: format!("uid-{name}").into(),
            definition,
            next_fire_at,
            calendars: Revision::default(),
            pause: None,
        });
        assert!(matches!(applied, Ok(_) | Err(Rejection::ScheduleExists { .. })), "{applied:?}");
    }

    fn update(&mut self, view: View, name: u8, definition: Arc<Definition>) {
        let schedule = self.view(view).schedule_named(&key(name));
        let Some(schedule) = schedule else { return };
        let (former, watermark) = (schedule.definition.clone(), schedule.watermark);
        // By this proposer's view; if another one retimed it meanwhile, or deleted it and made it anew, its revision is another.
        let expected = Some(schedule.revision);
        if former.timing == definition.timing {
            let (retime, calendars) = (Retime::Keep, Revision::default());
            self.apply(Action::UpdateSchedule { key: key(name), expected, definition, retime, calendars });
            return;
        }
        let first = next(&definition, watermark.0.max(self.now));
        let _ = self.apply_expecting(first, |next| Action::UpdateSchedule {
            key: key(name),
            expected,
            definition,
            retime: Retime::From(next),
            calendars: Revision::default(),
        });
    }

    /// Applies what sets the next instant of a schedule; the model follows if it was accepted and changed something.
    fn apply_expecting(
        &mut self,
        first: i64,
        action: impl FnOnce(Option<UnixMillis>) -> Action,
    ) -> Result<Outcome, Rejection> {
        let applied = self.commit(action(Some(UnixMillis(first))));
        if let Ok(Outcome::Schedule(schedule)) = &applied.outcome
            && schedule.revision == Revision(self.index)
        {
            // LEDGER-2: no instant of the former timing is left behind, and none comes again.
            let former = self.expected.insert(schedule.id, first);
            assert!(former.is_none_or(|former| former > self.now), "LEDGER-2: {former:?} is lost");
            let expected = next(&schedule.definition, schedule.watermark.0);
            assert_eq!(first, expected, "LEDGER-2: an edit computed from an old watermark");
        }
        self.check();
        applied.outcome
    }

    fn begin(&mut self, view: View, executor: &str, from: usize, count: usize) {
        let state = self.view(view);
        let ready: Vec<_> = state.ready().iter().map(|id| state.run(id).unwrap()).collect();
        let offered = ready.iter().cycle().skip(from).take(count.min(ready.len()));
        let begins: Vec<_> = offered.map(|run| Begin { run: run.id, attempt: run.attempt.next() }).collect();
        let asked = begins.clone();
        let group = BeginGroup { executor: executor.into(), begins };
        // The policies as they were before: a run that was tried often enough must not begin.
        let before: BTreeMap<_, _> = asked
            .iter()
            .filter_map(|begin| {
                let run = self.state.run(begin.run)?;
                Some((begin.run, (run.attempt.0, policies_of(&self.state, run).clone())))
            })
            .collect();
        let applied = self.commit(Action::Begin(vec![group]));
        let Ok(Outcome::Begun(results)) = applied.outcome else { panic!("{applied:?}") };
        for (begin, result) in asked.into_iter().zip(results) {
            match result {
                BeginResult::Refused => {}
                BeginResult::Begun { token, again: true, .. } => {
                    assert_eq!(self.held.get(&begin.run), Some(&token), "RUN-2: told of another lease");
                }
                BeginResult::Begun { token, again: false, .. } => {
                    assert!(token > self.last_token, "RUN-3");
                    self.last_token = token;
                    let (attempts, policies) = &before[&begin.run];
                    let may = match self.ends.get(&begin.run) {
                        None => *attempts == 0,
                        Some(LeaseEnd::HandedBack) => true,
                        Some(LeaseEnd::Failed) => *attempts < policies.retry.max_attempts,
                        Some(LeaseEnd::Lost) => {
                            policies.unknown_outcome == UnknownOutcomePolicy::Retry
                                && *attempts < policies.retry.max_attempts
                        }
                        Some(LeaseEnd::Final) => false,
                    };
                    let end = self.ends.get(&begin.run);
                    assert!(may, "RUN-2: run {} begins after {attempts} attempts and {end:?}", begin.run);
                    let former = self.held.insert(begin.run, token);
                    assert_eq!(former, None, "RUN-2: run {} has two leases", begin.run);
                    self.tokens.insert(begin.run, token);
                }
            }
        }
        self.check();
    }

    fn complete(&mut self, which: usize, result: AttemptResult, view: View) {
        // An old view: somebody reports what was lost, or ended, long ago.
        let known = match view {
            View::Present => &self.held,
            View::Old => &self.tokens,
        };
        let Some((run, token)) = nth(known, which) else { return };
        let token = match view {
            View::Present => token,
            View::Old => FencingToken(token.0 - u64::from(which % 2 == 1 && token.0 > 1)),
        };
        let report = Report { exit_code: Some(1), ..Report::default() };
        let completion = Completion { run, token, result, retryable: Retryable::Perhaps, report };
        let before = self.held.get(&run).copied();
        let applied = self.commit(Action::Complete(vec![completion]));
        let Ok(Outcome::Completed(results)) = applied.outcome else { panic!("{applied:?}") };
        if let CompletionResult::Accepted { ended } = results[0] {
            assert_eq!(self.tokens.get(&run), Some(&token), "RUN-2: an older token was believed");
            self.held.remove(&run);
            let end = match (ended, result) {
                (Some(_), _) => LeaseEnd::Final,
                (None, AttemptResult::NotStarted) => LeaseEnd::HandedBack,
                (None, _) => LeaseEnd::Failed,
            };
            // Lost, its attempt may have failed after all; that nothing ran comes too late.
            assert!(before == Some(token) || end != LeaseEnd::HandedBack, "RUN-2: a lost lease came back");
            self.ends.insert(run, end);
        }
        self.check();
    }

    fn lose(&mut self, view: View, which: usize) {
        let known = match view {
            View::Present => &self.held,
            View::Old => &self.tokens,
        };
        let Some((run, token)) = nth(known, which) else { return };
        let loss = LeaseLoss { run, token, reason: Reason::LeaseLost };
        let applied = self.commit(Action::ExpireLeases(vec![loss]));
        if self.held.get(&run) == Some(&token) {
            let ending = self.state.run_state(run).and_then(RunState::ending);
            assert_eq!(applied.outcome, Ok(Outcome::Lost(vec![ending])));
            self.held.remove(&run);
            let ended = matches!(self.state.run_state(run), Some(RunState::Ended { .. }));
            self.ends.insert(run, if ended { LeaseEnd::Final } else { LeaseEnd::Lost });
        } else {
            assert_eq!(
                applied.outcome,
                Ok(Outcome::Lost(vec![])),
                "RUN-2: a lease was lost by an older token"
            );
        }
        self.check();
    }

    fn advance_backfills(&mut self) {
        let wanted: Vec<_> = self.state.advancing().cloned().collect();
        for backfill in wanted {
            let definition = self.state.schedule(backfill.schedule).unwrap().definition.clone();
            let mut instants = vec![backfill.cursor];
            while instants.len() < 4 {
                instants.push(UnixMillis(next(&definition, instants.last().unwrap().0)));
            }
            let over = instants.last().is_some_and(|last| *last >= backfill.until_at);
            let last = if over { LastInstants::Yes } else { LastInstants::No };
            let instants = instants.split_off(1);
            self.apply(Action::AdvanceBackfill { backfill: backfill.id, instants, last });
        }
    }

    fn some_run(&self, which: usize) -> Option<RunId> {
        let count = self.state.run_count();
        self.state.runs_from(RunId(0)).nth(which.checked_rem(count)?).map(|run| run.id)
    }

    fn retain(&mut self, view: View) {
        let keep = Retention {
            rows_for: Duration::from_secs(90),
            rows_per_schedule_max: 15,
            rows_max: 60,
            reports_bytes_max: 200,
            answers_for: Duration::ZERO,
        };
        let (prune, cursor) = select(self.view(view), &keep, UnixMillis(self.now), self.cursor);
        let active = |state: &State| {
            let of = |name| state.census().get(name);
            of("DUE") + of("RUNNING")
        };
        let before = active(&self.state);
        self.apply(Action::Prune(prune));
        assert_eq!(active(&self.state), before, "LEDGER-1: a row went that had not ended");
        self.cursor = cursor;
    }
}

fn nth(known: &BTreeMap<RunId, FencingToken>, which: usize) -> Option<(RunId, FencingToken)> {
    let which = which.checked_rem(known.len())?;
    known.iter().nth(which).map(|(run, token)| (*run, *token))
}

fn definition() -> impl Strategy<Value = Arc<Definition>> {
    let overlap = prop_oneof![
        3 => Just(OverlapPolicy::HoldOne),
        1 => Just(OverlapPolicy::Skip),
        2 => (1..4u32).prop_map(|waiting_max| OverlapPolicy::BufferAll { waiting_max }),
        2 => (1..4u32).prop_map(|running_max| OverlapPolicy::Allow { running_max }),
        1 => Just(OverlapPolicy::CancelRunning),
    ];
    let window = || (0..40u64).prop_map(Duration::from_secs);
    let misfire = prop_oneof![
        2 => Just(MisfirePolicy::Coalesce),
        1 => window().prop_map(|window| MisfirePolicy::Skip { window }),
        3 => (window(), 1..6u32).prop_map(|(window, count_max)| MisfirePolicy::FireAll { window, count_max }),
    ];
    let unknown = prop_oneof![
        2 => Just(UnknownOutcomePolicy::Hold),
        2 => Just(UnknownOutcomePolicy::Retry),
        1 => Just(UnknownOutcomePolicy::Pause),
        1 => Just(UnknownOutcomePolicy::Fail),
    ];
    let deadline = prop::option::weighted(0.3, 1..20u64);
    let failures = prop::option::weighted(0.2, 1..4u32);
    let text = (0..2u8, 0..2u8);
    (overlap, misfire, unknown, deadline, 1..4u32, failures, 1..5u64, text).prop_map(
        |(overlap, misfire, unknown_outcome, deadline, max_attempts, failures, every, text)| {
            let rule = Rule::Interval { every: Duration::from_secs(every), phase: Duration::ZERO };
            let initial_backoff = Duration::from_secs(1);
            let policies = Policies {
                overlap,
                misfire,
                unknown_outcome,
                start_deadline: deadline.map(Duration::from_secs),
                retry: Retry { max_attempts, initial_backoff, ..Retry::default() },
                pause_after_failures: failures,
                ..Policies::default()
            };
            let target = Target { handler: "h".into(), payload: vec![text.0].into() };
            let description = text.1.to_string();
            let definition = Definition::new(Timing::of(vec![rule], "UTC"), target);
            Arc::new(Definition { policies, description, ..definition })
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let view = || prop_oneof![4 => Just(View::Present), 1 => Just(View::Old)];
    let name = || 0..3u8;
    let result = prop::sample::select(vec![
        AttemptResult::Succeeded,
        AttemptResult::Failed,
        AttemptResult::TimedOut,
        AttemptResult::NotStarted,
        AttemptResult::NotStarted,
        AttemptResult::Cancelled,
    ]);
    let pass = prop_oneof![12 => 0..2500i64, 1 => -6000..0i64, 1 => 10_000..90_000i64];
    let executor = prop::sample::select(vec!["A", "B"]);
    prop_oneof![
        12 => pass.prop_map(Step::Pass),
        2 => Just(Step::Look),
        12 => (view(), 1..4usize, 1..40usize).prop_map(|(view, count, chain)| Step::Tick(view, count, chain)),
        1 => Just(Step::FireAgain),
        3 => (name(), definition()).prop_map(|(name, definition)| Step::Create(name, definition)),
        3 => (view(), name(), definition()).prop_map(|(view, name, new)| Step::Update(view, name, new)),
        1 => name().prop_map(Step::Delete),
        1 => (name(), prop::option::of(-2..30i64)).prop_map(|(name, until)| Step::Pause(name, until)),
        2 => (name(), 0..3usize).prop_map(|(name, missed)| Step::Resume(name, missed)),
        2 => view().prop_map(Step::EndPauses),
        1 => (name(), 0..3usize).prop_map(|(name, overlap)| Step::Trigger(name, overlap)),
        12 => (view(), executor, 0..9usize, 1..4usize)
            .prop_map(|(view, executor, from, count)| Step::Begin(view, executor, from, count)),
        8 => (0..9usize, result, view())
            .prop_map(|(which, result, view)| Step::Complete(which, result, view)),
        2 => (view(), 0..9usize).prop_map(|(view, which)| Step::Lose(view, which)),
        2 => view().prop_map(Step::ExpireStarts),
        3 => Just(Step::AdvanceBackfills),
        1 => (0..200usize).prop_map(Step::Cancel),
        1 => (0..200usize, 0..3usize).prop_map(|(which, resolution)| Step::Resolve(which, resolution)),
        1 => view().prop_map(Step::Retain),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1400, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_holds_whatever_happens_to_the_cluster(
        first in definition(),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut world = World::new();
        world.play(Step::Create(0, first));
        for step in steps {
            world.play(step);
        }
    }
}

/// The start of an outage is the end of the last tick, whatever the chains were cut into.
#[test]
fn an_outage_ends_in_the_same_ledger_however_it_is_cut() {
    let ends = |schedules: usize, chain: usize| {
        let mut world = World::new();
        let rule = Rule::Interval { every: Duration::from_secs(3), phase: Duration::ZERO };
        let target = Target { handler: "h".into(), payload: Default::default() };
        let definition = Definition::new(Timing::of(vec![rule], "UTC"), target);
        for name in 0..3 {
            world.play(Step::Create(name, Arc::new(definition.clone())));
        }
        world.play(Step::Pass(600 * SECOND));
        while world.state.due().until(UnixMillis(world.now)).next().is_some() {
            world.play(Step::Tick(View::Present, schedules, chain));
        }
        let rows = |schedule: &Schedule| {
            let merged = world.state.rows(schedule.id).map(|run| run.merged_count).max();
            (world.state.row_count(schedule.id), schedule.watermark, merged)
        };
        let ledger: Vec<_> = world.state.schedules_from(&key(0)).map(rows).collect();
        (world.state.ready().len(), ledger)
    };
    let whole = ends(3, 1000);
    assert_eq!(whole.0, 3, "one run each");
    for (schedules, chain) in [(1, 1), (1, 7), (2, 64), (3, 199), (3, 200)] {
        assert_eq!(ends(schedules, chain), whole);
    }
}
