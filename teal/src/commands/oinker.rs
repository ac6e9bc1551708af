//! `teal oinker`: the demo's sample service. Not for production, so not in the help.

use crate::failure::{Exit, Failure};
use crate::oinker::{Settings, run as serve};
use clap::Args;

/// Run the sample service of the demo; it is configured by its environment
#[derive(Debug, Args)]
pub(crate) struct OinkerArgs {}

/// Runs `teal oinker`.
pub(crate) async fn run(_: OinkerArgs) -> Result<Exit, Failure> {
    let settings = Settings::from_lookup(|name| std::env::var(name).ok())
        .map_err(|error| Failure::new(Exit::Invalid, error.to_string()))?;
    serve(settings).await?;
    Ok(Exit::Done)
}
