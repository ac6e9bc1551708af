//! Requests that change what is wanted: the only way a deployment comes into being.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Effect, World};
use crate::definition::{Definition, Update, whole_change};
use crate::deployment::{Deployment, join_steps, steps_for};
use crate::events;
use crate::identity::{AppId, InstanceId, TaskId};
use crate::issues::Issues;
use crate::model::{App, Revision, TaskState};
use crate::ports::assign_service_ports;
use crate::refusal::Refusal;
use crate::time::{Moment, Stamp};

/// How many deployments may run at once (Marathon's `--max_running_deployments` default).
const DEPLOYMENTS_MAX: usize = 100;

/// Whether a change may cancel the deployments that lock its apps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Force {
    No,
    Yes,
}

/// What an app shall be from here on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(crate) app: AppId,
    pub(crate) target: Target,
}

/// The aim of a wish.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    Define(Box<Definition>),
    /// An earlier revision, whose tasks that still run count as up to date.
    Return(Arc<Revision>),
    /// What it is, in fresh tasks.
    Restart,
    Remove,
}

/// A change that was taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) deployment: String,
    pub(crate) version: Stamp,
}

impl World {
    /// Returns the current revision of an app that exists.
    ///
    /// # Errors
    /// The app is unknown, or has been removed.
    pub(crate) fn current(&self, id: &AppId) -> Result<Arc<Revision>, Refusal> {
        let app = self.apps.get(id);
        let current = app.and_then(|app| app.current.clone());
        current.ok_or_else(|| Refusal::AppUnknown(id.clone()))
    }

    /// Creates an app.
    ///
    /// # Errors
    /// It exists, it is locked, or there are too many deployments.
    pub(crate) fn create(
        &mut self,
        definition: Definition,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let app = definition.id.clone();
        if self.current(&app).is_ok() {
            return Err(Refusal::Exists(app));
        }
        let target = Target::Define(Box::new(definition));
        self.deploy(vec![Wish { app, target }], BTreeSet::new(), force, now)
    }

    /// Returns the definition that an update makes of an app, without changing anything.
    ///
    /// # Errors
    /// Mistakes in the update, or a version that is not in the app's history.
    pub(crate) fn updated(
        &self,
        id: &AppId,
        update: &Update,
        replace: bool,
    ) -> Result<Definition, Refusal> {
        let app = self.apps.get(id).filter(|app| app.current.is_some());
        match update {
            Update::Fields(fields) => {
                let current = app.and_then(|app| app.current.as_ref());
                let base = current
                    .filter(|_| !replace)
                    .map(|current| &current.definition);
                Ok(whole_change(id, base, fields)?)
            }
            Update::Version(version) => {
                let app = app.ok_or_else(|| Refusal::AppUnknown(id.clone()))?;
                let revision = app.revisions.get(version);
                let unknown = || Refusal::VersionUnknown(id.clone(), *version);
                Ok(revision.ok_or_else(unknown)?.definition.clone())
            }
        }
    }

    /// Takes on a set of wishes as one deployment.
    ///
    /// # Errors
    /// An app is locked and force was not asked for, it asks for what cannot be done yet, or there
    /// are too many deployments.
    pub(crate) fn deploy(
        &mut self,
        wishes: Vec<Wish>,
        victims: BTreeSet<InstanceId>,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        for wish in &wishes {
            if let Target::Define(definition) = &wish.target {
                definition.must_be_runnable()?;
                self.must_have_containers(definition)?;
            }
        }
        self.unlock(&wishes, force)?;
        if self.deployments.len() >= DEPLOYMENTS_MAX {
            return Err(Refusal::TooManyDeployments(DEPLOYMENTS_MAX));
        }
        let version = self.next_version(now);
        let mut originals = BTreeMap::new();
        let mut plans = Vec::new();
        for wish in wishes {
            let before = self.apps.get(&wish.app).and_then(|app| app.current.clone());
            let after = self.install(&wish, before.as_ref(), version);
            let names_victim = self.apps.get(&wish.app).is_some_and(|app| {
                app.instances
                    .iter()
                    .any(|instance| victims.contains(&instance.id))
            });
            let steps = steps_for(before.as_deref(), after.as_deref(), names_victim);
            self.publish(events::group_change_success(wish.app.group(), version));
            originals.insert(wish.app.clone(), before);
            plans.push((wish.app, steps));
        }
        let deployment = Deployment {
            id: (self.setting.fresh_id)(),
            version,
            steps: join_steps(plans),
            current: 0,
            originals,
            victims,
        };
        let accepted = Accepted {
            deployment: deployment.id.clone(),
            version,
        };
        if deployment.steps.is_empty() {
            self.publish(events::deployment_success(&deployment));
        } else {
            self.deployments.push(deployment);
        }
        Ok(accepted)
    }

    /// Refuses an app's first image where no container can be run. An app that has one already may
    /// be changed all the same: scaled down, for one.
    fn must_have_containers(&self, definition: &Definition) -> Result<(), Refusal> {
        let has_image = |revision: &Arc<Revision>| revision.definition.image().is_some();
        let current = self.current(&definition.id);
        if definition.image().is_none() || current.as_ref().is_ok_and(has_image) {
            return Ok(());
        }
        let Some(obstacle) = (self.setting.container_obstacle)() else {
            return Ok(());
        };
        let mut issues = Issues::new();
        issues.add("/container/docker", obstacle);
        Err(issues.into())
    }

    /// Cancels the deployments in the way, or refuses.
    fn unlock(&mut self, wishes: &[Wish], force: Force) -> Result<(), Refusal> {
        let locks = |deployment: &&Deployment| wishes.iter().any(|w| deployment.affects(&w.app));
        let conflicting: Vec<String> = self
            .deployments
            .iter()
            .filter(locks)
            .map(|d| d.id.clone())
            .collect();
        if conflicting.is_empty() {
            return Ok(());
        }
        match force {
            Force::No => Err(Refusal::Locked(conflicting)),
            Force::Yes => {
                for id in &conflicting {
                    self.cancel(id);
                }
                Ok(())
            }
        }
    }

    /// Makes a wish the current revision of its app and returns that.
    fn install(
        &mut self,
        wish: &Wish,
        before: Option<&Arc<Revision>>,
        version: Stamp,
    ) -> Option<Arc<Revision>> {
        let revision = match &wish.target {
            Target::Remove => {
                self.forget(&wish.app);
                return None;
            }
            Target::Restart => {
                let mut revision = (**before?).clone();
                revision.version = version;
                revision.last_config_change_at = version;
                revision
            }
            Target::Return(earlier) => {
                let mut revision = (**earlier).clone();
                revision.version = version;
                revision.last_scaling_at = version;
                revision
            }
            Target::Define(definition) => {
                let definition = self.with_service_ports(definition, before);
                match before.filter(|before| before.definition == definition) {
                    Some(before) => return Some(Arc::clone(before)),
                    None => next_revision(definition, before, version),
                }
            }
        };
        let revision = Arc::new(revision);
        let app = self.apps.entry(wish.app.clone()).or_insert_with(App::new);
        app.install(Arc::clone(&revision));
        Some(revision)
    }

    /// Removes an app's definition and history; its tasks are stopped by the next reconciliation.
    fn forget(&mut self, id: &AppId) {
        if let Some(app) = self.apps.get_mut(id) {
            app.current = None;
            app.revisions.clear();
            app.backoff.reset();
            app.last_failure = None;
        }
    }

    fn with_service_ports(
        &self,
        definition: &Definition,
        before: Option<&Arc<Revision>>,
    ) -> Definition {
        let currents = self.apps.values().filter_map(|app| app.current.as_ref());
        let taken: BTreeSet<u16> = currents
            .filter(|current| current.definition.id != definition.id)
            .flat_map(|current| current.definition.service_ports())
            .collect();
        let mut definition = definition.clone();
        let former = before.map(|before| &before.definition);
        assign_service_ports(&mut definition, former, |port| taken.contains(&port));
        definition
    }

    /// Kills tasks at once, without a deployment: each is followed by its next incarnation.
    /// Unknown ids are ignored. Returns the ids that were there.
    pub(crate) fn kill(&mut self, tasks: &[TaskId]) -> Vec<TaskId> {
        let mut killed = Vec::new();
        for task in tasks {
            let Some((app, at)) = self.find_task(task) else {
                continue;
            };
            let app = app.clone();
            let instance = self
                .apps
                .get(&app)
                .map(|known| known.instances[at].id.clone());
            if let Some(instance) = instance {
                self.kill_task_of(&app, &instance);
                killed.push(task.clone());
            }
        }
        killed
    }

    /// Kills tasks and lowers the counts of their apps so that nothing follows them.
    ///
    /// The count goes down by the number of named tasks that are alive and not already dying
    /// (`TaskKiller.killAndScale`). Unknown ids are ignored.
    ///
    /// # Errors
    /// An app is locked and force was not asked for.
    pub(crate) fn kill_and_scale(
        &mut self,
        tasks: &[TaskId],
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let mut victims = BTreeSet::new();
        let mut fewer: BTreeMap<AppId, u32> = BTreeMap::new();
        for task in tasks {
            let Some((id, at)) = self.find_task(task) else {
                continue;
            };
            let Some(instance) = self.apps.get(id).and_then(|app| app.instances.get(at)) else {
                continue;
            };
            let is_dying = instance
                .task
                .as_ref()
                .is_none_or(|t| t.state == TaskState::Killing);
            let is_first_naming = victims.insert(instance.id.clone());
            let count = fewer.entry(id.clone()).or_default();
            *count += u32::from(is_first_naming && !is_dying);
        }
        let wishes = fewer.into_iter().filter_map(|(app, count)| {
            let mut definition = self.current(&app).ok()?.definition.clone();
            definition.instances = definition.instances.saturating_sub(count);
            let target = Target::Define(Box::new(definition));
            Some(Wish { app, target })
        });
        let wishes = wishes.collect();
        self.deploy(wishes, victims, force, now)
    }

    /// Stops a deployment where it is and leaves everything as it stands.
    ///
    /// # Errors
    /// There is no such deployment.
    pub(crate) fn abandon_deployment(&mut self, id: &str) -> Result<(), Refusal> {
        self.deployment(id)?;
        self.cancel(id);
        Ok(())
    }

    /// Starts the deployment that undoes another one.
    ///
    /// # Errors
    /// There is no such deployment.
    pub(crate) fn revert_deployment(&mut self, id: &str, now: Moment) -> Result<Accepted, Refusal> {
        let originals = self.deployment(id)?.originals.clone();
        let wishes = originals.into_iter().map(|(app, original)| Wish {
            app,
            target: original.map_or(Target::Remove, Target::Return),
        });
        self.deploy(wishes.collect(), BTreeSet::new(), Force::Yes, now)
    }

    fn deployment(&self, id: &str) -> Result<&Deployment, Refusal> {
        let deployment = self
            .deployments
            .iter()
            .find(|deployment| deployment.id == id);
        deployment.ok_or_else(|| Refusal::DeploymentUnknown(id.to_owned()))
    }

    /// Lets an app that waits after a failure launch at once.
    ///
    /// # Errors
    /// The app waits for nothing.
    pub(crate) fn reset_delay(&mut self, id: &AppId) -> Result<(), Refusal> {
        let app = self.apps.get_mut(id).filter(|app| {
            app.current.is_some() && app.staying().any(|instance| instance.task.is_none())
        });
        let app = app.ok_or_else(|| Refusal::NotQueued(id.clone()))?;
        app.backoff.reset();
        Ok(())
    }

    /// Tells listeners that a definition came in through the API.
    pub(crate) fn announce_request(&mut self, client: &str, uri: &str, app: &AppId) {
        let Ok(current) = self.current(app) else {
            return;
        };
        let event = events::api_post(client, uri, super::views::definition_json(&current));
        // Listeners hear of the request before they hear of what it set off.
        self.effects.insert(0, Effect::Publish(event));
    }
}

fn next_revision(
    definition: Definition,
    before: Option<&Arc<Revision>>,
    version: Stamp,
) -> Revision {
    let same_configuration =
        before.filter(|before| before.definition.differs_only_in_scale(&definition));
    Revision {
        definition,
        version,
        last_scaling_at: version,
        last_config_change_at: same_configuration
            .map_or(version, |before| before.last_config_change_at),
    }
}
