//! The systems that a deployment drives, connected.

use crate::failure::Failure;
use crate::settings::{BalancerKind, Places, unusable};
use std::sync::Arc;
use teal_core::action::{Action, PoolAction};
use teal_core::journal::{Entry, Event};
use teal_drivers::balancers::builtin::Builtin;
use teal_drivers::balancers::haproxy::Haproxy;
use teal_drivers::directory::{Directory, Listed};
use teal_drivers::orchestrators::marathon::Marathon;
use teal_drivers::{Balancer, Gauges, HttpGauges, Orchestrator};

/// An orchestrator, a balancer, and what reads the gauges.
#[derive(Clone)]
pub(crate) struct Systems {
    pub(crate) orchestrator: Arc<dyn Orchestrator>,
    pub(crate) balancer: Arc<dyn Balancer>,
    pub(crate) gauges: Arc<dyn Gauges>,
    /// Who lives where, for a balancer that knows addresses alone.
    pub(crate) directory: Directory,
}

impl Systems {
    pub(crate) fn connect(places: &Places) -> Result<Self, Failure> {
        let directory = Directory::new();
        Ok(Self {
            orchestrator: Arc::new(Listed::new(marathon(places)?, directory.clone())),
            balancer: balancer(places, &directory)?,
            gauges: Arc::new(HttpGauges::new()),
            directory,
        })
    }

    /// Takes down who was to be admitted, as a journal tells: such an instance may have gone meanwhile, and then only
    /// the journal knows whose address it was.
    pub(crate) fn note_admitted(&self, entries: &[Entry]) {
        for entry in entries {
            if let Event::Intended {
                action: Action::Pool(PoolAction::Change { admit, .. }),
            } = &entry.event
            {
                admit.iter().for_each(|member| self.directory.note(member));
            }
        }
    }
}

/// Connects to Marathon alone, for the commands that are its API by hand.
pub(crate) fn marathon(places: &Places) -> Result<Marathon, Failure> {
    Marathon::open(places.marathon.access()?).map_err(|error| unusable("--marathon", &error))
}

fn balancer(places: &Places, directory: &Directory) -> Result<Arc<dyn Balancer>, Failure> {
    Ok(match places.balancer.kind()? {
        BalancerKind::Builtin(url) => Arc::new(builtin(url)?),
        BalancerKind::Haproxy(addresses) => Arc::new(haproxy(&addresses, directory.clone())?),
    })
}

/// Connects to teal's own balancer alone.
pub(crate) fn builtin(url: &str) -> Result<Builtin, Failure> {
    Builtin::connect(url).map_err(|error| unusable("--balancer", &error))
}

/// Connects to HAProxy alone.
pub(crate) fn haproxy(addresses: &str, directory: Directory) -> Result<Haproxy, Failure> {
    Haproxy::connect(addresses, directory).map_err(|error| unusable("--balancer", &error))
}
