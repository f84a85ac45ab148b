//! `belfry calendar apply`: calendars of files, as `belfry calendar get -o yaml` writes them.
//!
//! - CALFILE-1: nothing is written unless all documents can be read and make sense.

use std::fs::File;
use std::io::{self, Read};

use belfry_sdk::pb;
use clap::Args;
use serde::{Deserialize, de::IgnoredAny};
use serde_yaml_ng::Value;

use super::{compile, set};
use crate::commands::Context;
use crate::commands::schedule::CheckArgs;
use crate::exit::Failure;
use crate::output::prose;
use crate::text;

/// Sixteen full calendars.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// What stands for stdin.
const STDIN: &str = "-";

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// File with calendars in YAML or JSON, `-` for stdin; repeat it for several.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<String>,
    #[command(flatten)]
    check: CheckArgs,
}

/// A calendar as a document. Fields that only nodes set mean nothing in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    time_zone: String,
    #[serde(default)]
    days: Vec<String>,
    #[serde(default)]
    periods: Vec<Period>,
    #[serde(default, rename = "etag")]
    _etag: IgnoredAny,
    #[serde(default, rename = "update_time")]
    _update_time: IgnoredAny,
    #[serde(default, rename = "next")]
    _next: IgnoredAny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    start: String,
    end: String,
}

pub(super) async fn run(context: &Context, args: &ApplyArgs) -> Result<(), Failure> {
    let mut calendars = Vec::new();
    for file in &args.files {
        let text = read_file(file).map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
        calendars.extend(read(context, &text).map_err(|failure| failure.about(file))?);
    }
    let client = context.client()?;
    for calendar in calendars {
        let current = set::read(&client, &calendar.name).await?;
        let is_new = current.etag.is_empty();
        let name = calendar.name.clone();
        // Bound to what was compared with: whoever changed it since wins, and hears nothing of this.
        let wanted =
            pb::Calendar { etag: current.etag.clone(), update_time: current.update_time, ..calendar };
        if wanted == current && !is_new {
            prose(&format!("{name} is unchanged"));
            continue;
        }
        let request = pb::PutCalendarRequest {
            calendar: Some(wanted),
            validate_only: args.check.dry_run,
            ..Default::default()
        };
        client.put_calendar(request).await.map_err(|error| Failure::from(error).about(&name))?;
        let done = if is_new { "created" } else { "changed" };
        let would = if args.check.dry_run { "would be " } else { "" };
        prose(&format!("{name} {would}{done}"));
    }
    args.check.remark("changed");
    Ok(())
}

fn read_file(path: &str) -> io::Result<String> {
    if path == STDIN { read_text(io::stdin().lock()) } else { read_text(File::open(path)?) }
}

fn read_text(read: impl Read) -> io::Result<String> {
    let mut text = String::new();
    // One byte more than allowed tells too much from just enough, also where a file has no end.
    let size = read.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if size as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("more than {FILE_BYTES_MAX} bytes: split it")));
    }
    Ok(text)
}

/// The calendars of a text. A list as `belfry calendar list -o yaml` writes it stands for its items.
fn read(context: &Context, text: &str) -> Result<Vec<pb::Calendar>, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let mut calendars = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(|error| refused(&error))?;
        let items = match value.get("calendars") {
            Some(Value::Sequence(items)) => items.clone(),
            Some(_) | None if value.is_null() => Vec::new(),
            Some(_) => return Err(Failure::usage("has `calendars` that are no list")),
            None => vec![value],
        };
        for item in items {
            let document: Document = serde_yaml_ng::from_value(item).map_err(|error| refused(&error))?;
            let calendar = document.into_calendar(context)?;
            compile(&calendar)?;
            calendars.push(calendar);
        }
    }
    Ok(calendars)
}

impl Document {
    fn into_calendar(self, context: &Context) -> Result<pb::Calendar, Failure> {
        let period = |period: Period| pb::calendar::Period { start: period.start, end: period.end };
        Ok(pb::Calendar {
            name: context
                .calendar(&self.name)
                .map_err(|failure| failure.about(text::short_name(&self.name)))?,
            description: self.description,
            time_zone: self.time_zone,
            days: self.days,
            periods: self.periods.into_iter().map(period).collect(),
            ..Default::default()
        })
    }
}
