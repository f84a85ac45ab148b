//! `belfry schedule list`.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use clap::Args;

use crate::commands::Context;
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
}

pub(crate) async fn run(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut listing = context.printer.listing::<ScheduleView>("schedules", text::now_millis());
    let mut page_token = String::new();
    loop {
        let request =
            pb::ListSchedulesRequest { parent: context.parent(), page_size: args.page_size, page_token };
        let page = client.list_schedules(request).await?;
        let fitting = page.schedules.into_iter().filter(|schedule| args.selector.fits(&schedule.labels));
        listing.page(&fitting.map(ScheduleView::from).collect::<Vec<_>>())?;
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    if listing.end()? == 0 {
        let fitting = if args.selector == Selector::default() { "" } else { " with these labels" };
        prose(&format!("no schedules{fitting} in {}", context.parent()));
    }
    Ok(())
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
    fn parse(text: &str) -> Result<Self, String> {
        let conditions = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Condition::parse);
        conditions.collect::<Result<_, _>>().map(Self)
    }

    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|condition| condition.holds(labels))
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
            assert_eq!(Selector::parse(text).unwrap().fits(&labels), expected, "{text}");
        }
        assert!(
            Selector::parse("=x").is_err()
                && Selector::parse("a b").is_err()
                && Selector::parse("!").is_err()
        );
    }
}
