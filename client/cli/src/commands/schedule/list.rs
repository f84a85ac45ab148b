//! `belfry schedule list`.

use belfry_sdk::{Client, SchedulePages, pb};
use clap::Args;
use futures_util::StreamExt as _;

use super::Selector;
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
    /// Schedules per message from the cluster.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(i32).range(1..=1000))]
    page_size: i32,
    /// Go on with schedules as they are created, changed and deleted, until interrupted.
    #[arg(short = 'w', long)]
    watch: bool,
}

pub(crate) async fn run(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let mut listing = context.printer.listing::<ScheduleView>("schedules", text::now_millis());
    let mut pages = pages_of(&client, &context.parent(), args.page_size);
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
        let fitting = if args.selector.is_empty() { "" } else { " with these labels" };
        prose(&format!("no schedules{fitting} in {}", context.parent()));
    }
    Ok(())
}

/// Schedules per message, where nobody chooses.
const PAGE_SIZE: i32 = 500;

/// The schedules of a namespace, page by page.
pub(crate) fn schedules(client: &Client, parent: &str) -> Pages {
    pages_of(client, parent, PAGE_SIZE)
}

fn pages_of(client: &Client, parent: &str, page_size: i32) -> Pages {
    let request = pb::ListSchedulesRequest { parent: parent.to_owned(), page_size, ..Default::default() };
    Pages { pages: client.stream_schedules(request), revision: 0 }
}

pub(crate) struct Pages {
    pages: SchedulePages,
    /// What the first page was read at.
    revision: u64,
}

impl Pages {
    /// The next page; none behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<pb::Schedule>>, Failure> {
        let Some(page) = self.pages.next().await.transpose()? else { return Ok(None) };
        if self.revision == 0 {
            self.revision = page.revision;
        }
        Ok(Some(page.schedules))
    }
}
