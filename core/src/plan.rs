//! What will be done: fixed when the deployment begins, journaled as its first entry, and never changed.

mod make;
mod outline;
mod refuse;

pub use make::{BalancerAbilities, Found, FoundPool, Request, make};
pub use outline::{Outline, Step};

use crate::definition::PendingSource;
use crate::name::{Addresses, DeploymentId, InstanceId, PoolId, RevisionId, Role, ServiceName};
use crate::settings::Settings;
use crate::time::{Moment, Span};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// How long teal decides nothing on a system it cannot see before it calls for a person.
pub const BLIND_DEADLINE: Span = Span::minutes(5);
/// How long an instance that was told to stop may take before teal calls for a person.
pub const KILL_DEADLINE: Span = Span::minutes(5);
/// How long an action may stay without effect, or a lock of somebody else in the way, before teal gives up on it.
pub const EFFECT_DEADLINE: Span = Span::minutes(5);
/// How long a change that got no answer may still take to come about.
pub(crate) const ON_ITS_WAY: Span = Span::seconds(5);
/// How long a change that was answered, and whose effect has been seen, may still come about once more.
pub(crate) const ONCE_MORE: Span = Span::seconds(1);

/// A deployment's plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The service whose running revision is replaced.
    pub service: ServiceName,
    /// When the plan was made.
    pub made_at: Moment,
    /// The revision that serves; None at a service's first deployment.
    pub blue: Option<BluePlan>,
    /// The revision that is coming.
    pub green: GreenPlan,
    /// The service's pools, one per port index that a balancer serves. At least one.
    pub pools: Vec<PoolPlan>,
    /// How many GREEN instances there are to be in the end.
    pub target: u32,
    /// teal's own actions never take the healthy, serving instances below this.
    pub floor: u32,
    /// How many instances of both revisions may exist at once.
    pub room: u32,
    /// How many GREEN instances must be settled before the first traffic.
    pub initial: u32,
    /// How many outgoing instances leave at once.
    pub batch: u32,
    /// Whether the balancer changes a pool in one step: then a GREEN may enter and its BLUE leave together.
    pub atomic_change: bool,
    /// Everything else the operator can choose.
    pub settings: Settings,
    /// Pool entries whose instances were nowhere when the deployment began: left over from before.
    pub dead: BTreeSet<InstanceId>,
    /// BLUE's and GREEN's instances that a pool listed when the deployment began, or was taken over, for new requests or
    /// old ones. When they are gone, their entries are this deployment's to forget.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pooled: BTreeSet<InstanceId>,
    /// What a person should know before it begins.
    pub notes: Vec<String>,
}

/// What the plan knows of BLUE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BluePlan {
    /// The revision.
    pub revision: RevisionId,
    /// What it runs, as its orchestrator told: with this, BLUE can be brought back.
    pub definition: Value,
    /// How many instances it is to have again after a rollback: its live count when the deployment began.
    pub instances: u32,
    /// How many of them were not known to be sick then: more a rollback cannot bring back. None when none of it served.
    pub well: u32,
    /// Its instances that were in the pool when the deployment began.
    pub serving: BTreeSet<InstanceId>,
    /// Where its pending operations are read.
    pub pending: PendingSource,
}

/// What the plan knows of GREEN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GreenPlan {
    /// The revision.
    pub revision: RevisionId,
    /// What it is to run, labels and `instances: 0` included, ready to be created.
    pub definition: Value,
    /// Where its pending operations are read.
    pub pending: PendingSource,
}

/// One pool of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolPlan {
    /// The pool.
    pub id: PoolId,
    /// Which of an instance's ports it sends to.
    pub port_index: usize,
    /// Where the balancer listens, `host:port`; None: where it already does, or a port of its choice.
    pub listen: Option<String>,
    /// What it speaks.
    pub protocol: Protocol,
    /// Whether the pool was there before the deployment.
    pub existed: bool,
}

/// What a pool speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP.
    Http,
    /// Bytes.
    Tcp,
}

impl Plan {
    /// Returns the revision of a role; None for BLUE at a first deployment.
    #[must_use]
    pub fn revision(&self, role: Role) -> Option<&RevisionId> {
        match role {
            Role::Blue => self.blue.as_ref().map(|blue| &blue.revision),
            Role::Green => Some(&self.green.revision),
        }
    }

    /// Returns how many instances a role is to have when it is the incoming one.
    #[must_use]
    pub fn target(&self, role: Role) -> u32 {
        match role {
            Role::Blue => self.blue.as_ref().map_or(0, |blue| blue.instances),
            Role::Green => self.target,
        }
    }

    /// Returns how many instances of a role must serve for the deployment to end with it. BLUE is owed what it had.
    #[must_use]
    pub fn owed(&self, role: Role) -> u32 {
        match (role, &self.blue) {
            (Role::Green, _) => self.target,
            (Role::Blue, None) => 0,
            (Role::Blue, Some(blue)) => blue.instances.min(blue.well),
        }
    }

    /// Returns the floor while this role is the incoming one: it can never be above what that role is to have.
    #[must_use]
    pub fn floor(&self, incoming: Role) -> u32 {
        self.floor.min(self.target(incoming))
    }

    /// Returns the pools that an instance of a role serves in: those that it has a port for, and for BLUE, of these, those
    /// that it was deployed with. The pools come from GREEN's definition, so BLUE may have fewer ports.
    pub(crate) fn pools_of<'a>(
        &'a self,
        role: Role,
        addresses: &'a Addresses,
    ) -> impl Iterator<Item = &'a PoolPlan> {
        let any_existed = self.pools.iter().any(|pool| pool.existed);
        self.pools.iter().filter(move |pool| {
            addresses.at(pool.port_index).is_some()
                && (role == Role::Green || pool.existed || !any_existed)
        })
    }

    /// Returns where a role's pending operations are read.
    #[must_use]
    pub fn pending(&self, role: Role) -> &PendingSource {
        match (role, &self.blue) {
            (Role::Blue, Some(blue)) => &blue.pending,
            (Role::Blue | Role::Green, _) => &self.green.pending,
        }
    }
}
