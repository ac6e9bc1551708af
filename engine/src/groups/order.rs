//! In which order the apps of a deployment are changed: what is depended on comes first.
//!
//! Follows `RootGroup.applicationDependencies` and `DeploymentPlan.runSpecsGroupedByLongestPath`.

use std::collections::{BTreeMap, BTreeSet};

use super::Groups;
use crate::definition::Definition;
use crate::identity::AppId;

/// Apps that depend on each other in a circle, so that none of them can be first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cycle;

/// Returns for every app the apps that it depends on, by itself or through a group that holds it.
///
/// A dependency on what does not exist is none, as in Marathon.
pub(crate) fn dependencies<'a>(
    groups: &Groups,
    apps: impl Iterator<Item = &'a Definition> + Clone,
) -> BTreeMap<AppId, BTreeSet<AppId>> {
    let ids: BTreeSet<&AppId> = apps.clone().map(|definition| &definition.id).collect();
    let within = |group: &AppId| -> BTreeSet<AppId> {
        let inside = ids.iter().filter(|id| id.is_within(group));
        inside.map(|id| (*id).clone()).collect()
    };
    let mut graph: BTreeMap<AppId, BTreeSet<AppId>> = ids
        .iter()
        .map(|id| ((*id).clone(), BTreeSet::new()))
        .collect();
    for (group, wishes) in groups.iter() {
        for dependency in &wishes.dependencies {
            if !groups.contains(dependency) {
                continue;
            }
            let needed = within(dependency);
            for app in within(group) {
                graph.entry(app).or_default().extend(needed.iter().cloned());
            }
        }
    }
    for definition in apps {
        let needed = graph.entry(definition.id.clone()).or_default();
        for dependency in &definition.dependencies {
            if ids.contains(dependency) {
                needed.insert(dependency.clone());
            } else if groups.contains(dependency) {
                needed.extend(within(dependency));
            }
        }
    }
    graph
}

/// Returns for every app how many apps the longest chain of dependencies below it has.
///
/// # Errors
/// Some apps depend on each other in a circle.
pub(crate) fn levels(
    graph: &BTreeMap<AppId, BTreeSet<AppId>>,
) -> Result<BTreeMap<AppId, usize>, Cycle> {
    let mut dependants: BTreeMap<&AppId, Vec<&AppId>> = BTreeMap::new();
    let mut open: BTreeMap<&AppId, usize> = BTreeMap::new();
    for (app, needed) in graph {
        open.insert(app, needed.len());
        for dependency in needed {
            dependants.entry(dependency).or_default().push(app);
        }
    }
    let mut levels = BTreeMap::new();
    let is_ready = |(_, open): &(&&AppId, &usize)| **open == 0;
    let mut ready: Vec<(&AppId, usize)> = open
        .iter()
        .filter(is_ready)
        .map(|(app, _)| (*app, 0))
        .collect();
    while let Some((app, level)) = ready.pop() {
        levels.insert(app.clone(), level);
        for dependant in dependants.get(app).into_iter().flatten() {
            if let Some(open) = open.get_mut(dependant) {
                *open -= 1;
                if *open == 0 {
                    let needed = graph.get(*dependant).into_iter().flatten();
                    let deepest = needed.filter_map(|app| levels.get(app)).max();
                    ready.push((dependant, deepest.map_or(0, |level| level + 1)));
                }
            }
        }
    }
    if levels.len() == graph.len() {
        Ok(levels)
    } else {
        Err(Cycle)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;
    use crate::groups::Group;

    #[test]
    fn an_app_comes_after_everything_it_depends_on() {
        let apps = [
            app("/web", &["/api", "/cache"]),
            app("/api", &["/data"]),
            app("/cache", &["/nothing"]),
            app("/data/db", &[]),
            app("/data/log", &[]),
        ];
        let mut groups = Groups::new();
        groups.ensure(&id("/data"));

        let levels = levels(&dependencies(&groups, apps.iter())).expect("there is no circle");

        let of = |text| levels[&id(text)];
        assert_eq!((of("/data/db"), of("/data/log"), of("/cache")), (0, 0, 0));
        assert_eq!((of("/api"), of("/web")), (1, 2));
    }

    #[test]
    fn a_group_hands_its_dependencies_to_every_app_in_it() {
        let apps = [app("/shop/eu/cart", &[]), app("/data/db", &[])];
        let mut groups = Groups::new();
        groups.ensure(&id("/data"));
        groups.put(
            &id("/shop"),
            Group {
                dependencies: vec![id("/data")],
            },
        );

        let graph = dependencies(&groups, apps.iter());

        assert_eq!(
            graph[&id("/shop/eu/cart")],
            BTreeSet::from([id("/data/db")])
        );
        assert!(graph[&id("/data/db")].is_empty());
    }

    #[test]
    fn a_circle_is_found_however_long() {
        for apps in [
            vec![app("/a", &["/a"])],
            vec![app("/a", &["/b"]), app("/b", &["/c"]), app("/c", &["/a"])],
        ] {
            let graph = dependencies(&Groups::new(), apps.iter());
            assert_eq!(levels(&graph), Err(Cycle));
        }
    }

    fn id(text: &str) -> AppId {
        AppId::from_text(text)
    }

    fn app(id: &str, dependencies: &[&str]) -> Definition {
        definition_of(json!({ "id": id, "cmd": "sleep 1000", "dependencies": dependencies }))
    }
}
