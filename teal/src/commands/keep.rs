//! `teal keep`: between deployments, what `teal up` does for its own services.

use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::keeper;
use crate::printer;
use crate::settings::Places;
use crate::store::Store;
use crate::systems::Systems;
use anyhow::Context;
use clap::Args;
use std::sync::Arc;
use teal_core::name::PoolId;

/// Keep pools in line with their instances, until Ctrl-C: what crashed and came back elsewhere is put in again
///
/// It looks after every service that teal has deployed, while nothing is being deployed. `teal up` does so for its own
/// services; where a cluster runs them, this is to run beside the balancer.
#[derive(Debug, Args)]
pub(crate) struct KeepArgs {}

/// Runs `teal keep`.
pub(crate) async fn run(places: &Places, _: KeepArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let systems = Systems::connect(places)?;
    let store = Store::open(&places.state_dir)?;
    // A wrong address is better told now than every half minute.
    let found = systems.orchestrator.find().await;
    let found = found.map_err(|error| Failure::orchestrator(&error))?;
    let anything = [PoolId::from("keep-asks-for-a-pool-that-is-not-there")];
    let seen = systems.balancer.observe(&anything).await;
    seen.map_err(|error| Failure::balancer(&error))?;
    printer::talk(format_args!(
        "keeping the pools of {} revision(s) in line with their instances; Ctrl-C ends it",
        found.len()
    ));
    let cues = keeper::Remote(Arc::clone(&systems.orchestrator));
    tokio::select! {
        () = interrupt.wanted() => {}
        () = keeper::run(systems, store, &cues) => {}
    }
    Ok(Exit::Done)
}
