//! `belfry schedule explain`: whether a timing says what was meant, answered without a cluster.

use clap::Args;
use serde::Serialize;

use super::next::table;
use super::offline::{Spec, SpecArgs};
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::view::{Instant, TimingView};
use crate::output::{Cell, Printer, Table, Tone};

/// Fires shown: enough to see a rhythm.
const FIRES_SHOWN: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Explain it as seen from this instant. Now unless given.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
}

#[derive(Debug, Serialize)]
struct Explanation {
    timing: TimingView,
    words: Vec<String>,
    warnings: Vec<String>,
    next: Vec<Fire>,
}

#[derive(Debug, Serialize)]
struct Fire {
    time: Instant,
    /// What a change of the clocks does to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    clocks: Option<String>,
}

pub(crate) fn run(context: &Context, args: &ExplainArgs) -> Result<(), Failure> {
    let spec = args.spec.read(context)?;
    let from = spec.instant(args.from.as_ref())?;
    let fires = std::iter::successors(spec.timing.next(from), |fire| spec.timing.next(*fire));
    let next: Vec<Instant> = fires.take(FIRES_SHOWN).map(Instant).collect();
    let explanation = Explanation {
        timing: spec.view(),
        words: spec.words(),
        warnings: spec.warnings(from),
        next: next.iter().map(|fire| Fire { time: *fire, clocks: spec.mark(fire.0) }).collect(),
    };
    spec.remark(&args.spec);
    let words = explanation.words.join("\n");
    context.printer.one(&explanation, &words, |printer| explanation.screen(printer, &spec, &next, from))
}

/// A line for each sentence.
pub(super) fn meaning(words: &[String]) -> Vec<Vec<Cell>> {
    let labels = std::iter::once("Means").chain(std::iter::repeat(""));
    labels
        .zip(words)
        .map(|(label, words)| vec![Cell::new(label, Tone::Faint), words.as_str().into()])
        .collect()
}

impl Explanation {
    fn screen(&self, printer: &Printer, spec: &Spec, next: &[Instant], from: i64) -> String {
        let mut rows: Vec<Vec<Cell>> =
            vec![vec![Cell::new("Timing", Tone::Faint), self.timing.short().into()]];
        rows.extend(meaning(&self.words));
        rows.extend(
            self.warnings
                .iter()
                .map(|warning| vec![Cell::new("Warning", Tone::Faint), Cell::new(warning, Tone::Open)]),
        );
        let mut screen = printer.lay_out(&mut Table::plain(), &rows);
        screen.push('\n');
        screen.push_str(&table(printer, spec, next, from));
        screen
    }
}
