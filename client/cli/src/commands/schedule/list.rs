//! `belfry schedule list`.

use std::collections::BTreeMap;

use belfry_sdk::{Client, pb};
use clap::Args;

use crate::commands::{Context, watch};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::ScheduleView;
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// List only schedules with these labels: `team=billing,tier!=test,owned,!legacy`.
    #[arg(short = 'l', long, default_value = "", value_parser = Selector::parse, hide_default_value = true)]
    selector: Selector,
    /// Schedules per call.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(i32).range(1..=1000))]
    page_size: i32,
    /// Go on with schedules as they are created, changed and deleted, until interrupted.
    #[arg(short = 'w', long)]
    watch: bool,
}

pub(crate) async fn run(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut listing = context.printer.listing::<ScheduleView>("schedules", text::now_millis());
    let mut pages = Pages { page_size: args.page_size, ..schedules(&client, &context.parent()) };
    while let Some(page) = pages.next().await? {
        let fitting = page.into_iter().filter(|schedule| args.selector.fits(&schedule.labels));
        listing.page(&fitting.map(ScheduleView::from).collect::<Vec<_>>())?;
    }
    let count = listing.end()?;
    if args.watch {
        let parent = context.schedule("-")?;
        let selector = args.selector.to_string();
        let request = pb::WatchSchedulesRequest { parent, selector, start_revision: pages.revision };
        return watch::schedules(context, &client, request).await;
    }
    if count == 0 {
        let fitting = if args.selector == Selector::default() { "" } else { " with these labels" };
        prose(&format!("no schedules{fitting} in {}", context.parent()));
    }
    Ok(())
}

/// Schedules per call, where nobody chooses.
const PAGE_SIZE: i32 = 500;

/// The schedules of a namespace, page by page.
pub(crate) fn schedules(client: &Client, parent: &str) -> Pages {
    let page_token = Some(String::new());
    Pages { client: client.clone(), parent: parent.to_owned(), page_size: PAGE_SIZE, page_token, revision: 0 }
}

pub(crate) struct Pages {
    client: Client,
    parent: String,
    page_size: i32,
    /// Of the next page, if there is one.
    page_token: Option<String>,
    /// What the first page was read at.
    revision: u64,
}

impl Pages {
    /// The next page; none behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<pb::Schedule>>, Failure> {
        let Some(page_token) = self.page_token.take() else { return Ok(None) };
        let (parent, page_size) = (self.parent.clone(), self.page_size);
        let page =
            self.client.list_schedules(pb::ListSchedulesRequest { parent, page_size, page_token }).await?;
        if self.revision == 0 {
            self.revision = page.revision;
        }
        self.page_token = Some(page.next_page_token).filter(|token| !token.is_empty());
        Ok(Some(page.schedules))
    }
}

/// Conditions on labels, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Equals(String, String),
    Differs(String, String),
    Present(String),
    Absent(String),
}

impl Selector {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let conditions = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Condition::parse);
        conditions.collect::<Result<_, _>>().map(Self)
    }

    /// Refuses a selector that matches everything, for what changes all that it matches.
    pub(crate) fn check_narrow(&self) -> Result<(), Failure> {
        match self.0.is_empty() {
            true => Err(Failure::usage(
                "an empty selector matches every schedule: give a label, such as team=billing",
            )),
            false => Ok(()),
        }
    }

    pub(crate) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| condition.holds(labels))
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, condition) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            match condition {
                Condition::Equals(key, value) => write!(f, "{key}={value}")?,
                Condition::Differs(key, value) => write!(f, "{key}!={value}")?,
                Condition::Present(key) => f.write_str(key)?,
                Condition::Absent(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let owned = |(key, value): (&str, &str)| (key.trim().to_owned(), value.trim().to_owned());
        let condition = if let Some(pair) = text.split_once("!=") {
            let (key, value) = owned(pair);
            Self::Differs(key, value)
        } else if let Some(pair) = text.split_once("==").or_else(|| text.split_once('=')) {
            let (key, value) = owned(pair);
            Self::Equals(key, value)
        } else if let Some(key) = text.strip_prefix('!') {
            Self::Absent(key.trim().to_owned())
        } else {
            Self::Present(text.to_owned())
        };
        if condition.key().is_empty() || condition.key().contains(['!', '=', ' ']) {
            return Err(format!("`{text}` is no condition: write key=value, key!=value, key or !key"));
        }
        Ok(condition)
    }

    fn key(&self) -> &str {
        match self {
            Self::Equals(key, _) | Self::Differs(key, _) | Self::Present(key) | Self::Absent(key) => key,
        }
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::Equals(_, wanted) => value == Some(wanted),
            Self::Differs(_, unwanted) => value != Some(unwanted),
            Self::Present(_) => value.is_some(),
            Self::Absent(_) => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_select() {
        let labels =
            BTreeMap::from([("team".to_owned(), "billing".to_owned()), ("owned".to_owned(), String::new())]);
        for (text, expected) in [
            ("", true),
            ("team=billing", true),
            ("team==billing, owned", true),
            ("team!=billing", false),
            ("tier!=test", true),
            ("!legacy", true),
            ("!owned", false),
            ("legacy", false),
            ("team=billing,legacy", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.fits(&labels), expected, "{text}");
            assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector, "{text}");
        }
        assert!(
            Selector::parse("=x").is_err()
                && Selector::parse("a b").is_err()
                && Selector::parse("!").is_err()
        );
    }
}
