//! One attempt: user code within its time, its panics caught, its outcome in the words of the contract.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use super::context::RunContext;
use super::handler::{AnyHandler, Outcome};
use super::leases::{Lease, Offer};
use super::output::OutputTail;
use crate::pb;
use crate::time::UnixMillis;

/// How long a cancelled handler may take to stop: twice the 5 s between SIGTERM and SIGKILL of the command handler.
pub(super) const ABORT_AFTER: Duration = Duration::from_secs(10);
/// Limit of a message in the contract.
const MESSAGE_BYTES_MAX: usize = 1024;
/// The attempt timeout of a grant that names none: the default of the contract.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3600);

/// Carries a lease out and says what came of it. Dropping the future drops the user code.
pub(super) async fn carry_out(lease: Lease, abort_after: Duration) -> pb::Completion {
    let Lease { offer, fencing_token, cancel } = lease;
    let Offer { run, handler, mut grant } = offer;
    let run_id = grant.run_id;
    if grant.attempt_timeout_ms == 0 {
        grant.attempt_timeout_ms = u64::try_from(ATTEMPT_TIMEOUT.as_millis()).expect("an hour fits");
    }
    let attempt_timeout = Duration::from_millis(grant.attempt_timeout_ms);
    let context = RunContext::of(run, grant, fencing_token, cancel, UnixMillis::now());
    let output = context.output.clone();
    // Around everything: a future may panic when it is dropped, too.
    let attempt = AssertUnwindSafe(within_its_time(handler, context, attempt_timeout, abort_after));
    let outcome = attempt.catch_unwind().await.unwrap_or_else(panicked);
    completion(run_id, fencing_token, outcome, &output)
}

async fn within_its_time(
    handler: Arc<dyn AnyHandler>,
    context: RunContext,
    attempt_timeout: Duration,
    abort_after: Duration,
) -> Outcome {
    let cancel = context.cancelled.clone();
    let mut user_code = handler.run_boxed(context);
    let stop = tokio::select! {
        biased;
        outcome = &mut user_code => return outcome,
        () = cancel.cancelled() => Stop::Shutdown,
        () = sleep(attempt_timeout) => Stop::AttemptTimeout(attempt_timeout),
    };
    tracing::warn!(cause = %stop.words(), "the run is being stopped");
    cancel.cancel();
    stopped(&stop, timeout(abort_after, user_code).await.ok())
}

/// Why a run was stopped from outside.
enum Stop {
    AttemptTimeout(Duration),
    Shutdown,
}

impl Stop {
    fn words(&self) -> String {
        match self {
            Self::AttemptTimeout(timeout) => format!("attempt timeout of {timeout:?} passed"),
            Self::Shutdown => "the executor shut down and the grace period passed".to_owned(),
        }
    }
}

/// The outcome of a run that was stopped; `ended` is none when it did not stop by itself and was dropped.
fn stopped(stop: &Stop, ended: Option<Outcome>) -> Outcome {
    let (exit_code, last_words) = match &ended {
        Some(Outcome::Succeeded) => (None, ""),
        Some(Outcome::SucceededWith { exit_code, message }) => (Some(*exit_code), message.as_str()),
        Some(Outcome::Failed { exit_code, message }) => (*exit_code, message.as_str()),
        Some(Outcome::TimedOut { message } | Outcome::NotStarted { message }) => (None, message.as_str()),
        None => (None, "it did not stop when cancelled and was dropped"),
    };
    let separator = if last_words.is_empty() { "" } else { ": " };
    let message = format!("{}{separator}{last_words}", stop.words());
    match (stop, ended) {
        (Stop::AttemptTimeout(_), _) => Outcome::TimedOut { message },
        // At a shutdown the handler knows best: it may have come to its end after all.
        (Stop::Shutdown, Some(Outcome::Failed { .. } | Outcome::TimedOut { .. }) | None) => {
            Outcome::Failed { exit_code, message }
        }
        (Stop::Shutdown, Some(outcome)) => outcome,
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
    let (result, exit_code, message) = match outcome {
        Outcome::Succeeded => (Result::Succeeded, None, String::new()),
        Outcome::SucceededWith { exit_code, message } => (Result::Succeeded, Some(exit_code), message),
        Outcome::Failed { exit_code, message } => (Result::Failed, exit_code, message),
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
        non_retryable: false,
    }
}

/// At most [`MESSAGE_BYTES_MAX`] of `message`, whole characters.
fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortens_at_a_character() {
        assert_eq!(shortened("é".repeat(600)).len(), 1024);
        assert_eq!(shortened(format!("a{}", "é".repeat(600))).len(), 1023);
        assert_eq!(shortened("short".into()), "short");
    }

    #[test]
    fn a_run_that_was_stopped_says_why_and_what_it_said_last() {
        let timeout = Stop::AttemptTimeout(Duration::from_secs(2));
        let ended = Some(Outcome::failed("killed by signal 15 (SIGTERM)"));
        let message = "attempt timeout of 2s passed: killed by signal 15 (SIGTERM)".to_owned();
        assert_eq!(stopped(&timeout, ended), Outcome::TimedOut { message });
        assert!(matches!(stopped(&timeout, Some(Outcome::Succeeded)), Outcome::TimedOut { .. }));
        assert_eq!(stopped(&Stop::Shutdown, Some(Outcome::Succeeded)), Outcome::Succeeded);
        assert!(matches!(stopped(&Stop::Shutdown, None), Outcome::Failed { exit_code: None, .. }));
    }
}
