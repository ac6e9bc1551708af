//! The effects that a decision can ask for. Every one may be carried out twice and must then do no harm.
//!
//! The enums are exhaustive on purpose: a new action breaks every driver's build until it answers.

use crate::name::{Address, InstanceId, PoolId, RevisionId, Role};
use crate::observation::Pending;
use crate::plan::PoolPlan;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// For the orchestrator.
    Instance(InstanceAction),
    /// For the balancer.
    Pool(PoolAction),
    /// For the journal alone: a turn that later decisions depend on.
    Mark(Mark),
}

/// What an orchestrator is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum InstanceAction {
    /// Make the revision known, with no instances. No-op when it exists.
    Create {
        /// Whose.
        role: Role,
        /// The revision.
        revision: RevisionId,
        /// What to run, in the orchestrator's own terms (for Marathon, an app), `instances` 0.
        definition: Value,
    },
    /// Run this many instances. Used only where it stops nothing that serves or served.
    Scale {
        /// Whose.
        role: Role,
        /// The revision.
        revision: RevisionId,
        /// How many instances.
        instances: u32,
        /// What to do when the revision is locked.
        lock: Lock,
    },
    /// Stop exactly these instances and want as many fewer, in one call.
    Kill {
        /// Whose.
        role: Role,
        /// The revision.
        revision: RevisionId,
        /// Which, each with what is known of its work.
        victims: Vec<Victim>,
        /// What to do when the revision is locked.
        lock: Lock,
    },
    /// Remove the revision, which has no instances left. No-op when it does not exist.
    Remove {
        /// Whose.
        role: Role,
        /// The revision.
        revision: RevisionId,
    },
}

/// What to do when somebody's change locks the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lock {
    /// Answer that it is locked; teal waits.
    Respect,
    /// Go on: the revision is this deployment's own and what locks it is its own launch.
    Override,
}

/// An instance to stop, with the evidence that it may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    /// Which.
    pub instance: InstanceId,
    /// Requests under way when it was decided; None when unknown.
    pub in_flight: Option<u64>,
    /// What its gauge said when it was decided.
    pub pending: Pending,
    /// Idle samples in a row when it was decided.
    pub idle_samples: u32,
    /// Why it may be stopped.
    pub why: KillReason,
}

/// Why an instance may be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KillReason {
    /// Out of the pool, nothing in flight and nothing pending over enough fresh samples.
    Drained,
    /// It was never in the pool, and its gauge does not read above zero.
    NeverServed,
    /// The operator asked for it, for this reason, though it was not drained.
    Forced(String),
}

/// What a balancer is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum PoolAction {
    /// Make the pool, with no endpoints, and listen for it. No-op when it exists.
    Open {
        /// The pool.
        pool: PoolPlan,
    },
    /// Change who gets traffic, as one step where the balancer can.
    Change {
        /// The pool.
        pool: PoolId,
        /// These begin to get new requests.
        admit: Vec<Member>,
        /// These get no new requests from now on and finish those they have.
        withdraw: Vec<InstanceId>,
        /// These leave the list as soon as nothing is in flight: their instances are gone.
        forget: Vec<InstanceId>,
    },
    /// Remove the pool, which has no endpoints left, and stop listening for it. No-op when it does not exist.
    Close {
        /// The pool.
        pool: PoolId,
    },
}

/// An instance and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// Which instance.
    pub instance: InstanceId,
    /// Its `host:port` for this pool.
    pub address: Address,
}

/// A turn of the deployment that only the journal needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// teal turns back by itself.
    TurnBack {
        /// Why, as a sentence.
        reason: String,
    },
    /// The deployment has come to a gate that a person must open.
    GateReached {
        /// Which.
        gate: crate::settings::Gate,
    },
    /// All traffic is on the incoming revision; the outgoing one is kept warm from here on.
    BakeBegun,
    /// Instances are past their drain deadline, and this is what the policy says.
    DrainOverdue {
        /// Which.
        instances: Vec<InstanceId>,
        /// What is done about it.
        policy: crate::settings::OnDrainDeadline,
    },
}

impl Action {
    /// Returns what makes two actions the same effect: evidence in them does not count.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Instance(action) => action.key(),
            Self::Pool(action) => action.key(),
            Self::Mark(mark) => format!("mark {mark:?}"),
        }
    }
}

impl InstanceAction {
    /// Returns the role it acts on.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Create { role, .. }
            | Self::Scale { role, .. }
            | Self::Kill { role, .. }
            | Self::Remove { role, .. } => *role,
        }
    }

    pub(crate) fn key(&self) -> String {
        match self {
            Self::Create { revision, .. } => format!("create {revision}"),
            Self::Scale {
                revision,
                instances,
                ..
            } => format!("scale {revision} {instances}"),
            Self::Kill {
                revision, victims, ..
            } => {
                let ids: Vec<_> = victims
                    .iter()
                    .map(|victim| victim.instance.as_str())
                    .collect();
                format!("kill {revision} {}", ids.join(" "))
            }
            Self::Remove { revision, .. } => format!("remove {revision}"),
        }
    }
}

impl PoolAction {
    fn key(&self) -> String {
        let ids = |ids: &[InstanceId]| {
            ids.iter()
                .map(InstanceId::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        };
        match self {
            Self::Open { pool } => format!("open {}", pool.id),
            Self::Change {
                pool,
                admit,
                withdraw,
                forget,
            } => {
                let admit: Vec<_> = admit.iter().map(|member| member.instance.clone()).collect();
                format!(
                    "change {pool} +{} -{} x{}",
                    ids(&admit),
                    ids(withdraw),
                    ids(forget)
                )
            }
            Self::Close { pool } => format!("close {pool}"),
        }
    }
}
