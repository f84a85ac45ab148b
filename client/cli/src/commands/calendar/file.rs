//! `belfry calendar apply`: `belfry apply` for calendars alone, which need not say that they are.

use clap::Args;

use crate::commands::Context;
use crate::commands::apply::{FilesArgs, Kind, run_only};
use crate::commands::schedule::CheckArgs;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: FilesArgs,
    #[command(flatten)]
    check: CheckArgs,
}

pub(super) async fn run(context: &Context, args: &ApplyArgs) -> Result<(), Failure> {
    run_only(context, Kind::Calendar, &args.files, args.check).await
}
