//! `belfry export`: what a namespace has as documents that `belfry apply` reads.
//!
//! - EXPORT-1: with the schedules comes what they use: without it they would run by other limits, or could not be applied. What
//!   is not declared is nothing to write.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Map, Value};

use super::declare::uses;
use super::declared::exported;
use super::document::{Document, Kind};
use crate::commands::schedule::{Selector, schedules};
use crate::commands::{Context, calendar, converse, namespace, pool};
use crate::exit::{Exit, Failure};
use crate::output::{Format, prose};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Export only schedules with these labels, and what they use: `team=billing,tier!=test`.
    #[arg(short = 'l', long, default_value = "", value_parser = Selector::parse, hide_default_value = true)]
    selector: Selector,
    /// Export only documents of this kind; repeat it for several.
    #[arg(long, value_name = "KIND", value_enum, ignore_case = true)]
    kind: Vec<Kind>,
}

pub(crate) fn run(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    converse(export(context, args))
}

async fn export(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut exporting = Exporting { context, args, used: BTreeSet::new(), count: 0 };
    let mut pages = schedules(&client, &context.parent());
    while let Some(page) = pages.next().await? {
        let fitting = page.into_iter().filter(|schedule| args.selector.fits(&schedule.labels));
        exporting.write(fitting.map(|schedule| Document::Schedule(Box::new(schedule))))?;
    }
    if exporting.wants(Kind::Calendar) {
        calendar::each_page(&client, &context.parent(), |page| {
            exporting.write_used(page.into_iter().map(Document::Calendar))
        })
        .await?;
    }
    if exporting.wants(Kind::Pool) {
        pool::each_page(&client, |page| exporting.write_used(page.into_iter().map(Document::Pool))).await?;
    }
    if exporting.wants(Kind::Namespace) {
        namespace::each_page(&client, |page| exporting.write_used(page.into_iter().map(Document::Namespace)))
            .await?;
    }
    if exporting.count == 0 {
        prose(&format!("nothing to export in {}", context.parent()));
    }
    Ok(())
}

/// An export under way.
struct Exporting<'a> {
    context: &'a Context,
    args: &'a ExportArgs,
    /// What the schedules use, by resource name.
    used: BTreeSet<String>,
    count: usize,
}

impl Exporting<'_> {
    fn wants(&self, kind: Kind) -> bool {
        self.args.kind.is_empty() || self.args.kind.contains(&kind)
    }

    fn write(&mut self, documents: impl Iterator<Item = Document>) -> Result<(), Failure> {
        let mut text = String::new();
        for document in documents {
            self.used.extend(document.schedule().into_iter().flat_map(uses));
            if self.wants(document.kind()) {
                text += &written(&exported(document)?, self.context.printer.format())?;
                self.count += 1;
            }
        }
        self.context.printer.text(&text)
    }

    /// Of what schedules use, what belongs to the export (EXPORT-1).
    fn write_used(&mut self, documents: impl Iterator<Item = Document>) -> Result<(), Failure> {
        let parent = self.context.parent();
        let (is_whole, is_everywhere) = (self.args.selector.is_empty(), parent == "namespaces/-");
        let kept: Vec<_> = documents
            .filter(|document| {
                let is_own = match document {
                    Document::Namespace(namespace) => namespace.name == parent,
                    Document::Calendar(_) | Document::Schedule(_) => true,
                    // Pools belong to nobody.
                    Document::Pool(_) => false,
                };
                (is_whole && (is_own || is_everywhere)) || self.used.contains(document.name())
            })
            .collect();
        self.write(kept.into_iter())
    }
}

/// Documents have no form for people but YAML.
fn written(document: &Map<String, Value>, format: Format) -> Result<String, Failure> {
    let unwritable = |error: &dyn std::error::Error| {
        Failure::new(Exit::Failed, format!("cannot write a document: {error}"))
    };
    match format {
        Format::Json => Ok(serde_json::to_string(document).map_err(|error| unwritable(&error))? + "\n"),
        Format::Name => {
            Ok(document.get("name").and_then(Value::as_str).unwrap_or_default().to_owned() + "\n")
        }
        Format::Table | Format::Wide | Format::Yaml => {
            Ok("---\n".to_owned()
                + &serde_yaml_ng::to_string(document).map_err(|error| unwritable(&error))?)
        }
    }
}
