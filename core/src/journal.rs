//! The durable record of a deployment, and the state that is its fold.
//!
//! An entry is written before what it announces is done, so a journal cut off anywhere tells no lie: at worst an
//! action that it announces has not been carried out, and every action may be carried out twice.

mod state;

pub(crate) use state::TRIES_END;
pub use state::{Attempt, Direction, Force, IllegalEntry, Kill, State};

use crate::action::Action;
use crate::name::{InstanceId, Role};
use crate::observation::{Health, Instance, Observation, Pending, Phase, Traffic};
use crate::plan::Plan;
use crate::time::Moment;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number: 1 for the first, then one more each.
    pub seq: u64,
    /// When it was written.
    pub at: Moment,
    /// What it records.
    #[serde(flatten)]
    pub event: Event,
}

/// What an entry records.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// The deployment begins. Always the first entry, and only that.
    Begun {
        /// Its plan.
        plan: Box<Plan>,
    },
    /// An action is about to be carried out.
    Intended {
        /// The action.
        action: Action,
    },
    /// An action has been carried out as far as a driver can tell; its effect is observed, not believed.
    Performed {
        /// Which: the number of the entry that intended it.
        intent: u64,
    },
    /// An action could not be carried out.
    Failed {
        /// Which: the number of the entry that intended it.
        intent: u64,
        /// Why, as a sentence.
        reason: String,
        /// Whether it is worth trying again.
        retry: bool,
        /// What it may have done all the same.
        effect: Effect,
    },
    /// The operator asked for something.
    Asked {
        /// What.
        command: Command,
        /// The letter that it came by, if another process sent it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        letter: Option<String>,
    },
    /// The picture changed. For the report alone: no decision is made on it.
    Seen {
        /// What of it changed since the entry before of this kind that the same process wrote; its first is whole.
        picture: Picture,
    },
    /// Another process goes on with the deployment.
    Resumed {
        /// Which: `host:pid`.
        by: String,
    },
    /// The deployment ended.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// What an action that failed may have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Nothing: it was refused, or never asked for.
    None,
    /// Perhaps everything: the answer was lost.
    Unknown,
}

/// What an operator can ask of a deployment under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Decide nothing until told to go on.
    Pause,
    /// Go on.
    Resume,
    /// Open the gate that is waited at, or end the bake.
    Promote {
        /// Open every later gate too.
        full: bool,
    },
    /// Bring BLUE back and remove GREEN.
    Rollback {
        /// Why.
        reason: String,
    },
    /// Stop what does not drain.
    Force {
        /// Why; it stands in the report.
        reason: String,
    },
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// GREEN serves, BLUE is gone.
    Completed,
    /// BLUE serves at its full count, GREEN is gone.
    RolledBack {
        /// Why it was turned back.
        reason: String,
    },
    /// A person is needed. The only outcome that is not final: `resume`, `rollback` and `force` go on from it.
    Stuck {
        /// Why.
        reason: String,
    },
}

/// What is worth remembering of a look, for the report; or of one look, what is otherwise than at the one before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Picture {
    /// Healthy, serving instances of both roles.
    pub capacity: usize,
    /// Instances, by id: every one, or every one that is seen otherwise than before.
    pub instances: BTreeMap<InstanceId, Glance>,
    /// Instances that were there before and are gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<InstanceId>,
}

/// What is worth remembering of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// Its role.
    pub role: Role,
    /// Where it is in its life.
    pub phase: Phase,
    /// What its checks say.
    pub health: Health,
    /// Whether it gets requests.
    pub traffic: Traffic,
    /// Requests under way, told only while it drains.
    pub in_flight: Option<u64>,
    /// Pending operations, told only while it drains.
    pub pending: Option<Pending>,
}

impl Picture {
    /// Returns the whole picture of an observation.
    #[must_use]
    pub fn of(seen: &Observation) -> Self {
        let mut picture = Self::default();
        picture.update(seen);
        picture
    }

    /// Brings the picture up to date, and returns what changed; None: nothing did. A whole picture every time would let a
    /// journal grow with the instances squared.
    pub fn update(&mut self, seen: &Observation) -> Option<Self> {
        let mut changes = Self {
            capacity: seen.capacity(),
            ..Self::default()
        };
        let mut count = 0;
        for role in [Role::Blue, Role::Green] {
            for one in seen.instances(role) {
                count += 1;
                let glance = Glance::of(role, one);
                if self.instances.get(&one.id) != Some(&glance) {
                    changes.instances.insert(one.id.clone(), glance);
                }
            }
        }
        let revisions = || [&seen.blue, &seen.green].into_iter().flatten();
        let is_there = |id: &InstanceId| revisions().any(|revision| revision.has(id));
        for (id, glance) in &changes.instances {
            self.instances.insert(id.clone(), glance.clone());
        }
        if self.instances.len() > count {
            let gone = self.instances.keys().filter(|id| !is_there(id));
            changes.gone = gone.cloned().collect();
            self.instances.retain(|id, _| !changes.gone.contains(id));
        }
        let is_same = changes.instances.is_empty() && changes.gone.is_empty();
        let before = std::mem::replace(&mut self.capacity, changes.capacity);
        (!is_same || before != changes.capacity).then_some(changes)
    }
}

impl Glance {
    fn of(role: Role, one: &Instance) -> Self {
        let leaving = one.traffic == Traffic::Draining;
        Self {
            role,
            phase: one.phase,
            health: one.health,
            traffic: one.traffic,
            in_flight: one.in_flight.filter(|_| leaving),
            pending: leaving.then(|| one.pending.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
