//! What must not panic, loop or grow without bounds, whatever bytes it is given. Each target takes bytes and panics only if a
//! promise is broken.
//!
//! | target | what it is given to | promise |
//! |---|---|---|
//! | [`cron`] | the parser of expressions, then the search for instants | no text panics or loops, instants rise (TIMING-1, TIMING-2) |
//! | [`crontab`] | the reader of crontabs | no text panics |
//! | [`requests`] | every method of a node that runs | what a client can send never panics a node, and is never its "internal error" |
//! | [`stored`] | the decoders of log entries and of blocks of a checkpoint | damage is an error; what decodes is written back as it was understood |
//! | [`log_file`] | the write-ahead log, as the content of its newest file | damage is an error that says what to do (STORE-5) |
//! | [`commands`] | the state machine, as a log | no log panics `apply`, and a restart gives the same state (APPLY-1) |
//!
//! Two ways to run them: `cargo test -p belfry-fuzz` (the corpus and what is made of it by small changes, in seconds; part of the
//! gate) and libFuzzer, as long as you like: see `libfuzzer/README.md`.

mod cron;
mod log_file;
mod requests;
mod seeds;
mod state;

pub use cron::{cron, crontab};
pub use log_file::{log_file, sound_log_file};
pub use requests::{Method, methods, requests};
pub use seeds::seeds;
pub use state::{commands, log_of, stored};

/// A target.
pub type Target = fn(&[u8]);

/// All targets, by the name of their folder in the corpus.
pub const TARGETS: [(&str, Target); 6] = [
    ("cron", cron),
    ("crontab", crontab),
    ("requests", requests),
    ("stored", stored),
    ("log_file", log_file),
    ("commands", commands),
];
