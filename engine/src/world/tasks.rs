//! News of processes. News of probes is in `probes.rs`.

use super::{Effect, SANDBOXES_KEPT, World};
use crate::events;
use crate::identity::TaskId;
use crate::model::{Addresses, Goal, LastFailure, Task, TaskEnd, TaskState};
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
        task.schedule_probes(&instance.revision.definition, now.instant);
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
