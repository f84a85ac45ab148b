//! Which schedules a verb is for: those that are named, or those whose labels match.
//!
//! - MATCH-1: what a selector matches is listed before anything is done to it, and somebody says yes: at the terminal, or
//!   with `--yes`.

use std::io::{self, IsTerminal as _, Write as _};

use belfry_sdk::{Client, pb};
use clap::Args;

use super::list::schedules;
use super::{RequestArgs, Selector};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct MatchArgs {
    /// The schedules, as NAME or as resource names.
    #[arg(value_name = "NAME", required_unless_present = "selector")]
    names: Vec<String>,
    /// All schedules with these labels, after listing them: `team=billing,tier!=test`.
    #[arg(short = 'l', long, value_parser = Selector::parse, conflicts_with = "names")]
    selector: Option<Selector>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

/// How a verb asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Only for what a selector matches.
    AboutSelections,
    /// For named schedules too, where there is a terminal.
    Always,
}

/// What was matched.
pub(super) struct Matched {
    /// Resource names.
    pub(super) names: Vec<String>,
    is_selection: bool,
}

impl Matched {
    /// Whether it is one schedule that was named: its result is shown as such.
    pub(super) fn is_one(&self) -> bool {
        !self.is_selection && self.names.len() == 1
    }
}

impl MatchArgs {
    /// Refuses what protects one change where there are several.
    pub(super) fn check(&self, etag: &str, request: &RequestArgs) -> Result<(), Failure> {
        let is_one = self.selector.is_none() && self.names.len() == 1;
        if !is_one && (!etag.is_empty() || request.request_id.is_some()) {
            return Err(Failure::usage("--etag and --request-id are for one schedule: name just one"));
        }
        Ok(())
    }

    /// The schedules, once somebody has agreed to what `verb` does to them (MATCH-1).
    pub(super) async fn resolve(
        &self,
        context: &Context,
        client: &Client,
        verb: &str,
        asks: Asks,
        dry_run: bool,
    ) -> Result<Matched, Failure> {
        let Some(selector) = &self.selector else {
            let mut names = Vec::with_capacity(self.names.len());
            for name in &self.names {
                let name = context.schedule(name)?;
                // Named twice, it is meant once.
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            let is_asked = asks == Asks::Always && io::stdin().is_terminal();
            if is_asked && !self.yes && !dry_run && !confirms(&format!("{verb} {}?", self.names.join(", ")))?
            {
                return Err(nothing_done());
            }
            return Ok(Matched { names, is_selection: false });
        };
        check_narrow(selector)?;
        let names = selected(client, &context.parent(), selector).await?;
        let matched = Matched { names, is_selection: true };
        if matched.names.is_empty() {
            prose(&format!("no schedules with these labels in {}", context.parent()));
        } else if !self.yes && !dry_run {
            agree(verb, &matched.names)?;
        }
        Ok(matched)
    }
}

/// Refuses a selector that matches everything, for what changes all that it matches.
pub(crate) fn check_narrow(selector: &Selector) -> Result<(), Failure> {
    match selector.is_empty() {
        true => Err(Failure::usage(
            "an empty selector matches every schedule: give a label, such as team=billing",
        )),
        false => Ok(()),
    }
}

async fn selected(client: &Client, parent: &str, selector: &Selector) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    let mut pages = schedules(client, parent);
    while let Some(page) = pages.next().await? {
        let fitting = page.into_iter().filter(|schedule: &pb::Schedule| selector.fits(&schedule.labels));
        names.extend(fitting.map(|schedule| schedule.name));
    }
    Ok(names)
}

/// Lists what is about to be changed and asks (MATCH-1).
pub(crate) fn agree(verb: &str, names: &[String]) -> Result<(), Failure> {
    names.iter().for_each(|name| prose(&format!("  {}", text::short_name(name))));
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!(
            "would {verb} {} schedule(s), and nobody is there to ask: repeat it with --yes",
            names.len()
        )));
    }
    if confirms(&format!("{verb} these {} schedule(s)?", names.len()))? {
        Ok(())
    } else {
        Err(nothing_done())
    }
}

fn nothing_done() -> Failure {
    Failure::new(Exit::Failed, "nothing was changed")
}

fn confirms(question: &str) -> Result<bool, Failure> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Failures of several schedules, each about its own.
#[derive(Default)]
pub(crate) struct Failures(Option<Failure>);

impl Failures {
    pub(crate) fn add(&mut self, failure: Failure) {
        match &mut self.0 {
            None => self.0 = Some(failure),
            Some(first) => first.also(failure),
        }
    }

    pub(crate) fn end(self) -> Result<(), Failure> {
        self.0.map_or(Ok(()), Err)
    }
}
