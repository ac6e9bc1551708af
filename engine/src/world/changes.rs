//! Requests that change what is wanted: the only way a deployment comes into being.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::plan::{Draft, Drafted};
use super::{Effect, World};
use crate::definition::{Definition, Update, whole_change};
use crate::deployment::Deployment;
use crate::events;
use crate::groups::{GroupChange, Groups};
use crate::identity::{AppId, InstanceId, TaskId};
use crate::model::{App, Revision, TaskState};
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
pub(crate) enum Target {
    Define(Box<Definition>),
    /// An earlier revision, whose tasks that still run count as up to date.
    Return(Arc<Revision>),
    /// What it is, in fresh tasks.
    Restart,
    Remove,
}

/// A change as a whole, before anybody has looked whether it can be made.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Intent {
    pub(super) wishes: BTreeMap<AppId, Target>,
    /// All groups afterwards, where the request is about groups.
    pub(super) groups: Option<Groups>,
    /// Instances that are named to die when their app is scaled down.
    pub(super) victims: BTreeSet<InstanceId>,
}

impl Intent {
    /// Returns a change of one app.
    pub(crate) fn of_app(app: AppId, target: Target) -> Self {
        Self::of_apps(BTreeMap::from([(app, target)]))
    }

    /// Returns a change of some apps.
    pub(crate) fn of_apps(wishes: BTreeMap<AppId, Target>) -> Self {
        Self {
            wishes,
            groups: None,
            victims: BTreeSet::new(),
        }
    }

    /// Returns a change of groups and of the apps in them.
    pub(crate) fn of_groups(wishes: BTreeMap<AppId, Target>, groups: Groups) -> Self {
        Self {
            groups: Some(groups),
            ..Self::of_apps(wishes)
        }
    }
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
    /// It exists, or whatever [`World::deploy`] refuses.
    pub(crate) fn create(
        &mut self,
        definition: Definition,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let app = definition.id.clone();
        let group = app.parent().unwrap_or_else(AppId::root);
        self.deploy(&group, force, now, |world| {
            if world.current(&app).is_ok() {
                return Err(Refusal::Exists(app));
            }
            let target = Target::Define(Box::new(definition));
            Ok(Intent::of_app(app, target))
        })
    }

    /// Makes an app that exists something else.
    ///
    /// # Errors
    /// It does not exist, or whatever [`World::deploy`] refuses.
    pub(crate) fn change_app(
        &mut self,
        app: &AppId,
        target: Target,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let group = app.parent().unwrap_or_else(AppId::root);
        self.deploy(&group, force, now, |world| {
            world.current(app)?;
            Ok(Intent::of_app(app.clone(), target))
        })
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

    /// Returns the definition that an update makes of one that is not yet the app's.
    ///
    /// # Errors
    /// As [`World::updated`].
    pub(crate) fn updated_from(
        &self,
        id: &AppId,
        earlier: &Definition,
        update: &Update,
    ) -> Result<Definition, Refusal> {
        match update {
            Update::Fields(fields) => Ok(whole_change(id, Some(earlier), fields)?),
            Update::Version(_) => self.updated(id, update, false),
        }
    }

    /// Takes on a change as one deployment, or tells listeners that it was refused.
    ///
    /// `group` is the group that the events name.
    ///
    /// # Errors
    /// What `intend` refuses; the whole is impossible; an app asks for what cannot be done here; an
    /// app is locked and force was not asked for; there are too many deployments.
    pub(crate) fn deploy(
        &mut self,
        group: &AppId,
        force: Force,
        now: Moment,
        intend: impl FnOnce(&Self) -> Result<Intent, Refusal>,
    ) -> Result<Accepted, Refusal> {
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        let version = self.version_at(now);
        let accepted = self.try_to_deploy(group, force, now, intend);
        if let Err(refusal) = &accepted {
            let reason = refusal.message();
            self.publish(events::group_change_failed(group, version, &reason));
        }
        accepted
    }

    fn try_to_deploy(
        &mut self,
        group: &AppId,
        force: Force,
        now: Moment,
        intend: impl FnOnce(&Self) -> Result<Intent, Refusal>,
    ) -> Result<Accepted, Refusal> {
        if self.deployments.len() >= DEPLOYMENTS_MAX {
            self.counters.dismissed += 1;
            return Err(Refusal::TooManyDeployments(DEPLOYMENTS_MAX));
        }
        let intent = intend(self)?;
        let draft = self.draft(&intent, now)?;
        self.unlock(&draft, force)?;
        self.last_version = Some(draft.version);
        self.publish(events::group_change_success(group, draft.version));
        Ok(self.carry_out(draft, intent.victims))
    }

    /// Makes a draft what is wanted, and begins the deployment that leads there.
    fn carry_out(&mut self, draft: Draft, victims: BTreeSet<InstanceId>) -> Accepted {
        let affected: BTreeSet<AppId> = draft.affected().into_iter().cloned().collect();
        let before = std::mem::replace(&mut self.groups, draft.groups);
        let groups = (before != self.groups).then(|| GroupChange {
            before,
            after: self.groups.clone(),
        });
        let mut originals = BTreeMap::new();
        for Drafted { app, before, after } in draft.apps {
            match after {
                None => self.forget(&app),
                Some(after) => self.install(&app, before.as_ref(), after),
            }
            if affected.contains(&app) {
                originals.insert(app, before);
            }
        }
        self.remember_root(draft.version);
        let deployment = Deployment {
            id: (self.setting.fresh_id)(),
            version: draft.version,
            steps: draft.steps,
            current: 0,
            originals,
            groups,
            victims,
        };
        let accepted = Accepted {
            deployment: deployment.id.clone(),
            version: draft.version,
        };
        self.counters.deployments += 1;
        if deployment.steps.is_empty() {
            self.publish(events::deployment_success(&deployment));
        } else {
            self.deployments.push(deployment);
        }
        accepted
    }

    /// Cancels the deployments in the way, or refuses.
    fn unlock(&mut self, draft: &Draft, force: Force) -> Result<(), Refusal> {
        let affected = draft.affected();
        let locks = |deployment: &&Deployment| affected.iter().any(|app| deployment.affects(app));
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

    /// Makes a revision the current one of its app, unless it is already.
    fn install(&mut self, id: &AppId, before: Option<&Arc<Revision>>, after: Arc<Revision>) {
        if before.is_some_and(|before| Arc::ptr_eq(before, &after)) {
            return;
        }
        let app = self.apps.entry(id.clone()).or_insert_with(App::new);
        app.install(after);
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
        self.deploy(&AppId::root(), force, now, |world| {
            let wishes = fewer.into_iter().filter_map(|(app, count)| {
                let mut definition = world.current(&app).ok()?.definition.clone();
                definition.instances = definition.instances.saturating_sub(count);
                Some((app, Target::Define(Box::new(definition))))
            });
            Ok(Intent {
                victims,
                ..Intent::of_apps(wishes.collect())
            })
        })
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
        let deployment = self.deployment(id)?;
        let (originals, change) = (deployment.originals.clone(), deployment.groups.clone());
        self.deploy(&AppId::root(), Force::Yes, now, |world| {
            let groups = change.map(|change| {
                let mut groups = world.groups.clone();
                let stays = |app: &AppId| !matches!(originals.get(app), Some(None));
                let apps: Vec<AppId> = world
                    .current_revisions()
                    .into_keys()
                    .filter(stays)
                    .collect();
                groups.revert(&change, |group| apps.iter().any(|app| app.is_within(group)));
                groups
            });
            let wishes = originals.iter().map(|(app, original)| {
                let target = original.clone().map_or(Target::Remove, Target::Return);
                (app.clone(), target)
            });
            Ok(Intent {
                groups,
                ..Intent::of_apps(wishes.collect())
            })
        })
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
