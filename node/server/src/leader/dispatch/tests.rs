use super::*;

fn need(pool: &str, handler: &str) -> Need {
    Need { pool: pool.into(), handler: handler.into() }
}

fn run(id: u64, on_time: bool) -> ReadyRun {
    ReadyRun { id: RunId(id), need: need("default", "command"), on_time }
}

fn executor(slots: u32, handler: &str) -> Executor {
    let handlers = BTreeSet::from([Arc::from(handler)]);
    Executor::new("01X".into(), "host".into(), "1".into(), "default".into(), handlers, slots)
}

fn with_executors(slots: &[u32]) -> Dispatch {
    let mut dispatch = Dispatch::default();
    for (number, slots) in slots.iter().enumerate() {
        let session = SessionId(number as u64);
        dispatch.join(session, executor(*slots, "command"));
        dispatch.credit(session, *slots);
    }
    dispatch
}

fn assign(dispatch: &mut Dispatch, now: Instant) -> Vec<(u64, Vec<u64>)> {
    dispatch
        .assign(now, usize::MAX, |_| Some(100), |_| usize::MAX)
        .into_iter()
        .map(|(session, runs)| (session.0, runs.into_iter().map(|run| run.0).collect()))
        .collect()
}

#[test]
fn work_is_spread_over_executors() {
    let mut dispatch = with_executors(&[10, 10]);
    (1..=6).for_each(|id| dispatch.offer(run(id, true)));
    assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![1, 2, 3]), (1, vec![4, 5, 6])]);
}

#[test]
fn dispatch_2_credit_bounds_what_is_offered() {
    let mut dispatch = with_executors(&[2]);
    (1..=5).for_each(|id| dispatch.offer(run(id, true)));
    let now = Instant::now();
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1, 2])]);
    assert_eq!(assign(&mut dispatch, now), []);
    dispatch.credit(SessionId(0), 1);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![3])]);
    dispatch.credit(SessionId(0), 1000);
    assert_eq!(dispatch.executors().next().unwrap().1.credits, 2, "never more than its slots");
}

#[test]
fn dispatch_3_on_time_goes_before_catch_up() {
    let mut dispatch = with_executors(&[2]);
    dispatch.offer(run(1, false));
    dispatch.offer(run(2, true));
    dispatch.offer(run(3, true));
    assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![2, 3])]);
}

#[test]
fn dispatch_1_an_offered_run_is_not_offered_again() {
    let mut dispatch = with_executors(&[2, 2]);
    dispatch.offer(run(1, true));
    let now = Instant::now();
    assert_eq!(assign(&mut dispatch, now).len(), 1);
    dispatch.offer(run(1, true));
    assert_eq!(assign(&mut dispatch, now), []);
}

#[test]
fn an_executor_that_leaves_gives_its_offers_to_others_at_once() {
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1, true));
    let now = Instant::now();
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
    dispatch.join(SessionId(7), executor(1, "command"));
    dispatch.credit(SessionId(7), 1);
    dispatch.leave(SessionId(0));
    assert_eq!(assign(&mut dispatch, now), [(7, vec![1])]);
}

#[test]
fn an_offer_left_lying_moves_after_its_timeout_and_a_back_off() {
    let mut dispatch = with_executors(&[1, 1]);
    dispatch.offer(run(1, true));
    let start = Instant::now();
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
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1, true));
    let now = Instant::now();
    assign(&mut dispatch, now);
    dispatch.settle(SessionId(0), [RunId(1)]);
    let timeout = Duration::from_secs(5);
    assert_eq!(dispatch.expire_offers(now + timeout, timeout), 0);
    assert_eq!((dispatch.backlog(), dispatch.next_wake(timeout)), (0, None));
}

#[test]
fn a_declined_run_backs_off_further_each_time() {
    let mut dispatch = with_executors(&[64]);
    dispatch.offer(run(1, true));
    let mut now = Instant::now();
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
    let mut dispatch = with_executors(&[2]);
    dispatch.offer(ReadyRun { id: RunId(1), need: need("default", "mail"), on_time: true });
    dispatch.offer(ReadyRun { id: RunId(2), need: need("other", "command"), on_time: true });
    dispatch.offer(run(3, true));
    assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![3])]);
    assert_eq!(dispatch.backlog(), 2);
}

#[test]
fn a_draining_executor_gets_nothing() {
    let mut dispatch = with_executors(&[2]);
    dispatch.drain(SessionId(0));
    dispatch.offer(run(1, true));
    assert_eq!(assign(&mut dispatch, Instant::now()), []);
}

#[test]
fn a_run_that_is_no_longer_ready_is_dropped_and_costs_no_credit() {
    let mut dispatch = with_executors(&[1]);
    dispatch.offer(run(1, true));
    dispatch.offer(run(2, true));
    let weigh = |id| (id == RunId(2)).then_some(100);
    let grants = dispatch.assign(Instant::now(), usize::MAX, weigh, |_| usize::MAX);
    assert_eq!(grants, [(SessionId(0), vec![RunId(2)])]);
}

#[test]
fn grants_of_large_payloads_are_cut_into_messages_that_fit() {
    let mut dispatch = with_executors(&[10]);
    (1..=7).for_each(|id| dispatch.offer(run(id, true)));
    let mut assign = |messages| {
        let large = GRANT_BYTES_PER_MESSAGE / 2;
        dispatch.assign(Instant::now(), usize::MAX, |_| Some(large), |_| messages)
    };
    let runs = |ids: [u64; 2]| (SessionId(0), ids.map(RunId).to_vec());
    assert_eq!(assign(2), [runs([1, 2]), runs([3, 4])], "the stream takes two messages");
    assert_eq!(assign(2), [runs([5, 6]), (SessionId(0), vec![RunId(7)])]);
    assert_eq!(dispatch.executors().next().unwrap().1.credits, 3);
}

#[test]
fn a_grant_that_is_too_large_goes_by_itself() {
    let mut dispatch = with_executors(&[2]);
    (1..=2).for_each(|id| dispatch.offer(run(id, true)));
    let huge = |_| Some(GRANT_BYTES_PER_MESSAGE + 1);
    let grants = dispatch.assign(Instant::now(), usize::MAX, huge, |_| usize::MAX);
    assert_eq!(grants, [(SessionId(0), vec![RunId(1)]), (SessionId(0), vec![RunId(2)])]);
}

#[test]
fn no_more_than_asked_for_is_assigned_at_once() {
    let mut dispatch = with_executors(&[9, 9]);
    (1..=6).for_each(|id| dispatch.offer(run(id, true)));
    let mut assign = |max| dispatch.assign(Instant::now(), max, |_| Some(100), |_| usize::MAX);
    let count =
        |grants: Vec<(SessionId, Vec<RunId>)>| grants.iter().map(|(_, runs)| runs.len()).sum::<usize>();
    assert_eq!(count(assign(4)), 4);
    assert_eq!(count(assign(4)), 2);
}

#[test]
fn runs_that_are_over_do_not_pile_up_without_an_executor() {
    let mut dispatch = Dispatch::default();
    let now = Instant::now();
    let last = DEAD_MIN as u64 + 10;
    (1..last).for_each(|id| dispatch.offer(run(id, id % 2 == 0)));
    dispatch.put_off(run(last, true), now);
    assert_eq!(dispatch.suspects(last as usize), [], "all of them may be ready");
    let suspects = dispatch.suspects(1);
    assert_eq!(suspects.len() as u64, last);
    dispatch.forget(&suspects.into_iter().filter(|id| *id != RunId(7)).collect());
    assert_eq!((dispatch.backlog(), dispatch.returns.len(), dispatch.delayed.len()), (1, 0, 0));
    dispatch.join(SessionId(0), executor(5, "command"));
    dispatch.credit(SessionId(0), 5);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![7])]);
}

#[test]
fn a_run_that_is_put_off_waits_and_is_known() {
    let mut dispatch = with_executors(&[1]);
    let now = Instant::now();
    dispatch.put_off(run(1, true), now);
    assert!(dispatch.knows(RunId(1)));
    dispatch.offer(run(1, true));
    assert_eq!(assign(&mut dispatch, now), []);
    dispatch.wake(now + BACKOFF_FIRST);
    assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
}
