//! `teal completion`.

use crate::cli::Cli;
use crate::failure::Exit;
use crate::printer;
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Print the completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `teal completion`.
pub(crate) fn run(args: &CompletionArgs) -> Exit {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "teal", &mut script);
    printer::raw(&String::from_utf8_lossy(&script));
    Exit::Done
}
