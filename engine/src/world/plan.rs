//! What a request would come to: every app and group afterwards, and the steps that lead there.
//!
//! Nothing is changed here, so that a refusal leaves no trace and a dry run is the same calculation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::World;
use super::changes::{Intent, Target};
use crate::definition::Definition;
use crate::deployment::{Action, Part, plan_steps};
use crate::groups::{Cycle, Groups, dependencies, levels};
use crate::identity::AppId;
use crate::issues::Issues;
use crate::model::Revision;
use crate::ports::assign_service_ports;
use crate::refusal::Refusal;
use crate::time::{Moment, Stamp};

/// A change that is thought through and not made.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) version: Stamp,
    pub(super) apps: Vec<Drafted>,
    /// All groups afterwards.
    pub(super) groups: Groups,
    pub(super) steps: Vec<Vec<Action>>,
}

/// One app of a change.
#[derive(Debug)]
pub(super) struct Drafted {
    pub(super) app: AppId,
    pub(super) before: Option<Arc<Revision>>,
    /// The same as before, where nothing changes.
    pub(super) after: Option<Arc<Revision>>,
}

impl Draft {
    /// Returns the apps that its steps touch: these are locked.
    pub(super) fn affected(&self) -> BTreeSet<&AppId> {
        let actions = self.steps.iter().flatten();
        actions.map(|action| &action.app).collect()
    }
}

impl World {
    /// Thinks a change through.
    ///
    /// # Errors
    /// An app and a group would have the same id, or apps would depend on each other in a circle
    /// (`RootGroup.validRootGroup`).
    pub(super) fn draft(&self, intent: &Intent, now: Moment) -> Result<Draft, Refusal> {
        let version = self.version_at(now);
        let mut apps = Vec::new();
        let mut targets: BTreeMap<AppId, Arc<Revision>> = self.current_revisions();
        for (app, target) in &intent.wishes {
            if let Target::Define(definition) = target {
                definition.must_be_runnable()?;
                self.must_have_containers(definition)?;
            }
            let before = targets.remove(app);
            let after = revision_after(target, before.as_ref(), &targets, version);
            if let Some(after) = &after {
                targets.insert(app.clone(), Arc::clone(after));
            }
            apps.push(Drafted {
                app: app.clone(),
                before,
                after,
            });
        }
        let groups = self.groups_after(intent, &targets);
        let definitions = targets.values().map(|revision| &revision.definition);
        let levels = check(&groups, definitions)?;
        let parts: Vec<Part<'_>> = apps
            .iter()
            .map(|drafted| Part {
                app: &drafted.app,
                before: drafted.before.as_deref(),
                after: drafted.after.as_deref(),
                has_victims: self.holds_one_of(&drafted.app, intent),
                level: levels.get(&drafted.app).copied().unwrap_or_default(),
            })
            .collect();
        let steps = plan_steps(&parts);
        Ok(Draft {
            version,
            apps,
            groups,
            steps,
        })
    }

    /// Returns the revision of every app that exists.
    pub(super) fn current_revisions(&self) -> BTreeMap<AppId, Arc<Revision>> {
        let current = |(id, app): (&AppId, &crate::model::App)| {
            let current = app.current.as_ref()?;
            Some((id.clone(), Arc::clone(current)))
        };
        self.apps.iter().filter_map(current).collect()
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

    fn holds_one_of(&self, app: &AppId, intent: &Intent) -> bool {
        let app = self.apps.get(app);
        app.is_some_and(|app| {
            let mut instances = app.instances.iter();
            instances.any(|instance| intent.victims.contains(&instance.id))
        })
    }

    /// Returns the groups after a change: those asked for, and those that its apps are in.
    ///
    /// An app takes the place of a group of its name that holds no app (`RootGroup.updateApp`).
    fn groups_after(&self, intent: &Intent, targets: &BTreeMap<AppId, Arc<Revision>>) -> Groups {
        let mut groups = intent.groups.as_ref().unwrap_or(&self.groups).clone();
        for app in intent
            .wishes
            .keys()
            .filter(|app| targets.contains_key(*app))
        {
            let is_inside = |other: &AppId| other != app && other.is_within(app);
            if intent.groups.is_none() && groups.contains(app) && !targets.keys().any(is_inside) {
                groups.remove(app);
            }
            if let Some(parent) = app.parent() {
                groups.ensure(&parent);
            }
        }
        groups
    }
}

/// Returns what a wish makes of an app, among the other apps that there will be.
fn revision_after(
    target: &Target,
    before: Option<&Arc<Revision>>,
    others: &BTreeMap<AppId, Arc<Revision>>,
    version: Stamp,
) -> Option<Arc<Revision>> {
    let revision = match target {
        Target::Remove => return None,
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
            let definition = with_service_ports(definition, before, others);
            match before.filter(|before| before.definition == definition) {
                Some(before) => return Some(Arc::clone(before)),
                None => next_revision(definition, before, version),
            }
        }
    };
    Some(Arc::new(revision))
}

fn with_service_ports(
    definition: &Definition,
    before: Option<&Arc<Revision>>,
    others: &BTreeMap<AppId, Arc<Revision>>,
) -> Definition {
    let ports = others
        .values()
        .flat_map(|other| other.definition.service_ports());
    let taken: BTreeSet<u16> = ports.collect();
    let mut definition = definition.clone();
    let former = before.map(|before| &before.definition);
    assign_service_ports(&mut definition, former, |port| taken.contains(&port));
    definition
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

/// Returns how deep every app stands on others, where the whole is possible.
fn check<'a>(
    groups: &Groups,
    apps: impl Iterator<Item = &'a Definition> + Clone,
) -> Result<BTreeMap<AppId, usize>, Refusal> {
    let mut issues = Issues::new();
    if apps.clone().any(|app| groups.contains(&app.id)) {
        let message = "Groups and Applications may not have the same identifier.";
        issues.add("/", message);
    }
    let levels = levels(&dependencies(groups, apps)).unwrap_or_else(|Cycle| {
        issues.add("/", "Dependency graph has cyclic dependencies.");
        BTreeMap::new()
    });
    issues.into_result()?;
    Ok(levels)
}
