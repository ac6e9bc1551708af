//! How many of an app's tasks are how far, by the version that they run.

use serde_json::{Map, Value, json};

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
