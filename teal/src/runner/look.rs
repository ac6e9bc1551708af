//! One look at all systems.

use super::shown::Shown;
use crate::systems::Systems;
use std::collections::{BTreeMap, BTreeSet};
use teal_core::definition::PendingSource;
use teal_core::name::{InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{PendingSighting, Phase, PoolSighting, RevisionSighting, Sighting};
use teal_core::plan::Plan;
use teal_drivers::Question;

/// Up to this many instances, the gauges of all are read at every look; beyond, only of those that leave.
const SMALL: usize = 32;

pub(crate) struct Looker {
    systems: Systems,
    shown: Shown,
}

type Revisions = BTreeMap<Role, RevisionSighting>;

impl Looker {
    pub(crate) fn new(systems: Systems) -> Self {
        let shown = Shown::new(systems.gauges.clone());
        Self { systems, shown }
    }

    /// Looks at the orchestrator, then at the balancer, which may have to be told who lives where, and then, so that a
    /// reading is never older than the pool it goes with, at the gauges.
    pub(crate) async fn look(&self, plan: &Plan, is_back: bool) -> Sighting {
        let began = crate::clock::now();
        let roles = [Role::Blue, Role::Green];
        let ids: Vec<RevisionId> = roles
            .iter()
            .filter_map(|role| plan.revision(*role).cloned())
            .collect();
        let pools: Vec<PoolId> = plan.pools.iter().map(|pool| pool.id.clone()).collect();
        let revisions = self.systems.orchestrator.observe(&ids).await;
        let pools = self.systems.balancer.observe(&pools).await;
        let by_role = |seen: RevisionSighting| {
            let role = roles
                .into_iter()
                .find(|role| plan.revision(*role) == Some(&seen.id));
            role.map(|role| (role, seen))
        };
        let revisions: Result<Revisions, String> = revisions
            .map(|all| all.into_iter().filter_map(by_role).collect())
            .map_err(|error| error.to_string());
        let pools = pools.map_err(|error| error.to_string());
        let pools = pools.and_then(|pools| self.expect_all(plan, pools));
        let pending = match (&revisions, &pools) {
            (Ok(revisions), Ok(pools)) => self.gauges(plan, revisions, pools, is_back).await,
            (_, _) => BTreeMap::new(),
        };
        Sighting {
            began,
            at: crate::clock::now(),
            revisions,
            pools,
            pending,
        }
    }

    /// Where pools are made by hand, one of the plan's that is not there was taken away, or somebody else answers. It says
    /// nothing of who is out of it.
    fn expect_all(
        &self,
        plan: &Plan,
        pools: Vec<PoolSighting>,
    ) -> Result<Vec<PoolSighting>, String> {
        let is_there = |id: &PoolId| pools.iter().any(|pool| pool.id == *id);
        let missing = plan.pools.iter().find(|pool| !is_there(&pool.id));
        match missing {
            Some(pool) if !self.systems.balancer.capabilities().listens => {
                Err(format!("the balancer has no pool {} any more", pool.id))
            }
            Some(_) | None => Ok(pools),
        }
    }

    async fn gauges(
        &self,
        plan: &Plan,
        revisions: &Revisions,
        pools: &[PoolSighting],
        is_back: bool,
    ) -> BTreeMap<InstanceId, PendingSighting> {
        let outgoing = if is_back { Role::Green } else { Role::Blue };
        let endpoints = pools.iter().flat_map(|pool| &pool.endpoints);
        let serving = endpoints.filter(|endpoint| endpoint.state.gets_requests());
        let serving: BTreeSet<&InstanceId> = serving.map(|endpoint| &endpoint.instance).collect();
        let count: usize = revisions
            .values()
            .map(|revision| revision.instances.len())
            .sum();
        let (mut leaving, mut shown) = (Vec::new(), Vec::new());
        for (role, revision) in revisions {
            let source = plan.pending(*role);
            if *source == PendingSource::None {
                continue;
            }
            for one in revision
                .instances
                .iter()
                .filter(|one| one.phase != Phase::Starting)
            {
                let question = Question {
                    instance: one.id.clone(),
                    source: source.clone(),
                    addresses: one.addresses.clone(),
                };
                if *role == outgoing && !serving.contains(&one.id) {
                    leaving.push(question);
                } else if count <= SMALL {
                    shown.push(question);
                }
            }
        }
        let leaving = self.systems.gauges.read(&leaving);
        let (leaving, shown) = tokio::join!(leaving, self.shown.read(shown));
        let now = crate::clock::now();
        let leaving = leaving.into_iter();
        leaving
            .map(|(id, reading)| (id, reading.at(now)))
            .chain(shown)
            .collect()
    }
}
