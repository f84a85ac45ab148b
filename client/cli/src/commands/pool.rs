//! `belfry pool`: how much of something may be in use at once.

use std::str::FromStr;
use std::time::Duration;

use belfry_sdk::{Client, ClientError, pb};
use belfry_timing::parse_duration;
use clap::{Args, Subcommand};

use super::documents::{self, ChangeArgs, DeleteArgs, PAGE_SIZE};
use super::schedule::{ActorArgs, Count};
use super::{Context, converse};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::PoolView;
use crate::text;

#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// List the pools that were declared.
    List,
    /// Show a pool, and how much of it is in use.
    Get(NameArgs),
    /// Declare a pool, or change what is given and leave the rest as it is.
    Set(SetArgs),
    /// Let nothing of a pool begin until it is resumed. What runs goes on.
    Pause(PauseArgs),
    /// End the pause of a pool.
    Resume(ResumeArgs),
    /// Forget the limits of pools: one that nobody declared has none.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The pool.
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The pool.
    name: String,
    /// Runs at once over all its executors, or none.
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    slots: Option<Count>,
    /// Starts in so much time, as in 100/1s, or none.
    #[arg(long, value_name = "N/DURATION")]
    rate: Option<Rate>,
    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The pool.
    name: String,
    /// Why: whoever finds it paused at night wants to know.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The pool.
    name: String,
    #[command(flatten)]
    change: ChangeArgs,
}

/// So many in so much time, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rate(Option<(u32, Duration)>);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let refused = || "write starts and time, as in 100/1s, or none".to_owned();
        let (count, per) = text.split_once('/').ok_or_else(refused)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(refused)?;
        let per = parse_duration(per.trim()).map_err(|error| error.to_string())?;
        Ok(Self(Some((count, per))))
    }
}

impl Rate {
    fn proto(self) -> Option<pb::pool::Rate> {
        self.0.map(|(count, per)| pb::pool::Rate { count, per: Some(text::proto_duration(per)) })
    }
}

pub(crate) fn run(context: &Context, command: PoolCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            PoolCommand::List => list(context).await,
            PoolCommand::Get(args) => {
                let name = context.pool(&args.name)?;
                show(context, context.client()?.get_pool(pb::GetPoolRequest { name }).await?)
            }
            PoolCommand::Set(args) => set(context, &args).await,
            PoolCommand::Pause(args) => pause(context, &args).await,
            PoolCommand::Resume(args) => resume(context, &args).await,
            PoolCommand::Delete(args) => delete(context, &args).await,
        }
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let mut listing = context.printer.listing::<PoolView>("pools", text::now_millis());
    each_page(&context.client()?, |pools| {
        listing.page(&pools.into_iter().map(PoolView::from).collect::<Vec<_>>())
    })
    .await?;
    if listing.end()? == 0 {
        prose("no pools are declared: what is in none has no limits");
    }
    Ok(())
}

/// Reads all pools that were declared.
pub(crate) async fn each_page(
    client: &Client,
    take: impl FnMut(Vec<pb::Pool>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let page = client.list_pools(pb::ListPoolsRequest { page_size: PAGE_SIZE, page_token }).await?;
        Ok((page.pools, page.next_page_token))
    };
    documents::pages(fetch, take).await
}

async fn set(context: &Context, args: &SetArgs) -> Result<(), Failure> {
    if args.slots.is_none() && args.rate.is_none() && args.description.is_none() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag, see `belfry pool set --help`",
        ));
    }
    let edit = |pool: &mut pb::Pool| {
        if let Some(slots) = args.slots {
            pool.slots = slots.get();
        }
        if let Some(rate) = args.rate {
            pool.rate = rate.proto();
        }
        if let Some(description) = &args.description {
            pool.description.clone_from(description);
        }
        Ok(())
    };
    change(context, &args.name, &args.change, edit).await
}

async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    let verdict = pb::Verdict { actor: args.actor.name(), reason: args.reason.clone(), ..Default::default() };
    let edit = |pool: &mut pb::Pool| {
        pool.pause = Some(verdict.clone());
        Ok(())
    };
    change(context, &args.name, &args.change, edit).await
}

async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    let edit = |pool: &mut pb::Pool| match pool.pause.take() {
        Some(_) => Ok(()),
        None => {
            prose("it was not paused");
            Ok(())
        }
    };
    change(context, &args.name, &args.change, edit).await
}

async fn change(
    context: &Context,
    name: &str,
    args: &ChangeArgs,
    edit: impl Fn(&mut pb::Pool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (name, client) = (context.pool(name)?, context.client()?);
    let read = async || read(&client, &name).await;
    let write = async |pool: pb::Pool| {
        let pool = pb::Pool { etag: args.etag(&pool.etag), ..pool };
        let request = pb::PutPoolRequest {
            pool: Some(pool),
            request_id: args.request.id(),
            validate_only: args.check.dry_run,
        };
        client.put_pool(request).await
    };
    show(context, documents::change(args, read, edit, write).await?)
}

async fn read(client: &Client, name: &str) -> Result<pb::Pool, ClientError> {
    let read = client.get_pool(pb::GetPoolRequest { name: name.to_owned() }).await;
    documents::or_new(read, || pb::Pool { name: name.to_owned(), ..Default::default() })
}

async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let call = async |deletion: documents::Deletion| {
        let documents::Deletion { name, etag, allow_missing, validate_only, request_id } = deletion;
        client
            .delete_pool(pb::DeletePoolRequest { name, etag, allow_missing, request_id, validate_only })
            .await
    };
    documents::delete(args, |name| context.pool(name), call).await
}

fn show(context: &Context, pool: pb::Pool) -> Result<(), Failure> {
    let view = PoolView::from(pool);
    context.printer.one(&view, &view.name, |printer| view.screen(printer, text::now_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_starts_and_time() {
        assert_eq!("100/1s".parse(), Ok(Rate(Some((100, Duration::from_secs(1))))));
        assert_eq!("5 / 1m30s".parse(), Ok(Rate(Some((5, Duration::from_secs(90))))));
        assert_eq!("none".parse(), Ok(Rate(None)));
        for wrong in ["100", "0/1s", "x/1s", "-1/1s", "1/", "1/x", ""] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }
}
