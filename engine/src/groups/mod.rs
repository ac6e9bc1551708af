//! The tree of groups, without the apps: an app is where its id says.
//!
//! A group exists once somebody has made it or an app below it (`RootGroup.makeGroup`), and stays
//! when its last app goes. The root always exists. `update.rs` reads what a request says about a
//! group, `order.rs` derives the order in which apps are changed.

mod order;
mod update;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub(crate) use order::{Cycle, dependencies, levels};
pub(crate) use update::{GroupAim, GroupBody, GroupUpdate, read_settings};

use crate::identity::AppId;
use crate::time::Stamp;

/// One group's own wishes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The groups whose apps are changed before its own.
    pub(crate) dependencies: Vec<AppId>,
}

/// All groups by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Groups(BTreeMap<AppId, Group>);

impl Groups {
    /// Returns a tree that is nothing but a root.
    pub(crate) fn new() -> Self {
        Self(BTreeMap::from([(AppId::root(), Group::default())]))
    }

    /// Returns a group.
    pub(crate) fn get(&self, id: &AppId) -> Option<&Group> {
        self.0.get(id)
    }

    /// Returns whether a group exists.
    pub(crate) fn contains(&self, id: &AppId) -> bool {
        self.0.contains_key(id)
    }

    /// Returns how many groups there are, the root included.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns all groups, parents before children.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&AppId, &Group)> {
        self.0.iter()
    }

    /// Makes a group exist, and every group above it.
    pub(crate) fn ensure(&mut self, id: &AppId) {
        let mut next = Some(id.clone());
        while let Some(id) = next {
            next = id.parent();
            self.0.entry(id).or_default();
        }
    }

    /// Makes a group what it is from here on, and every group above it exist.
    pub(crate) fn put(&mut self, id: &AppId, group: Group) {
        self.ensure(id);
        self.0.insert(id.clone(), group);
    }

    /// Removes a group and everything below it. The root is emptied instead.
    pub(crate) fn remove(&mut self, id: &AppId) {
        self.0.retain(|known, _| !known.is_within(id));
        self.0.entry(AppId::root()).or_default();
    }

    /// Undoes what a deployment did to the tree, and nothing else: groups are not locked, so others
    /// may have changed it since (`DeploymentPlanReverter.revertGroupChanges`).
    ///
    /// `has_apps` says whether a group will hold an app, directly or below.
    pub(crate) fn revert(&mut self, change: &GroupChange, has_apps: impl Fn(&AppId) -> bool) {
        // Children before parents, so that a parent is empty when it is looked at.
        let GroupChange { before, after } = change;
        let known = before.0.keys().chain(after.0.keys().rev());
        let mut ids: Vec<AppId> = known.cloned().collect();
        ids.sort();
        ids.dedup();
        for id in ids.iter().rev() {
            match (before.get(id), after.get(id)) {
                (Some(old), new) => {
                    let added = new.map_or(&[][..], |new| &new.dependencies);
                    let mut group = self.get(id).cloned().unwrap_or_default();
                    group
                        .dependencies
                        .retain(|dependency| !added.contains(dependency));
                    group.dependencies.extend(old.dependencies.iter().cloned());
                    group.dependencies.sort();
                    group.dependencies.dedup();
                    self.put(id, group);
                }
                (None, Some(new)) => {
                    let has_groups = self
                        .0
                        .keys()
                        .any(|other| other.parent().as_ref() == Some(id));
                    if !has_groups && !has_apps(id) && self.get(id) == Some(new) {
                        self.0.remove(id);
                    } else if let Some(group) = self.0.get_mut(id) {
                        group
                            .dependencies
                            .retain(|dependency| !new.dependencies.contains(dependency));
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// Returns a group as `GET /v2/groups/{id}` shows it (`GroupInfo` in group.raml).
    ///
    /// The optional `enforceRole` is left away: it says nothing here, and marathon-python 0.13.0, its
    /// last release, cannot read a group that has it.
    ///
    /// `apps` are the app objects to embed, `children` says whether groups are embedded.
    pub(crate) fn to_json(
        &self,
        id: &AppId,
        version: Stamp,
        apps: &BTreeMap<AppId, Value>,
        children: Children,
    ) -> Value {
        let below = |other: &&AppId| other.parent().as_ref() == Some(id);
        let direct = apps.iter().filter(|(app, _)| below(app));
        let groups: Vec<Value> = match children {
            Children::Hidden => Vec::new(),
            Children::Embedded => {
                let children_of = self.0.keys().filter(below);
                children_of
                    .map(|child| self.to_json(child, version, apps, children))
                    .collect()
            }
        };
        let dependencies = self.get(id).map_or(&[][..], |group| &group.dependencies);
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        put("id", json!(id));
        put("apps", direct.map(|(_, app)| app.clone()).collect());
        put("pods", json!([]));
        put("groups", json!(groups));
        put("dependencies", json!(dependencies));
        put("version", json!(version));
        Value::Object(json)
    }
}

/// Whether a group object carries the groups inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Children {
    Embedded,
    Hidden,
}

/// What a deployment did to the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupChange {
    pub(crate) before: Groups,
    pub(crate) after: Groups,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_brings_its_parents_and_takes_its_children_along() {
        let mut groups = Groups::new();

        groups.ensure(&id("/shop/eu/front"));
        assert_eq!(ids(&groups), ["/", "/shop", "/shop/eu", "/shop/eu/front"]);
        groups.ensure(&id("/shopping"));
        groups.remove(&id("/shop"));

        assert_eq!(ids(&groups), ["/", "/shopping"]);
    }

    #[test]
    fn a_change_is_undone_and_nothing_else_is() {
        let mut before = Groups::new();
        before.put(&id("/old"), depending_on("/x"));
        before.put(&id("/kept"), depending_on("/x"));
        let mut after = before.clone();
        after.remove(&id("/old"));
        after.put(&id("/kept"), depending_on("/y"));
        after.ensure(&id("/fresh/inner"));
        after.ensure(&id("/used"));
        let mut now = after.clone();
        now.ensure(&id("/elsewhere"));

        let change = GroupChange { before, after };
        now.revert(&change, |group| *group == id("/used"));

        assert_eq!(ids(&now), ["/", "/elsewhere", "/kept", "/old", "/used"]);
        assert_eq!(now.get(&id("/kept")), Some(&depending_on("/x")));
        assert_eq!(now.get(&id("/old")), Some(&depending_on("/x")));
    }

    fn id(text: &str) -> AppId {
        AppId::from_text(text)
    }

    fn ids(groups: &Groups) -> Vec<&str> {
        groups.iter().map(|(id, _)| id.as_str()).collect()
    }

    fn depending_on(other: &str) -> Group {
        Group {
            dependencies: vec![id(other)],
        }
    }
}
