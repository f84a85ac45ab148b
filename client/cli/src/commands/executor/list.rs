//! `belfry executor list`.

use clap::Args;

use super::Leader;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::ExecutorView;
use crate::text;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// List only those of this pool.
    #[arg(long)]
    pool: Option<String>,
}

pub(super) async fn run(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let executors = Leader::find(context)?.executors().await?.into_iter().map(ExecutorView::from);
    let mut fitting: Vec<_> =
        executors.filter(|executor| args.pool.as_ref().is_none_or(|pool| *pool == executor.pool)).collect();
    fitting.sort_by(|a, b| a.order().cmp(&b.order()));
    let mut listing = context.printer.listing::<ExecutorView>("executors", text::now_millis());
    listing.page(&fitting)?;
    if listing.end()? == 0 {
        prose(&match &args.pool {
            Some(pool) => format!("no executors in pool {pool}: its runs wait until one connects"),
            None => "no executors: runs wait until one connects (`belfry executor`)".to_owned(),
        });
    }
    Ok(())
}
