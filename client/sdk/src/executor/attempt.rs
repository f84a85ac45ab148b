//! One attempt: user code within its time, its panics caught, its outcome in the words of the contract.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, poll};
use tokio::time::Instant;

use super::context::{RunContext, Told};
use super::handler::{Boxed, Outcome};
use super::leases::{Lease, Offer};
use super::output::OutputTail;
use super::stop::Cancellation;
use crate::pb;
use crate::time::{UnixMillis, after};

/// How long a cancelled handler may take to stop: twice the 5 s between SIGTERM and SIGKILL of the command handler.
pub(super) const ABORT_AFTER: Duration = Duration::from_secs(10);
/// Limit of a message in the contract.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Carries a lease out and says what came of it. Dropping the future drops the user code.
///
/// The future is small: it is moved into its task, and most handlers of a storm end when they are polled first.
pub(super) async fn carry_out(lease: Lease, abort_after: Duration) -> pb::Completion {
    let (run_id, fencing_token) = (lease.offer.grant.run_id, lease.fencing_token);
    let output = OutputTail::new();
    // EXEC-6: leased and cancelled in one breath.
    if let Some(cancellation @ Cancellation::Requested { .. }) = lease.told.stop.cancellation() {
        let outcome = Outcome::cancelled(format!("{cancellation}, before it began"));
        return completion(run_id, fencing_token, outcome, &output);
    }
    // Around everything: a future may panic when it is dropped, too.
    let attempt = AssertUnwindSafe(within_its_time(lease, output.clone(), abort_after));
    let outcome = attempt.catch_unwind().await.unwrap_or_else(panicked);
    completion(run_id, fencing_token, outcome, &output)
}

async fn within_its_time(lease: Lease, output: OutputTail, abort_after: Duration) -> Outcome {
    let told = Arc::clone(&lease.told);
    let handler = Arc::clone(&lease.offer.handler);
    let mut user_code = handler.run_boxed(context(lease, output));
    let ended = match poll!(&mut user_code) {
        Poll::Ready(outcome) => Some(outcome),
        Poll::Pending => Box::pin(until_told(&mut user_code, &told, abort_after)).await,
    };
    reported(told.stop.cancellation().as_ref(), ended)
}

fn context(lease: Lease, output: OutputTail) -> RunContext {
    let Lease { offer, fencing_token, told } = lease;
    let Offer { run, grant, .. } = *offer;
    RunContext::of(run, grant, fencing_token, told, output, UnixMillis::now())
}

/// What user code came to; none when it did not end in time.
async fn until_told(user_code: &mut Boxed<'_>, told: &Told, abort_after: Duration) -> Option<Outcome> {
    let Told { stop, deadline, .. } = told;
    let mut timed_out = false;
    loop {
        tokio::select! {
            biased;
            outcome = &mut *user_code => return Some(outcome),
            () = stop.overdue() => return None,
            // However long the grace of a cancellation is, the attempt gets no more time by it.
            () = deadline.passed(), if !timed_out => {
                timed_out = true;
                let timeout = deadline.allowed();
                tracing::warn!(?timeout, "the attempt timeout passed");
                let drop_at = after(Instant::now(), abort_after);
                stop.ask(Cancellation::AttemptTimeout { timeout }, drop_at);
            }
        }
    }
}

/// What is reported of a run, given why it was told to end; `ended` is none when it did not end by itself and was dropped.
fn reported(cancellation: Option<&Cancellation>, ended: Option<Outcome>) -> Outcome {
    let ended = ended.unwrap_or_else(|| Outcome::cancelled("it did not stop when cancelled and was dropped"));
    let Some(cancellation) = cancellation else { return unasked(ended) };
    let (exit_code, last_words) = last_words(&ended);
    let separator = if last_words.is_empty() { "" } else { ": " };
    let message = format!("{cancellation}{separator}{last_words}");
    match (cancellation, ended) {
        (Cancellation::AttemptTimeout { .. }, _) => Outcome::TimedOut { message },
        // Nothing has happened and nothing shall: it must not be offered again.
        (Cancellation::Requested { .. }, Outcome::Cancelled { .. } | Outcome::NotStarted { .. }) => {
            Outcome::Cancelled { exit_code, message }
        }
        (
            Cancellation::Draining,
            Outcome::Failed { .. } | Outcome::TimedOut { .. } | Outcome::Cancelled { .. },
        ) => Outcome::Failed { exit_code, message },
        (Cancellation::Draining, Outcome::FailedForGood { .. }) => {
            Outcome::FailedForGood { exit_code, message }
        }
        // The handler knows best: it may have come to its end after all.
        (Cancellation::Requested { .. } | Cancellation::Draining, ended) => ended,
    }
}

/// The outcome of a run that nobody told to end: that it was cancelled is then its own decision, and a failure.
fn unasked(ended: Outcome) -> Outcome {
    match ended {
        Outcome::Cancelled { exit_code, message } => Outcome::Failed { exit_code, message },
        Outcome::Succeeded
        | Outcome::SucceededWith { .. }
        | Outcome::Failed { .. }
        | Outcome::FailedForGood { .. }
        | Outcome::TimedOut { .. }
        | Outcome::NotStarted { .. } => ended,
    }
}

fn last_words(ended: &Outcome) -> (Option<i32>, &str) {
    match ended {
        Outcome::Succeeded => (None, ""),
        Outcome::SucceededWith { exit_code, message } => (Some(*exit_code), message),
        Outcome::Failed { exit_code, message }
        | Outcome::FailedForGood { exit_code, message }
        | Outcome::Cancelled { exit_code, message } => (*exit_code, message),
        Outcome::TimedOut { message } | Outcome::NotStarted { message } => (None, message),
    }
}

fn panicked(payload: Box<dyn Any + Send>) -> Outcome {
    let words = payload
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    Outcome::failed(format!("the handler panicked: {words}"))
}

fn completion(run_id: u64, fencing_token: u64, outcome: Outcome, output: &OutputTail) -> pb::Completion {
    use pb::completion::Result;
    let non_retryable = matches!(outcome, Outcome::FailedForGood { .. });
    let (result, exit_code, message) = match outcome {
        Outcome::Succeeded => (Result::Succeeded, None, String::new()),
        Outcome::SucceededWith { exit_code, message } => (Result::Succeeded, Some(exit_code), message),
        Outcome::Failed { exit_code, message } | Outcome::FailedForGood { exit_code, message } => {
            (Result::Failed, exit_code, message)
        }
        Outcome::Cancelled { exit_code, message } => (Result::Cancelled, exit_code, message),
        Outcome::TimedOut { message } => (Result::TimedOut, None, message),
        Outcome::NotStarted { message } => (Result::NotStarted, None, message),
    };
    pb::Completion {
        run_id,
        fencing_token,
        result: result.into(),
        exit_code,
        message: shortened(message),
        output_tail: output.bytes(),
        non_retryable,
    }
}

/// At most [`MESSAGE_BYTES_MAX`] of `message`, whole characters.
fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    message
}

#[cfg(test)]
mod tests {
    use super::super::context::RunName;
    use super::super::deadline::Deadline;
    use super::super::progress::Note;
    use super::super::stop::Stop;
    use super::*;

    #[test]
    fn shortens_at_a_character() {
        assert_eq!(shortened("é".repeat(600)).len(), 1024);
        assert_eq!(shortened(format!("a{}", "é".repeat(600))).len(), 1023);
        assert_eq!(shortened("short".into()), "short");
    }

    fn requested() -> Cancellation {
        Cancellation::Requested { reason: "by ann: wrong data".to_owned(), grace: Duration::from_secs(5) }
    }

    #[test]
    fn a_run_that_was_stopped_says_why_and_what_it_said_last() {
        let timeout = Cancellation::AttemptTimeout { timeout: Duration::from_secs(2) };
        let ended = Some(Outcome::failed("killed by signal 15 (SIGTERM)"));
        let message = "attempt timeout of 2s passed: killed by signal 15 (SIGTERM)".to_owned();
        assert_eq!(reported(Some(&timeout), ended), Outcome::TimedOut { message });
        assert!(matches!(reported(Some(&timeout), Some(Outcome::Succeeded)), Outcome::TimedOut { .. }));
        let draining = Cancellation::Draining;
        assert_eq!(reported(Some(&draining), Some(Outcome::Succeeded)), Outcome::Succeeded);
        for ended in [None, Some(Outcome::cancelled("at row 7"))] {
            assert!(matches!(reported(Some(&draining), ended), Outcome::Failed { exit_code: None, .. }));
        }
    }

    #[test]
    fn a_cancelled_run_is_reported_so_unless_it_came_to_an_end_of_its_own() {
        let of = |ended| reported(Some(&requested()), ended);
        let cancelled = |words: &str| Outcome::cancelled(format!("cancelled: by ann: wrong data{words}"));
        assert_eq!(of(Some(Outcome::Succeeded)), Outcome::Succeeded);
        assert_eq!(of(Some(Outcome::failed("disk full"))), Outcome::failed("disk full"));
        assert_eq!(of(Some(Outcome::cancelled(""))), cancelled(""));
        assert_eq!(of(Some(Outcome::cancelled("at row 7"))), cancelled(": at row 7"));
        assert_eq!(of(Some(Outcome::NotStarted { message: "no".to_owned() })), cancelled(": no"));
        assert_eq!(of(None), cancelled(": it did not stop when cancelled and was dropped"));
        let exit_code = Some(143);
        let Outcome::Cancelled { exit_code: kept, .. } =
            of(Some(Outcome::Cancelled { exit_code, message: String::new() }))
        else {
            panic!("it was cancelled")
        };
        assert_eq!(kept, exit_code);
    }

    #[test]
    fn a_run_that_nobody_cancelled_has_failed_when_it_says_so() {
        assert_eq!(reported(None, Some(Outcome::cancelled("no more"))), Outcome::failed("no more"));
    }

    #[tokio::test]
    async fn exec_6_what_is_cancelled_before_it_begins_is_not_begun() {
        let stop = Stop::new();
        stop.ask(requested(), Instant::now());
        let run = RunName::parse("namespaces/n/schedules/s/runs/r".to_owned()).unwrap();
        let handler = Arc::new(|_: RunContext| async { panic!("it has begun") });
        let grant = pb::Grant { run_id: 7, attempt: 1, ..Default::default() };
        let lease = Lease {
            offer: Box::new(Offer { run, handler, grant }),
            fencing_token: 70,
            told: Arc::new(Told {
                stop,
                note: Note::new(Arc::default()),
                deadline: Deadline::new(Instant::now(), Duration::ZERO, Default::default(), Arc::default()),
            }),
        };
        let completion = carry_out(lease, ABORT_AFTER).await;
        assert_eq!((completion.run_id, completion.fencing_token), (7, 70));
        assert_eq!(completion.result(), pb::completion::Result::Cancelled);
        assert_eq!(completion.message, "cancelled: by ann: wrong data, before it began");
    }
}
