//! `belfry namespace`: limits and shares of those who use one cluster together.

use belfry_sdk::{Client, ClientError, pb};
use clap::{Args, Subcommand};

use super::documents::{self, ChangeArgs, DeleteArgs, PAGE_SIZE};
use super::schedule::{Count, Limit};
use super::{Context, converse};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::NamespaceView;
use crate::text;

#[derive(Debug, Subcommand)]
pub(crate) enum NamespaceCommand {
    /// List the namespaces that were declared.
    List,
    /// Show a namespace, and how much of its limits is used.
    Get(NameArgs),
    /// Declare a namespace, or change what is given and leave the rest as it is.
    Set(SetArgs),
    /// Forget the limits of namespaces. Their schedules stay.
    Delete(DeleteArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The namespace.
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The namespace.
    name: String,
    /// Runs at once, or none.
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    running_max: Option<Count>,
    /// Schedules, or none.
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    schedules_max: Option<Count>,
    /// Its share of starts when several namespaces wait for the same executors.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    weight: Option<u32>,
    /// Spread of its schedules that say nothing of their own, or none.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    spread: Option<Limit>,
    /// Whose it is.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

impl SetArgs {
    fn is_empty(&self) -> bool {
        self.running_max.is_none()
            && self.schedules_max.is_none()
            && self.weight.is_none()
            && self.spread.is_none()
            && self.description.is_none()
    }

    fn apply(&self, namespace: &mut pb::Namespace) {
        if let Some(limit) = self.running_max {
            namespace.running_max = limit.get();
        }
        if let Some(limit) = self.schedules_max {
            namespace.schedules_max = limit.get().into();
        }
        if let Some(weight) = self.weight {
            namespace.weight = weight;
        }
        if let Some(spread) = self.spread {
            namespace.spread = spread.proto();
        }
        if let Some(description) = &self.description {
            namespace.description.clone_from(description);
        }
    }
}

pub(crate) fn run(context: &Context, command: NamespaceCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            NamespaceCommand::List => list(context).await,
            NamespaceCommand::Get(args) => {
                let name = context.namespace(&args.name)?;
                show(context, context.client()?.get_namespace(pb::GetNamespaceRequest { name }).await?)
            }
            NamespaceCommand::Set(args) => set(context, &args).await,
            NamespaceCommand::Delete(args) => delete(context, &args).await,
        }
    })
}

async fn list(context: &Context) -> Result<(), Failure> {
    let mut listing = context.printer.listing::<NamespaceView>("namespaces", text::now_millis());
    each_page(&context.client()?, |namespaces| {
        listing.page(&namespaces.into_iter().map(NamespaceView::from).collect::<Vec<_>>())
    })
    .await?;
    if listing.end()? == 0 {
        prose("no namespaces are declared: those that schedules name have no limits");
    }
    Ok(())
}

/// Reads all namespaces that were declared.
pub(crate) async fn each_page(
    client: &Client,
    take: impl FnMut(Vec<pb::Namespace>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let fetch = async |page_token| {
        let request = pb::ListNamespacesRequest { page_size: PAGE_SIZE, page_token };
        let page = client.list_namespaces(request).await?;
        Ok((page.namespaces, page.next_page_token))
    };
    documents::pages(fetch, take).await
}

async fn set(context: &Context, args: &SetArgs) -> Result<(), Failure> {
    if args.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag, see `belfry namespace set --help`",
        ));
    }
    let (name, client, change) = (context.namespace(&args.name)?, context.client()?, &args.change);
    let read = async || read(&client, &name).await;
    let edit = |namespace: &mut pb::Namespace| {
        args.apply(namespace);
        Ok(())
    };
    let write = async |namespace: pb::Namespace| {
        let namespace = pb::Namespace { etag: change.etag(&namespace.etag), ..namespace };
        let request = pb::PutNamespaceRequest {
            namespace: Some(namespace),
            request_id: change.request.id(),
            validate_only: change.check.dry_run,
        };
        client.put_namespace(request).await
    };
    show(context, documents::change(change, read, edit, write).await?)
}

async fn read(client: &Client, name: &str) -> Result<pb::Namespace, ClientError> {
    let read = client.get_namespace(pb::GetNamespaceRequest { name: name.to_owned() }).await;
    documents::or_new(read, || pb::Namespace { name: name.to_owned(), ..Default::default() })
}

async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let call = async |deletion: documents::Deletion| {
        let documents::Deletion { name, etag, allow_missing, validate_only, request_id } = deletion;
        let request = pb::DeleteNamespaceRequest { name, etag, allow_missing, request_id, validate_only };
        client.delete_namespace(request).await
    };
    documents::delete(args, |name| context.namespace(name), call).await
}

fn show(context: &Context, namespace: pb::Namespace) -> Result<(), Failure> {
    let view = NamespaceView::from(namespace);
    context.printer.one(&view, &view.name, |printer| view.screen(printer, text::now_millis()))
}
