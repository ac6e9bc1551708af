//! Which tasks a deployment waits for to be ready, and what is shown of their answers.

use serde_json::Value;

use super::World;
use crate::deployment::{Action, ActionKind};
use crate::identity::AppId;
use crate::model::{App, Goal, Instance, ProbeSlot, TaskState};
use crate::time::Moment;

impl World {
    /// Asks the tasks that a deployment waits for, and no others.
    pub(super) fn ask_readiness(&mut self, now: Moment) {
        let ids: Vec<AppId> = self
            .apps
            .iter()
            .filter(|(_, app)| app.instances.iter().any(Instance::has_readiness_check))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            let action = self.action_on(&id).cloned();
            let Some(app) = self.apps.get_mut(&id) else {
                continue;
            };
            let awaited: Vec<bool> = app
                .instances
                .iter()
                .map(|instance| is_awaited(app, instance, action.as_ref()))
                .collect();
            for (instance, awaited) in app.instances.iter_mut().zip(awaited) {
                let Some(task) = &mut instance.task else {
                    continue;
                };
                let slot = &mut task.readiness.slot;
                match (awaited, *slot) {
                    (true, ProbeSlot::Idle) => *slot = ProbeSlot::Due(now.instant),
                    (false, ProbeSlot::Due(_)) => *slot = ProbeSlot::Idle,
                    (true, ProbeSlot::Due(_) | ProbeSlot::Asked(_))
                    | (false, ProbeSlot::Idle | ProbeSlot::Asked(_)) => {}
                }
            }
        }
    }

    /// Returns what a deployment does with an app at this moment.
    fn action_on(&self, id: &AppId) -> Option<&Action> {
        let actions = self
            .deployments
            .iter()
            .flat_map(|deployment| deployment.current_actions());
        actions
            .into_iter()
            .find(|action| action.app == *id)
            .filter(|action| matches!(action.kind, ActionKind::Scale | ActionKind::Restart))
    }

    /// Forgets the answers that a former step was given: each step shows its own.
    pub(super) fn forget_readiness_answers(&mut self, id: &AppId) {
        let instances = self
            .apps
            .get_mut(id)
            .into_iter()
            .flat_map(|app| app.instances.iter_mut());
        for task in instances.filter_map(|instance| instance.task.as_mut()) {
            task.readiness.last = None;
        }
    }

    /// Returns the readiness results of an app's tasks: what `embed=app.readiness` shows.
    pub(crate) fn readiness_json(&self, id: &AppId) -> Value {
        let app = self.apps.get(id).filter(|_| self.action_on(id).is_some());
        let tasks = app.into_iter().flat_map(App::tasks);
        tasks
            .filter_map(|(instance, task)| {
                let check = instance.revision.definition.readiness_checks.first()?;
                Some(task.readiness.last.as_ref()?.to_json(check, &task.id))
            })
            .collect()
    }
}

/// Returns whether a deployment waits for an instance that is not ready yet.
fn is_awaited(app: &App, instance: &Instance, action: Option<&Action>) -> bool {
    let is_asked = instance
        .task
        .as_ref()
        .is_some_and(|task| task.state == TaskState::Running && !task.readiness.is_ready);
    if !is_asked || instance.goal != Goal::Running || !instance.has_readiness_check() {
        return false;
    }
    match action {
        None => false,
        Some(action) => match (action.kind, &action.scaling) {
            (ActionKind::Restart, _) => app.is_fresh(instance),
            (ActionKind::Scale, Some(scaling)) => !scaling.before.contains(&instance.id),
            (ActionKind::Scale, None) | (ActionKind::Start | ActionKind::Stop, _) => false,
        },
    }
}
