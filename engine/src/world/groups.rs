//! Changes of groups, their versions, and what answers show of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::World;
use super::changes::{Accepted, Force, Intent, Target};
use super::roots::Root;
use super::views::{Embeds, definition_json};
use crate::definition::WHOLE_MAX;
use crate::events;
use crate::groups::{Children, Group, GroupAim, GroupBody, GroupUpdate};
use crate::identity::AppId;
use crate::issues::Issues;
use crate::model::Revision;
use crate::refusal::Refusal;
use crate::time::{Moment, Stamp};

/// How many versions of the whole are kept (Marathon's `--zk_max_versions` default).
const ROOTS_KEPT: usize = 50;

impl World {
    /// Creates a group.
    ///
    /// # Errors
    /// It exists, or an app has its id; or whatever [`World::change_group`] refuses.
    pub(crate) fn create_group(
        &mut self,
        update: &GroupUpdate,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        if self.groups.contains(&update.id) {
            return Err(Refusal::GroupExists(update.id.clone()));
        }
        if self.current(&update.id).is_ok() {
            return Err(Refusal::AppInTheWay(update.id.clone()));
        }
        self.change_group(update, force, now)
    }

    /// Makes a group what an update says, whether it exists or not.
    ///
    /// # Errors
    /// A version in which the group was not, an impossible whole, a locked app without force, or
    /// too many deployments.
    pub(crate) fn change_group(
        &mut self,
        update: &GroupUpdate,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let parent = update.id.parent().unwrap_or_else(AppId::root);
        self.deploy(&parent, force, now, |world| world.group_intent(update))
    }

    /// Removes a group and everything in it; the root is emptied.
    ///
    /// # Errors
    /// It does not exist, an app is locked and force was not asked for, or there are too many
    /// deployments.
    pub(crate) fn remove_group(
        &mut self,
        id: &AppId,
        force: Force,
        now: Moment,
    ) -> Result<Accepted, Refusal> {
        let parent = id.parent().unwrap_or_else(AppId::root);
        self.deploy(&parent, force, now, |world| {
            world.known_group(id)?;
            let mut groups = world.groups.clone();
            groups.remove(id);
            let apps = world.apps_within(id);
            let wishes = apps.into_keys().map(|app| (app, Target::Remove)).collect();
            Ok(Intent::of_groups(wishes, groups))
        })
    }

    /// Returns the steps that an update of a group would take.
    ///
    /// # Errors
    /// As [`World::change_group`], but for locks.
    pub(crate) fn rehearse_group(
        &self,
        update: &GroupUpdate,
        now: Moment,
    ) -> Result<Value, Refusal> {
        let draft = self.draft(&self.group_intent(update)?, now)?;
        Ok(events::plan_steps_json(&draft.steps))
    }

    fn group_intent(&self, update: &GroupUpdate) -> Result<Intent, Refusal> {
        match &update.aim {
            GroupAim::Version(version) => self.group_as_of(&update.id, *version),
            GroupAim::Scale(factor) => self.group_scaled(&update.id, *factor),
            GroupAim::Structure(body) => Ok(self.group_structured(body)),
        }
    }

    /// Everything in the group as it was, and nothing else in it.
    fn group_as_of(&self, id: &AppId, version: Stamp) -> Result<Intent, Refusal> {
        let gone = || Refusal::GroupNotInVersion(id.clone(), version);
        let root = self.history.get(&version).ok_or_else(gone)?;
        if !root.groups.contains(id) {
            return Err(gone());
        }
        let mut groups = self.groups.clone();
        groups.remove(id);
        for (known, group) in root.groups.iter().filter(|(known, _)| known.is_within(id)) {
            groups.put(known, group.clone());
        }
        let present = self.apps_within(id).into_keys();
        let mut wishes: BTreeMap<AppId, Target> =
            present.map(|app| (app, Target::Remove)).collect();
        for (app, revision) in root.apps.iter().filter(|(app, _)| app.is_within(id)) {
            let definition = Box::new(revision.definition.clone());
            wishes.insert(app.clone(), Target::Define(definition));
        }
        Ok(Intent::of_groups(wishes, groups))
    }

    fn group_scaled(&self, id: &AppId, factor: f64) -> Result<Intent, Refusal> {
        let mut groups = self.groups.clone();
        groups.ensure(id);
        let mut wishes = BTreeMap::new();
        for (app, revision) in self.apps_within(id) {
            let mut definition = revision.definition.clone();
            let instances = (f64::from(definition.instances) * factor).ceil();
            if instances > f64::from(WHOLE_MAX) {
                let mut issues = Issues::new();
                issues.add("/scaleBy", format!("makes too many instances of {app}"));
                return Err(issues.into());
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is whole, not negative and at most WHOLE_MAX"
            )]
            let instances = instances as u32;
            definition.instances = instances;
            wishes.insert(app, Target::Define(Box::new(definition)));
        }
        Ok(Intent::of_groups(wishes, groups))
    }

    /// What a structure says (`UpdateGroupStructureOp.execute`): apps and groups that are not
    /// listed where a list is given go, everything stays where none is.
    fn group_structured(&self, body: &GroupBody) -> Intent {
        let mut groups = self.groups.clone();
        groups.remove(&body.id);
        let present = self.apps_within(&body.id).into_keys();
        let mut wishes: BTreeMap<AppId, Target> =
            present.map(|app| (app, Target::Remove)).collect();
        let mut open = vec![body];
        while let Some(body) = open.pop() {
            let known = self.groups.get(&body.id);
            let dependencies = body.dependencies.clone();
            let kept = || known.map_or_else(Vec::new, |group| group.dependencies.clone());
            let dependencies = dependencies.unwrap_or_else(kept);
            groups.put(&body.id, Group { dependencies });
            match &body.apps {
                None => wishes.retain(|app, _| app.parent().as_ref() != Some(&body.id)),
                Some(apps) => wishes.extend(apps.iter().map(|definition| {
                    let target = Target::Define(Box::new(definition.clone()));
                    (definition.id.clone(), target)
                })),
            }
            match &body.groups {
                Some(children) => open.extend(children),
                None => {
                    let is_below = |id: &AppId| *id != body.id && id.is_within(&body.id);
                    for (id, group) in self.groups.iter().filter(|(id, _)| is_below(id)) {
                        groups.put(id, group.clone());
                    }
                    let is_deep = |app: &AppId| app.parent().is_some_and(|group| is_below(&group));
                    wishes.retain(|app, _| !is_deep(app));
                }
            }
        }
        Intent::of_groups(wishes, groups)
    }

    /// Returns a group as `GET /v2/groups/{id}` shows it.
    ///
    /// # Errors
    /// It does not exist.
    pub(crate) fn group_json(
        &self,
        id: &AppId,
        apps: GroupApps,
        children: Children,
        now: Moment,
    ) -> Result<Value, Refusal> {
        self.known_group(id)?;
        let mut shown = BTreeMap::new();
        if let GroupApps::Embedded(embeds) = apps {
            for app in self.apps_within(id).into_keys() {
                let json = self.app_json(&app, embeds, now)?;
                shown.insert(app, json);
            }
        }
        Ok(self
            .groups
            .to_json(id, self.root_version(), &shown, children))
    }

    /// Returns a group as it was in a version.
    ///
    /// # Errors
    /// It was not there then, or nobody remembers that version.
    pub(crate) fn group_version_json(
        &self,
        id: &AppId,
        version: Stamp,
        apps: GroupApps,
        children: Children,
    ) -> Result<Value, Refusal> {
        let root = self.history.get(&version);
        let root = root.filter(|root| root.groups.contains(id));
        let root = root.ok_or_else(|| Refusal::GroupUnknown(id.clone()))?;
        let shown = match apps {
            GroupApps::Hidden => BTreeMap::new(),
            GroupApps::Embedded(_) => {
                let inside = root.apps.iter().filter(|(app, _)| app.is_within(id));
                inside
                    .map(|(app, revision)| (app.clone(), definition_json(revision)))
                    .collect()
            }
        };
        Ok(root.groups.to_json(id, version, &shown, children))
    }

    /// Returns the versions in which a group was there, newest first.
    ///
    /// # Errors
    /// It does not exist.
    pub(crate) fn group_versions(&self, id: &AppId) -> Result<Vec<Stamp>, Refusal> {
        self.known_group(id)?;
        let versions = self.history.iter().rev();
        let with_group = versions.filter(|(_, root)| root.groups.contains(id));
        Ok(with_group.map(|(version, _)| *version).collect())
    }

    /// Returns the app objects of everything in a group.
    ///
    /// # Errors
    /// None that a caller need expect: every app shown exists.
    pub(crate) fn apps_json_within(
        &self,
        group: &AppId,
        embeds: Embeds,
        now: Moment,
    ) -> Result<Vec<Value>, Refusal> {
        let inside = self.apps_within(group).into_keys();
        inside.map(|app| self.app_json(&app, embeds, now)).collect()
    }

    /// Returns `Ok` where a group exists.
    ///
    /// # Errors
    /// It does not.
    pub(crate) fn known_group(&self, id: &AppId) -> Result<(), Refusal> {
        if self.groups.contains(id) {
            Ok(())
        } else {
            Err(Refusal::GroupUnknown(id.clone()))
        }
    }

    /// Returns the ids of the apps anywhere in a group.
    pub(crate) fn app_ids_within(&self, group: &AppId) -> BTreeSet<AppId> {
        self.apps_within(group).into_keys().collect()
    }

    /// Keeps the present whole as a version.
    pub(super) fn remember_root(&mut self, version: Stamp) {
        let root = Root {
            groups: self.groups.clone(),
            apps: self.current_revisions(),
        };
        self.history.insert(version, root);
        while self.history.len() > ROOTS_KEPT {
            self.history.pop_first();
        }
    }

    /// Returns the version of the whole, which is that of every group in it.
    fn root_version(&self) -> Stamp {
        let latest = self.history.last_key_value();
        latest.map_or(Stamp::BEGINNING, |(version, _)| *version)
    }

    fn apps_within(&self, group: &AppId) -> BTreeMap<AppId, Arc<Revision>> {
        let mut apps = self.current_revisions();
        apps.retain(|app, _| app.is_within(group));
        apps
    }
}

/// Whether a group object carries the apps in it, and with what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupApps {
    Embedded(Embeds),
    Hidden,
}
