//! One process and its group, from start to end.
//!
//! ```text
//!  start ──► running ──exit──────────────────────────► the rest of its output (bounded) ──► outcome
//!               └─cancelled─► SIGTERM ─exit or grace─► SIGKILL to the group ─┘
//! ```
//!
//! The grace is that of the cancel, where there is one, else that of the handler.

use std::future::pending;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use belfry_sdk::executor::{Cancellation, Outcome, OutputTail, RunContext};
use bytes::Bytes;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe::Receiver;
use tokio::process::{ChildStdin, Command};
use tokio::time::{Instant, sleep_until, timeout};

/// How long to wait for output after the process has ended. What it wrote itself is in the pipe already; only children
/// that it left in the background still hold the pipe, and they must not hold the run.
const OUTPUT_AFTER_EXIT: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;

/// Starts the command and waits for its end. Dropping the future kills its process group. Nothing is started once the run
/// is cancelled.
pub(super) async fn supervise(
    mut command: Command,
    stdin: Bytes,
    run: &RunContext,
    kill_after: Duration,
) -> io::Result<Outcome> {
    let (output, both_outputs) = io::pipe()?;
    let output = Receiver::from_owned_fd(OwnedFd::from(output))?;
    command.stdout(both_outputs.try_clone()?).stderr(both_outputs);
    command.stdin(if stdin.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.process_group(0).kill_on_drop(true);
    if run.cancelled.is_cancelled() {
        return Ok(Outcome::NotStarted { message: "cancelled before the command was started".to_owned() });
    }
    let mut child = command.spawn()?;
    // Our copies of the pipe's writing end go with it: else the output would never end.
    drop(command);
    let mut group = Group::led_by(child.id());
    let mut feed = pin!(feed(child.stdin.take(), stdin));
    let mut copy = pin!(copy(output, run.output.clone()));
    let (mut fed, mut copied) = (false, false);
    let mut stop = Stop::NotAsked;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = &mut feed, if !fed => fed = true,
            () = &mut copy, if !copied => copied = true,
            () = run.cancelled.cancelled(), if matches!(stop, Stop::NotAsked) => {
                group.signal(Signal::SIGTERM);
                // A sum beyond the end of time is never reached.
                stop = Stop::Asked { kill_at: Instant::now().checked_add(grace(run, kill_after)) };
            }
            () = stop.overdue() => {
                group.signal(Signal::SIGKILL);
                stop = Stop::Forced;
            }
        }
    };
    let cancelled = !matches!(stop, Stop::NotAsked);
    if cancelled {
        // STOCK-1: those of its children that ignored SIGTERM.
        group.signal(Signal::SIGKILL);
    }
    group.release();
    if !copied {
        // Late output is not worth an error.
        let _ = timeout(OUTPUT_AFTER_EXIT, copy).await;
    }
    Ok(outcome(status, cancelled))
}

/// How far a cancelled process has been asked to stop.
enum Stop {
    NotAsked,
    Asked { kill_at: Option<Instant> },
    Forced,
}

impl Stop {
    /// Completes when asking has not helped in time.
    async fn overdue(&self) {
        match self {
            Self::Asked { kill_at: Some(kill_at) } => sleep_until(*kill_at).await,
            Self::Asked { kill_at: None } | Self::NotAsked | Self::Forced => pending().await,
        }
    }
}

/// The time between SIGTERM and SIGKILL.
fn grace(run: &RunContext, kill_after: Duration) -> Duration {
    match run.cancellation() {
        Some(Cancellation::Requested { grace, .. }) => grace,
        _ => kill_after,
    }
}

/// The process group of a child. Killed when dropped, unless it was released.
struct Group(Option<Pid>);

impl Group {
    fn led_by(child: Option<u32>) -> Self {
        Self(child.and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0
            && let Err(error) = killpg(leader, signal)
        {
            // Usually it has just ended by itself.
            tracing::debug!(group = leader.as_raw(), %signal, %error, "the process group was not signalled");
        }
    }

    /// The group is on its own now: its number may soon belong to another one.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Writes the input. A process that does not read it is within its rights.
async fn feed(stdin: Option<ChildStdin>, bytes: Bytes) {
    if let Some(mut stdin) = stdin
        && let Err(error) = stdin.write_all(&bytes).await
    {
        tracing::debug!(%error, "the process did not read all of its input");
    }
}

/// Copies the output until nobody holds the pipe any more.
async fn copy(mut output: Receiver, tail: OutputTail) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match output.read(&mut buffer).await {
            Ok(0) => return,
            Ok(count) => tail.write(&buffer[..count]),
            Err(error) => {
                tracing::warn!(%error, "cannot read the output of the process");
                return;
            }
        }
    }
}

/// What the end of the process means. One that was told to end has not succeeded, even if it left with 0: its work was cut
/// short.
fn outcome(status: ExitStatus, cancelled: bool) -> Outcome {
    let (exit_code, message) = match status.code() {
        Some(0) if !cancelled => return Outcome::SucceededWith { exit_code: 0, message: String::new() },
        Some(code) => (Some(code), format!("exit code {code}")),
        None => {
            let signal = status.signal().unwrap_or_default();
            let name = Signal::try_from(signal).map_or("unknown", Signal::as_str);
            (None, format!("killed by signal {signal} ({name})"))
        }
    };
    if cancelled { Outcome::Cancelled { exit_code, message } } else { Outcome::Failed { exit_code, message } }
}
