//! The world as it is stored, and back; and what has become of its tasks in between.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Effect, Setting, World, roots};
use crate::backoff::Backoff;
use crate::check::CheckWatch;
use crate::deployment::Deployment;
use crate::health::FIRST_PROBE_DELAY;
use crate::identity::{AppId, TaskId};
use crate::model::{
    Addresses, App, Instance, LastFailure, ProbeSlot, Revision, Task, TaskEnd, TaskState,
};
use crate::readiness::Readiness;
use crate::run::Fate;
use crate::state::{
    AppRecord, DelayRecord, DeploymentRecord, Document, FORMAT, FailureRecord, InstanceRecord,
    Revisions, Stored, TaskRecord,
};
use crate::time::{Moment, Stamp};

/// What is known of a task that was noted as started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) started_at: Stamp,
    pub(crate) fate: Fate,
}

impl World {
    /// Returns everything that must be known to go on from here. The same world gives the same.
    pub(crate) fn stored(&self) -> Stored {
        let mut revisions = Revisions::new();
        let mut keep = |revision: &Arc<Revision>| {
            let key = (revision.definition.id.clone(), revision.version);
            revisions.entry(key).or_insert_with(|| Arc::clone(revision));
            revision.version
        };
        let apps = self.apps.iter();
        let apps = apps.map(|(id, app)| (id.clone(), app_record(app, &mut keep, self.began)));
        let apps = apps.collect();
        let known = |id: &AppId, version| {
            let app = self.apps.get(id);
            app.is_some_and(|app| app.revisions.contains_key(&version))
        };
        let roots = roots::records(&self.history, known, &mut keep);
        let deployments = self.deployments.iter();
        let deployments = deployments.map(|it| deployment_record(it, &mut keep));
        let deployments = deployments.collect();
        let document = Document {
            format: FORMAT,
            last_version: self.last_version,
            next_port: self.next_port,
            apps,
            groups: self.groups.clone(),
            roots,
            deployments,
            ended: self.ended.iter().cloned().collect(),
        };
        Stored {
            document,
            revisions,
        }
    }

    /// Returns the world that was stored.
    ///
    /// # Errors
    /// A sentence, where the document contradicts itself.
    pub(crate) fn restored(setting: Setting, stored: Stored, now: Moment) -> Result<Self, String> {
        let Stored {
            document,
            revisions,
        } = stored;
        let find = |id: &AppId, version: Stamp| {
            let revision = revisions.get(&(id.clone(), version)).cloned();
            revision.ok_or_else(|| format!("{id} has no version {version}"))
        };
        let mut world = Self::new(setting, now);
        world.last_version = document.last_version;
        world.next_port = document.next_port;
        world.ended = document.ended.into();
        for (id, record) in document.apps {
            let app = app(&id, record, &find, now)?;
            world.apps.insert(id, app);
        }
        world.groups = document.groups;
        world.history = roots::history(document.roots, &find)?;
        for record in document.deployments {
            world.deployments.push(deployment(record, &find)?);
        }
        Ok(world)
    }

    /// Returns whether a task with this id is remembered.
    pub(crate) fn remembers(&self, task: &TaskId) -> bool {
        self.find_task(task).is_some()
    }

    /// Compares every remembered task with what was found of it, and returns those that run.
    ///
    /// A task that never got as far as its note is as if it had not been launched. One that is
    /// noted and gone has ended at this moment, as far as anybody can say.
    pub(crate) fn take_stock(
        &mut self,
        found: &BTreeMap<TaskId, Found>,
        now: Moment,
    ) -> Vec<TaskId> {
        let tasks = self.apps.values().flat_map(App::tasks);
        let tasks: Vec<(TaskId, TaskState)> = tasks
            .map(|(_, task)| (task.id.clone(), task.state))
            .collect();
        let mut running = Vec::new();
        for (id, state) in tasks {
            match (found.get(&id), state) {
                (
                    Some(Found {
                        fate: Fate::Runs(addresses),
                        started_at,
                    }),
                    _,
                ) => {
                    self.take_over(&id, *addresses, *started_at, now);
                    running.push(id);
                }
                (
                    Some(Found {
                        fate: Fate::Ended(end),
                        ..
                    }),
                    _,
                ) => self.task_ended(&id, end, now),
                (None, TaskState::Staging) => self.undo_launch(&id),
                (None, TaskState::Running | TaskState::Killing) => {
                    let end = TaskEnd::Failed("Command is gone, and so is its note".to_owned());
                    self.task_ended(&id, &end, now);
                }
            }
        }
        running
    }

    /// Goes on with a task that runs.
    fn take_over(
        &mut self,
        id: &TaskId,
        addresses: Option<Addresses>,
        started_at: Stamp,
        now: Moment,
    ) {
        let Some(instance) = self.instance_of(id) else {
            return;
        };
        let revision = Arc::clone(&instance.revision);
        let grace = revision.definition.kill_grace();
        let Some(task) = instance.task.as_mut() else {
            return;
        };
        task.addresses = addresses.unwrap_or(task.addresses);
        let addresses = task.addresses;
        match task.state {
            TaskState::Staging => self.task_started(id, addresses, now.at_stamp(started_at)),
            TaskState::Running => {
                task.schedule_probes(&revision.definition, now.instant);
                // Delays are for tasks that have just been started.
                for (_, slot) in task.slots() {
                    if matches!(slot, ProbeSlot::Due(_)) {
                        *slot = ProbeSlot::Due(now.instant + FIRST_PROBE_DELAY);
                    }
                }
            }
            TaskState::Killing => self.effects.push(Effect::Kill(id.clone(), grace)),
        }
    }

    fn undo_launch(&mut self, id: &TaskId) {
        if let Some(instance) = self.instance_of(id) {
            instance.task = None;
            instance.incarnation -= 1;
        }
    }

    fn instance_of(&mut self, task: &TaskId) -> Option<&mut Instance> {
        let (app, at) = self.find_task(task)?;
        let app = app.clone();
        self.apps.get_mut(&app)?.instances.get_mut(at)
    }
}

// ---- into records ------------------------------------------------------------------------------

fn app_record(
    app: &App,
    keep: &mut impl FnMut(&Arc<Revision>) -> Stamp,
    began: Moment,
) -> AppRecord {
    let instances = app.instances.iter();
    AppRecord {
        current: app.current.as_ref().map(&mut *keep),
        versions: app.revisions.values().map(&mut *keep).collect(),
        instances: instances.map(|it| instance_record(it, keep)).collect(),
        delay: app.backoff.delay().map(|(length, until)| DelayRecord {
            length_ms: milliseconds(length),
            until: began.at(until).stamp,
        }),
        last_failure: app.last_failure.as_ref().map(|failure| FailureRecord {
            task: failure.task.clone(),
            state: failure.state.to_owned(),
            message: failure.message.clone(),
            timestamp: failure.timestamp,
            version: failure.version,
        }),
    }
}

fn instance_record(
    instance: &Instance,
    keep: &mut impl FnMut(&Arc<Revision>) -> Stamp,
) -> InstanceRecord {
    InstanceRecord {
        id: instance.id.clone(),
        goal: instance.goal,
        version: keep(&instance.revision),
        incarnation: instance.incarnation,
        since: instance.since.stamp,
        task: instance.task.as_ref().map(|task| TaskRecord {
            id: task.id.clone(),
            state: task.state,
            ports: task.ports.clone(),
            addresses: task.addresses,
            staged_at: task.staged.stamp,
            started_at: task.started.map(|started| started.stamp),
            checks: task.checks.clone(),
            is_ready: task.readiness.is_ready,
        }),
    }
}

fn deployment_record(
    deployment: &Deployment,
    keep: &mut impl FnMut(&Arc<Revision>) -> Stamp,
) -> DeploymentRecord {
    let originals = deployment.originals.iter();
    DeploymentRecord {
        id: deployment.id.clone(),
        version: deployment.version,
        steps: deployment.steps.clone(),
        current: deployment.current,
        originals: originals
            .map(|(id, original)| (id.clone(), original.as_ref().map(&mut *keep)))
            .collect(),
        groups: deployment.groups.clone(),
        victims: deployment.victims.clone(),
    }
}

// ---- out of records ----------------------------------------------------------------------------

fn app(
    id: &AppId,
    record: AppRecord,
    find: &impl Fn(&AppId, Stamp) -> Result<Arc<Revision>, String>,
    now: Moment,
) -> Result<App, String> {
    let mut app = App::new();
    app.current = record
        .current
        .map(|version| find(id, version))
        .transpose()?;
    for version in record.versions {
        app.revisions.insert(version, find(id, version)?);
    }
    for instance in record.instances {
        let revision = find(id, instance.version)?;
        app.instances.push(Instance {
            id: instance.id,
            goal: instance.goal,
            incarnation: instance.incarnation,
            since: now.at_stamp(instance.since),
            task: instance
                .task
                .map(|it| task(it, &revision, now))
                .transpose()?,
            revision,
        });
    }
    if let Some(delay) = record.delay {
        let length = Duration::from_millis(delay.length_ms);
        // A clock that was set back must not make anybody wait longer than was meant.
        let until = now.at_stamp(delay.until).instant.min(now.instant + length);
        app.backoff = Backoff::resumed(length, until);
    }
    app.last_failure = record.last_failure.map(|failure| LastFailure {
        app: id.clone(),
        task: failure.task,
        state: failure_state(&failure.state),
        message: failure.message,
        timestamp: failure.timestamp,
        version: failure.version,
    });
    Ok(app)
}

fn task(record: TaskRecord, revision: &Revision, now: Moment) -> Result<Task, String> {
    let declared = revision.definition.health_checks.len();
    if record.checks.len() != declared {
        return Err(format!(
            "{} has {} checks and its app declares {declared}",
            record.id,
            record.checks.len()
        ));
    }
    let mut checks = record.checks;
    for check in &mut checks {
        check.resume(now);
    }
    Ok(Task {
        id: record.id,
        state: record.state,
        ports: record.ports,
        addresses: record.addresses,
        staged: now.at_stamp(record.staged_at),
        started: record.started_at.map(|at| now.at_stamp(at)),
        checks,
        probes: vec![ProbeSlot::Idle; declared],
        readiness: Readiness {
            is_ready: record.is_ready,
            ..Readiness::default()
        },
        check: CheckWatch::default(),
    })
}

fn deployment(
    record: DeploymentRecord,
    find: &impl Fn(&AppId, Stamp) -> Result<Arc<Revision>, String>,
) -> Result<Deployment, String> {
    let originals = record.originals.into_iter().map(|(id, version)| {
        let original = version.map(|version| find(&id, version)).transpose()?;
        Ok((id, original))
    });
    Ok(Deployment {
        id: record.id,
        version: record.version,
        steps: record.steps,
        current: record.current,
        originals: originals.collect::<Result<_, String>>()?,
        groups: record.groups,
        victims: record.victims,
    })
}

/// Returns the state that a failure names; there is one so far.
fn failure_state(text: &str) -> &'static str {
    match text {
        "TASK_FINISHED" => "TASK_FINISHED",
        _ => "TASK_FAILED",
    }
}

fn milliseconds(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
