//! The judge judges: systems that lie to teal make it break promises, and the judge says which.

use super::scenario::Scenario;
use super::systems::World;
use super::{Stage, play_scenario};
use crate::systems::Systems;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use teal_core::Span;
use teal_core::action::{InstanceAction, PoolAction};
use teal_core::name::{InstanceId, PoolId, RevisionId};
use teal_core::observation::{
    EndpointState, Health, Pending, Phase, PoolSighting, RevisionSighting,
};
use teal_core::plan::Found;
use teal_drivers::{Balancer, Capabilities, DriverError, Gauges, Orchestrator, Question, Reading};

/// How many seeds it may take until a lie has come out.
const SEEDS: u64 = 40;

/// Tells something else than what is.
struct Liar {
    world: World,
    /// What a balancer was told to let go.
    let_go: Mutex<Vec<InstanceId>>,
}

impl Liar {
    fn of(world: &World) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            let_go: Mutex::default(),
        })
    }
}

#[test]
fn gauges_that_always_read_zero_lose_operations_and_the_judge_says_so() {
    let lying = |world: &World| Systems {
        gauges: Liar::of(world),
        ..Stage::systems_of(world)
    };

    assert!(comes_out(lying, "P2: teal has stopped"));
}

#[test]
fn a_balancer_that_keeps_sending_to_what_it_says_is_out_loses_requests_and_the_judge_says_so() {
    let lying = |world: &World| Systems {
        balancer: Liar::of(world),
        ..Stage::systems_of(world)
    };

    assert!(comes_out(lying, "P2: a request went to"));
}

#[test]
fn an_orchestrator_that_calls_everything_healthy_brings_in_what_is_not_and_the_judge_says_so() {
    let lying = |world: &World| Systems {
        orchestrator: Liar::of(world),
        ..Stage::systems_of(world)
    };

    assert!(comes_out(lying, "P4: "));
}

fn comes_out(systems: fn(&World) -> Systems, what: &str) -> bool {
    let mut seeds = 1..=SEEDS;
    seeds.any(|seed| {
        let run = play_scenario(Scenario::of(seed), false, systems);
        run.breaches.iter().any(|breach| breach.starts_with(what))
    })
}

#[async_trait]
impl Gauges for Liar {
    async fn read(&self, asked: &[Question]) -> BTreeMap<InstanceId, Reading> {
        let (pending, age) = (Pending::Count(0), Span::ZERO);
        let zero = Reading { pending, age };
        let ids = asked.iter().map(|question| question.instance.clone());
        ids.map(|id| (id, zero.clone())).collect()
    }
}

#[async_trait]
impl Balancer for Liar {
    fn capabilities(&self) -> Capabilities {
        self.world.capabilities()
    }

    /// Whatever it was told to let go looks idle, and is in truth still served.
    async fn observe(&self, pools: &[PoolId]) -> Result<Vec<PoolSighting>, DriverError> {
        let mut seen = Balancer::observe(&self.world, pools).await?;
        let let_go = self.let_go.lock().unwrap().clone();
        for endpoint in seen.iter_mut().flat_map(|pool| &mut pool.endpoints) {
            if let_go.contains(&endpoint.instance) {
                (endpoint.state, endpoint.in_flight) = (EndpointState::Draining, Some(0));
            }
        }
        Ok(seen)
    }

    async fn act(&self, action: &PoolAction) -> Result<(), DriverError> {
        let mut action = action.clone();
        if let PoolAction::Change { withdraw, .. } = &mut action {
            self.let_go.lock().unwrap().append(withdraw);
        }
        Balancer::act(&self.world, &action).await
    }
}

#[async_trait]
impl Orchestrator for Liar {
    async fn find(&self) -> Result<Vec<Found>, DriverError> {
        self.world.find().await
    }

    async fn observe(
        &self,
        revisions: &[RevisionId],
    ) -> Result<Vec<RevisionSighting>, DriverError> {
        let mut seen = Orchestrator::observe(&self.world, revisions).await?;
        for one in seen.iter_mut().flat_map(|revision| &mut revision.instances) {
            (one.phase, one.health) = (Phase::Running, Health::Healthy);
        }
        Ok(seen)
    }

    async fn act(&self, action: &InstanceAction) -> Result<(), DriverError> {
        Orchestrator::act(&self.world, action).await
    }

    async fn changed(&self) {
        self.world.changed().await;
    }
}
