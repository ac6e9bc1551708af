//! News of processes and probes, and the probes that are due.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::{Effect, ProbeOrder, SANDBOXES_KEPT, World};
use crate::definition::{Definition, HealthCheck, IpProtocol, Network, Port, Protocol};
use crate::events;
use crate::health::{FIRST_PROBE_DELAY, Health, ProbeResult, Verdict};
use crate::identity::{AppId, InstanceId, TaskId};
use crate::model::{Addresses, Goal, Instance, LastFailure, ProbeSlot, Task, TaskEnd, TaskState};
use crate::ports::task_ports;
use crate::probe::Question;
use crate::time::Moment;

impl World {
    /// Takes note that a task runs, and has these addresses of its own.
    pub(crate) fn task_started(&mut self, id: &TaskId, addresses: Addresses, now: Moment) {
        let Some((app, at)) = self.find_task(id) else {
            return;
        };
        let app = app.clone();
        let Some(instance) = self
            .apps
            .get_mut(&app)
            .and_then(|app| app.instances.get_mut(at))
        else {
            return;
        };
        let Some(task) = instance.task.as_mut() else {
            return;
        };
        task.started = Some(now);
        task.addresses = addresses;
        if task.state != TaskState::Staging {
            return;
        }
        task.state = TaskState::Running;
        task.probes
            .fill(ProbeSlot::Due(now.instant + FIRST_PROBE_DELAY));
        if let Some(task) = &instance.task {
            let host = &self.setting.host;
            let running = events::status_update(instance, task, host, "TASK_RUNNING", "");
            let changed = events::instance_changed(instance, host, "Running");
            self.effects.push(Effect::Publish(running));
            self.effects.push(Effect::Publish(changed));
        }
    }

    /// Takes note that a task's whole process group is gone.
    pub(crate) fn task_ended(&mut self, id: &TaskId, end: &TaskEnd, now: Moment) {
        let Some((app_id, at)) = self.find_task(id) else {
            return;
        };
        let app_id = app_id.clone();
        let Some(app) = self.apps.get_mut(&app_id) else {
            return;
        };
        let Some(task) = app.instances[at].task.take() else {
            return;
        };
        let (status, condition, message) = closing_words(&task, end);
        let instance = &app.instances[at];
        let host = &self.setting.host;
        let update = events::status_update(instance, &task, host, status, &message);
        let changed = events::instance_changed(instance, host, condition);
        self.effects.push(Effect::Publish(update));
        self.effects.push(Effect::Publish(changed));
        if status == "TASK_FAILED" {
            app.last_failure = Some(LastFailure {
                app: app_id.clone(),
                task: task.id.clone(),
                state: status,
                message,
                timestamp: now.stamp,
                version: instance.revision.version,
            });
        }
        let runs_current = app.is_fresh(instance);
        if status != "TASK_KILLED" && runs_current {
            app.backoff = app
                .backoff
                .after_end(&instance.revision.definition, now.instant);
        }
        if instance.goal == Goal::Stopped {
            let gone = app.instances.remove(at);
            self.publish(events::unknown_instance_terminated(&app_id, &gone.id));
        } else {
            app.instances[at].since = now;
        }
        self.keep_sandbox(task.id);
    }

    fn keep_sandbox(&mut self, task: TaskId) {
        self.ended.push_back(task);
        while self.ended.len() > SANDBOXES_KEPT {
            let oldest = self.ended.pop_front();
            self.effects.extend(oldest.map(Effect::Discard));
        }
    }

    /// Folds in what a probe saw. An answer about a task that is gone or dying is dropped.
    pub(crate) fn probe_done(
        &mut self,
        id: &TaskId,
        check: usize,
        result: ProbeResult,
        now: Moment,
    ) {
        let Some((app, at)) = self.find_task(id) else {
            return;
        };
        let app = app.clone();
        let Some(instance) = self
            .apps
            .get_mut(&app)
            .and_then(|app| app.instances.get_mut(at))
        else {
            return;
        };
        let revision = Arc::clone(&instance.revision);
        let (Some(declared), Some(task)) = (
            revision.definition.health_checks.get(check),
            instance.task.as_mut(),
        ) else {
            return;
        };
        let (TaskState::Running, ProbeSlot::Asked(asked), Some(started)) =
            (task.state, task.probes[check], task.started)
        else {
            return;
        };
        let health_before = task.health();
        let reason = match &result {
            ProbeResult::Failure(cause) => cause.clone(),
            ProbeResult::Success | ProbeResult::Ignored => String::new(),
        };
        let state = &mut task.checks[check];
        let verdict = state.fold(declared, result, started.instant, now);
        let next = asked + state.pace(declared);
        task.probes[check] = ProbeSlot::Due(next.max(now.instant));
        let instance_id = instance.id.clone();
        self.announce_health(&app, at, declared, (health_before, &verdict));
        if verdict.kill {
            self.kill_unhealthy(&app, &instance_id, &reason, now);
        }
    }

    fn announce_health(
        &mut self,
        app: &AppId,
        at: usize,
        declared: &HealthCheck,
        (before, verdict): (Health, &Verdict),
    ) {
        let Some(instance) = self.apps.get(app).and_then(|app| app.instances.get(at)) else {
            return;
        };
        let after = instance.task.as_ref().map_or(Health::Unknown, Task::health);
        let mut news = Vec::new();
        if verdict.failure_counted {
            news.push(events::failed_health_check(instance, declared));
        }
        if verdict.alive_changed {
            news.push(events::health_status_changed(
                instance,
                !verdict.failure_counted,
            ));
        }
        if before != after {
            news.push(events::instance_health_changed(instance, after.as_option()));
        }
        self.effects.extend(news.into_iter().map(Effect::Publish));
    }

    fn kill_unhealthy(&mut self, id: &AppId, victim: &InstanceId, reason: &str, now: Moment) {
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        let Some(instance) = app.instances.iter().find(|instance| instance.id == *victim) else {
            return;
        };
        let Some(task) = &instance.task else {
            return;
        };
        app.last_failure = Some(LastFailure {
            app: id.clone(),
            task: task.id.clone(),
            state: "TASK_FAILED",
            message: format!("Task was killed since health check failed. Reason: {reason}"),
            timestamp: now.stamp,
            version: instance.revision.version,
        });
        let event = events::unhealthy_instance_kill(instance, task, &self.setting.host, reason);
        self.publish(event);
        self.kill_task_of(id, victim);
    }

    /// Orders every probe whose time has come.
    pub(super) fn probe_due(&mut self, now: Moment) {
        let mut due: Vec<(AppId, usize, usize)> = Vec::new();
        for (id, app) in &mut self.apps {
            for (at, instance) in app.instances.iter_mut().enumerate() {
                let slots = instance
                    .task
                    .iter_mut()
                    .flat_map(|task| task.probes.iter_mut());
                for (check, slot) in slots.enumerate() {
                    if matches!(slot, ProbeSlot::Due(when) if *when <= now.instant) {
                        *slot = ProbeSlot::Asked(now.instant);
                        due.push((id.clone(), at, check));
                    }
                }
            }
        }
        for (id, at, check) in due {
            if let Some(order) = self.probe_order(&id, at, check) {
                self.effects.push(Effect::Probe(order));
            }
        }
    }

    fn probe_order(&self, id: &AppId, at: usize, check: usize) -> Option<ProbeOrder> {
        let instance = self.apps.get(id)?.instances.get(at)?;
        let task = instance.task.as_ref()?;
        let declared = instance.revision.definition.health_checks.get(check)?;
        Some(ProbeOrder {
            task: task.id.clone(),
            check,
            question: self.question(instance, task, declared),
            timeout: declared.timeout(),
        })
    }

    fn question(&self, instance: &Instance, task: &Task, declared: &HealthCheck) -> Question {
        let (host, port) = self.target(&instance.revision.definition, task, declared);
        match declared.protocol {
            Protocol::Tcp | Protocol::MesosTcp => Question::Tcp { host, port },
            Protocol::Http | Protocol::MesosHttp => Question::Http {
                host,
                port,
                path: format!(
                    "/{}",
                    declared
                        .path
                        .as_deref()
                        .unwrap_or("/")
                        .trim_start_matches('/')
                ),
                ignore_1xx: declared.ignore_http_1xx,
            },
            Protocol::Command if instance.revision.definition.image().is_some() => {
                Question::Inside {
                    task: task.id.clone(),
                    line: declared.command.clone().unwrap_or_default(),
                }
            }
            Protocol::Command => Question::Command {
                line: declared.command.clone().unwrap_or_default(),
                environment: self.environment(instance, &task.id, &task.ports),
                folder: self.sandbox(&task.id),
            },
        }
    }
}

impl World {
    /// Returns the address that a check asks.
    ///
    /// A container with an address of its own is asked there: the container engine's proxy accepts
    /// connections to a mapped host port although nothing listens in the container.
    fn target(
        &self,
        definition: &Definition,
        task: &Task,
        declared: &HealthCheck,
    ) -> (String, u16) {
        let machine = match declared.ip_protocol {
            IpProtocol::V4 => self.setting.host.clone(),
            IpProtocol::V6 => Ipv6Addr::LOCALHOST.to_string(),
        };
        let own = match declared.ip_protocol {
            IpProtocol::V4 => task.addresses.v4.map(IpAddr::V4),
            IpProtocol::V6 => task.addresses.v6.map(IpAddr::V6),
        };
        let ports = task_ports(definition, &task.ports);
        let asked = match declared.port {
            Port::None => None,
            Port::Index(index) => ports.get(index).copied(),
            Port::Number(number) => {
                // Marathon asks the machine here, the agent the container
                // (`MarathonHealthCheck.effectivePort`, `MesosHttpHealthCheck`).
                let of_machine = !declared.protocol.is_mesos_level()
                    && matches!(definition.network, Network::Bridge { .. });
                let mapped = ports.iter().find(|port| port.host == Some(number));
                match mapped.filter(|_| of_machine) {
                    Some(port) => Some(*port),
                    None if of_machine => return (machine, number),
                    None => return (own.map_or(machine, |own| own.to_string()), number),
                }
            }
        };
        match (own, asked) {
            (_, None) => (machine, 0),
            (Some(own), Some(port)) => (own.to_string(), port.container),
            (None, Some(port)) => (machine, port.host.unwrap_or(port.container)),
        }
    }
}

/// Returns the last state of a task, its condition and what is said about it.
///
/// The sentences are those of the Mesos command executor (`src/launcher/executor.cpp`).
fn closing_words(task: &Task, end: &TaskEnd) -> (&'static str, &'static str, String) {
    match (task.state, end) {
        (TaskState::Killing, TaskEnd::Finished) => (
            "TASK_KILLED",
            "Killed",
            "Command exited with status 0".to_owned(),
        ),
        (TaskState::Killing, TaskEnd::Failed(message)) => {
            ("TASK_KILLED", "Killed", message.clone())
        }
        (TaskState::Staging | TaskState::Running, TaskEnd::Finished) => (
            "TASK_FINISHED",
            "Finished",
            "Command exited with status 0".to_owned(),
        ),
        (TaskState::Staging | TaskState::Running, TaskEnd::Failed(message)) => {
            ("TASK_FAILED", "Failed", message.clone())
        }
    }
}
