use std::sync::Arc;

use arcstr::ArcStr;

use super::why::Waiting;
use super::*;

/// Everything may begin, and weighs little; nothing runs unless a test says so.
#[derive(Default)]
struct FakeLedger {
    over: BTreeSet<u64>,
    weight: usize,
    running: u32,
}

impl Ledger for FakeLedger {
    fn weigh(&self, run: RunId) -> Option<usize> {
        (!self.over.contains(&run.0)).then_some(self.weight)
    }

    fn running_in_pool(&self, _pool: &str) -> u32 {
        self.running
    }

    fn running_in_namespace(&self, _namespace: &str) -> u32 {
        self.running
    }
}

const BUDGET: Rate = Rate { per: Duration::from_secs(1), count: 3 };
const SECOND: Duration = Duration::from_secs(1);

fn need(pool: &str, handler: &str) -> Need {
    Need { pool: pool.into(), handler: handler.into(), selector: Arc::default() }
}

fn run(id: u64) -> ReadyRun {
    ReadyRun {
        id: RunId(id),
        need: need("default", "command"),
        namespace: "default".into(),
        class: Class::OnTime,
        priority: Priority::default(),
        not_before: None,
    }
}

fn of(namespace: &str, id: u64) -> ReadyRun {
    ReadyRun { namespace: namespace.into(), ..run(id) }
}

fn with_class(class: Class, id: u64) -> ReadyRun {
    ReadyRun { class, ..run(id) }
}

fn executor(slots: u32, handler: &str) -> Executor {
    let handlers = BTreeSet::from([handler.into()]);
    Executor::new("01X".into(), "host".into(), "1".into(), "default".into(), handlers, slots)
}

fn with_executors(slots: &[u32]) -> Dispatch {
    let mut dispatch = Dispatch::new(BUDGET);
    for (number, slots) in slots.iter().enumerate() {
        let session = SessionId(number as u64);
        dispatch.join(session, executor(*slots, "command"));
        dispatch.credit(session, *slots);
    }
    dispatch
}

fn names(grants: Vec<(SessionId, Vec<RunId>)>) -> Vec<(u64, Vec<u64>)> {
    grants
        .into_iter()
        .map(|(session, runs)| (session.0, runs.into_iter().map(|run| run.0).collect()))
        .collect()
}

fn assign_by(dispatch: &mut Dispatch, now: Instant, ledger: &FakeLedger) -> Vec<(u64, Vec<u64>)> {
    names(dispatch.assign(now, usize::MAX, ledger, |_| usize::MAX))
}

fn assign(dispatch: &mut Dispatch, now: Instant) -> Vec<(u64, Vec<u64>)> {
    assign_by(dispatch, now, &FakeLedger::default())
}

/// The runs given out, whoever has them.
fn given(dispatch: &mut Dispatch, now: Instant) -> Vec<u64> {
    assign(dispatch, now).into_iter().flat_map(|(_, runs)| runs).collect()
}

#[test]
fn work_is_spread_over_executors() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[10, 10]);
    (1..=6).for_each(|id| dispatch.offer(run(id), now));
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1, 2, 3]), (1, vec![4, 5, 6])]);
}

#[test]
fn dispatch_2_credit_bounds_what_is_offered() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    (1..=5).for_each(|id| dispatch.offer(run(id), now));
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1, 2])]);
    assert_eq!(assign(&mut dispatch, now), []);
    dispatch.credit(SessionId(0), 1);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![3])]);
    dispatch.credit(SessionId(0), 1000);
    assert_eq!(dispatch.executors().next().unwrap().1.credits, 2, "never more than its slots");
}

#[test]
fn dispatch_3_on_time_goes_before_catch_up() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    dispatch.offer(with_class(Class::CatchUp, 1), now);
    dispatch.offer(run(2), now);
    dispatch.offer(run(3), now);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![2, 3])]);
}

#[test]
fn dispatch_1_an_offered_run_is_not_offered_again() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2, 2]);
    dispatch.offer(run(1), now);
    assert_eq!(assign(&mut dispatch, now).len(), 1);
    dispatch.offer(run(1), now);
    assert_eq!(assign(&mut dispatch, now), []);
}

#[test]
fn an_executor_that_leaves_gives_its_offers_to_others_at_once() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1), now);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
    dispatch.join(SessionId(7), executor(1, "command"));
    dispatch.credit(SessionId(7), 1);
    dispatch.leave(SessionId(0));
    assert_eq!(assign(&mut dispatch, now), [(7, vec![1])]);
}

#[test]
fn an_offer_left_lying_moves_after_its_timeout_and_a_back_off() {
    let start = Instant::now();
    let mut dispatch = with_executors(&[1, 1]);
    dispatch.offer(run(1), start);
    let timeout = Duration::from_secs(5);
    assert_eq!(assign(&mut dispatch, start), [(0, vec![1])]);
    assert_eq!(dispatch.expire_offers(start + Duration::from_secs(4), timeout), 0);
    let late = start + timeout;
    assert_eq!(dispatch.expire_offers(late, timeout), 1);
    dispatch.wake(late);
    assert_eq!(assign(&mut dispatch, late), [], "it waits out its back-off");
    let later = late + BACKOFF_FIRST;
    assert_eq!(dispatch.next_wake(timeout), Some(later));
    dispatch.wake(later);
    assert_eq!(assign(&mut dispatch, later), [(1, vec![1])]);
}

#[test]
fn a_begun_run_is_forgotten() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1), now);
    assign(&mut dispatch, now);
    dispatch.settle(SessionId(0), [RunId(1)]);
    let timeout = Duration::from_secs(5);
    assert_eq!(dispatch.expire_offers(now + timeout, timeout), 0);
    assert_eq!((dispatch.backlog(), dispatch.next_wake(timeout)), (0, None));
}

#[test]
fn a_declined_run_backs_off_further_each_time() {
    let mut now = Instant::now();
    let mut dispatch = with_executors(&[64]);
    dispatch.offer(run(1), now);
    for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
        dispatch.decline(SessionId(0), [RunId(1)], now);
        let early = now + Duration::from_millis(delay * 1000 - 1);
        dispatch.wake(early);
        assert_eq!(assign(&mut dispatch, early), []);
        now += Duration::from_secs(delay);
        dispatch.wake(now);
    }
}

#[test]
fn a_handler_that_nobody_offers_blocks_no_other() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    dispatch.offer(ReadyRun { need: need("default", "mail"), ..run(1) }, now);
    dispatch.offer(ReadyRun { need: need("other", "command"), ..run(2) }, now);
    dispatch.offer(run(3), now);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![3])]);
    assert_eq!(dispatch.backlog(), 2);
}

#[test]
fn a_draining_executor_gets_nothing() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    dispatch.drain(SessionId(0));
    dispatch.offer(run(1), now);
    assert_eq!(assign(&mut dispatch, now), []);
}

#[test]
fn a_run_that_is_no_longer_ready_is_dropped_and_costs_no_credit() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1), now);
    dispatch.offer(run(2), now);
    let ledger = FakeLedger { over: BTreeSet::from([1]), ..FakeLedger::default() };
    assert_eq!(assign_by(&mut dispatch, now, &ledger), [(0, vec![2])]);
}

#[test]
fn grants_of_large_payloads_are_cut_into_messages_that_fit() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[10]);
    (1..=7).for_each(|id| dispatch.offer(run(id), now));
    let mut assign = |messages| {
        let large = FakeLedger { weight: GRANT_BYTES_PER_MESSAGE / 2, ..FakeLedger::default() };
        names(dispatch.assign(now, usize::MAX, &large, |_| messages))
    };
    assert_eq!(assign(2), [(0, vec![1, 2]), (0, vec![3, 4])], "the stream takes two messages");
    assert_eq!(assign(2), [(0, vec![5, 6]), (0, vec![7])]);
    assert_eq!(dispatch.executors().next().unwrap().1.credits, 3);
}

#[test]
fn a_grant_that_is_too_large_goes_by_itself() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    (1..=2).for_each(|id| dispatch.offer(run(id), now));
    let huge = FakeLedger { weight: GRANT_BYTES_PER_MESSAGE + 1, ..FakeLedger::default() };
    assert_eq!(assign_by(&mut dispatch, now, &huge), [(0, vec![1]), (0, vec![2])]);
}

#[test]
fn no_more_than_asked_for_is_assigned_at_once() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[9, 9]);
    (1..=6).for_each(|id| dispatch.offer(run(id), now));
    let mut assign = |max| dispatch.assign(now, max, &FakeLedger::default(), |_| usize::MAX);
    let count =
        |grants: Vec<(SessionId, Vec<RunId>)>| grants.iter().map(|(_, runs)| runs.len()).sum::<usize>();
    assert_eq!(count(assign(4)), 4);
    assert_eq!(count(assign(4)), 2);
}

#[test]
fn runs_that_are_over_do_not_pile_up_without_an_executor() {
    let now = Instant::now();
    let mut dispatch = Dispatch::new(BUDGET);
    let last = DEAD_MIN as u64 + 10;
    (1..last).for_each(|id| dispatch.offer(of(if id % 2 == 0 { "even" } else { "odd" }, id), now));
    dispatch.put_off(run(last), now);
    assert_eq!(dispatch.suspects(last as usize), [], "all of them may be ready");
    let suspects = dispatch.suspects(1);
    assert_eq!(suspects.len() as u64, last);
    dispatch.forget(&suspects.into_iter().filter(|id| *id != RunId(7)).collect());
    assert_eq!((dispatch.backlog(), dispatch.runs.len(), dispatch.delayed.len()), (1, 1, 0));
    dispatch.join(SessionId(0), executor(5, "command"));
    dispatch.credit(SessionId(0), 5);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![7])]);
}

#[test]
fn a_run_that_is_put_off_waits_and_is_known() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    dispatch.put_off(run(1), now);
    assert!(dispatch.knows(RunId(1)));
    dispatch.offer(run(1), now);
    assert_eq!(assign(&mut dispatch, now), []);
    dispatch.wake(now + BACKOFF_FIRST);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
}

#[test]
fn classes_go_in_their_order() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    for (id, class) in [(1, Class::Backfill), (2, Class::CatchUp), (3, Class::OnTime)] {
        dispatch.offer(with_class(class, id), now);
    }
    for expected in [3, 2, 1] {
        assert_eq!(given(&mut dispatch, now), [expected]);
        dispatch.credit(SessionId(0), 1);
    }
}

#[test]
fn the_greater_priority_goes_first() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[2]);
    for (id, level) in [(1, 5), (2, 1), (3, 9)] {
        dispatch.offer(ReadyRun { priority: Priority::new(level).unwrap(), ..run(id) }, now);
    }
    assert_eq!(given(&mut dispatch, now), [3, 1]);
    assert_eq!((Priority::new(0), Priority::new(10)), (None, None));
}

#[test]
fn aging_lets_the_least_priority_through() {
    let start = Instant::now();
    let mut dispatch = with_executors(&[1]);
    let with_priority = |id, level| ReadyRun { priority: Priority::new(level).unwrap(), ..run(id) };
    dispatch.offer(with_priority(1, 1), start);
    // One run of the greatest priority more than there is credit for, again and again.
    let went_at = (2..).find(|id| {
        let now = start + *id as u32 * SECOND;
        dispatch.offer(with_priority(*id, 9), now);
        let went = given(&mut dispatch, now);
        dispatch.credit(SessionId(0), 1);
        went == [1]
    });
    assert_eq!(went_at, Some(8 * ready::AGING_STEP.as_secs()), "8 levels after it began to wait");
}

#[test]
fn a_run_waits_for_its_own_instant() {
    let start = Instant::now();
    let mut dispatch = with_executors(&[1]);
    let later = start + 7 * SECOND;
    dispatch.offer(ReadyRun { not_before: Some(later), ..run(1) }, start);
    dispatch.wake(start);
    assert!(given(&mut dispatch, start).is_empty());
    assert_eq!((dispatch.backlog(), dispatch.next_wake(SECOND)), (1, Some(later)));
    let why = dispatch.why_waiting(RunId(1), start, &FakeLedger::default());
    assert_eq!(why, Some(Waiting::BackOff { until: later }));
    dispatch.wake(later);
    assert_eq!(given(&mut dispatch, later), [1]);
}

#[test]
fn a_namespace_with_a_hundred_thousand_runs_delays_nobody_elses_ten() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[20]);
    (1..=100_000).for_each(|id| dispatch.offer(of("large", id), now));
    assert_eq!(given(&mut dispatch, now).len(), 20);
    (1..=10).for_each(|id| dispatch.offer(of("small", 200_000 + id), now + SECOND));
    dispatch.credit(SessionId(0), 20);
    let small = given(&mut dispatch, now + SECOND).into_iter().filter(|id| *id > 200_000);
    assert_eq!(small.count(), 10, "half of what there is, at once");
}

#[test]
fn namespaces_share_by_their_weights_whatever_handlers_they_need() {
    let now = Instant::now();
    let handlers = BTreeSet::from(["command".into(), "mail".into()]);
    let mut dispatch = Dispatch::new(BUDGET);
    let both = Executor::new("01X".into(), "host".into(), "1".into(), "default".into(), handlers, 40);
    dispatch.join(SessionId(0), both);
    dispatch.set_namespace(&"heavy".into(), NamespaceLimits { weight: 3, max_running: None });
    for id in 0..100 {
        dispatch.offer(of("heavy", id), now);
        let mail = if id % 2 == 0 { need("default", "mail") } else { need("default", "command") };
        dispatch.offer(ReadyRun { need: mail, ..of("light", 1000 + id) }, now);
    }
    dispatch.credit(SessionId(0), 40);
    let light = given(&mut dispatch, now).into_iter().filter(|id| *id >= 1000);
    assert_eq!(light.count(), 10);
}

#[test]
fn what_a_namespace_had_while_nobody_else_waited_is_not_held_against_it() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1000]);
    (0..1500).for_each(|id| dispatch.offer(of("first", id), now));
    assert_eq!(given(&mut dispatch, now).len(), 1000);
    (0..500).for_each(|id| dispatch.offer(of("second", 2000 + id), now));
    dispatch.credit(SessionId(0), 100);
    let second = given(&mut dispatch, now).into_iter().filter(|id| *id >= 2000);
    assert_eq!(second.count(), 50);
}

#[test]
fn catch_up_never_exceeds_its_budget() {
    let start = Instant::now();
    let mut dispatch = with_executors(&[100]);
    (1..=4).for_each(|id| dispatch.offer(with_class(Class::CatchUp, id), start));
    (5..=8).for_each(|id| dispatch.offer(with_class(Class::Backfill, id), start));
    dispatch.offer(run(9), start);
    assert_eq!(given(&mut dispatch, start), [9, 1, 2, 3]);
    dispatch.decline(SessionId(0), [RunId(3)], start);
    assert!(given(&mut dispatch, start).is_empty(), "a grant that comes back gives nothing back");
    assert_eq!(dispatch.next_wake(9 * SECOND), Some(start + SECOND), "somebody wakes up for the next token");
    let why = |dispatch: &Dispatch, id| dispatch.why_waiting(RunId(id), start, &FakeLedger::default());
    assert_eq!(why(&dispatch, 4), Some(Waiting::Budget { until: Some(start + SECOND) }));
    let later = start + SECOND;
    dispatch.wake(later);
    assert_eq!(given(&mut dispatch, later), [3, 4, 5]);
    assert_eq!(dispatch.budget_left(later), 0);
}

#[test]
fn the_budget_goes_round_the_pools() {
    let mut now = Instant::now();
    let mut dispatch = Dispatch::new(BUDGET);
    for (session, pool) in [(0, "a"), (1, "b")] {
        let command = BTreeSet::from(["command".into()]);
        let executor = Executor::new("01X".into(), "host".into(), "1".into(), pool.into(), command, 100);
        dispatch.join(SessionId(session), executor);
        dispatch.credit(SessionId(session), 100);
        for id in 0..100 {
            let run = with_class(Class::CatchUp, session * 1000 + id);
            dispatch.offer(ReadyRun { need: need(pool, "command"), ..run }, now);
        }
    }
    let mut counts = [0, 0];
    for _ in 0..4 {
        given(&mut dispatch, now).into_iter().for_each(|id| counts[id as usize / 1000] += 1);
        now += SECOND;
    }
    assert_eq!(counts, [6, 6]);
}

#[test]
fn a_full_pool_offers_nothing_more() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[10]);
    dispatch.set_pool(&"default".into(), PoolLimits { slots: Some(4), ..PoolLimits::default() });
    (1..=9).for_each(|id| dispatch.offer(run(id), now));
    let mut ledger = FakeLedger { running: 1, ..FakeLedger::default() };
    assert_eq!(assign_by(&mut dispatch, now, &ledger), [(0, vec![1, 2, 3])]);
    dispatch.settle(SessionId(0), [RunId(1), RunId(2)]);
    assert_eq!(assign_by(&mut dispatch, now, &ledger), [], "two begins without an answer");
    let why = dispatch.why_waiting(RunId(4), now, &ledger);
    assert_eq!(why, Some(Waiting::PoolFull { in_use: 4, slots: 4 }));
    // Run 1 began and another one ended; run 2 was refused.
    ledger.over.insert(1);
    dispatch.put_off(run(2), now);
    assert_eq!(assign_by(&mut dispatch, now, &ledger), [(0, vec![4, 5])]);
    assert!(dispatch.knows(RunId(2)) && !dispatch.knows(RunId(1)));
}

#[test]
fn a_paused_pool_offers_nothing() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[10]);
    dispatch.set_pool(&"default".into(), PoolLimits { paused: true, ..PoolLimits::default() });
    dispatch.offer(run(1), now);
    assert!(given(&mut dispatch, now).is_empty());
    assert_eq!(dispatch.why_waiting(RunId(1), now, &FakeLedger::default()), Some(Waiting::PoolPaused));
    dispatch.set_pool(&"default".into(), PoolLimits::default());
    assert_eq!(given(&mut dispatch, now), [1]);
}

#[test]
fn a_pool_starts_no_more_than_its_rate() {
    let start = Instant::now();
    let mut dispatch = with_executors(&[10]);
    let rate = Some(Rate { per: 60 * SECOND, count: 2 });
    dispatch.set_pool(&"default".into(), PoolLimits { rate, ..PoolLimits::default() });
    (1..=5).for_each(|id| dispatch.offer(run(id), start));
    assert_eq!(given(&mut dispatch, start), [1, 2]);
    let late = start + 59 * SECOND;
    assert!(given(&mut dispatch, late).is_empty());
    let until = Some(start + 60 * SECOND);
    assert_eq!(dispatch.next_wake(600 * SECOND), until);
    let why = dispatch.why_waiting(RunId(3), late, &FakeLedger::default());
    assert_eq!(why, Some(Waiting::PoolRate { until }));
    assert_eq!(given(&mut dispatch, start + 60 * SECOND), [3, 4]);
}

#[test]
fn a_full_namespace_stands_aside_for_others() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[10]);
    dispatch.set_namespace(&"small".into(), NamespaceLimits { weight: 1, max_running: Some(2) });
    (1..=4).for_each(|id| dispatch.offer(of("small", id), now));
    (5..=8).for_each(|id| dispatch.offer(of("other", id), now));
    assert_eq!(given(&mut dispatch, now), [1, 5, 2, 6, 7, 8]);
    let why = dispatch.why_waiting(RunId(3), now, &FakeLedger::default());
    assert_eq!(why, Some(Waiting::NamespaceFull { in_use: 2, max: 2 }));
    dispatch.settle(SessionId(0), [RunId(1)]);
    assert!(given(&mut dispatch, now).is_empty(), "its begin is under way");
    let ledger = FakeLedger { over: BTreeSet::from([1]), ..FakeLedger::default() };
    assert_eq!(assign_by(&mut dispatch, now, &ledger), [(0, vec![3])], "it began and ended");
}

#[test]
fn a_selector_is_met_by_all_labels_or_not_at_all() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[5]);
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<ArcStr, ArcStr> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    };
    let selector = Arc::new(labels(&[("zone", "a"), ("disk", "ssd")]));
    dispatch.offer(ReadyRun { need: Need { selector, ..need("default", "command") }, ..run(1) }, now);
    let why = |dispatch: &Dispatch| dispatch.why_waiting(RunId(1), now, &FakeLedger::default());
    dispatch.join(SessionId(1), executor(5, "command").with_labels(labels(&[("zone", "a")])));
    dispatch.credit(SessionId(1), 5);
    assert!(given(&mut dispatch, now).is_empty());
    assert_eq!(why(&dispatch), Some(Waiting::NoExecutorWithLabels));
    let fitting = labels(&[("zone", "a"), ("disk", "ssd"), ("rack", "7")]);
    dispatch.join(SessionId(2), executor(5, "command").with_labels(fitting));
    assert!(given(&mut dispatch, now).is_empty());
    assert_eq!(why(&dispatch), Some(Waiting::NoCredit { ahead: 0 }));
    dispatch.credit(SessionId(2), 1);
    assert_eq!(assign(&mut dispatch, now), [(2, vec![1])]);
    assert_eq!(why(&dispatch), Some(Waiting::Offered { session: SessionId(2) }));
}

#[test]
fn a_handler_takes_no_more_than_its_slots() {
    let now = Instant::now();
    let mut dispatch = Dispatch::new(BUDGET);
    let slots = BTreeMap::from([("command".into(), 2)]);
    dispatch.join(SessionId(0), executor(10, "command").with_handler_slots(slots));
    dispatch.credit(SessionId(0), 10);
    (1..=9).for_each(|id| dispatch.offer(run(id), now));
    assert_eq!(given(&mut dispatch, now), [1, 2]);
    dispatch.settle(SessionId(0), [RunId(1)]);
    assert!(given(&mut dispatch, now).is_empty(), "what was begun still counts");
    dispatch.ended(SessionId(0), &[RunId(1)]);
    assert_eq!(given(&mut dispatch, now), [3]);
    dispatch.decline(SessionId(0), [RunId(3)], now);
    assert_eq!(given(&mut dispatch, now), [4]);
}

#[test]
fn a_run_knows_roughly_how_many_go_before_it() {
    let now = Instant::now();
    let mut dispatch = Dispatch::new(BUDGET);
    (1..=100).for_each(|id| dispatch.offer(run(id), now));
    let why = |dispatch: &Dispatch| dispatch.why_waiting(RunId(60), now, &FakeLedger::default());
    assert_eq!(why(&dispatch), Some(Waiting::NoExecutorWithHandler));
    dispatch.join(SessionId(0), executor(10, "command"));
    assert_eq!(why(&dispatch), Some(Waiting::NoCredit { ahead: 59 }));
    assert_eq!(dispatch.why_waiting(RunId(101), now, &FakeLedger::default()), None);
}

#[test]
fn what_nobody_names_any_more_is_forgotten() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1]);
    for id in 0..5000 {
        dispatch.offer(of(&format!("namespace-{id}"), id), now);
        assert_eq!(given(&mut dispatch, now), [id]);
        dispatch.settle(SessionId(0), [RunId(id)]);
        dispatch.credit(SessionId(0), 1);
    }
    let kept = dispatch.lanes.namespaces.values().count();
    assert!(kept <= 1025, "{kept} namespaces are kept");
}

#[test]
fn begins_that_were_answered_do_not_pile_up() {
    let now = Instant::now();
    let mut dispatch = with_executors(&[1000]);
    dispatch.set_pool(&"default".into(), PoolLimits { slots: Some(1_000_000), ..PoolLimits::default() });
    let mut ledger = FakeLedger::default();
    for batch in 0..20 {
        let ids = batch * 1000..(batch + 1) * 1000;
        ids.clone().for_each(|id| dispatch.offer(run(id), now));
        assert_eq!(assign_by(&mut dispatch, now, &ledger), [(0, ids.clone().collect())]);
        dispatch.settle(SessionId(0), ids.clone().map(RunId));
        ledger.over.extend(ids);
        dispatch.credit(SessionId(0), 1000);
    }
    assert!(dispatch.runs.len() <= 6000, "{} are kept", dispatch.runs.len());
}
