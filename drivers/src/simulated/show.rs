//! What Marathon 1.10 shows of apps, tasks and deployments.

use super::app::{App, Deployment};
use super::state::State;
use super::task::{Check, Phase, Task};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use teal_core::Moment;

/// Whether tasks are among what is shown of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum With {
    Tasks,
    CountsAlone,
}

impl State {
    /// Returns an app as `GET /v2/apps` shows it.
    pub(super) fn show_app(&self, id: &str, app: &App, with: With) -> Value {
        let tasks: Vec<&Task> = self.listed(id).collect();
        let count = |test: &dyn Fn(&Task) -> bool| tasks.iter().filter(|task| test(task)).count();
        let mut shown = app.definition.clone();
        let fields = json!({
            "id": id,
            "instances": app.instances,
            "version": self.stamp(app.version),
            "versionInfo": {
                "lastScalingAt": self.stamp(app.scaled_at),
                "lastConfigChangeAt": self.stamp(app.configured_at),
            },
            "tasksStaged": count(&|task| matches!(task.phase, Phase::Staging { .. })),
            "tasksRunning": count(&|task| task.is_running()),
            "tasksHealthy": count(&|task| task.is_running() && has_results(task) && task.is_healthy()),
            "tasksUnhealthy": count(&|task| task.checks.iter().any(is_dead)),
            "deployments": self.lockers(id).iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(),
        });
        merge(&mut shown, fields);
        shown.entry("labels").or_insert_with(|| json!({}));
        if let Some(failure) = &app.last_failure {
            let failure = json!({
                "appId": id, "host": failure.host, "message": "Command exited with status 1",
                "state": failure.state, "taskId": failure.task, "timestamp": self.stamp(failure.at),
                "version": self.stamp(failure.version),
            });
            shown.insert("lastTaskFailure".to_owned(), failure);
        }
        if with == With::Tasks {
            let tasks = tasks.iter().map(|task| self.show_task(task)).collect();
            shown.insert("tasks".to_owned(), Value::Array(tasks));
        }
        Value::Object(shown)
    }

    fn show_task(&self, task: &Task) -> Value {
        let state = match (task.phase, task.dying) {
            (Phase::Unreachable { .. }, _) => "TASK_UNREACHABLE",
            (Phase::Staging { .. } | Phase::Running, Some(_)) if self.temper.tells_killing => {
                "TASK_KILLING"
            }
            (Phase::Staging { .. }, _) => "TASK_STAGING",
            (Phase::Running, _) => "TASK_RUNNING",
        };
        let results: Vec<Value> = task
            .checks
            .iter()
            .filter_map(|check| self.show_result(task, check))
            .collect();
        let mut shown = json!({
            "id": task.id,
            "appId": task.app,
            "host": task.page.address.ip().to_string(),
            "ports": [task.page.address.port()],
            "servicePorts": [],
            "ipAddresses": [{ "ipAddress": task.page.address.ip().to_string(), "protocol": "IPv4" }],
            "slaveId": format!("agent-{}", task.agent),
            "state": state,
            "stagedAt": self.stamp(task.staged_at),
            "version": self.stamp(task.version),
            "healthCheckResults": results,
            "localVolumes": [],
            "role": "*",
        });
        if let Some(started) = task.started_at {
            shown["startedAt"] = self.stamp(started);
        }
        shown
    }

    fn show_result(&self, task: &Task, check: &Check) -> Option<Value> {
        let result = check.result?;
        let stamp =
            |moment: Option<Moment>| moment.map_or(Value::Null, |moment| self.stamp(moment));
        Some(json!({
            "alive": result.alive,
            "consecutiveFailures": result.consecutive_failures,
            "firstSuccess": stamp(result.first_success),
            "lastSuccess": stamp(result.last_success),
            "lastFailure": stamp(result.last_failure),
            "lastFailureCause": null,
            "instanceId": task.instance,
        }))
    }

    /// Returns a deployment as `GET /v2/deployments` shows it.
    pub(super) fn show_deployment(&self, it: &Deployment) -> Value {
        let action = json!({ "action": it.action, "app": it.app });
        let current = json!({ "action": it.action, "app": it.app, "readinessCheckResults": [] });
        json!({
            "id": it.id,
            "version": self.stamp(it.version),
            "affectedApps": [it.app],
            "affectedPods": [],
            "steps": [{ "actions": [action] }],
            "currentActions": [current],
            "currentStep": 1,
            "totalSteps": 1,
        })
    }

    /// The tasks that Marathon shows of an app.
    fn listed<'a>(&'a self, app: &'a str) -> impl Iterator<Item = &'a Task> {
        let of_app = self.tasks.iter().filter(move |task| task.app == app);
        of_app.filter(|task| !task.expunged)
    }

    /// Returns the ids of an app's tasks that an answer shows as running and healthy.
    pub(super) fn well(&self, app: &str) -> BTreeSet<String> {
        let says_killing = self.temper.tells_killing;
        let well = self.listed(app).filter(|task| {
            let is_killing = task.dying.is_some() && says_killing;
            task.is_running() && !is_killing && has_results(task) && task.is_healthy()
        });
        well.map(|task| task.id.clone()).collect()
    }

    /// Returns a moment by Marathon's clock: UTC, three digits of a second, `Z`.
    pub(super) fn stamp(&self, moment: Moment) -> Value {
        json!(
            self.theirs(moment)
                .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
                .to_string()
        )
    }

    /// Returns the `Date` header of an answer (RFC 9110, 5.6.7): whole seconds.
    pub(super) fn date(&self, moment: Moment) -> String {
        DateTimePrinter::new()
            .timestamp_to_rfc9110_string(&self.theirs(moment))
            .unwrap_or_default()
    }

    fn theirs(&self, moment: Moment) -> Timestamp {
        let millis = i64::try_from(moment.0).unwrap_or(0) + self.temper.skew_ms;
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

fn has_results(task: &Task) -> bool {
    task.checks.iter().all(|check| check.result.is_some())
}

fn is_dead(check: &Check) -> bool {
    check.result.is_some_and(|result| !result.alive)
}

fn merge(into: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        into.extend(fields);
    }
}
