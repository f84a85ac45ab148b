//! The handler `command`.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::time::Duration;

use belfry_executor::CommandHandler;
use belfry_sdk::UnixMillis;
use belfry_sdk::executor::{Cancellation, Handler as _, Outcome, RunContext};
use belfry_sdk::pb;
use nix::unistd::{Uid, User};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{run, shell};

const SUCCESS: Outcome = Outcome::SucceededWith { exit_code: 0, message: String::new() };

/// Runs a target and returns its outcome and its output.
async fn outcome(target: &pb::CommandTarget) -> (Outcome, String) {
    outcome_of(run(target)).await
}

async fn outcome_of(run: RunContext) -> (Outcome, String) {
    let output = run.output.clone();
    let outcome = CommandHandler::new().run(run).await;
    (outcome, String::from_utf8_lossy(&output.bytes()).into_owned())
}

fn failed(exit_code: i32) -> Outcome {
    Outcome::Failed { exit_code: Some(exit_code), message: format!("exit code {exit_code}") }
}

/// A FIFO that tells when the processes that write to it have started (the first line) and when the last one is gone
/// (its end).
struct Alive {
    started: oneshot::Receiver<()>,
    gone: JoinHandle<()>,
}

impl Alive {
    fn watch(fifo: &Path) -> Self {
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
        let (tell, started) = oneshot::channel();
        let fifo = fifo.to_owned();
        let gone = tokio::task::spawn_blocking(move || {
            let mut reader = BufReader::new(std::fs::File::open(fifo).unwrap());
            reader.read_line(&mut String::new()).unwrap();
            tell.send(()).unwrap();
            reader.read_to_end(&mut Vec::new()).unwrap();
        });
        Self { started, gone }
    }
}

#[tokio::test]
async fn tells_success_from_failure_by_the_exit_code() {
    let argv = vec!["echo".to_owned(), "a  b".to_owned(), "$HOME".to_owned()];
    let target = pb::CommandTarget { argv, ..Default::default() };
    assert_eq!(outcome(&target).await, (SUCCESS, "a  b $HOME\n".to_owned()));
    assert_eq!(outcome(&shell("echo out; exit 3")).await, (failed(3), "out\n".to_owned()));
    let killed = Outcome::failed("killed by signal 9 (SIGKILL)");
    assert_eq!(outcome(&shell("kill -9 $$")).await.0, killed);
}

#[tokio::test]
async fn what_cannot_be_started_fails_as_in_a_shell() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    std::fs::write(&text, "not a program").unwrap();
    let argv = |program: &str| pb::CommandTarget { argv: vec![program.to_owned()], ..Default::default() };
    let fails_with = |code: i32, words: &'static str, target: pb::CommandTarget| async move {
        let (outcome, output) = outcome(&target).await;
        let Outcome::Failed { exit_code, message } = outcome else { panic!("{outcome:?}") };
        assert_eq!(exit_code, Some(code), "{message}");
        assert!(message.contains(words) && output.contains(words), "{message}");
    };
    fails_with(127, "cannot start \"no-such-program\"", argv("no-such-program")).await;
    fails_with(126, "Permission denied", argv(text.to_str().unwrap())).await;
    let nowhere = pb::CommandTarget { working_directory: "/nowhere".to_owned(), ..argv("true") };
    fails_with(126, "cannot enter the working folder \"/nowhere\"", nowhere).await;
}

#[tokio::test]
async fn bad_targets_fail_with_a_clear_message() {
    // Another executor may know the user; none can ever start the others.
    let message = |outcome: Outcome| match outcome {
        Outcome::FailedForGood { exit_code: None, message } => message,
        other => panic!("{other:?}"),
    };
    let empty = outcome(&pb::CommandTarget::default()).await.0;
    assert!(message(empty).contains("exactly one of argv and shell"));
    let mut garbled = run(&shell("true"));
    garbled.payload = b"\xff\xff".as_slice().into();
    assert!(message(outcome_of(garbled).await.0).starts_with("the payload is not a command"));
    let user = "nobody-has-this-name".to_owned();
    let unknown = outcome(&pb::CommandTarget { user, ..shell("true") }).await.0;
    let Outcome::Failed { exit_code: None, message } = unknown else { panic!("{unknown:?}") };
    assert!(message.starts_with("there is no user"), "{message}");
}

#[tokio::test]
async fn a_privileged_executor_becomes_the_user() {
    // Nobody else may become anybody; and some images have no such user.
    if !Uid::effective().is_root() || User::from_name("nobody").unwrap().is_none() {
        return;
    }
    let target = pb::CommandTarget {
        user: "nobody".to_owned(),
        ..shell("id -un; id -G | wc -w; echo $USER $LOGNAME")
    };
    assert_eq!(outcome(&target).await, (SUCCESS, "nobody\n1\nnobody nobody\n".to_owned()));
}

#[tokio::test]
async fn both_outputs_arrive_in_order() {
    let text = "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; done";
    let expected: String = (1..=5).map(|i| format!("out {i}\nerr {i}\n")).collect();
    assert_eq!(outcome(&shell(text)).await, (SUCCESS, expected));
}

#[tokio::test]
async fn keeps_the_end_of_a_long_output() {
    let (outcome, output) = outcome(&shell("seq 1 100000")).await;
    assert_eq!((outcome, output.len()), (SUCCESS, 64 * 1024));
    assert!(output.ends_with("\n99999\n100000\n"));
}

#[tokio::test]
async fn gets_its_input_its_environment_and_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let target = pb::CommandTarget {
        environment: [
            ("GREETING".to_owned(), "hello".to_owned()),
            ("BELFRY_ATTEMPT".to_owned(), "x".to_owned()),
        ]
        .into(),
        working_directory: folder.path().to_str().unwrap().to_owned(),
        stdin: "from stdin".into(),
        ..shell("cat; echo; echo $GREETING; pwd -P; test -n \"$PATH\" && env | grep ^BELFRY_ | sort")
    };
    let mut run = run(&target);
    run.nominal_time = UnixMillis(0);
    run.scheduled_time = UnixMillis(1_000);
    run.window_start = UnixMillis(-60_000);
    run.deadline = UnixMillis(60_000);
    run.idempotency_key = "key".to_owned();
    (run.attempt, run.merged_count, run.fencing_token, run.manual) = (2, 3, 44, false);
    (run.max_attempts, run.backfill) = (5, true);
    let (outcome, output) = outcome_of(run).await;
    let expected = format!(
        "from stdin\nhello\n{}\n\
         BELFRY_ATTEMPT=2\nBELFRY_BACKFILL=true\nBELFRY_DEADLINE=1970-01-01T00:01:00Z\nBELFRY_FENCING_TOKEN=44\n\
         BELFRY_IDEMPOTENCY_KEY=key\nBELFRY_MAX_ATTEMPTS=5\nBELFRY_MERGED_COUNT=3\nBELFRY_NAMESPACE=n\n\
         BELFRY_NOMINAL_TIME=1970-01-01T00:00:00Z\nBELFRY_RUN=namespaces/n/schedules/s/runs/r\n\
         BELFRY_SCHEDULE=s\nBELFRY_SCHEDULED_TIME=1970-01-01T00:00:01Z\nBELFRY_TRIGGER=timer\n\
         BELFRY_WINDOW_START=1969-12-31T23:59:00Z\n",
        folder.path().canonicalize().unwrap().display()
    );
    assert_eq!((outcome, output), (SUCCESS, expected));
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hang() {
    let target = pb::CommandTarget { stdin: vec![b'x'; 1 << 20].into(), ..shell("exit 0") };
    assert_eq!(outcome(&target).await.0, SUCCESS);
}

#[tokio::test]
async fn children_left_in_the_background_neither_hold_the_run_nor_die_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (pid, go) = (folder.path().join("pid"), folder.path().join("go"));
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("mkfifo go; (exec 3>alive; echo up >&3; read line <go) & echo $! >pid; echo done")
    };
    assert_eq!(outcome(&target).await, (SUCCESS, "done\n".to_owned()));
    alive.started.await.unwrap();
    assert!(Path::new("/proc").join(std::fs::read_to_string(pid).unwrap().trim()).exists());
    tokio::task::spawn_blocking(move || std::fs::write(go, "go\n").unwrap()).await.unwrap();
    alive.gone.await.unwrap();
}

#[tokio::test]
async fn a_cancelled_run_ends_with_its_grandchildren() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("sh -c 'exec 3>alive; echo up >&3; sleep 600' & wait")
    };
    let run = run(&target);
    let cancel = run.cancelled.clone();
    let ended = tokio::spawn(CommandHandler::new().run_owned(run));
    alive.started.await.unwrap();
    cancel.cancel();
    assert_eq!(ended.await.unwrap(), Outcome::cancelled("killed by signal 15 (SIGTERM)"));
    alive.gone.await.unwrap();
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("trap '' TERM; sh -c 'exec 3>alive; echo up >&3; sleep 600' & wait; wait; sleep 600")
    };
    let run = run(&target);
    let cancel = run.cancelled.clone();
    let ended = tokio::spawn(CommandHandler::new().kill_after(Duration::from_millis(50)).run_owned(run));
    alive.started.await.unwrap();
    cancel.cancel();
    assert_eq!(ended.await.unwrap(), Outcome::cancelled("killed by signal 9 (SIGKILL)"));
    alive.gone.await.unwrap();
}

#[tokio::test]
async fn a_process_that_leaves_with_0_when_cancelled_has_not_succeeded() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("trap 'exit 0' TERM; exec 3>alive; echo up >&3; sleep 600 & wait")
    };
    let run = run(&target);
    let cancel = run.cancelled.clone();
    let ended = tokio::spawn(CommandHandler::new().run_owned(run));
    alive.started.await.unwrap();
    cancel.cancel();
    let message = "exit code 0".to_owned();
    assert_eq!(ended.await.unwrap(), Outcome::Cancelled { exit_code: Some(0), message });
    alive.gone.await.unwrap();
}

#[tokio::test]
async fn nothing_is_started_once_the_run_is_cancelled() {
    let run = run(&shell("true"));
    run.cancelled.cancel();
    let message = "cancelled before the command was started".to_owned();
    assert_eq!(outcome_of(run).await.0, Outcome::NotStarted { message });
}

#[tokio::test]
async fn a_process_may_be_given_for_ever_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("exec 3>alive; echo up >&3; exec sleep 600")
    };
    let run = run(&target);
    let cancel = run.cancelled.clone();
    let ended = tokio::spawn(CommandHandler::new().kill_after(Duration::MAX).run_owned(run));
    alive.started.await.unwrap();
    cancel.cancel();
    assert_eq!(ended.await.unwrap(), Outcome::cancelled("killed by signal 15 (SIGTERM)"));
    alive.gone.await.unwrap();
}

#[tokio::test]
async fn a_cancel_brings_its_own_grace() {
    // However patient or impatient the handler is with others.
    for (text, kill_after, grace, end) in [
        ("exec 3>alive; echo up >&3; exec sleep 600", Duration::ZERO, Duration::MAX, "15 (SIGTERM)"),
        (
            "trap '' TERM; exec 3>alive; echo up >&3; sleep 600",
            Duration::MAX,
            Duration::from_millis(20),
            "9 (SIGKILL)",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let alive = Alive::watch(&folder.path().join("alive"));
        let target = pb::CommandTarget {
            working_directory: folder.path().to_str().unwrap().to_owned(),
            ..shell(text)
        };
        let run = run(&target);
        let trial = run.clone();
        let ended = tokio::spawn(CommandHandler::new().kill_after(kill_after).run_owned(run));
        alive.started.await.unwrap();
        trial.cancel_trial(Cancellation::Requested { reason: String::new(), grace });
        assert_eq!(ended.await.unwrap(), Outcome::cancelled(format!("killed by signal {end}")));
        alive.gone.await.unwrap();
    }
}

#[tokio::test]
async fn dropping_a_run_kills_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let alive = Alive::watch(&folder.path().join("alive"));
    let target = pb::CommandTarget {
        working_directory: folder.path().to_str().unwrap().to_owned(),
        ..shell("trap '' TERM; sh -c 'exec 3>alive; echo up >&3; sleep 600' & wait")
    };
    let ended = tokio::spawn(CommandHandler::new().run_owned(run(&target)));
    alive.started.await.unwrap();
    ended.abort();
    alive.gone.await.unwrap();
}

/// The handler's future without a borrow, to be spawned.
trait RunOwned {
    fn run_owned(self, run: RunContext) -> impl Future<Output = Outcome> + Send;
}

impl RunOwned for CommandHandler {
    async fn run_owned(self, run: RunContext) -> Outcome {
        self.run(run).await
    }
}
