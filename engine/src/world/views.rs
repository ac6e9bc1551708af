//! What answers show of the state, in Marathon 1.10's shapes.

use serde_json::{Map, Value, json};

use super::{World, stats};
use crate::definition::HealthCheck;
use crate::deployment::Deployment;
use crate::events::{self, AGENT_ID};
use crate::health::CheckState;
use crate::identity::{AppId, TaskId};
use crate::model::{App, Instance, LastFailure, Revision, Task, TaskState};
use crate::refusal::Refusal;
use crate::time::{Moment, Stamp};

/// What an app object carries beyond the definition (`InfoEmbedResolver.resolveApp`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Embeds {
    pub(crate) tasks: bool,
    pub(crate) counts: bool,
    pub(crate) deployments: bool,
    pub(crate) readiness: bool,
    pub(crate) last_task_failure: bool,
    pub(crate) task_stats: bool,
}

/// Returns an app's definition with its version: the object of `/versions/{v}`.
pub(crate) fn definition_json(revision: &Revision) -> Value {
    let mut app = revision.definition.to_json();
    app.insert("version".to_owned(), json!(revision.version));
    app.insert(
        "versionInfo".to_owned(),
        json!({
            "lastScalingAt": revision.last_scaling_at,
            "lastConfigChangeAt": revision.last_config_change_at,
        }),
    );
    Value::Object(app)
}

impl World {
    /// Returns the revisions of all apps that exist.
    pub(crate) fn currents(&self) -> impl Iterator<Item = &Revision> {
        self.apps.values().filter_map(|app| app.current.as_deref())
    }

    /// Returns one app as `GET /v2/apps/{id}` shows it.
    ///
    /// # Errors
    /// The app does not exist.
    pub(crate) fn app_json(
        &self,
        id: &AppId,
        embeds: Embeds,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let current = self.current(id)?;
        let app = self
            .apps
            .get(id)
            .ok_or_else(|| Refusal::AppUnknown(id.clone()))?;
        let mut json = match definition_json(&current) {
            Value::Object(map) => map,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        };
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        if embeds.counts {
            let counts = stats::count(app.tasks().map(|(_, task)| task));
            put("tasksStaged", json!(counts.staged));
            put("tasksRunning", json!(counts.running));
            put("tasksHealthy", json!(counts.healthy));
            put("tasksUnhealthy", json!(counts.unhealthy));
        }
        if embeds.deployments {
            put("deployments", self.locks_json(id));
        }
        if embeds.tasks {
            put("tasks", self.tasks_of(id, ServicePorts::Hidden));
        }
        if embeds.readiness {
            put("readinessCheckResults", self.readiness_json(id));
        }
        if let Some(failure) = app
            .last_failure
            .as_ref()
            .filter(|_| embeds.last_task_failure)
        {
            put("lastTaskFailure", self.failure_json(failure));
        }
        if embeds.task_stats {
            put("tasksStats", stats::of_app(app, &current, now));
        }
        Ok(Value::Object(json))
    }

    /// Returns the body of the 201 answer: what was asked for, before ports are assigned.
    pub(crate) fn created_json(
        &self,
        asked: Map<String, Value>,
        id: &AppId,
        version: Stamp,
    ) -> Value {
        let mut json = asked;
        json.insert("version".to_owned(), json!(version));
        for key in [
            "tasksStaged",
            "tasksRunning",
            "tasksHealthy",
            "tasksUnhealthy",
        ] {
            json.insert(key.to_owned(), json!(0));
        }
        json.insert("deployments".to_owned(), self.locks_json(id));
        Value::Object(json)
    }

    fn locks_json(&self, id: &AppId) -> Value {
        let locks = self
            .deployments
            .iter()
            .filter(|deployment| deployment.affects(id));
        locks
            .map(|deployment| json!({ "id": deployment.id }))
            .collect()
    }

    fn failure_json(&self, failure: &LastFailure) -> Value {
        json!({
            "appId": failure.app,
            "host": self.setting.host,
            "message": failure.message,
            "state": failure.state,
            "taskId": failure.task,
            "timestamp": failure.timestamp,
            "version": failure.version,
            "slaveId": AGENT_ID,
        })
    }

    /// Returns the versions of an app, newest first.
    ///
    /// # Errors
    /// The app does not exist.
    pub(crate) fn versions(&self, id: &AppId) -> Result<Vec<Stamp>, Refusal> {
        self.current(id)?;
        let app = self.apps.get(id);
        Ok(app.map_or_else(Vec::new, |app| {
            app.revisions.keys().rev().copied().collect()
        }))
    }

    /// Returns one version of an app.
    ///
    /// # Errors
    /// The app or the version does not exist.
    pub(crate) fn version_json(&self, id: &AppId, version: Stamp) -> Result<Value, Refusal> {
        self.current(id)?;
        let revision = self
            .apps
            .get(id)
            .and_then(|app| app.revisions.get(&version));
        let unknown = || Refusal::VersionUnknown(id.clone(), version);
        Ok(definition_json(revision.ok_or_else(unknown)?))
    }

    /// Returns the tasks of an app as a JSON array.
    pub(crate) fn tasks_of(&self, id: &AppId, service_ports: ServicePorts) -> Value {
        let tasks = self.apps.get(id).into_iter().flat_map(App::tasks);
        tasks
            .map(|(instance, task)| self.task_json(instance, task, service_ports))
            .collect()
    }

    /// Returns the ids of an app's tasks.
    pub(crate) fn task_ids_of(&self, id: &AppId) -> Vec<TaskId> {
        let tasks = self.apps.get(id).into_iter().flat_map(App::tasks);
        tasks.map(|(_, task)| task.id.clone()).collect()
    }

    /// Returns the tasks of all apps that are in one of the states; no state means any.
    pub(crate) fn all_tasks(&self, states: &[TaskState]) -> Value {
        let tasks = self.apps.values().flat_map(App::tasks);
        let wanted = tasks.filter(|(_, task)| states.is_empty() || states.contains(&task.state));
        wanted
            .map(|(instance, task)| self.task_json(instance, task, ServicePorts::Shown))
            .collect()
    }

    /// Returns one task, where it exists.
    pub(crate) fn one_task(&self, id: &TaskId) -> Option<Value> {
        let (app, at) = self.find_task(id)?;
        let instance = self.apps.get(app)?.instances.get(at)?;
        let task = instance.task.as_ref()?;
        Some(self.task_json(instance, task, ServicePorts::Hidden))
    }

    fn task_json(&self, instance: &Instance, task: &Task, service_ports: ServicePorts) -> Value {
        let definition = &instance.revision.definition;
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        put("id", json!(task.id));
        put("appId", json!(definition.id));
        put("host", json!(self.setting.host));
        put("healthCheckResults", health_results(instance, task));
        if let Some(status) = task.check.status {
            put("checkResult", status.to_json());
        }
        put("ipAddresses", task.addresses.to_json(&self.setting.host));
        put("ports", json!(task.ports));
        let shown = match service_ports {
            ServicePorts::Shown => definition.service_ports(),
            ServicePorts::Hidden => Vec::new(),
        };
        put("servicePorts", json!(shown));
        put("slaveId", json!(AGENT_ID));
        put("state", json!(task.state.as_str()));
        put("stagedAt", json!(task.staged.stamp));
        if let Some(started) = task.started {
            put("startedAt", json!(started.stamp));
        }
        put("version", json!(instance.revision.version));
        put("localVolumes", json!([]));
        put("role", json!("*"));
        Value::Object(json)
    }

    /// Returns the running deployments.
    pub(crate) fn deployments_json(&self) -> Value {
        let deployments = self.deployments.iter();
        deployments.map(|d| self.deployment_json(d)).collect()
    }

    fn deployment_json(&self, deployment: &Deployment) -> Value {
        let current: Vec<Value> = deployment
            .current_actions()
            .iter()
            .map(|action| {
                json!({
                    "action": action.kind.as_str(),
                    "app": action.app,
                    "readinessCheckResults": self.readiness_json(&action.app),
                })
            })
            .collect();
        let affected: Vec<&AppId> = deployment.originals.keys().collect();
        json!({
            "id": deployment.id,
            "version": deployment.version,
            "affectedApps": affected,
            "affectedPods": [],
            "steps": events::steps_json(&deployment.steps),
            "currentActions": current,
            "currentStep": deployment.current,
            "totalSteps": deployment.steps.len(),
        })
    }

    /// Returns what waits for its launch.
    pub(crate) fn queue_json(&self, offers: Offers, now: Moment) -> Value {
        let entries = self
            .apps
            .values()
            .filter_map(|app| queue_entry(app, offers, now));
        let entries: Vec<Value> = entries.collect();
        json!({ "queue": entries })
    }
}

/// Whether a task object names the service ports of its app; only `/v2/tasks` does (≥ 1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServicePorts {
    Shown,
    Hidden,
}

fn health_results(instance: &Instance, task: &Task) -> Value {
    let declared: &[HealthCheck] = &instance.revision.definition.health_checks;
    debug_assert_eq!(
        declared.len(),
        task.checks.len(),
        "one state per declared check"
    );
    let reported = task.checks.iter().filter(|check| check.reported);
    reported
        .map(|check| health_result(instance, check))
        .collect()
}

fn health_result(instance: &Instance, check: &CheckState) -> Value {
    let mut json = Map::new();
    let mut put = |key: &str, value: Value| {
        json.insert(key.to_owned(), value);
    };
    put("alive", json!(check.is_alive()));
    put("consecutiveFailures", json!(check.consecutive_failures));
    let stamps = [
        ("firstSuccess", check.first_success),
        ("lastFailure", check.last_failure),
        ("lastSuccess", check.last_success),
    ];
    for (key, stamp) in stamps {
        if let Some(stamp) = stamp {
            put(key, json!(stamp));
        }
    }
    if let Some(cause) = &check.last_failure_cause {
        put("lastFailureCause", json!(cause));
    }
    put("instanceId", json!(instance.id));
    Value::Object(json)
}

/// Whether a queue entry lists the offers that could not be used (`embed=lastUnusedOffers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offers {
    Listed,
    Hidden,
}

/// Returns an app's entry in the queue, where it waits for a launch.
///
/// There are no offers on one machine, so their lists are empty. Marathon ≥ 1.9 also prints `role`;
/// marathon-python 0.13.0, its last release, cannot read an entry that has one, so it is left away.
fn queue_entry(app: &App, offers: Offers, now: Moment) -> Option<Value> {
    let current = app.current.as_ref()?;
    let waiting: Vec<&Instance> = app.staying().filter(|i| i.task.is_none()).collect();
    let since = waiting.iter().map(|instance| instance.since.stamp).min()?;
    let left = app
        .backoff
        .waits_until(now.instant)
        .map(|until| until - now.instant);
    let seconds = left.map_or(0, |left| left.as_secs_f64().ceil() as u64);
    let mut entry = json!({
        "app": definition_json(current),
        "count": waiting.len(),
        "delay": { "timeLeftSeconds": seconds, "overdue": left.is_none() },
        "since": since,
        "processedOffersSummary": {
            "processedOffersCount": 0,
            "unusedOffersCount": 0,
            "rejectSummaryLastOffers": [],
            "rejectSummaryLaunchAttempt": [],
        },
    });
    if offers == Offers::Listed {
        entry["lastUnusedOffers"] = json!([]);
    }
    Some(entry)
}
