//! The program: it reads the command line, runs one command, and turns what came of it into an exit code.

mod cli;
mod clock;
mod commands;
mod descriptors;
mod failure;
mod interrupt;
mod journal_file;
mod keeper;
mod load;
mod oinker;
mod printer;
mod runner;
mod settings;
mod show;
mod store;
mod systems;

use clap::Parser;
use failure::{Exit, Failure};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&Failure::new(
                Exit::Internal,
                format!("cannot start the runtime: {error}"),
            ));
        }
    };
    let ended = runtime.block_on(async {
        // A knock (SIGUSR1) ends a process that does not listen for it. From here on it wakes a deployer, at most.
        let _knocks = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::user_defined1());
        cli.run().await
    });
    // Reads of stdin and background tasks may still hang about; nothing waits for them.
    runtime.shutdown_background();
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    printer::talk(failure);
    failure.exit.into()
}
