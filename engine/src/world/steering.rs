//! Wanted instances against real ones: who is added, who goes, who is launched.

use std::sync::Arc;

use super::{Effect, LAUNCHES_AT_ONCE, PORT_RETRY, World, current_of, staged_task};
use crate::definition::Definition;
use crate::deployment::{Action, ActionKind};
use crate::events;
use crate::identity::{AppId, InstanceId};
use crate::model::{App, Goal, Instance, Revision, Task, TaskState};
use crate::ports::choose_host_ports;
use crate::rolling::{self, Candidate, Fleet};
use crate::run::{Launch, Limits, What, Wish};
use crate::time::Moment;

/// What is to be done about the number of an app's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Steering {
    /// Nothing yet: the deployment has not come to it.
    Hold,
    /// Keep as many as are wanted.
    Count,
    /// Replace old ones step by step.
    Roll,
}

impl World {
    /// Adds and removes instances of every app until the counts are what they should be.
    pub(super) fn steer(&mut self, now: Moment) {
        let ids: Vec<AppId> = self.apps.keys().cloned().collect();
        for id in ids {
            self.steer_app(&id, now);
        }
        let deployments = &self.deployments;
        self.apps.retain(|id, app| {
            app.current.is_some()
                || !app.instances.is_empty()
                || deployments.iter().any(|deployment| deployment.affects(id))
        });
    }

    fn steer_app(&mut self, id: &AppId, now: Moment) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let Some(current) = current_of(app).filter(|_| !self.stopping) else {
            self.stop_all(id);
            return;
        };
        match self.steering_of(id) {
            Steering::Hold => {}
            Steering::Roll => self.roll(id, &current, now),
            Steering::Count => self.count(id, &current, now),
        }
    }

    /// Returns what the deployment that locks an app, if any, wants with its instances.
    fn steering_of(&self, id: &AppId) -> Steering {
        let Some(deployment) = self.deployments.iter().find(|d| d.affects(id)) else {
            return Steering::Count;
        };
        let of_app = |actions: &[Action]| {
            actions
                .iter()
                .find(|action| action.app == *id)
                .map(|action| action.kind)
        };
        match of_app(deployment.current_actions()) {
            Some(ActionKind::Start | ActionKind::Stop) => Steering::Hold,
            Some(ActionKind::Restart) => Steering::Roll,
            Some(ActionKind::Scale) => Steering::Count,
            None => {
                let mut later = deployment.steps.iter().skip(deployment.current);
                if later.any(|step| of_app(step).is_some()) {
                    Steering::Hold
                } else {
                    Steering::Count
                }
            }
        }
    }

    /// Adds what is missing, or lets go of what is too much.
    fn count(&mut self, id: &AppId, current: &Arc<Revision>, now: Moment) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let (staying, wanted) = (app.staying().count(), app.wanted());
        if staying < wanted {
            self.add_instances(id, current, wanted - staying, now);
        } else if staying > wanted {
            let positions = positions(app, |instance| instance.goal == Goal::Running);
            let victims = select(app, &positions, staying - wanted);
            self.stop_instances(id, &victims);
        }
    }

    fn stop_all(&mut self, id: &AppId) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let ids: Vec<InstanceId> = app.staying().map(|instance| instance.id.clone()).collect();
        self.stop_instances(id, &ids);
    }

    /// Takes one step of a rolling restart.
    fn roll(&mut self, id: &AppId, current: &Arc<Revision>, now: Moment) {
        let Some(app) = self.apps.get(id) else {
            return;
        };
        let gone: Vec<InstanceId> = app
            .staying()
            .filter(|instance| !app.is_fresh(instance) && instance.task.is_none())
            .map(|instance| instance.id.clone())
            .collect();
        self.stop_instances(id, &gone);

        let Some(app) = self.apps.get(id) else {
            return;
        };
        let step = rolling::next_step(fleet(app), current.definition.upgrade_strategy);
        let is_old =
            |instance: &Instance| instance.goal == Goal::Running && !app.is_fresh(instance);
        let sick = positions(app, |instance| is_old(instance) && !instance.is_healthy());
        let well = positions(app, |instance| is_old(instance) && instance.is_healthy());
        let mut victims = select(app, &sick, step.kill_old);
        victims.extend(select(app, &well, step.kill_old - victims.len()));

        let surplus = app
            .staying()
            .filter(|instance| app.is_fresh(instance))
            .count();
        if let Some(surplus) = surplus.checked_sub(app.wanted()) {
            let fresh = positions(app, |instance| {
                instance.goal == Goal::Running && app.is_fresh(instance)
            });
            victims.extend(select(app, &fresh, surplus));
        }
        self.stop_instances(id, &victims);
        self.add_instances(id, current, step.launch, now);
    }

    fn add_instances(&mut self, id: &AppId, revision: &Arc<Revision>, count: usize, now: Moment) {
        for _ in 0..count {
            let instance = Instance {
                id: InstanceId::new(id, &(self.setting.fresh_id)()),
                goal: Goal::Running,
                revision: Arc::clone(revision),
                incarnation: 0,
                since: now,
                task: None,
            };
            let event = events::instance_changed(&instance, &self.setting.host, "Scheduled");
            self.publish(event);
            if let Some(app) = self.apps.get_mut(id) {
                app.instances.push(instance);
            }
        }
    }

    /// Gives instances up: their tasks are killed and nothing follows them.
    pub(super) fn stop_instances(&mut self, id: &AppId, victims: &[InstanceId]) {
        for victim in victims {
            let Some(app) = self.apps.get_mut(id) else {
                return;
            };
            let Some(at) = app
                .instances
                .iter()
                .position(|instance| instance.id == *victim)
            else {
                continue;
            };
            app.instances[at].goal = Goal::Stopped;
            if app.instances[at].task.is_some() {
                self.kill_task_of(id, victim);
            } else {
                let instance = app.instances.remove(at);
                let event = events::instance_changed(&instance, &self.setting.host, "Killed");
                self.publish(event);
            }
        }
    }

    /// Asks the task of an instance to end, unless that has been asked already.
    pub(super) fn kill_task_of(&mut self, id: &AppId, victim: &InstanceId) {
        let host = &self.setting.host;
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        let Some(instance) = app
            .instances
            .iter_mut()
            .find(|instance| instance.id == *victim)
        else {
            return;
        };
        let grace = instance.revision.definition.kill_grace();
        let Some(task) = instance
            .task
            .as_mut()
            .filter(|task| task.state != TaskState::Killing)
        else {
            return;
        };
        task.state = TaskState::Killing;
        task.drop_probes();
        let task_id = task.id.clone();
        if let Some(task) = &instance.task {
            let status = events::status_update(instance, task, host, "TASK_KILLING", "");
            self.effects.push(Effect::Publish(status));
            let changed = events::instance_changed(instance, host, "Killing");
            self.effects.push(Effect::Publish(changed));
        }
        self.effects.push(Effect::Kill(task_id, grace));
    }

    /// Launches every instance that has no task and need not wait.
    pub(super) fn launch_due(&mut self, now: Moment) {
        if self.stopping {
            return;
        }
        let ids: Vec<AppId> = self.apps.keys().cloned().collect();
        for id in ids {
            self.launch_app(&id, now);
        }
    }

    fn launch_app(&mut self, id: &AppId, now: Moment) {
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        let must_wait = app.backoff.waits_until(now.instant).is_some()
            || app.launch_retry_at.is_some_and(|at| now.instant < at);
        let Some(current) = current_of(app).filter(|_| !must_wait) else {
            return;
        };
        app.launch_retry_at = None;
        let waiting = positions(app, |instance| {
            instance.goal == Goal::Running && instance.task.is_none()
        });
        if waiting.is_empty() {
            return;
        }
        let room = LAUNCHES_AT_ONCE.saturating_sub(self.staging_count());
        for at in waiting.into_iter().take(room) {
            let in_use = self.host_ports_in_use();
            let is_free = |port| !in_use.contains(&port) && (self.setting.port_is_free)(port);
            match choose_host_ports(
                &current.definition,
                &self.setting.host_ports,
                self.next_port,
                is_free,
            ) {
                Ok(ports) => self.launch(id, at, &current, ports, now),
                Err(reason) => {
                    self.delay_launch(id, &reason, now);
                    return;
                }
            }
        }
    }

    fn delay_launch(&mut self, id: &AppId, reason: &str, now: Moment) {
        if let Some(app) = self.apps.get_mut(id) {
            app.launch_retry_at = Some(now.instant + PORT_RETRY);
            let notice = format!("{id} waits for its launch: {reason}");
            self.effects.push(Effect::Notice(notice));
        }
    }

    fn launch(
        &mut self,
        id: &AppId,
        at: usize,
        current: &Arc<Revision>,
        ports: Vec<u16>,
        now: Moment,
    ) {
        self.next_port = ports
            .iter()
            .max()
            .map_or(self.next_port, |port| port.saturating_add(1));
        let Some(instance) = self
            .apps
            .get_mut(id)
            .and_then(|app| app.instances.get_mut(at))
        else {
            return;
        };
        instance.revision = Arc::clone(current);
        instance.incarnation += 1;
        instance.task = Some(staged_task(instance, ports, now));
        let Some(instance) = self.apps.get(id).and_then(|app| app.instances.get(at)) else {
            return;
        };
        let Some(task) = &instance.task else {
            return;
        };
        let launch = Launch {
            task: task.id.clone(),
            what: what(&current.definition, &task.ports),
            environment: self.environment(instance, &task.id, &task.ports),
            sandbox: self.sandbox(&task.id),
            fetch: current.definition.fetch.clone(),
            kill_grace: current.definition.kill_grace(),
            limits: Limits::of(&current.definition, self.setting.cpu_limit),
            user: current.definition.user.clone(),
        };
        let host = &self.setting.host;
        let staging = events::status_update(instance, task, host, "TASK_STAGING", "");
        let changed = events::instance_changed(instance, host, "Provisioned");
        self.effects.push(Effect::Publish(changed));
        self.effects.push(Effect::Publish(staging));
        self.effects.push(Effect::Launch(launch));
    }
}

/// Returns what a task with these host ports is made of.
fn what(definition: &Definition, ports: &[u16]) -> What {
    match Wish::of(definition, ports) {
        Some(wish) => What::Container(Box::new(wish)),
        None => What::Process(definition.command.clone()),
    }
}

fn positions(app: &App, matches: impl Fn(&Instance) -> bool) -> Vec<usize> {
    let all = app.instances.iter().enumerate();
    all.filter(|(_, instance)| matches(instance))
        .map(|(at, _)| at)
        .collect()
}

/// Returns the ids of `count` of the instances at these positions, by kill selection.
fn select(app: &App, positions: &[usize], count: usize) -> Vec<InstanceId> {
    let Some(current) = &app.current else {
        return Vec::new();
    };
    let candidates: Vec<Candidate> = positions
        .iter()
        .map(|at| app.instances[*at].candidate())
        .collect();
    let chosen = rolling::select_victims(&candidates, count, current.definition.kill_selection);
    chosen
        .into_iter()
        .map(|index| app.instances[positions[index]].id.clone())
        .collect()
}

fn fleet(app: &App) -> Fleet {
    let mut fleet = Fleet {
        wanted: app.wanted(),
        old_healthy: 0,
        old_unhealthy: 0,
        fresh: 0,
        fresh_healthy: 0,
        dying: 0,
    };
    for instance in &app.instances {
        let is_dying = |task: &Task| task.state == TaskState::Killing;
        if instance.goal == Goal::Stopped {
            fleet.dying += 1;
        } else if app.is_fresh(instance) {
            fleet.fresh += 1;
            fleet.fresh_healthy += usize::from(instance.is_healthy_and_ready());
        } else if instance.task.as_ref().is_some_and(is_dying) {
            fleet.dying += 1;
        } else if instance.is_healthy() {
            fleet.old_healthy += 1;
        } else {
            fleet.old_unhealthy += 1;
        }
    }
    fleet
}
