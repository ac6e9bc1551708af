//! One state of the model: a world, and what teal knows of it. What teal knows are the real [`State`] and the real
//! [`Evidence`]; what it does is decided by the real [`decide`].

use crate::world::{Copy, Gauge, Life, Work, World};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use teal_core::decide::{Decision, decide};
use teal_core::evidence::Evidence;
use teal_core::invariants::Violation;
use teal_core::journal::{Direction, Entry, Event, Outcome, State};
use teal_core::name::{Address, InstanceId, PoolId, RevisionId, Role};
use teal_core::observation::{
    EndpointSighting, EndpointState, Health, InstanceSighting, Observation, Pending,
    PendingSighting, Phase, PoolSighting, RevisionSighting, Sighting,
};
use teal_core::plan::Plan;
use teal_core::{Moment, Span};

/// How old a cached answer of a gauge is: older than any that may still be believed.
const CACHED_FOR: Span = Span::seconds(8);

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) now: Moment,
    pub(crate) state: State,
    pub(crate) evidence: Evidence,
    pub(crate) world: World,
    /// How many mishaps may still come.
    pub(crate) mishaps: u32,
    /// How often in a row time has passed in small steps.
    pub(crate) steps: u32,
}

/// What a look gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sight {
    Clear,
    NoOrchestrator,
    NoBalancer,
}

impl Node {
    /// Looks, and decides. An error is a promise that the decision breaks.
    pub(crate) fn decide(&mut self, plan: &Plan, sight: Sight) -> Result<Decision, Violation> {
        let seen = self.look(plan, sight);
        // In debug builds `decide` holds its decision against the promises, and panics where one is broken.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide(plan, &self.state, &seen, self.now)
        }));
        decided.map_err(|panic| Violation {
            promise: "decide",
            what: told(panic.as_ref()),
        })
    }

    pub(crate) fn look(&mut self, plan: &Plan, sight: Sight) -> Observation {
        if sight == Sight::Clear {
            self.world.be_seen();
        }
        let refused = || "connection refused".to_owned();
        let revisions = match sight {
            Sight::NoOrchestrator => Err(refused()),
            Sight::Clear | Sight::NoBalancer => Ok(self.revisions()),
        };
        let pools = match sight {
            Sight::NoBalancer => Err(refused()),
            Sight::Clear | Sight::NoOrchestrator => Ok(pools(&self.world)),
        };
        let pending = self.world.copies().map(|copy| self.gauge(copy)).collect();
        let sighting = Sighting {
            began: self.now,
            at: self.now,
            revisions,
            pools,
            pending,
        };
        self.evidence.absorb(plan, sighting)
    }

    fn revisions(&self) -> BTreeMap<Role, RevisionSighting> {
        sight(&self.world)
    }

    fn gauge(&self, copy: &Copy) -> (InstanceId, PendingSighting) {
        let shown = match copy.work {
            Work::Idle | Work::Requests | Work::Hidden => 0,
            Work::Busy | Work::Operations => 1,
        };
        let (at, reading) = match copy.gauge {
            Gauge::Live => (self.now, Pending::Count(shown)),
            Gauge::Broken => (self.now, Pending::Unknown("timed out".to_owned())),
            Gauge::Cached => (self.now - CACHED_FOR, Pending::Count(0)),
        };
        (copy.id.clone(), PendingSighting { at, reading })
    }

    pub(crate) fn log(&mut self, event: Event) -> u64 {
        let entry = Entry {
            seq: self.state.seq + 1,
            at: self.now,
            event,
        };
        self.state
            .apply(&entry)
            .expect("the model writes only what may follow");
        self.state.seq
    }

    /// Whether the deployer has ended with a call for a person.
    pub(crate) fn is_stuck(&self) -> bool {
        matches!(self.state.outcome, Some(Outcome::Stuck { .. }))
    }

    /// Forgets what can play no part any more: ids never come back, and reasons are for people. Then states differ only
    /// where it matters.
    pub(crate) fn prune(&mut self) {
        self.state.last_failure = None;
        if let Direction::Back { reason } = &mut self.state.direction {
            reason.clear();
        }
        if let Some(Outcome::Stuck { reason }) = &mut self.state.outcome {
            reason.clear();
        }
        let world = &self.world;
        let is_known = |id: &InstanceId| world.mentions(id);
        let state = &mut self.state;
        state.served.retain(is_known);
        state.overdue.retain(is_known);
        state.withdrawn.retain(|id, _| is_known(id));
        state.killed.retain(|id, _| is_known(id));
        state.admitted.retain(|id, _| is_known(id));
        state.unsure_admissions.retain(|id, _| is_known(id));
        state.leaves.retain(|id, _| is_known(id));
        state.unsure_leaves.retain(|id, _| is_known(id));
        let live = |word: &str| {
            let id = word.trim_start_matches(['+', '-', 'x']);
            !is_id(id) || is_known(&InstanceId::from(id))
        };
        state.attempts.retain(|key, _| key.split(' ').all(live));
    }
}

/// Tells whether a word is the id of a copy: a letter and two digits.
pub(crate) fn is_id(word: &str) -> bool {
    let bytes = word.as_bytes();
    matches!(bytes, [b'b' | b'g', tens, ones] if tens.is_ascii_digit() && ones.is_ascii_digit())
}

fn told(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

/// What the orchestrator tells of its revisions.
pub(crate) fn sight(world: &World) -> BTreeMap<Role, RevisionSighting> {
    let revision = |(role, fleet): (&Role, &crate::world::Fleet)| {
        let sighting = RevisionSighting {
            id: revision_id(*role),
            wanted: fleet.wanted,
            locked: fleet.is_locked(),
            checked: true,
            trouble: None,
            instances: fleet.copies.iter().map(instance).collect(),
        };
        (*role, sighting)
    };
    world.fleets.iter().map(revision).collect()
}

pub(crate) fn revision_id(role: Role) -> RevisionId {
    match role {
        Role::Blue => RevisionId::from("/oinker-a"),
        Role::Green => RevisionId::from("/oinker-b"),
    }
}

fn instance(copy: &Copy) -> InstanceSighting {
    let (phase, health, healthy_since) = match copy.life {
        Life::Starting => (Phase::Starting, Health::Unknown, None),
        Life::Fresh => (Phase::Running, Health::Unknown, None),
        Life::Healthy { since } => (
            Phase::Running,
            Health::Healthy,
            (!copy.failed).then_some(since),
        ),
        Life::Unhealthy { .. } => (Phase::Running, Health::Unhealthy, None),
        Life::Stopping => (Phase::Stopping, Health::Unknown, None),
        Life::Lost { .. } => (Phase::Unreachable, Health::Unknown, None),
    };
    InstanceSighting {
        id: copy.id.clone(),
        phase,
        current: true,
        health,
        healthy_since,
        addresses: [address(&copy.id)].into(),
    }
}

fn address(id: &InstanceId) -> Address {
    Address(format!("{id}:80"))
}

/// What the balancer tells of its pools.
pub(crate) fn pools(world: &World) -> Vec<PoolSighting> {
    let in_flight = |id: &InstanceId| match world.copy(id).map(|copy| copy.work) {
        Some(Work::Busy | Work::Requests) => 1,
        Some(Work::Idle | Work::Hidden | Work::Operations) | None => 0,
    };
    let endpoint = |(id, state): (&InstanceId, &EndpointState)| EndpointSighting {
        instance: id.clone(),
        address: address(id),
        state: *state,
        in_flight: Some(in_flight(id)),
    };
    let pool = |pool: &BTreeMap<InstanceId, EndpointState>| PoolSighting {
        id: PoolId::from("oinker"),
        listen: None,
        endpoints: pool.iter().map(endpoint).collect(),
        vacancies: None,
    };
    world.pool.iter().map(pool).collect()
}
