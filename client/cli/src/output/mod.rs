//! What goes to stdout: documents for programs, tables for people.
//!
//! - OUT-1: data goes to stdout, prose to stderr.
//! - OUT-2: field names of documents are those of the contract, in snake_case. Instants are RFC 3339 in UTC, durations are
//!   `1h30m`, enums are the names of the contract. Bytes are text where they are UTF-8; otherwise the field is called
//!   `…_base64`.
//! - OUT-3: a JSON document is one line.
//! - OUT-4: colours appear on a terminal only, and never when NO_COLOR is set.

mod listing;
mod table;
pub(crate) mod view;

pub(crate) use listing::{Listing, Row};
pub(crate) use table::{Cell, Table, Tone};

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::exit::{Exit, Failure};

/// How data is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide screens.
    Wide,
    /// For programs: one line of JSON.
    Json,
    /// For programs and people.
    Yaml,
    /// Resource names, one per line.
    Name,
}

/// Writes data in the chosen format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    format: Format,
    has_colour: bool,
}

impl Printer {
    /// A printer for this process' stdout.
    pub(crate) fn new(format: Format, no_color: bool) -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { format, has_colour: !no_color && !is_dumb && io::stdout().is_terminal() }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Whether programs read it, which want an answer where people want none.
    pub(crate) fn is_document(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// Writes one thing: as a document, as its resource name, or as `table` shows it.
    pub(crate) fn one<T: Serialize>(
        &self,
        value: &T,
        name: &str,
        table: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Table | Format::Wide => self.text(&table(self)),
            Format::Name => self.text(&format!("{name}\n")),
            Format::Json => self.text(&json(value)?),
            Format::Yaml => self.text(&yaml(value)?),
        }
    }

    /// Begins a list whose items arrive page by page.
    pub(crate) fn listing<T: Row>(&self, key: &'static str, now: i64) -> Listing<T> {
        Listing::new(*self, key, now)
    }

    /// Lays out a table.
    pub(crate) fn lay_out(&self, table: &mut Table, rows: &[Vec<Cell>]) -> String {
        table.lay_out(rows, self.has_colour)
    }

    /// Lays out what is known about one thing, a line for each fact.
    pub(crate) fn facts(&self, facts: Vec<(&'static str, Cell)>) -> String {
        let row = |(label, cell)| vec![Cell::new(label, Tone::Faint), cell];
        self.lay_out(&mut Table::plain(), &facts.into_iter().map(row).collect::<Vec<_>>())
    }

    /// Writes text as it is.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        Ok(stdout.flush()?)
    }
}

/// Writes a line of prose to stderr. Nobody is left to be told when that fails.
pub(crate) fn prose(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a warning to stderr.
pub(crate) fn warning(text: &str) {
    prose(&format!("warning: {text}"));
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    let text = serde_json::to_string(value).map_err(|error| unwritable(&error))?;
    Ok(text + "\n")
}

fn yaml<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    serde_yaml_ng::to_string(value).map_err(|error| unwritable(&error))
}

fn unwritable(error: &dyn std::error::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write the answer as a document: {error}; use -o table"))
}
