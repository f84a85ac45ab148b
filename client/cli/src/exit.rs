//! How the command ends: one table of exit codes, and what is said on stderr when it does not end well.
//!
//! - EXIT-1: a failure is one line per finding on stderr, beginning with `error: ` and saying what to do.
//! - EXIT-2: a reader that closes the pipe early is no failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use belfry_sdk::{ClientError, Refusal};

/// The exit codes. Scripts depend on them: they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what was asked.
    Ok = 0,
    /// It did not, or it found differences.
    Failed = 1,
    /// The command line or a value in it is wrong; nothing was changed.
    Usage = 2,
    /// What was named does not exist.
    NotFound = 3,
    /// Not authenticated, or not allowed.
    Auth = 4,
    /// The name is taken, or somebody else changed it meanwhile.
    Conflict = 5,
    /// No node answers, or none leads.
    NoLeader = 6,
    /// It may have been carried out; the request id says.
    OutcomeUnknown = 7,
    /// What was waited for did not come true.
    ConditionFalse = 8,
    /// A node that is no member of its cluster any more: starting it again does not help.
    NoMember = 9,
    /// Interrupted by a signal.
    Interrupted = 130,
}

/// The table for `--help`.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0    ok
  1    failed, or differences found
  2    wrong usage, or a value was refused; nothing was changed
  3    not found
  4    not authenticated or not allowed
  5    conflict: the name is taken, or it was changed meanwhile
  6    no leader, or no node reachable
  7    outcome unknown: repeat with the request id that is printed
  8    what was waited for did not come true
  9    this node is no member any more: do not start it again
  130  interrupted

Every flag can also be given as an environment variable: --page-size as BELFRY_PAGE_SIZE.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ended otherwise than well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    /// One message per line; empty when there is nothing to say.
    messages: Vec<String>,
    /// What helps a person at a terminal beyond the lines: where in a text the mistake is.
    picture: Option<String>,
}

impl Failure {
    /// A failure with one message.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, messages: vec![message.into()], picture: None }
    }

    /// A wrong command line that clap cannot find by itself.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Ends without a word.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, messages: Vec::new(), picture: None }
    }

    /// Adds the text that is wrong, with a caret under `column` (counted from 1). Shown on terminals only.
    pub(crate) fn with_caret(mut self, text: &str, column: usize) -> Self {
        let indent = " ".repeat(column.saturating_sub(1));
        self.picture = Some(format!("    {text}\n    {indent}^"));
        self
    }

    /// Puts `subject: ` in front of every message.
    pub(crate) fn about(mut self, subject: &str) -> Self {
        for message in &mut self.messages {
            *message = format!("{subject}: {message}");
        }
        self
    }

    /// The same messages under another code.
    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Adds what else went wrong. The exit code stays that of the first failure.
    pub(crate) fn also(&mut self, other: Failure) {
        self.messages.extend(other.messages);
    }

    /// The exit code.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// What goes to stderr, where `is_terminal` says whether a person reads it.
    pub(crate) fn report(&self, is_terminal: bool) -> String {
        let mut report: String =
            self.messages.iter().map(|message| format!("error: {}\n", one_line(message))).collect();
        if let (true, Some(picture)) = (is_terminal, &self.picture) {
            report.push_str(picture);
            report.push('\n');
        }
        report
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.messages.join("; "))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // EXIT-2
            io::ErrorKind::BrokenPipe => Self::silent(Exit::Ok),
            _other => Self::new(Exit::Failed, format!("cannot write the output: {error}")),
        }
    }
}

/// The one table from the errors of calls to exit codes and words.
impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match &error {
            ClientError::NotFound(_) => Self::new(Exit::NotFound, error.to_string()),
            ClientError::AlreadyExists(_) | ClientError::Conflict(_) => {
                Self::new(Exit::Conflict, error.to_string())
            }
            ClientError::InvalidArgument(refusal) => invalid(refusal),
            ClientError::Unauthenticated(_) | ClientError::PermissionDenied(_) => {
                Self::new(Exit::Auth, error.to_string())
            }
            ClientError::NoLeader(_) => Self::new(Exit::NoLeader, error.to_string()),
            ClientError::Unreachable { endpoints, cause } => Self::new(
                Exit::NoLeader,
                format!(
                    "no node answered at {} ({cause}): check that one runs there, or name others with --endpoint or BELFRY_ENDPOINT (`belfry dev` starts a cluster to try)",
                    endpoints.join(", ")
                ),
            ),
            ClientError::OutcomeUnknown { request_id: Some(id), cause } => Self::new(
                Exit::OutcomeUnknown,
                format!(
                    "outcome unknown ({cause}): repeat the same command with --request-id {id} to learn it; that is not a second write"
                ),
            ),
            ClientError::OutcomeUnknown { request_id: None, .. } => {
                Self::new(Exit::OutcomeUnknown, error.to_string())
            }
            ClientError::BadEndpoint { .. } | ClientError::NoEndpoints => Self::usage(error.to_string()),
            // The rest has no code of its own; the enum is open to later releases of the SDK.
            _failed => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

/// One line per field, or the message where no field is named.
fn invalid(refusal: &Refusal) -> Failure {
    if refusal.fields.is_empty() {
        return Failure::usage(format!("invalid request: {}", refusal.message));
    }
    let messages = refusal.fields.iter().map(|field| format!("{}: {}", field.field, field.description));
    Failure { exit: Exit::Usage, messages: messages.collect(), picture: None }
}

fn one_line(text: &str) -> String {
    text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_and_a_picture_for_people() {
        let failure = Failure::usage("column 3: `25` is\nout of range").with_caret("0 25 * * *", 3);
        assert_eq!(failure.report(false), "error: column 3: `25` is out of range\n");
        assert_eq!(failure.report(true), "error: column 3: `25` is out of range\n    0 25 * * *\n      ^\n");
        assert_eq!(failure.about("x").to_string(), "x: column 3: `25` is\nout of range");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.report(true)), (Exit::Ok, String::new()));
    }

    #[test]
    fn unknown_outcomes_name_the_request_id() {
        let failure = Failure::from(ClientError::OutcomeUnknown {
            request_id: Some("R1".to_owned()),
            cause: "connection lost".to_owned(),
        });
        assert_eq!(failure.exit(), Exit::OutcomeUnknown);
        assert!(failure.to_string().contains("--request-id R1"), "{failure}");
    }

    #[test]
    fn an_unreachable_cluster_says_where_it_looked_and_how_to_look_elsewhere() {
        let failure = Failure::from(ClientError::Unreachable {
            endpoints: vec!["http://a:1".to_owned(), "http://b:1".to_owned()],
            cause: "connection refused".to_owned(),
        });
        assert_eq!(failure.exit(), Exit::NoLeader);
        let report = failure.report(false);
        assert!(report.contains("http://a:1, http://b:1") && report.contains("BELFRY_ENDPOINT"), "{report}");
        assert_eq!(report.lines().count(), 1);
    }
}
