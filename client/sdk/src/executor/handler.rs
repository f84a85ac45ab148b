//! What users write: the code of a run, and what came of it.

use std::future::Future;
use std::pin::Pin;

use super::context::RunContext;

/// The code of a run.
///
/// Any `Fn(RunContext) -> impl Future<Output = Outcome>` is a handler. It is called once per attempt, many at a time (up
/// to the slots of the executor). It must not block its thread: use [`tokio::task::spawn_blocking`] for that, because
/// neither timeout nor shutdown can stop code that does not await.
pub trait Handler: Send + Sync + 'static {
    /// Runs one attempt to its end.
    ///
    /// When `run.cancelled` fires it is to stop what it does, and then its future is dropped: when the run was cancelled
    /// some 2 s after the grace that came with it, at the attempt timeout and at a shutdown
    /// [`super::ExecutorBuilder::abort_after`] later. A panic is a failed run, not a dead executor.
    fn run(&self, run: RunContext) -> impl Future<Output = Outcome> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(RunContext) -> R + Send + Sync + 'static,
    R: Future<Output = Outcome> + Send,
{
    fn run(&self, run: RunContext) -> impl Future<Output = Outcome> + Send {
        self(run)
    }
}

/// What came of an attempt. Messages are for people, at most 1 KiB of them is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it should.
    Succeeded,
    /// It did what it should, and there is more to say.
    SucceededWith {
        /// Exit or status code.
        exit_code: i32,
        /// One line.
        message: String,
    },
    /// It did not do what it should.
    Failed {
        /// Exit or status code, where there is one.
        exit_code: Option<i32>,
        /// One line: what went wrong.
        message: String,
    },
    /// It did not do what it should, and trying again is useless: whatever the schedule's retry policy says.
    FailedForGood {
        /// Exit or status code, where there is one.
        exit_code: Option<i32>,
        /// One line: what went wrong.
        message: String,
    },
    /// It ended because [`RunContext::cancelled`] fired, whatever the reason: the runtime reports CANCELLED, the attempt
    /// timeout, or a failure by shutdown. Without that it is a failure.
    Cancelled {
        /// Exit or status code, where there is one.
        exit_code: Option<i32>,
        /// One line: how far it came.
        message: String,
    },
    /// It gave up for want of time. The runtime reports the attempt timeout by itself.
    TimedOut {
        /// One line: what it was waiting for.
        message: String,
    },
    /// It has had no effect whatsoever, and the run may be offered to another executor.
    NotStarted {
        /// One line: why not.
        message: String,
    },
}

impl Outcome {
    /// A failure without an exit code.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { exit_code: None, message: message.into() }
    }

    /// The same failure, which no further attempt can mend. What is no failure stays what it is.
    ///
    /// ```
    /// # use belfry_sdk::executor::Outcome;
    /// let outcome = Outcome::failed("there is no customer 4711").non_retryable();
    /// # assert!(matches!(outcome, Outcome::FailedForGood { .. }));
    /// ```
    #[must_use]
    pub fn non_retryable(self) -> Self {
        match self {
            Self::Failed { exit_code, message } => Self::FailedForGood { exit_code, message },
            Self::Succeeded
            | Self::SucceededWith { .. }
            | Self::FailedForGood { .. }
            | Self::Cancelled { .. }
            | Self::TimedOut { .. }
            | Self::NotStarted { .. } => self,
        }
    }

    /// An end because of [`RunContext::cancelled`], without an exit code.
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::Cancelled { exit_code: None, message: message.into() }
    }
}

/// A future on the heap.
pub(crate) type Boxed<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A handler whose type is forgotten.
pub(crate) trait AnyHandler: Send + Sync {
    fn run_boxed(&self, run: RunContext) -> Boxed<'_>;
}

impl<H: Handler> AnyHandler for H {
    fn run_boxed(&self, run: RunContext) -> Boxed<'_> {
        Box::pin(self.run(run))
    }
}
