//! The handler `command`: runs a program, or a text in the shell.
//!
//! The payload is an encoded `CommandTarget`. The process gets
//!
//! - the environment of the executor without its own `BELFRY_*` settings, then that of the target, then the run's
//!   `BELFRY_*` variables;
//! - a process group of its own, so that a cancelled run ends with its children and grandchildren (STOCK-1);
//! - one pipe for both of its outputs, so that the tail shows them in the order in which they were written.
//!
//! A run that is to end has SIGTERM sent to the group; SIGKILL follows after the grace of the cancel, at an attempt timeout or
//! a shutdown after 5 s.
//!
//! With a `user` it gets that user's uid, gid, HOME, USER, LOGNAME and SHELL. It gets **no** supplementary groups then:
//! a privileged executor drops its own, and granting those of the user needs calls that this crate does not make.

mod identity;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use belfry_sdk::executor::{Handler, Outcome, RunContext};
use belfry_sdk::pb;
use bytes::Bytes;
use prost::Message as _;
use tokio::process::Command;

use identity::{Identity, IdentityError};

/// Time between SIGTERM and SIGKILL where no cancel brings its own: enough to flush and unlock, and well within the runtime's own patience of 10 s.
const KILL_AFTER: Duration = Duration::from_secs(5);

/// Exit codes of shells for what cannot be started.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Runs programs.
#[derive(Clone, Copy, Debug)]
pub struct CommandHandler {
    kill_after: Duration,
}

impl CommandHandler {
    /// A handler that gives a process 5 s between SIGTERM and SIGKILL. A cancel brings a time of its own.
    #[must_use]
    pub fn new() -> Self {
        Self { kill_after: KILL_AFTER }
    }

    /// The same with another time between SIGTERM and SIGKILL.
    #[must_use]
    pub fn kill_after(self, kill_after: Duration) -> Self {
        Self { kill_after }
    }

    async fn try_run(&self, run: &RunContext) -> Result<Outcome, CommandError> {
        let invocation = Invocation::read(run.payload.clone())?;
        let identity = match invocation.user.clone() {
            // Looking a user up may ask a server.
            Some(user) => tokio::task::spawn_blocking(move || Identity::of(&user))
                .await
                .expect("looking a user up does not panic")?,
            None => None,
        };
        let stdin = invocation.stdin.clone();
        let command = invocation.command(identity.as_ref(), run);
        process::supervise(command, stdin, run, self.kill_after)
            .await
            .map_err(|cause| invocation.not_started(cause))
    }
}

impl Default for CommandHandler {
    fn default() -> Self {
        Self::new()
    }
}

impl Handler for CommandHandler {
    async fn run(&self, run: RunContext) -> Outcome {
        match self.try_run(&run).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let message = error.to_string();
                run.output.line(&message);
                let failed = Outcome::Failed { exit_code: error.exit_code(), message };
                if error.is_of_the_target() { failed.non_retryable() } else { failed }
            }
        }
    }
}

/// Why a command was not started.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("the payload is not a command: {0}")]
    Payload(#[from] prost::DecodeError),
    #[error("the target names no program: give exactly one of argv and shell")]
    NoProgram,
    #[error("the target names two programs: give exactly one of argv and shell")]
    TwoPrograms,
    #[error("{what} contains a NUL byte: no process can be given that")]
    Nul { what: &'static str },
    #[error("{name:?} cannot be the name of an environment variable: it is empty or contains =")]
    VariableName { name: String },
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("cannot enter the working folder {folder:?}: {cause}")]
    Folder { folder: PathBuf, cause: String },
    #[error("cannot start {program:?}: {cause}")]
    Start { program: OsString, cause: std::io::Error },
}

impl CommandError {
    /// Whether the target makes no sense, so that no executor can ever start it. Others may know the user or the program.
    fn is_of_the_target(&self) -> bool {
        match self {
            Self::Payload(_)
            | Self::NoProgram
            | Self::TwoPrograms
            | Self::Nul { .. }
            | Self::VariableName { .. } => true,
            Self::Identity(_) | Self::Folder { .. } | Self::Start { .. } => false,
        }
    }

    /// What a shell would have exited with.
    fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Start { cause, .. } if cause.kind() == std::io::ErrorKind::NotFound => Some(NOT_FOUND),
            Self::Start { .. } | Self::Folder { .. } => Some(NOT_EXECUTABLE),
            Self::Payload(_)
            | Self::NoProgram
            | Self::TwoPrograms
            | Self::Nul { .. }
            | Self::VariableName { .. }
            | Self::Identity(_) => None,
        }
    }
}

/// A target that makes sense.
#[derive(Debug)]
struct Invocation {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
    user: Option<String>,
    stdin: Bytes,
}

impl Invocation {
    fn read(payload: Bytes) -> Result<Self, CommandError> {
        let target = pb::CommandTarget::decode(payload)?;
        let mut argv = match (target.argv.is_empty(), target.shell.is_empty()) {
            (false, true) => target.argv,
            (true, false) => vec!["/bin/sh".to_owned(), "-c".to_owned(), target.shell],
            (true, true) => return Err(CommandError::NoProgram),
            (false, false) => return Err(CommandError::TwoPrograms),
        };
        refuse_nul("the command", &argv)?;
        for (name, value) in &target.environment {
            if name.is_empty() || name.contains('=') {
                return Err(CommandError::VariableName { name: name.clone() });
            }
            refuse_nul("the environment", [name, value])?;
        }
        refuse_nul("the working folder", [&target.working_directory])?;
        let arguments = argv.split_off(1);
        let program = argv.remove(0);
        if program.is_empty() {
            return Err(CommandError::NoProgram);
        }
        Ok(Self {
            program,
            arguments,
            environment: target.environment.into_iter().collect(),
            folder: Some(target.working_directory).filter(|folder| !folder.is_empty()).map(PathBuf::from),
            user: Some(target.user).filter(|user| !user.is_empty()),
            stdin: target.stdin,
        })
    }

    fn command(&self, identity: Option<&Identity>, run: &RunContext) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_own_setting(name)) {
            command.env_remove(name);
        }
        if let Some(identity) = identity {
            identity.assume(&mut command);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.envs(run.environment());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Says what could not be started: an absent folder, or a user that the executor may not become, fails with an error
    /// that looks as if it were about the program.
    fn not_started(&self, cause: std::io::Error) -> CommandError {
        // Before the folder: this is about the executor, wherever it should run.
        if let Some(user) = &self.user
            && cause.raw_os_error() == Some(nix::errno::Errno::EPERM as i32)
        {
            return IdentityError::NotAllowed { user: user.clone() }.into();
        }
        if let Some(folder) = &self.folder
            && let Some(words) = why_not_a_folder(folder)
        {
            return CommandError::Folder { folder: folder.clone(), cause: words };
        }
        CommandError::Start { program: self.program.clone().into(), cause }
    }
}

fn why_not_a_folder(folder: &std::path::Path) -> Option<String> {
    match std::fs::metadata(folder) {
        Ok(metadata) if metadata.is_dir() => None,
        Ok(_) => Some("it is not a folder".to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// The executor's own settings (addresses, perhaps credentials) are none of the command's business.
fn is_own_setting(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"BELFRY_")
}

fn refuse_nul<'a>(
    what: &'static str,
    texts: impl IntoIterator<Item = &'a String>,
) -> Result<(), CommandError> {
    if texts.into_iter().any(|text| text.contains('\0')) { Err(CommandError::Nul { what }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &pb::CommandTarget) -> Result<Invocation, String> {
        Invocation::read(target.encode_to_vec().into()).map_err(|error| error.to_string())
    }

    #[test]
    fn takes_exactly_one_of_argv_and_shell() {
        let argv = pb::CommandTarget { argv: vec!["echo".into(), "a b".into()], ..Default::default() };
        let invocation = read(&argv).unwrap();
        assert_eq!((invocation.program.as_str(), invocation.arguments), ("echo", vec!["a b".to_owned()]));
        let shell = pb::CommandTarget { shell: "echo $X".into(), ..Default::default() };
        let invocation = read(&shell).unwrap();
        assert_eq!(invocation.program, "/bin/sh");
        assert_eq!(invocation.arguments, ["-c", "echo $X"]);
        assert!(read(&pb::CommandTarget::default()).unwrap_err().contains("names no program"));
        let both = pb::CommandTarget { shell: "true".into(), ..argv };
        assert!(read(&both).unwrap_err().contains("names two programs"));
    }

    #[test]
    fn says_that_the_executor_may_not_become_the_user() {
        let target =
            pb::CommandTarget { shell: "true".into(), user: "postgres".into(), ..Default::default() };
        let invocation = Invocation::read(target.encode_to_vec().into()).unwrap();
        let refused = std::io::Error::from_raw_os_error(nix::errno::Errno::EPERM as i32);
        let words = invocation.not_started(refused).to_string();
        assert!(words.starts_with("the executor may not become the user \"postgres\""), "{words}");
    }

    #[test]
    fn refuses_what_no_process_can_be_given() {
        let nul = pb::CommandTarget { shell: "a\0b".into(), ..Default::default() };
        assert!(read(&nul).unwrap_err().contains("NUL"));
        let environment = [("A=B".to_owned(), String::new())].into();
        let name = pb::CommandTarget { shell: "true".into(), environment, ..Default::default() };
        assert!(read(&name).unwrap_err().contains("\"A=B\""));
        assert!(Invocation::read(Bytes::from_static(b"\xff")).is_err());
    }
}
