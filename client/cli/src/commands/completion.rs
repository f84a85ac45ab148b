//! `belfry completion`: the completion script of a shell.

use clap::Args;
use clap_complete::Shell;

use super::Context;
use crate::args;
use crate::exit::Failure;

#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// The shell to write it for.
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: &CompletionArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut args::command(), "belfry", &mut script);
    context.printer.text(&String::from_utf8_lossy(&script))
}
