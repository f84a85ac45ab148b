//! `belfry export`: the schedules of a namespace as documents that `belfry apply` reads.

use clap::Args;
use serde_json::{Map, Value};

use super::declared::exported;
use crate::commands::schedule::{Selector, schedules};
use crate::commands::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::{Format, prose};

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Export only schedules with these labels: `team=billing,tier!=test`.
    #[arg(short = 'l', long, default_value = "", value_parser = Selector::parse, hide_default_value = true)]
    selector: Selector,
}

pub(crate) fn run(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    converse(export(context, args))
}

async fn export(context: &Context, args: &ExportArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut pages = schedules(&client, &context.parent());
    let mut count = 0;
    while let Some(page) = pages.next().await? {
        let fitting = page.into_iter().filter(|schedule| args.selector.fits(&schedule.labels));
        let documents: Vec<_> = fitting.map(exported).collect::<Result<_, _>>()?;
        count += documents.len();
        let texts: Vec<String> = documents
            .iter()
            .map(|document| written(document, context.printer.format()))
            .collect::<Result<_, _>>()?;
        context.printer.text(&texts.concat())?;
    }
    if count == 0 {
        prose(&format!("no such schedules in {}", context.parent()));
    }
    Ok(())
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
