//! teal's balancer alone in a process, on the runtime that `teal up` gives it: what a profile can be taken of.

use std::net::SocketAddr;

use anyhow::Context;
use teal_proxy::{Config, Proxy};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the admin API listens
    #[arg(long)]
    admin: SocketAddr,
    /// The file in which pools are kept
    #[arg(long)]
    state: std::path::PathBuf,
}

/// Runs it until the process is ended.
///
/// # Errors
///
/// If it cannot start.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    // As in the program's `main`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let _proxy = Proxy::start(Config {
            state: Some(args.state),
            ..Config::new(args.admin)
        })
        .await?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
