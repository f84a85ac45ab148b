//! `belfry schedule list`.

use belfry_sdk::{Client, pb};
use clap::Args;

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
        let fitting = if args.selector.is_empty() { "" } else { " with these labels" };
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
