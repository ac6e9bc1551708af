//! Probes that are due, and what their answers change.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::{Effect, ProbeOrder, Subject, World};
use crate::check::CheckStatus;
use crate::definition::{
    Check, CheckProbe, Definition, HealthCheck, IpProtocol, Network, Port, Protocol,
    ReadinessCheck, Scheme,
};
use crate::events;
use crate::health::{Health, ProbeResult, Verdict};
use crate::identity::{AppId, InstanceId, TaskId};
use crate::model::{Instance, LastFailure, ProbeSlot, Task, TaskState};
use crate::ports::task_ports;
use crate::probe::{Answer, Question, Reads, Request};
use crate::time::Moment;

impl World {
    /// Folds in what came back to a probe. An answer about a task that is gone or dying is dropped.
    pub(crate) fn probe_done(
        &mut self,
        id: &TaskId,
        subject: Subject,
        answer: Answer,
        now: Moment,
    ) {
        let Some((app, at)) = self.find_task(id) else {
            return;
        };
        let app = app.clone();
        match subject {
            Subject::Health(check) => self.health_answered(&app, at, check, answer, now),
            Subject::Readiness => self.readiness_answered(&app, at, answer, now),
            Subject::Check => self.check_answered(&app, at, &answer, now),
        }
    }

    fn health_answered(
        &mut self,
        app: &AppId,
        at: usize,
        check: usize,
        answer: Answer,
        now: Moment,
    ) {
        let Some(instance) = self
            .apps
            .get_mut(app)
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
        let result = ProbeResult::of(answer, declared);
        let reason = match &result {
            ProbeResult::Failure(cause) => cause.clone(),
            ProbeResult::Success | ProbeResult::Ignored => String::new(),
        };
        let state = &mut task.checks[check];
        let verdict = state.fold(declared, result, started.instant, now);
        let running = now.instant.saturating_duration_since(started.instant);
        let next = asked + state.pace(declared, running);
        task.probes[check] = ProbeSlot::Due(next.max(now.instant));
        let instance_id = instance.id.clone();
        self.announce_health(app, at, declared, (health_before, &verdict));
        if verdict.kill {
            self.kill_unhealthy(app, &instance_id, &reason, now);
        }
    }

    fn readiness_answered(&mut self, app: &AppId, at: usize, answer: Answer, now: Moment) {
        let Some(instance) = self.apps.get(app).and_then(|app| app.instances.get(at)) else {
            return;
        };
        let revision = Arc::clone(&instance.revision);
        let (Some(declared), Some(task)) = (
            revision.definition.readiness_checks.first(),
            instance.task.as_ref(),
        ) else {
            return;
        };
        let url = self
            .readiness_request(&revision.definition, task, declared)
            .url();
        let Some(task) = self.task_at(app, at) else {
            return;
        };
        if let (TaskState::Running, ProbeSlot::Asked(_)) = (task.state, task.readiness.slot) {
            task.readiness.fold(declared, answer, &url);
            task.readiness.slot = match task.readiness.is_ready {
                true => ProbeSlot::Idle,
                false => ProbeSlot::Due(now.instant + declared.interval()),
            };
        }
    }

    fn check_answered(&mut self, app: &AppId, at: usize, answer: &Answer, now: Moment) {
        let Some(instance) = self.apps.get(app).and_then(|app| app.instances.get(at)) else {
            return;
        };
        let revision = Arc::clone(&instance.revision);
        let (Some(declared), Some(task)) = (&revision.definition.check, self.task_at(app, at))
        else {
            return;
        };
        if let (TaskState::Running, ProbeSlot::Asked(asked)) = (task.state, task.check.slot) {
            task.check.status = Some(CheckStatus::of(&declared.probe, answer));
            let next = asked + declared.interval();
            task.check.slot = ProbeSlot::Due(next.max(now.instant));
        }
    }

    fn task_at(&mut self, app: &AppId, at: usize) -> Option<&mut Task> {
        let app = self.apps.get_mut(app)?;
        app.instances.get_mut(at)?.task.as_mut()
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
        let mut due: Vec<(AppId, usize, Subject)> = Vec::new();
        for (id, app) in &mut self.apps {
            for (at, instance) in app.instances.iter_mut().enumerate() {
                let slots = instance.task.iter_mut().flat_map(Task::slots);
                for (subject, slot) in slots {
                    if matches!(slot, ProbeSlot::Due(when) if *when <= now.instant) {
                        *slot = ProbeSlot::Asked(now.instant);
                        due.push((id.clone(), at, subject));
                    }
                }
            }
        }
        for (id, at, subject) in due {
            if let Some(order) = self.probe_order(&id, at, subject) {
                self.effects.push(Effect::Probe(order));
            }
        }
    }

    fn probe_order(&self, id: &AppId, at: usize, subject: Subject) -> Option<ProbeOrder> {
        let instance = self.apps.get(id)?.instances.get(at)?;
        let task = instance.task.as_ref()?;
        let definition = &instance.revision.definition;
        let (question, timeout) = match subject {
            Subject::Health(check) => {
                let declared = definition.health_checks.get(check)?;
                (
                    self.health_question(instance, task, declared),
                    declared.timeout(),
                )
            }
            Subject::Readiness => {
                let declared = definition.readiness_checks.first()?;
                let request = self.readiness_request(definition, task, declared);
                (Question::Http(request), declared.timeout())
            }
            Subject::Check => {
                let declared = definition.check.as_ref()?;
                (
                    self.check_question(instance, task, declared),
                    declared.timeout(),
                )
            }
        };
        Some(ProbeOrder {
            task: task.id.clone(),
            subject,
            question,
            timeout,
        })
    }

    fn health_question(
        &self,
        instance: &Instance,
        task: &Task,
        declared: &HealthCheck,
    ) -> Question {
        let definition = &instance.revision.definition;
        if declared.ip_protocol == IpProtocol::V6
            && !definition.network.is_host()
            && task.addresses.v6.is_none()
        {
            return Question::Unanswerable("the container has no IPv6 address".to_owned());
        }
        let (host, port) = self.target(definition, task, Aim::of(declared));
        let scheme = match declared.protocol {
            Protocol::Tcp | Protocol::MesosTcp => return Question::Tcp { host, port },
            Protocol::Command => {
                let line = declared.command.clone().unwrap_or_default();
                return self.command(instance, task, shell(line));
            }
            Protocol::Http | Protocol::MesosHttp => Scheme::Http,
            Protocol::Https | Protocol::MesosHttps => Scheme::Https,
        };
        Question::Http(Request {
            scheme,
            host,
            port,
            path: absolute(declared.path.as_deref()),
            reads: Reads::Status,
        })
    }

    fn readiness_request(
        &self,
        definition: &Definition,
        task: &Task,
        declared: &ReadinessCheck,
    ) -> Request {
        let wanted = definition.wanted_ports();
        let named = wanted
            .iter()
            .position(|port| port.name == Some(&declared.port_name));
        let aim = Aim {
            port: named.map_or(Port::None, Port::Index),
            asker: Asker::Marathon,
            ip_protocol: IpProtocol::V4,
        };
        let (host, port) = self.target(definition, task, aim);
        Request {
            scheme: declared.scheme,
            host,
            port,
            path: absolute(Some(&declared.path)),
            reads: Reads::Body,
        }
    }

    fn check_question(&self, instance: &Instance, task: &Task, declared: &Check) -> Question {
        let definition = &instance.revision.definition;
        let aim = |port: Port| Aim {
            port,
            asker: Asker::Agent,
            ip_protocol: IpProtocol::V4,
        };
        match &declared.probe {
            CheckProbe::Http { port, path, scheme } => {
                let (host, port) = self.target(definition, task, aim(*port));
                Question::Http(Request {
                    scheme: *scheme,
                    host,
                    port,
                    path: absolute(path.as_deref()),
                    reads: Reads::Status,
                })
            }
            CheckProbe::Tcp { port } => {
                let (host, port) = self.target(definition, task, aim(*port));
                Question::Tcp { host, port }
            }
            CheckProbe::Shell(line) => self.command(instance, task, shell(line.clone())),
            CheckProbe::Arguments(words) => self.command(instance, task, words.clone()),
        }
    }

    fn command(&self, instance: &Instance, task: &Task, words: Vec<String>) -> Question {
        if instance.revision.definition.image().is_some() {
            return Question::Inside {
                task: task.id.clone(),
                words,
            };
        }
        Question::Command {
            words,
            environment: self.environment(instance, &task.id, &task.ports),
            folder: self.sandbox(&task.id),
        }
    }

    /// Returns the address that a check asks.
    ///
    /// A container with an address of its own is asked there: the container engine's proxy accepts
    /// connections to a mapped host port although nothing listens in the container.
    fn target(&self, definition: &Definition, task: &Task, aim: Aim) -> (String, u16) {
        let (machine, own) = match aim.ip_protocol {
            IpProtocol::V4 => (self.setting.host.clone(), task.addresses.v4.map(IpAddr::V4)),
            IpProtocol::V6 => (
                Ipv6Addr::LOCALHOST.to_string(),
                task.addresses.v6.map(IpAddr::V6),
            ),
        };
        let ports = task_ports(definition, &task.ports);
        let asked = match aim.port {
            Port::None => return (machine, 0),
            Port::Index(index) => ports.get(index).copied(),
            Port::Number(number) => {
                // Behind a bridge Marathon means a port of the machine, the agent one of the
                // container (`MarathonHealthCheck.effectivePort`, `MesosHttpHealthCheck`).
                let of_machine = aim.asker == Asker::Marathon
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

/// Whose rules say what a port number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Marathon,
    Agent,
}

/// What a check is aimed at.
#[derive(Debug, Clone, Copy)]
struct Aim {
    port: Port,
    asker: Asker,
    ip_protocol: IpProtocol,
}

impl Aim {
    fn of(declared: &HealthCheck) -> Self {
        let asker = if declared.protocol.is_mesos_level() {
            Asker::Agent
        } else {
            Asker::Marathon
        };
        Self {
            port: declared.port,
            asker,
            ip_protocol: declared.ip_protocol,
        }
    }
}

fn shell(line: String) -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned(), line]
}

/// Returns a path with one slash before it, as `HealthCheckWorker.http` makes it.
fn absolute(path: Option<&str>) -> String {
    format!("/{}", path.unwrap_or("/").trim_start_matches('/'))
}
