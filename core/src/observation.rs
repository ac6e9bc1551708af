//! Facts at one moment. [`Sighting`] is what drivers saw, each system by itself; [`Observation`] is the same facts
//! joined per instance, with how long they have held. Health and traffic are two facts and stay two fields.

use crate::name::{Address, Addresses, InstanceId, PoolId, RevisionId, Role};
use crate::time::{Moment, Span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// What all checks of an instance say together. Unknown is neither healthy nor unhealthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Every declared check has a result and all are alive.
    Healthy,
    /// At least one check says dead.
    Unhealthy,
    /// At least one check has no result yet, and none says dead.
    Unknown,
}

/// Where an instance is in its life, as its orchestrator tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Staging or starting: not running yet.
    Starting,
    /// Running.
    Running,
    /// Told to stop, not gone yet.
    Stopping,
    /// The orchestrator lost sight of it; it may still run.
    Unreachable,
}

/// Traffic state of an endpoint as its balancer tells. One that is not listed is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointState {
    /// Gets new requests.
    Serving,
    /// Gets new requests from some of the processes that the balancer is made of, and not from all.
    Partly,
    /// Gets no new requests; finishes those it has.
    Draining,
}

impl EndpointState {
    /// Tells whether new requests may reach it.
    #[must_use]
    pub const fn gets_requests(self) -> bool {
        match self {
            Self::Serving | Self::Partly => true,
            Self::Draining => false,
        }
    }
}

/// Traffic state of an instance over all pools of its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Traffic {
    /// In no pool.
    Out,
    /// In no pool for new requests, in at least one for old ones.
    Draining,
    /// Serving in some pools of the service and not in all, or not from every process of a balancer.
    Partly,
    /// Serving in every pool of the service.
    Serving,
}

/// A reading of the gauge of pending operations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pending {
    /// The gauge says this many. Fractions are rounded up: half an operation is an operation.
    Count(u64),
    /// Nothing can be said, for this reason. Never taken for zero.
    Unknown(String),
    /// The definition says in so many words that there is no gauge (`TEAL_PENDING=none`).
    NotWatched,
}

impl Pending {
    /// Tells whether this reading permits to call the instance idle.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        matches!(self, Self::Count(0) | Self::NotWatched)
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Unknown(_) => f.write_str("unknown"),
            Self::NotWatched => f.write_str("none"),
        }
    }
}

/// One revision as its orchestrator tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionSighting {
    /// Its id.
    pub id: RevisionId,
    /// How many instances its orchestrator has been told to run.
    pub wanted: u32,
    /// Whether a change under way keeps others from changing it (Marathon: a deployment that affects the app).
    pub locked: bool,
    /// Whether it declares health checks.
    pub checked: bool,
    /// What became of the last of its instances that ended by itself, as a sentence; for people only.
    pub trouble: Option<String>,
    /// Its instances that exist, of any phase. One that waits for a place to run is not among them.
    pub instances: Vec<InstanceSighting>,
}

/// One instance as its orchestrator tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceSighting {
    /// Its incarnation's id.
    pub id: InstanceId,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it runs the revision's latest configuration.
    pub current: bool,
    /// What its checks say.
    pub health: Health,
    /// Since when the orchestrator itself has seen it healthy without a break, if it tells.
    pub healthy_since: Option<Moment>,
    /// Where it is reached, by port index.
    pub addresses: Addresses,
}

/// One pool as its balancer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSighting {
    /// The pool.
    pub id: PoolId,
    /// Where the balancer listens for it, if it tells.
    pub listen: Option<String>,
    /// Its endpoints.
    pub endpoints: Vec<EndpointSighting>,
    /// How many more endpoints it has a place for; None: as many as there are.
    pub vacancies: Option<u32>,
}

/// One endpoint as its balancer tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSighting {
    /// The instance it was admitted for.
    pub instance: InstanceId,
    /// Where requests for it are sent.
    pub address: Address,
    /// Whether it gets new requests.
    pub state: EndpointState,
    /// Requests, streams and upgraded connections under way; None when the balancer cannot tell.
    pub in_flight: Option<u64>,
}

/// A reading of one instance's gauge, and when it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSighting {
    /// When the answer came.
    pub at: Moment,
    /// What it said.
    pub reading: Pending,
}

/// Everything the drivers saw in one look, or why they saw nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// When the look began: nothing that it shows is older.
    pub began: Moment,
    /// When the look ended.
    pub at: Moment,
    /// The revisions that exist, by role; or why the orchestrator could not be asked.
    pub revisions: Result<BTreeMap<Role, RevisionSighting>, String>,
    /// The service's pools that exist; or why the balancer could not be asked.
    pub pools: Result<Vec<PoolSighting>, String>,
    /// Gauge readings by instance, for those that were asked.
    pub pending: BTreeMap<InstanceId, PendingSighting>,
}

/// The system that could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// What runs the instances.
    Orchestrator,
    /// What sends the traffic.
    Balancer,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Orchestrator => "orchestrator",
            Self::Balancer => "balancer",
        })
    }
}

/// teal cannot see a system: nothing is decided on what it cannot see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blindness {
    /// Which system.
    pub system: System,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Moment,
}

/// A time in which this process could not see, between two looks that saw everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first look that failed.
    pub from: Moment,
    /// The first look that saw everything again.
    pub to: Moment,
}

/// The facts that a decision is made on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Observation {
    /// When the look began: nothing that it shows is older.
    pub began: Moment,
    /// When the look ended.
    pub at: Moment,
    /// What could not be seen, if anything: then the rest says nothing.
    pub blind: Option<Blindness>,
    /// Since when this process has been looking: the first look that saw everything. No deadline counts from before.
    pub sighted_since: Moment,
    /// When it could not see in between, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<Gap>,
    /// BLUE, if it exists.
    pub blue: Option<Revision>,
    /// GREEN, if it exists.
    pub green: Option<Revision>,
    /// The service's pools that exist.
    pub pools: Vec<PoolId>,
    /// Pool entries whose instance is gone.
    pub strays: Vec<Stray>,
}

impl Observation {
    /// Returns the revision in this role, if it exists.
    #[must_use]
    pub const fn revision(&self, role: Role) -> Option<&Revision> {
        match role {
            Role::Blue => self.blue.as_ref(),
            Role::Green => self.green.as_ref(),
        }
    }

    /// Returns the instances of a role; none when the revision does not exist.
    pub fn instances(&self, role: Role) -> impl Iterator<Item = &Instance> {
        self.revision(role)
            .into_iter()
            .flat_map(|revision| &revision.instances)
    }

    /// Returns the instances of both roles.
    pub fn all_instances(&self) -> impl Iterator<Item = &Instance> {
        self.instances(Role::Blue)
            .chain(self.instances(Role::Green))
    }

    /// Returns how much of the time since a moment this process could not see.
    #[must_use]
    pub fn unseen_since(&self, moment: Moment) -> Span {
        let unseen = |gap: &Gap| gap.to.since(gap.from.max(moment));
        self.gaps.iter().map(unseen).sum()
    }

    /// Returns how many instances are healthy and get new requests, in both roles: what P1 counts.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.all_instances()
            .filter(|instance| instance.is_capacity())
            .count()
    }
}

/// A revision with its instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its id.
    pub id: RevisionId,
    /// How many instances its orchestrator has been told to run.
    pub wanted: u32,
    /// Whether a change under way keeps others from changing it.
    pub locked: bool,
    /// Since when, without a break.
    pub locked_since: Option<Moment>,
    /// What became of the last of its instances that ended by itself; for people only.
    pub trouble: Option<String>,
    /// Since when, without a break, fewer instances than wanted have been settled.
    pub unsettled_since: Option<Moment>,
    /// Its instances that exist, sorted by id.
    pub instances: Vec<Instance>,
}

/// Everything known of one instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its incarnation's id.
    pub id: InstanceId,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it runs the revision's latest configuration.
    pub current: bool,
    /// What its checks say.
    pub health: Health,
    /// Since when it has been running, current and healthy without a break.
    pub healthy_since: Option<Moment>,
    /// Since when its checks have said dead without a break.
    pub unhealthy_since: Option<Moment>,
    /// Since when, without a break, it has been told to stop by whomever.
    pub stopping_since: Option<Moment>,
    /// Since when, without a break, it has been out of every pool.
    pub out_since: Option<Moment>,
    /// Where it is reached, by port index.
    pub addresses: Addresses,
    /// Whether it gets requests.
    pub traffic: Traffic,
    /// Requests under way over all pools; None when a balancer cannot tell.
    pub in_flight: Option<u64>,
    /// What its gauge says.
    pub pending: Pending,
    /// How many fresh samples in a row have read it out of the pool, with nothing in flight and nothing pending.
    pub idle_samples: u32,
    /// When the last of them was taken; None when there is none.
    #[serde(default)]
    pub sampled_at: Option<Moment>,
}

impl Revision {
    /// Tells whether an instance is of this revision.
    #[must_use]
    pub fn has(&self, id: &InstanceId) -> bool {
        let place = self.instances.binary_search_by(|one| one.id.cmp(id));
        place.is_ok()
    }
}

impl Instance {
    /// Tells whether it counts for P1: healthy, running, and serving everywhere.
    #[must_use]
    pub fn is_capacity(&self) -> bool {
        self.traffic == Traffic::Serving && self.is_well()
    }

    /// Tells whether it runs and is healthy.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.phase == Phase::Running && self.health == Health::Healthy
    }

    /// Tells whether it has been well, in the wanted configuration, for at least this long.
    #[must_use]
    pub fn is_settled(&self, min_healthy_time: Span, now: Moment) -> bool {
        self.settles_at(min_healthy_time)
            .is_some_and(|at| at <= now)
    }

    /// Returns when it will be settled if it stays as it is; None when it is not healthy.
    #[must_use]
    pub fn settles_at(&self, min_healthy_time: Span) -> Option<Moment> {
        let since = self
            .healthy_since
            .filter(|_| self.is_well() && self.current);
        since.map(|since| since + min_healthy_time)
    }

    /// Tells whether it gets new requests from any pool.
    #[must_use]
    pub const fn is_in_pool(&self) -> bool {
        matches!(self.traffic, Traffic::Serving | Traffic::Partly)
    }

    /// Tells whether this one look finds it idle: out of the pool, nothing in flight, nothing pending.
    #[must_use]
    pub fn looks_idle(&self) -> bool {
        !self.is_in_pool() && self.in_flight == Some(0) && self.pending.is_idle()
    }
}

/// A pool entry whose instance is gone: it needs no drain, only to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stray {
    /// The pool that lists it.
    pub pool: PoolId,
    /// The instance it was admitted for.
    pub instance: InstanceId,
    /// Whether it still gets new requests.
    pub state: EndpointState,
    /// Whether this process has seen it as an instance of BLUE or GREEN.
    pub known: bool,
}
