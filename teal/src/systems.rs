//! The systems that a deployment drives, connected.

use crate::failure::{Exit, Failure};
use crate::settings::Places;
use std::sync::Arc;
use teal_drivers::balancers::builtin::Builtin;
use teal_drivers::orchestrators::marathon::Marathon;
use teal_drivers::{Balancer, DriverError, Gauges, HttpGauges, Orchestrator};

/// An orchestrator, a balancer, and what reads the gauges.
#[derive(Clone)]
pub(crate) struct Systems {
    pub(crate) orchestrator: Arc<dyn Orchestrator>,
    pub(crate) balancer: Arc<dyn Balancer>,
    pub(crate) gauges: Arc<dyn Gauges>,
}

impl Systems {
    pub(crate) fn connect(places: &Places) -> Result<Self, Failure> {
        Ok(Self {
            orchestrator: Arc::new(marathon(places)?),
            balancer: Arc::new(balancer(places)?),
            gauges: Arc::new(HttpGauges::new()),
        })
    }
}

/// Connects to Marathon alone, for the commands that are its API by hand.
pub(crate) fn marathon(places: &Places) -> Result<Marathon, Failure> {
    Marathon::connect(&places.marathon)
        .map_err(|error| unusable("--marathon", &places.marathon, &error))
}

/// Connects to the balancer alone.
pub(crate) fn balancer(places: &Places) -> Result<Builtin, Failure> {
    Builtin::connect(&places.balancer)
        .map_err(|error| unusable("--balancer", &places.balancer, &error))
}

/// Nothing was asked yet: the address itself is the mistake, and the operator's.
fn unusable(flag: &str, address: &str, error: &DriverError) -> Failure {
    let hint = error
        .hint()
        .unwrap_or("write it like http://127.0.0.1:8080");
    Failure::new(
        Exit::Invalid,
        format!("{flag} {address}: {error}; nothing was changed"),
    )
    .hint(hint)
}
