//! Carries deployments from step to step.

use std::collections::BTreeSet;

use super::World;
use crate::deployment::{Action, ActionKind, Deployment, Scaling};
use crate::events;
use crate::identity::{AppId, InstanceId};
use crate::model::{App, Goal};

impl World {
    /// Begins the first step of every deployment that has not begun.
    pub(super) fn begin_deployments(&mut self) {
        for index in 0..self.deployments.len() {
            if self.deployments[index].current == 0 {
                self.deployments[index].current = 1;
                self.begin_step(index);
            }
        }
    }

    /// Ends every step whose aim is reached and says whether there was one.
    pub(super) fn finish_steps(&mut self) -> bool {
        let mut moved = false;
        let mut index = 0;
        while index < self.deployments.len() {
            let deployment = &self.deployments[index];
            if !deployment
                .current_actions()
                .iter()
                .all(|action| self.is_done(action))
            {
                index += 1;
                continue;
            }
            moved = true;
            if self.finish_step(index) {
                index += 1;
            }
        }
        moved
    }

    /// Ends the current step and says whether the deployment goes on.
    fn finish_step(&mut self, index: usize) -> bool {
        let terminated: Vec<AppId> = self.deployments[index]
            .current_actions()
            .iter()
            .filter(|action| action.kind == ActionKind::Stop)
            .map(|action| action.app.clone())
            .collect();
        for app in terminated {
            self.publish(events::remove_health_check(&app));
            self.publish(events::app_terminated(&app));
        }
        self.publish(events::deployment_step_success(&self.deployments[index]));
        self.deployments[index].current += 1;
        if self.deployments[index].current <= self.deployments[index].steps.len() {
            self.begin_step(index);
            return true;
        }
        let deployment = self.deployments.remove(index);
        self.publish(events::deployment_success(&deployment));
        false
    }

    fn begin_step(&mut self, index: usize) {
        self.publish(events::deployment_info(&self.deployments[index]));
        let actions = self.deployments[index].current_actions().to_vec();
        for (position, action) in actions.into_iter().enumerate() {
            self.forget_readiness_answers(&action.app);
            match action.kind {
                ActionKind::Stop => {}
                ActionKind::Start | ActionKind::Restart => self.watch_health(&action.app),
                ActionKind::Scale => {
                    let scaling = self.begin_scaling(index, &action.app);
                    let step = self.deployments[index].current - 1;
                    self.deployments[index].steps[step][position].scaling = Some(scaling);
                }
            }
        }
    }

    fn watch_health(&mut self, id: &AppId) {
        let Some(current) = self.apps.get(id).and_then(|app| app.current.clone()) else {
            return;
        };
        for check in &current.definition.health_checks {
            self.publish(events::add_health_check(id, current.version, check));
        }
    }

    /// Stops the named victims and notes who is there.
    fn begin_scaling(&mut self, index: usize, id: &AppId) -> Scaling {
        let named = self.deployments[index].victims.clone();
        let Some(app) = self.apps.get(id) else {
            return Scaling {
                before: BTreeSet::new(),
                to_start: 0,
            };
        };
        let victims: Vec<InstanceId> = app
            .staying()
            .filter(|instance| named.contains(&instance.id))
            .map(|instance| instance.id.clone())
            .collect();
        self.stop_instances(id, &victims);
        let (before, wanted) = match self.apps.get(id) {
            None => (BTreeSet::new(), 0),
            Some(app) => (app.staying().map(|i| i.id.clone()).collect(), app.wanted()),
        };
        Scaling {
            to_start: wanted.saturating_sub(before.len()),
            before,
        }
    }

    fn is_done(&self, action: &Action) -> bool {
        let Some(app) = self.apps.get(&action.app) else {
            return true;
        };
        match action.kind {
            ActionKind::Start => true,
            ActionKind::Stop => app.instances.is_empty(),
            ActionKind::Scale => scaling_is_done(app, action.scaling.as_ref()),
            ActionKind::Restart => restart_is_done(app),
        }
    }

    /// Gives a deployment up and says so.
    pub(super) fn cancel(&mut self, id: &str) {
        let Some(index) = self.deployments.iter().position(|d| d.id == id) else {
            return;
        };
        let deployment: Deployment = self.deployments.remove(index);
        self.publish(events::deployment_step_failure(&deployment));
        self.publish(events::deployment_failed(
            &deployment,
            "The upgrade has been cancelled",
        ));
    }
}

/// Returns whether the victims are gone and as many others as were missing are healthy and ready.
fn scaling_is_done(app: &App, scaling: Option<&Scaling>) -> bool {
    let Some(scaling) = scaling else {
        return false;
    };
    let none_dying = app
        .instances
        .iter()
        .all(|instance| instance.goal == Goal::Running);
    let added = app
        .staying()
        .filter(|instance| !scaling.before.contains(&instance.id));
    let healthy = added.filter(|i| i.is_healthy_and_ready()).count();
    none_dying && app.staying().count() == app.wanted() && healthy >= scaling.to_start
}

fn restart_is_done(app: &App) -> bool {
    let all_fresh = app.instances.iter().all(|instance| {
        instance.goal == Goal::Running && app.is_fresh(instance) && instance.is_healthy_and_ready()
    });
    all_fresh && app.instances.len() == app.wanted()
}
