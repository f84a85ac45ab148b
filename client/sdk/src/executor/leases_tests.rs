//! The life of a lease in this process, step by step.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::{RunContext, RunName};
use super::handler::Outcome;
use super::leases::{Leases, Offer};
use super::slots::HandlerSlots;
use super::stop::Cancellation;
use crate::pb;
use crate::pb::executor_message::Message;

fn offer(run_id: u64, attempt: u32) -> Offer {
    Offer {
        run: RunName::parse(format!("namespaces/n/schedules/s/runs/{run_id}")).unwrap(),
        handler: Arc::new(|_: RunContext| async { Outcome::Succeeded }),
        grant: pb::Grant { run_id, attempt, ..Default::default() },
    }
}

fn answer(run_id: u64, fencing_token: u64) -> pb::BeginReply {
    pb::BeginReply { run_id, fencing_token }
}

fn success(run_id: u64, fencing_token: u64) -> pb::Completion {
    let result = pb::completion::Result::Succeeded.into();
    pb::Completion { run_id, fencing_token, result, ..Default::default() }
}

fn ack(run_id: u64, fencing_token: u64) -> pb::CompletionAck {
    pb::CompletionAck { run_id, fencing_token, accepted: true }
}

/// All that is due, one line a message.
fn said(leases: &mut Leases) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(message) = leases.next_message(Instant::now()) {
        lines.push(line(message));
    }
    assert!(!leases.has_message(), "what is due was said");
    lines
}

fn line(message: Message) -> String {
    match message {
        Message::Hello(_) => "hello".to_owned(),
        Message::Credits(credits) => format!("credits {}", credits.count),
        Message::Begins(begins) => {
            let items: Vec<String> =
                begins.begins.iter().map(|begin| format!(" {}/{}", begin.run_id, begin.attempt)).collect();
            format!("begin{}", items.concat())
        }
        Message::Completions(completions) => {
            let items: Vec<String> = completions
                .completions
                .iter()
                .map(|end| format!(" {}:{} {}", end.run_id, end.fencing_token, end.result().as_str_name()))
                .collect();
            format!("end{}", items.concat())
        }
        Message::Declines(declines) => format!("decline {:?}", declines.run_ids),
        Message::KeepAlive(_) => "keep alive".to_owned(),
        Message::Drain(_) => "drain".to_owned(),
        Message::Extensions(extensions) => {
            let one =
                |extension: &pb::Extension| format!(" {}:{}", extension.run_id, extension.fencing_token);
            format!("extend{}", extensions.extensions.iter().map(one).collect::<String>())
        }
        Message::Progress(progress) => {
            let note =
                |note: &pb::ProgressNote| format!(" {}:{} {}", note.run_id, note.fencing_token, note.text);
            format!("progress{}", progress.notes.iter().map(note).collect::<String>())
        }
    }
}

fn two_slots() -> Leases {
    let mut leases = Leases::new(2, HandlerSlots::default());
    assert_eq!(said(&mut leases), ["credits 2"]);
    leases
}

#[test]
fn a_run_from_its_grant_to_its_acknowledgement() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    assert_eq!(said(&mut leases), ["begin 7/1"]);
    let lease = leases.answer(answer(7, 70), Instant::now()).unwrap();
    assert_eq!((lease.offer.grant.run_id, lease.fencing_token), (7, 70));
    assert!(said(&mut leases).is_empty());
    leases.ended(success(7, 70));
    assert_eq!(said(&mut leases), ["credits 1", "end 7:70 SUCCEEDED"]);
    leases.acknowledged(&ack(7, 70));
    assert_eq!(leases.len(), 0);
}

#[test]
fn a_refused_begin_frees_the_slot() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    assert!(leases.answer(answer(7, 0), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["credits 1"]);
    assert_eq!(leases.len(), 0);
}

#[test]
fn what_is_granted_or_answered_twice_starts_once() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    leases.offer(offer(7, 1));
    assert_eq!(said(&mut leases), ["begin 7/1", "credits 1"]);
    assert!(leases.answer(answer(7, 70), Instant::now()).is_some());
    assert!(leases.answer(answer(7, 70), Instant::now()).is_none());
    leases.offer(offer(7, 1));
    assert_eq!(said(&mut leases), ["credits 1", "decline [7]"]);
    leases.ended(success(7, 70));
    assert!(leases.answer(answer(7, 70), Instant::now()).is_none());
    leases.acknowledged(&ack(7, 70));
    said(&mut leases);
    leases.offer(offer(7, 1));
    assert_eq!(said(&mut leases), ["credits 1", "decline [7]"]);
    assert_eq!(leases.declined(), 2);
}

#[test]
fn a_later_attempt_of_a_run_starts_after_the_earlier_one_is_settled() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    leases.answer(answer(7, 70), Instant::now()).unwrap();
    leases.ended(success(7, 70));
    leases.acknowledged(&ack(7, 70));
    leases.offer(offer(7, 2));
    assert_eq!(said(&mut leases), ["begin 7/2", "credits 1"]);
    assert!(leases.answer(answer(7, 71), Instant::now()).is_some());
}

#[test]
fn an_attempt_that_its_handler_did_not_start_may_be_offered_again() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    leases.answer(answer(7, 70), Instant::now()).unwrap();
    let result = pb::completion::Result::NotStarted.into();
    leases.ended(pb::Completion { result, ..success(7, 70) });
    leases.acknowledged(&ack(7, 70));
    said(&mut leases);
    leases.offer(offer(7, 1));
    assert_eq!(said(&mut leases), ["begin 7/1"]);
    assert_eq!(leases.answer(answer(7, 71), Instant::now()).unwrap().fencing_token, 71);
}

#[test]
fn another_attempt_of_a_run_that_is_asked_for_is_declined() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    leases.offer(offer(7, 2));
    assert_eq!(said(&mut leases), ["credits 1", "decline [7]"]);
    assert_eq!(leases.answer(answer(7, 70), Instant::now()).unwrap().offer.grant.attempt, 1);
}

#[test]
fn a_lost_answer_is_asked_for_again_after_a_reconnect() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    assert!(leases.named_in_hello(Instant::now()).is_empty(), "without a token there is nothing to name");
    leases.reconnected(0);
    assert_eq!(said(&mut leases), ["begin 7/1", "credits 1"]);
    assert!(leases.answer(answer(7, 70), Instant::now()).is_some());
}

#[test]
fn leases_are_named_and_completions_repeated_after_each_reconnect() {
    let mut leases = two_slots();
    for run_id in [7, 8] {
        leases.offer(offer(run_id, 1));
        said(&mut leases);
        leases.answer(answer(run_id, run_id * 10), Instant::now()).unwrap();
    }
    leases.ended(success(7, 70));
    said(&mut leases);
    for _ in 0..2 {
        let held = leases.named_in_hello(Instant::now());
        let named: Vec<_> = held.iter().map(|held| (held.run_id, held.fencing_token)).collect();
        assert_eq!(named, [(7, 70), (8, 80)]);
        leases.reconnected(0);
        assert_eq!(said(&mut leases), ["credits 1", "end 7:70 SUCCEEDED"]);
    }
    leases.acknowledged(&ack(7, 69));
    leases.reconnected(0);
    assert_eq!(
        said(&mut leases),
        ["credits 1", "end 7:70 SUCCEEDED"],
        "an acknowledgement of another token counts for nothing"
    );
    leases.acknowledged(&pb::CompletionAck { accepted: false, ..ack(7, 70) });
    leases.reconnected(0);
    assert_eq!(said(&mut leases), ["credits 1"], "a refusal is final");
}

#[test]
fn what_waits_too_long_for_an_answer_is_said_again() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    leases.offer(offer(8, 1));
    said(&mut leases);
    leases.answer(answer(8, 80), Instant::now()).unwrap();
    leases.ended(success(8, 80));
    said(&mut leases);
    let patience = Duration::from_secs(10);
    leases.tick(Instant::now(), patience);
    assert_eq!(said(&mut leases), ["keep alive"]);
    leases.tick(Instant::now() + patience * 2, patience);
    assert_eq!(said(&mut leases), ["keep alive", "begin 7/1", "end 8:80 SUCCEEDED"]);
}

#[test]
fn a_lease_that_nobody_waits_for_is_handed_back() {
    let mut leases = two_slots();
    assert!(leases.answer(answer(9, 90), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["end 9:90 NOT_STARTED"]);
    assert_eq!(leases.handed_back(), 1);
}

#[test]
fn exec_5_a_lease_that_was_answered_too_late_is_handed_back() {
    let mut leases = two_slots();
    let (start, lease) = (Instant::now(), Duration::from_secs(30));
    let with_lease = |run_id| {
        let mut offer = offer(run_id, 1);
        offer.grant.lease_duration_ms = 30_000;
        offer
    };
    leases.offer(with_lease(7));
    leases.offer(with_lease(8));
    leases.next_message(start);
    assert!(leases.answer(answer(7, 70), start + lease - Duration::from_millis(1)).is_some());
    // Asked again meanwhile: the answer may still be that to the first question.
    leases.tick(start + lease, Duration::from_secs(3));
    while leases.next_message(start + lease).is_some() {}
    assert!(leases.answer(answer(8, 80), start + lease).is_none());
    assert_eq!(said(&mut leases), ["credits 1", "end 8:80 NOT_STARTED"]);
}

#[test]
fn exec_5_a_lease_is_as_old_as_the_question_of_this_session() {
    let mut leases = two_slots();
    let (start, late) = (Instant::now(), Instant::now() + Duration::from_secs(60));
    let mut offer = offer(7, 1);
    offer.grant.lease_duration_ms = 30_000;
    leases.offer(offer);
    leases.next_message(start);
    leases.reconnected(0);
    leases.next_message(late);
    assert!(leases.answer(answer(7, 70), late).is_some());
}

#[test]
fn a_later_lease_of_a_run_that_is_over_here_is_handed_back() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    leases.drain();
    assert!(leases.answer(answer(7, 70), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["drain", "end 7:70 NOT_STARTED"]);
    // The leader took that and answered a repeated question before its acknowledgement came here.
    assert!(leases.answer(answer(7, 71), Instant::now()).is_none());
    leases.acknowledged(&ack(7, 70));
    assert_eq!(said(&mut leases), ["end 7:71 NOT_STARTED"]);
    leases.acknowledged(&ack(7, 71));
    assert_eq!(leases.len(), 0);
}

#[test]
fn another_run_with_the_id_of_one_that_was_started_is_started() {
    // A cluster that is set up anew counts run ids from 1 again.
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    leases.answer(answer(7, 70), Instant::now()).unwrap();
    leases.ended(success(7, 70));
    leases.acknowledged(&ack(7, 70));
    said(&mut leases);
    let run = RunName::parse("namespaces/n/schedules/other/runs/7".to_owned()).unwrap();
    leases.offer(Offer { run, ..offer(7, 1) });
    assert_eq!(said(&mut leases), ["begin 7/1"]);
}

#[test]
fn offers_beyond_the_slots_are_declined() {
    let mut leases = two_slots();
    for run_id in 1..=3 {
        leases.offer(offer(run_id, 1));
    }
    assert_eq!(said(&mut leases), ["begin 1/1 2/1", "decline [3]"]);
}

#[test]
fn draining_declines_offers_and_hands_leases_back() {
    let mut leases = two_slots();
    leases.offer(offer(1, 1));
    said(&mut leases);
    leases.offer(offer(2, 1));
    leases.drain();
    assert_eq!(said(&mut leases), ["drain", "decline [2]"]);
    assert!(leases.answer(answer(1, 10), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["end 1:10 NOT_STARTED"]);
    leases.offer(offer(3, 1));
    assert_eq!(said(&mut leases), ["decline [3]"]);
    leases.reconnected(0);
    assert_eq!(said(&mut leases), ["drain", "end 1:10 NOT_STARTED"]);
}

#[test]
fn batches_are_bounded_in_number_and_in_bytes() {
    let mut leases = Leases::new(3000, HandlerSlots::default());
    said(&mut leases);
    for run_id in 1..=3000 {
        leases.offer(offer(run_id, 1));
    }
    let sizes: Vec<usize> = said(&mut leases).iter().map(|line| line.split(' ').count() - 1).collect();
    assert_eq!(sizes, [1024, 1024, 952]);
    for run_id in 1..=100 {
        leases.answer(answer(run_id, run_id), Instant::now()).unwrap();
        let output_tail = vec![b'x'; 64 * 1024].into();
        leases.ended(pb::Completion { output_tail, ..success(run_id, run_id) });
    }
    while let Some(message) = leases.next_message(Instant::now()) {
        let bytes = prost::Message::encoded_len(&pb::ExecutorMessage { message: Some(message) });
        assert!(bytes < 1200 * 1024, "{bytes}");
    }
}

#[test]
fn completions_that_are_not_acknowledged_hold_back_credit() {
    let mut leases = Leases::new(1, HandlerSlots::default());
    said(&mut leases);
    let mut runs = 0_u64;
    loop {
        runs += 1;
        leases.offer(offer(runs, 1));
        said(&mut leases);
        leases.answer(answer(runs, runs), Instant::now()).unwrap();
        leases.ended(success(runs, runs));
        if !said(&mut leases).contains(&"credits 1".to_owned()) {
            break;
        }
    }
    assert_eq!(runs, 4096);
    leases.acknowledged(&ack(1, 1));
    assert_eq!(said(&mut leases), ["credits 1"]);
}

fn cancel(run_id: u64, fencing_token: u64) -> pb::Cancel {
    pb::Cancel { run_id, fencing_token, grace_ms: 5_000, reason: "by ann: wrong data".into() }
}

fn heard_cancel(leases: &mut Leases, cancel: &pb::Cancel) {
    leases.cancel(cancel, Instant::now(), Duration::from_secs(10));
}

#[test]
fn exec_6_a_cancel_reaches_the_lease_that_it_names_and_no_other() {
    let mut leases = two_slots();
    for run_id in [7, 8] {
        leases.offer(offer(run_id, 1));
    }
    said(&mut leases);
    let seven = leases.answer(answer(7, 70), Instant::now()).unwrap();
    let eight = leases.answer(answer(8, 80), Instant::now()).unwrap();
    for other in [cancel(7, 69), cancel(7, 71), cancel(9, 70)] {
        heard_cancel(&mut leases, &other);
    }
    assert!(seven.told.stop.cancellation().is_none());
    for _ in 0..2 {
        heard_cancel(&mut leases, &cancel(7, 70));
        let (reason, grace) = ("by ann: wrong data".to_owned(), Duration::from_secs(5));
        assert_eq!(seven.told.stop.cancellation(), Some(Cancellation::Requested { reason, grace }));
    }
    assert!(eight.told.stop.cancellation().is_none());
    assert!(said(&mut leases).is_empty(), "its completion is the answer");
}

#[test]
fn exec_6_a_cancel_that_overtakes_its_lease_waits_for_it() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    heard_cancel(&mut leases, &cancel(7, 70));
    leases.reconnected(0);
    assert_eq!(said(&mut leases), ["begin 7/1", "credits 1"]);
    assert!(leases.answer(answer(7, 70), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["credits 1", "end 7:70 CANCELLED"]);
    assert_eq!((leases.cancelled_unstarted(), leases.handed_back()), (1, 0));
    leases.acknowledged(&ack(7, 70));
    assert_eq!(leases.len(), 0);
}

#[test]
fn exec_6_a_cancel_of_an_earlier_lease_leaves_the_later_one_alone() {
    let mut leases = two_slots();
    leases.offer(offer(7, 2));
    said(&mut leases);
    heard_cancel(&mut leases, &cancel(7, 70));
    let lease = leases.answer(answer(7, 71), Instant::now()).unwrap();
    assert!(lease.told.stop.cancellation().is_none());
}

#[test]
fn a_cancelled_lease_is_reported_so_while_draining_too() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    said(&mut leases);
    heard_cancel(&mut leases, &cancel(7, 70));
    leases.drain();
    assert!(leases.answer(answer(7, 70), Instant::now()).is_none());
    assert_eq!(said(&mut leases), ["drain", "end 7:70 CANCELLED"]);
}

#[test]
fn a_late_cancel_changes_nothing() {
    let mut leases = two_slots();
    leases.offer(offer(7, 1));
    // Not asked for: no token of it can be ours.
    heard_cancel(&mut leases, &cancel(7, 70));
    said(&mut leases);
    leases.answer(answer(7, 70), Instant::now()).unwrap();
    leases.ended(success(7, 70));
    heard_cancel(&mut leases, &cancel(7, 70));
    assert_eq!(said(&mut leases), ["credits 1", "end 7:70 SUCCEEDED"]);
    leases.acknowledged(&ack(7, 70));
    heard_cancel(&mut leases, &cancel(7, 70));
    assert!(said(&mut leases).is_empty());
    assert_eq!(leases.len(), 0);
}

fn offer_of(handler: &str, run_id: u64) -> Offer {
    let mut offer = offer(run_id, 1);
    handler.clone_into(&mut offer.grant.handler);
    offer
}

#[test]
fn exec_4_a_handler_takes_no_more_than_its_own_slots() {
    let limits = [("import".to_owned(), 1)].into();
    let mut leases = Leases::new(3, HandlerSlots::new(&limits));
    said(&mut leases);
    leases.offer(offer_of("import", 1));
    leases.offer(offer_of("import", 2));
    leases.offer(offer_of("other", 3));
    assert_eq!(said(&mut leases), ["begin 1/1 3/1", "credits 1", "decline [2]"]);
    leases.answer(answer(1, 10), Instant::now()).unwrap();
    leases.offer(offer_of("import", 2));
    assert_eq!(said(&mut leases), ["credits 1", "decline [2]"], "it runs");
    leases.ended(success(1, 10));
    leases.offer(offer_of("import", 2));
    assert_eq!(said(&mut leases), ["begin 2/1", "credits 1", "end 1:10 SUCCEEDED"]);
}

#[test]
fn exec_4_whatever_ends_an_offer_frees_the_slot_of_its_handler() {
    let limits = [("import".to_owned(), 1)].into();
    let mut leases = Leases::new(1, HandlerSlots::new(&limits));
    said(&mut leases);
    let start = Instant::now();
    let late = start + Duration::from_secs(60);
    let mut asked = |run_id: u64| {
        let mut offer = offer_of("import", run_id);
        offer.grant.lease_duration_ms = 30_000;
        leases.offer(offer);
        assert_eq!(leases.next_message(start).map(line), Some(format!("begin {run_id}/1")));
        match run_id {
            1 => assert!(leases.answer(answer(1, 0), start).is_none()),
            2 => assert!(leases.answer(answer(2, 20), late).is_none()),
            3 => {
                heard_cancel(&mut leases, &cancel(3, 30));
                assert!(leases.answer(answer(3, 30), start).is_none());
            }
            _ => {}
        }
        while leases.next_message(start).is_some() {}
    };
    (1..=4).for_each(&mut asked);
}

#[test]
fn notes_are_said_together_when_they_are_due() {
    let mut leases = two_slots();
    let lease = |leases: &mut Leases, run_id| {
        leases.offer(offer(run_id, 1));
        said(leases);
        leases.answer(answer(run_id, run_id * 10), Instant::now()).unwrap()
    };
    let (seven, eight) = (lease(&mut leases, 7), lease(&mut leases, 8));
    seven.told.note.write("1 of 100");
    seven.told.note.write("42 of 100");
    assert!(said(&mut leases).is_empty());
    leases.notes_due();
    assert_eq!(said(&mut leases), ["progress 7:70 42 of 100"]);
    leases.notes_due();
    assert!(said(&mut leases).is_empty(), "there is nothing new");
    eight.told.note.write("half");
    seven.told.note.write("43 of 100");
    leases.notes_due();
    // What is noted until it is said wins, too.
    seven.told.note.write("44 of 100");
    assert_eq!(said(&mut leases), ["progress 7:70 44 of 100 8:80 half"]);
    seven.told.note.write("100 of 100");
    leases.notes_due();
    leases.ended(success(7, 70));
    assert_eq!(said(&mut leases), ["credits 1", "end 7:70 SUCCEEDED"], "the run is over");
    leases.reconnected(0);
    let again = ["credits 1", "end 7:70 SUCCEEDED", "progress 8:80 half"];
    assert_eq!(said(&mut leases), again, "a new leader has not heard it");
}

#[test]
fn exec_2_what_is_said_again_is_said_of_older_runs_first() {
    const RUNS: u64 = 40;
    let mut leases = Leases::new(100, HandlerSlots::default());
    said(&mut leases);
    let start = Instant::now();
    // Neither up nor down.
    let mixed = (0..RUNS).map(|place| place * 7 % RUNS + 1);
    mixed.for_each(|run_id| leases.offer(offer(run_id, 1)));
    let listed = |ids: std::ops::RangeInclusive<u64>| ids.map(|id| format!(" {id}/1")).collect::<String>();
    let (all, half) = (listed(1..=RUNS), listed(1..=RUNS / 2));
    assert_ne!(leases.next_message(start).map(line), Some(format!("begin{all}")), "as they were offered");
    while leases.next_message(start).is_some() {}

    leases.tick(start + Duration::from_secs(2), Duration::from_secs(1));
    let begins = said(&mut leases).into_iter().find(|line| line.starts_with("begin"));
    assert_eq!(begins, Some(format!("begin{all}")));
    for run_id in (RUNS / 2 + 1..=RUNS).rev() {
        leases.answer(answer(run_id, run_id * 10), Instant::now()).expect("it was asked for");
    }
    let named: Vec<_> = leases.named_in_hello(Instant::now()).iter().map(|held| held.run_id).collect();
    assert!(named.is_sorted() && named.len() == 20);
    for run_id in (RUNS / 2 + 1..=RUNS).rev() {
        leases.ended(success(run_id, run_id * 10));
    }
    leases.reconnected(0);
    let again = said(&mut leases);
    let ends: String = (RUNS / 2 + 1..=RUNS).map(|id| format!(" {id}:{id}0 SUCCEEDED")).collect();
    assert_eq!([&again[0], &again[2]], [&format!("begin{half}"), &format!("end{ends}")]);
}
