//! The systems that a deployment drives, connected.

use crate::failure::Failure;
use crate::settings::{Places, unusable};
use std::sync::Arc;
use teal_drivers::balancers::builtin::Builtin;
use teal_drivers::orchestrators::marathon::Marathon;
use teal_drivers::{Balancer, Gauges, HttpGauges, Orchestrator};

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
    Marathon::open(places.marathon.access()?).map_err(|error| unusable("--marathon", &error))
}

/// Connects to the balancer alone.
pub(crate) fn balancer(places: &Places) -> Result<Builtin, Failure> {
    Builtin::connect(&places.balancer).map_err(|error| unusable("--balancer", &error))
}
