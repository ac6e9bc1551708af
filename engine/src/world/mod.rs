//! The one owner of all state. It decides and never acts: inputs go in, effects come out.
//!
//! Inputs are requests (`changes.rs`), news of processes (`tasks.rs`)
//! and probes (`probes.rs`) and the passing of
//! time. After every input [`World::reconcile`] compares what is wanted with what is there
//! (`steering.rs`, `steps.rs`) and leaves [`Effect`]s behind for the shell (`crate::shell`) to carry
//! out. It is level-triggered: reconciling twice changes nothing, and a lost cue costs nothing but
//! time. No clock, no process and no socket is touched here, except through the questions that are
//! handed in: "is this port free", "can containers be run" and "give me a fresh id".

mod changes;
mod groups;
mod plan;
#[cfg(test)]
mod probe_tests;
mod probes;
mod readiness;
mod restore;
mod roots;
mod stats;
mod steering;
mod steps;
mod tasks;
#[cfg(test)]
mod tests;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) use changes::{Accepted, Force, Intent, Target};
pub(crate) use groups::GroupApps;
pub(crate) use restore::Found;
pub(crate) use stats::Census;
pub(crate) use views::{Embeds, Offers, ServicePorts};

use roots::Root;

use crate::CpuLimit;
use crate::check::CheckWatch;
use crate::deployment::Deployment;
use crate::environment::{self, Surroundings};
use crate::events::{Event, FAILED_HEALTH_CHECK};
use crate::groups::Groups;
use crate::health::CheckState;
use crate::identity::{AppId, TaskId};
use crate::model::{Addresses, App, Instance, ProbeSlot, Revision, Task, TaskState};
use crate::probe::Question;
use crate::readiness::Readiness;
use crate::run::Launch;
use crate::time::{Moment, Stamp};

/// How many tasks may be starting at the same time.
const LAUNCHES_AT_ONCE: usize = 16;

/// How long a launch that found no port waits before it looks again.
const PORT_RETRY: Duration = Duration::from_secs(1);

/// How many sandboxes of ended tasks are kept for people to look into.
const SANDBOXES_KEPT: usize = 100;

/// Where a container sees its sandbox (`--sandbox_directory` of the Mesos agent).
pub(crate) const CONTAINER_SANDBOX: &str = "/mnt/mesos/sandbox";

/// What the shell must do. Each is safe to carry out in any order after those before it.
#[derive(Debug)]
pub(crate) enum Effect {
    Publish(Event),
    Launch(Launch),
    /// Ask the task to end, and end it after this long.
    Kill(TaskId, Duration),
    Probe(ProbeOrder),
    /// Delete the sandbox of a task that ended long ago.
    Discard(TaskId),
    /// Tell a person.
    Notice(String),
}

impl Effect {
    /// Returns whether it tells of a change that must be on the disk first. What comes of probes
    /// alone need not be, until somebody's health changes.
    pub(crate) fn is_news(&self) -> bool {
        match self {
            Self::Probe(_) | Self::Notice(_) => false,
            Self::Publish(event) => event.kind != FAILED_HEALTH_CHECK,
            Self::Launch(_) | Self::Kill(..) | Self::Discard(_) => true,
        }
    }
}

/// What a probe is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The nth health check.
    Health(usize),
    Readiness,
    /// The informative check.
    Check,
}

/// A probe to be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ProbeOrder {
    pub(crate) task: TaskId,
    pub(crate) subject: Subject,
    pub(crate) question: Question,
    pub(crate) timeout: Duration,
}

/// What the world needs to know about where it lives.
pub(crate) struct Setting {
    /// The host name that tasks and clients are told.
    pub(crate) host: String,
    /// The folder below which every task has its own.
    pub(crate) sandboxes: PathBuf,
    /// The `PATH` that tasks get.
    pub(crate) search_path: String,
    /// The ports that tasks get.
    pub(crate) host_ports: RangeInclusive<u16>,
    /// The port with which the search for a free one begins.
    pub(crate) first_port: u16,
    /// Whether `cpus` is the most that a task gets.
    pub(crate) cpu_limit: CpuLimit,
    /// Asks the system whether a port can be bound.
    pub(crate) port_is_free: Box<dyn Fn(u16) -> bool + Send>,
    /// Says why containers cannot be run here, where they cannot.
    pub(crate) container_obstacle: Box<dyn Fn() -> Option<String> + Send>,
    /// Returns an id that was never returned before.
    pub(crate) fresh_id: Box<dyn FnMut() -> String + Send>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting")
            .field("host", &self.host)
            .field("sandboxes", &self.sandboxes)
            .finish_non_exhaustive()
    }
}

/// What the engine has done since it started, for its metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Deployments that were taken on.
    pub(crate) deployments: u64,
    /// Deployments that were refused because there were too many.
    pub(crate) dismissed: u64,
}

/// Everything the engine knows. What of it outlives the engine is in `restore.rs`.
#[derive(Debug)]
pub(crate) struct World {
    setting: Setting,
    /// When this process took the world on: where its two clocks are tied together.
    began: Moment,
    apps: BTreeMap<AppId, App>,
    /// All groups; the apps in them are in `apps`.
    groups: Groups,
    /// The latest versions of the whole, for those who go back to one.
    history: BTreeMap<Stamp, Root>,
    deployments: Vec<Deployment>,
    counters: Counters,
    effects: Vec<Effect>,
    last_version: Option<Stamp>,
    /// Where the search for the next host port begins.
    next_port: u16,
    ended: VecDeque<TaskId>,
    stopping: bool,
    abandoned: bool,
}

impl World {
    /// Returns a world without apps.
    pub(crate) fn new(setting: Setting, now: Moment) -> Self {
        let next_port = setting.first_port;
        Self {
            setting,
            began: now,
            apps: BTreeMap::new(),
            groups: Groups::new(),
            history: BTreeMap::from([(Stamp::BEGINNING, Root::empty())]),
            deployments: Vec::new(),
            counters: Counters::default(),
            effects: Vec::new(),
            last_version: None,
            next_port,
            ended: VecDeque::new(),
            stopping: false,
            abandoned: false,
        }
    }

    /// Brings decisions up to date with the state and with time.
    pub(crate) fn reconcile(&mut self, now: Moment) {
        if self.abandoned {
            return;
        }
        loop {
            self.begin_deployments();
            self.steer(now);
            if !self.finish_steps() {
                break;
            }
        }
        self.launch_due(now);
        self.ask_readiness(now);
        self.probe_due(now);
    }

    /// Returns the effects that have come up since the last call, in order.
    pub(crate) fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Returns when the passing of time alone changes a decision.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let of_app = |app: &App| {
            let waits = app.staying().any(|instance| instance.task.is_none());
            let launch = waits.then(|| app.backoff.waits_until(now).max(app.launch_retry_at));
            let due = app.tasks().filter_map(|(_, task)| task.next_probe());
            due.chain(launch.flatten()).min()
        };
        self.apps.values().filter_map(of_app).min()
    }

    /// Ends everything: no launch from here on, every task is asked to end.
    pub(crate) fn stop(&mut self, now: Moment) {
        self.stopping = true;
        self.reconcile(now);
    }

    /// Decides nothing from here on: what runs keeps running and what ends stays ended.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
    }

    /// Returns whether somebody else may have taken the world on.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Returns the host that all tasks run on.
    pub(crate) fn host(&self) -> &str {
        &self.setting.host
    }

    /// Returns how many tasks there are, dying ones included.
    pub(crate) fn task_count(&self) -> usize {
        self.apps.values().map(|app| app.tasks().count()).sum()
    }

    fn publish(&mut self, event: Event) {
        self.effects.push(Effect::Publish(event));
    }

    /// Returns a version that is later than every other.
    fn version_at(&self, now: Moment) -> Stamp {
        match self.last_version {
            Some(last) if last >= now.stamp => last.next(),
            Some(_) | None => now.stamp,
        }
    }

    fn host_ports_in_use(&self) -> BTreeSet<u16> {
        let tasks = self.apps.values().flat_map(App::tasks);
        tasks
            .flat_map(|(_, task)| task.ports.iter().copied())
            .collect()
    }

    fn staging_count(&self) -> usize {
        let tasks = self.apps.values().flat_map(App::tasks);
        tasks
            .filter(|(_, task)| task.state == TaskState::Staging)
            .count()
    }

    /// Returns the app and the position of the instance that a task belongs to.
    fn find_task(&self, id: &TaskId) -> Option<(&AppId, usize)> {
        self.apps.iter().find_map(|(app_id, app)| {
            let position = app
                .instances
                .iter()
                .position(|instance| instance.task.as_ref().is_some_and(|task| task.id == *id))?;
            Some((app_id, position))
        })
    }

    fn sandbox(&self, task: &TaskId) -> PathBuf {
        self.setting.sandboxes.join(task.as_str())
    }

    fn environment(
        &self,
        instance: &Instance,
        task: &TaskId,
        ports: &[u16],
    ) -> BTreeMap<String, String> {
        let definition = &instance.revision.definition;
        let in_container = definition.image().is_some();
        let sandbox = if in_container {
            PathBuf::from(CONTAINER_SANDBOX)
        } else {
            self.sandbox(task)
        };
        environment::of_task(
            definition,
            Surroundings {
                task,
                version: instance.revision.version,
                host: &self.setting.host,
                ports,
                sandbox: &sandbox.to_string_lossy(),
                search_path: Some(self.setting.search_path.as_str()).filter(|_| !in_container),
            },
        )
    }
}

/// Returns the fresh task of an instance that is about to be launched.
fn staged_task(instance: &Instance, ports: Vec<u16>, now: Moment) -> Task {
    let checks = instance.revision.definition.health_checks.len();
    Task {
        id: instance.id.task(instance.incarnation),
        state: TaskState::Staging,
        ports,
        addresses: Addresses::default(),
        staged: now,
        started: None,
        checks: vec![CheckState::default(); checks],
        probes: vec![ProbeSlot::Idle; checks],
        readiness: Readiness::default(),
        check: CheckWatch::default(),
    }
}

/// Returns the revision that an instance's next task runs.
fn current_of(app: &App) -> Option<Arc<Revision>> {
    app.current.as_ref().map(Arc::clone)
}
