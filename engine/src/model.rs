//! Apps, their versions, their instances and the tasks that run them: the engine's whole memory.
//!
//! An *instance* is one wanted copy and keeps its id; a *task* is one process group that runs it. A
//! task that ends is followed by the next incarnation of the same instance (Marathon ≥ 1.8).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::backoff::Backoff;
use crate::check::CheckWatch;
use crate::definition::Definition;
use crate::health::{CheckState, FIRST_PROBE_DELAY, Health};
use crate::identity::{AppId, InstanceId, TaskId};
use crate::readiness::Readiness;
use crate::rolling::{Candidate, Progress};
use crate::time::{Moment, Stamp};
use crate::world::Subject;

/// How many versions of an app are kept (Marathon's `--zk_max_versions` default).
const REVISIONS_KEPT: usize = 50;

/// One version of an app.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Revision {
    pub(crate) definition: Definition,
    pub(crate) version: Stamp,
    pub(crate) last_scaling_at: Stamp,
    /// Two revisions run the same configuration exactly where this is equal.
    pub(crate) last_config_change_at: Stamp,
}

impl Revision {
    /// Returns whether both revisions run the same configuration, whatever their counts.
    pub(crate) fn same_configuration(&self, other: &Self) -> bool {
        self.last_config_change_at == other.last_config_change_at
    }
}

/// Everything known about one app id.
#[derive(Debug)]
pub(crate) struct App {
    /// What is wanted; nothing once the app has been removed and its last tasks are dying.
    pub(crate) current: Option<Arc<Revision>>,
    pub(crate) revisions: BTreeMap<Stamp, Arc<Revision>>,
    pub(crate) instances: Vec<Instance>,
    pub(crate) backoff: Backoff,
    pub(crate) last_failure: Option<LastFailure>,
    /// When a launch that found no port is tried again.
    pub(crate) launch_retry_at: Option<Instant>,
}

impl App {
    /// Returns an app of which nothing is known.
    pub(crate) fn new() -> Self {
        Self {
            current: None,
            revisions: BTreeMap::new(),
            instances: Vec::new(),
            backoff: Backoff::default(),
            last_failure: None,
            launch_retry_at: None,
        }
    }

    /// Makes a revision the current one and keeps it in the history.
    pub(crate) fn install(&mut self, revision: Arc<Revision>) {
        let fresh_configuration = self
            .current
            .as_ref()
            .is_none_or(|current| !current.same_configuration(&revision));
        if fresh_configuration {
            self.backoff.reset();
            self.launch_retry_at = None;
        }
        self.revisions
            .insert(revision.version, Arc::clone(&revision));
        while self.revisions.len() > REVISIONS_KEPT {
            self.revisions.pop_first();
        }
        self.current = Some(revision);
    }

    /// Returns how many instances are wanted.
    pub(crate) fn wanted(&self) -> usize {
        self.current
            .as_ref()
            .map_or(0, |revision| revision.definition.instances as usize)
    }

    /// Returns the instances that are meant to stay.
    pub(crate) fn staying(&self) -> impl Iterator<Item = &Instance> {
        self.instances
            .iter()
            .filter(|instance| instance.goal == Goal::Running)
    }

    /// Returns whether an instance runs the current configuration.
    pub(crate) fn is_fresh(&self, instance: &Instance) -> bool {
        self.current
            .as_ref()
            .is_some_and(|current| current.same_configuration(&instance.revision))
    }

    /// Returns the tasks of all instances.
    pub(crate) fn tasks(&self) -> impl Iterator<Item = (&Instance, &Task)> {
        self.instances
            .iter()
            .filter_map(|instance| Some((instance, instance.task.as_ref()?)))
    }
}

/// What an instance is meant to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Goal {
    Running,
    /// It goes away with its task.
    Stopped,
}

/// One wanted copy of an app.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) goal: Goal,
    /// What its task runs, or its next task will.
    pub(crate) revision: Arc<Revision>,
    /// The number of the present task, or of the last one; 0 before the first.
    pub(crate) incarnation: u32,
    pub(crate) since: Moment,
    pub(crate) task: Option<Task>,
}

impl Instance {
    /// Returns what kill selection needs to know.
    pub(crate) fn candidate(&self) -> Candidate {
        let progress = match self.task.as_ref().map(|task| task.state) {
            None => Progress::Scheduled,
            Some(TaskState::Staging) => Progress::Staging,
            Some(TaskState::Running | TaskState::Killing) => Progress::Running,
        };
        Candidate {
            progress,
            since: self
                .task
                .as_ref()
                .map_or(self.since, |task| task.staged)
                .instant,
        }
    }

    /// Returns whether its task runs and every declared check is alive.
    pub(crate) fn is_healthy(&self) -> bool {
        self.task.as_ref().is_some_and(|task| {
            task.state == TaskState::Running
                && (task.checks.is_empty() || task.health() == Health::Healthy)
        })
    }

    /// Returns whether a deployment need not wait for it any more.
    pub(crate) fn is_healthy_and_ready(&self) -> bool {
        let is_ready = self
            .task
            .as_ref()
            .is_some_and(|task| task.readiness.is_ready);
        self.is_healthy() && (is_ready || !self.has_readiness_check())
    }

    /// Returns whether its readiness can be asked for.
    pub(crate) fn has_readiness_check(&self) -> bool {
        !self.revision.definition.readiness_checks.is_empty()
    }
}

/// Where a task stands. Terminal states are only seen in events: an ended task is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TaskState {
    Staging,
    Running,
    Killing,
}

impl TaskState {
    /// Returns the Mesos name of the state.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Staging => "TASK_STAGING",
            Self::Running => "TASK_RUNNING",
            Self::Killing => "TASK_KILLING",
        }
    }
}

/// One process group.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    pub(crate) state: TaskState,
    pub(crate) ports: Vec<u16>,
    /// Where the task is reached without the machine's ports, once that is known.
    pub(crate) addresses: Addresses,
    pub(crate) staged: Moment,
    pub(crate) started: Option<Moment>,
    /// One per declared check, in the order of the definition.
    pub(crate) checks: Vec<CheckState>,
    /// When the next probe of each check is due.
    pub(crate) probes: Vec<ProbeSlot>,
    pub(crate) readiness: Readiness,
    pub(crate) check: CheckWatch,
}

impl Task {
    /// Returns what all checks say together.
    pub(crate) fn health(&self) -> Health {
        Health::of(&self.checks)
    }

    /// Makes out the timetable of a task that runs from `now` on. Readiness is asked only on demand.
    ///
    /// Checks that Mesos would make begin after their delay.
    pub(crate) fn schedule_probes(&mut self, definition: &Definition, now: Instant) {
        for (slot, check) in self.probes.iter_mut().zip(&definition.health_checks) {
            *slot = ProbeSlot::Due(now + check.delay().max(FIRST_PROBE_DELAY));
        }
        if let Some(check) = &definition.check {
            self.check.slot = ProbeSlot::Due(now + check.delay());
        }
    }

    /// Stops asking.
    pub(crate) fn drop_probes(&mut self) {
        for (_, slot) in self.slots() {
            *slot = ProbeSlot::Idle;
        }
    }

    /// Returns the timetable of everything that is asked.
    pub(crate) fn slots(&mut self) -> impl Iterator<Item = (Subject, &mut ProbeSlot)> {
        let health = self.probes.iter_mut().enumerate();
        let health = health.map(|(check, slot)| (Subject::Health(check), slot));
        health.chain([
            (Subject::Readiness, &mut self.readiness.slot),
            (Subject::Check, &mut self.check.slot),
        ])
    }

    /// Returns when the next probe is due.
    pub(crate) fn next_probe(&self) -> Option<Instant> {
        let others = [&self.readiness.slot, &self.check.slot];
        let slots = self.probes.iter().chain(others);
        let due = slots.filter_map(|slot| match slot {
            ProbeSlot::Due(at) => Some(*at),
            ProbeSlot::Idle | ProbeSlot::Asked(_) => None,
        });
        due.min()
    }
}

/// The addresses of a container that has a network of its own; none in host mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Addresses {
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) v6: Option<Ipv6Addr>,
}

impl Addresses {
    /// Returns the `ipAddresses` of a task: its own, or the machine's where it has none.
    pub(crate) fn to_json(self, host: &str) -> Value {
        let entry =
            |address: String, protocol: &str| json!({ "ipAddress": address, "protocol": protocol });
        let v4 = self.v4.map(|address| entry(address.to_string(), "IPv4"));
        let v6 = self.v6.map(|address| entry(address.to_string(), "IPv6"));
        let own: Vec<Value> = v4.into_iter().chain(v6).collect();
        if own.is_empty() {
            json!([entry(host.to_owned(), "IPv4")])
        } else {
            Value::Array(own)
        }
    }
}

/// The timetable of one check of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum ProbeSlot {
    /// The task does not run (any more), or nobody wants to know.
    #[default]
    Idle,
    Due(Instant),
    /// A probe is under way since this time.
    Asked(Instant),
}

/// The last time a task of the app failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastFailure {
    pub(crate) app: AppId,
    pub(crate) task: TaskId,
    pub(crate) state: &'static str,
    pub(crate) message: String,
    pub(crate) timestamp: Stamp,
    pub(crate) version: Stamp,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TaskEnd {
    /// Its leader exited with status 0.
    Finished,
    /// It could not be started, exited with another status, or was ended by a signal.
    Failed(String),
}
