//! How many of an app's tasks are how far, by the version that they run.

use serde_json::{Map, Value, json};

use super::{Counters, World};
use crate::health::Health;
use crate::model::{App, Instance, Revision, Task, TaskState};
use crate::time::Moment;

/// Tasks by how far and how well they are (`TaskCounts` in task.raml).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) staged: usize,
    pub(super) running: usize,
    /// All checks that have reported are alive, and one has.
    pub(super) healthy: usize,
    pub(super) unhealthy: usize,
}

/// How much of everything there is, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) apps: u64,
    pub(crate) groups: u64,
    pub(crate) deployments: u64,
    pub(crate) staged: u64,
    pub(crate) running: u64,
    pub(crate) killing: u64,
    pub(crate) counters: Counters,
}

impl World {
    /// Counts everything.
    pub(crate) fn census(&self) -> Census {
        let states = || {
            self.apps
                .values()
                .flat_map(App::tasks)
                .map(|(_, task)| task.state)
        };
        let count = |wanted| states().filter(|state| *state == wanted).count() as u64;
        Census {
            apps: self.currents().count() as u64,
            groups: self.groups.count() as u64,
            deployments: self.deployments.len() as u64,
            staged: count(TaskState::Staging),
            running: count(TaskState::Running),
            killing: count(TaskState::Killing),
            counters: self.counters,
        }
    }
}

/// Counts tasks.
pub(super) fn count<'a>(tasks: impl Iterator<Item = &'a Task>) -> Counts {
    let mut counts = Counts::default();
    for task in tasks {
        let reported = task.checks.iter().any(|check| check.reported);
        let sick = task.health() == Health::Unhealthy;
        counts.staged += usize::from(task.state == TaskState::Staging);
        counts.running += usize::from(task.state == TaskState::Running);
        counts.healthy += usize::from(reported && !sick);
        counts.unhealthy += usize::from(sick);
    }
    counts
}

/// Returns the `tasksStats` of an app (`TaskStatsByVersion.scala`); what has no task is left out.
pub(super) fn of_app(app: &App, current: &Revision, now: Moment) -> Value {
    let mut json = Map::new();
    let mut put = |key: &str, belongs: &dyn Fn(&Instance) -> bool| {
        let tasks = app.tasks().filter(|(instance, _)| belongs(instance));
        let tasks: Vec<&Task> = tasks.map(|(_, task)| task).collect();
        if !tasks.is_empty() {
            json.insert(key.to_owned(), json!({ "stats": stats(&tasks, now) }));
        }
    };
    let version = |instance: &Instance| instance.revision.version;
    put("startedAfterLastScaling", &|instance| {
        version(instance) >= current.last_scaling_at
    });
    put("withLatestConfig", &|instance| {
        version(instance) >= current.last_config_change_at
    });
    put("withOutdatedConfig", &|instance| {
        version(instance) < current.last_config_change_at
    });
    put("totalSummary", &|_| true);
    Value::Object(json)
}

fn stats(tasks: &[&Task], now: Moment) -> Value {
    let counts = count(tasks.iter().copied());
    let mut json = json!({
        "counts": {
            "staged": counts.staged,
            "running": counts.running,
            "healthy": counts.healthy,
            "unhealthy": counts.unhealthy,
        },
    });
    let started = tasks.iter().filter(|task| task.started.is_some());
    let mut lives: Vec<f64> = started
        .map(|task| {
            now.instant
                .duration_since(task.staged.instant)
                .as_secs_f64()
        })
        .collect();
    lives.sort_by(f64::total_cmp);
    if let Some(median) = lives.get(lives.len() / 2) {
        #[expect(clippy::cast_precision_loss, reason = "there are few tasks")]
        let average = lives.iter().sum::<f64>() / lives.len() as f64;
        json["lifeTime"] = json!({ "averageSeconds": average, "medianSeconds": median });
    }
    json
}
