//! What a request says about a group: a structure, a factor, or a version to go back to.
//!
//! Follows `GroupUpdate` in group.raml and the rules of `Group.validNestedGroupUpdateWithBase`.

use serde_json::{Map, Value};

use crate::definition::Definition;
use crate::identity::AppId;
use crate::issues::Issues;
use crate::time::Stamp;

/// What is asked of a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupUpdate {
    /// The group, absolute.
    pub(crate) id: AppId,
    pub(crate) aim: GroupAim,
}

/// The aim of a group update.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GroupAim {
    /// Be as in this version again.
    Version(Stamp),
    /// Have this many times the instances, rounded up.
    Scale(f64),
    /// Hold this.
    Structure(GroupBody),
}

/// One group of a structure. What is not given stays as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupBody {
    pub(crate) id: AppId,
    pub(crate) apps: Option<Vec<Definition>>,
    pub(crate) groups: Option<Vec<Self>>,
    pub(crate) dependencies: Option<Vec<AppId>>,
}

/// The fields of a `GroupUpdate`; others are ignored, as Marathon's JSON library does.
const FIELDS: [&str; 7] = [
    "apps",
    "dependencies",
    "enforceRole",
    "groups",
    "id",
    "scaleBy",
    "version",
];

impl GroupUpdate {
    /// Reads a body that was sent to the group `base`.
    ///
    /// # Errors
    /// Every mistake in it, and in the apps inside it.
    pub(crate) fn read(base: &AppId, body: &Map<String, Value>) -> Result<Self, Issues> {
        let mut issues = Issues::new();
        let id = match text_of(body, "id", "", &mut issues) {
            None => base.clone(),
            Some(id) => AppId::resolve(base, id),
        };
        check_id(&id, "/id", &mut issues);
        if id.is_too_long() {
            return Err(issues);
        }
        let fields = FIELDS.iter().filter(|key| given(body, key).is_some());
        if fields.count() > 1 {
            refuse_aims(body, "", &mut issues);
        }
        let aim = if let Some(version) = given(body, "version") {
            GroupAim::Version(read_version(version, &mut issues))
        } else if let Some(factor) = given(body, "scaleBy") {
            GroupAim::Scale(read_factor(factor, &mut issues))
        } else {
            GroupAim::Structure(read_group(id.clone(), body, "", &mut issues))
        };
        issues.into_result()?;
        Ok(Self { id, aim })
    }
}

/// Reads a `PATCH` body, which may say nothing but what is so anyway (`GroupPartialUpdate`).
///
/// # Errors
/// It asks for enforced roles, or says it wrongly.
pub(crate) fn read_settings(body: &Map<String, Value>) -> Result<(), Issues> {
    let mut issues = Issues::new();
    read_enforce_role(body, "", &mut issues);
    issues.into_result()
}

/// A version or a factor says all there is to say (`theOnlyDefinedOptionIn`).
fn refuse_aims(body: &Map<String, Value>, path: &str, issues: &mut Issues) {
    for key in ["version", "scaleBy"] {
        if given(body, key).is_some() {
            let message = "not allowed in conjunction with other properties.";
            issues.add(&format!("{path}/{key}"), message);
        }
    }
}

fn read_version(value: &Value, issues: &mut Issues) -> Stamp {
    let version = value.as_str().and_then(Stamp::parse);
    version.unwrap_or_else(|| {
        issues.add_wrong_type("/version", "date.isoformat");
        Stamp::BEGINNING
    })
}

fn read_factor(value: &Value, issues: &mut Issues) -> f64 {
    let Some(factor) = value.as_f64() else {
        issues.add_wrong_type("/scaleBy", "jsnumber");
        return 1.0;
    };
    if factor < 0.0 {
        issues.add("/scaleBy", "is less than 0");
    }
    factor
}

fn read_group(id: AppId, body: &Map<String, Value>, path: &str, issues: &mut Issues) -> GroupBody {
    read_enforce_role(body, path, issues);
    let apps = array_of(body, "apps", path, issues).map(|apps| {
        let apps = apps.iter().enumerate();
        apps.filter_map(|(at, app)| read_app(&id, app, &format!("{path}/apps({at})"), issues))
            .collect()
    });
    let groups = array_of(body, "groups", path, issues).map(|groups| {
        let groups = groups.iter().enumerate();
        groups
            .filter_map(|(at, group)| {
                read_child(&id, group, &format!("{path}/groups({at})"), issues)
            })
            .collect()
    });
    let dependencies = array_of(body, "dependencies", path, issues).map(|texts| {
        let mut dependencies = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            match text.as_str() {
                Some(text) => dependencies.push(AppId::resolve(&id, text)),
                None => issues.add_wrong_type(&format!("{path}/dependencies({at})"), "jsstring"),
            }
        }
        dependencies.sort();
        dependencies.dedup();
        dependencies
    });
    GroupBody {
        id,
        apps,
        groups,
        dependencies,
    }
}

fn read_child(parent: &AppId, value: &Value, path: &str, issues: &mut Issues) -> Option<GroupBody> {
    let Some(body) = value.as_object() else {
        issues.add_wrong_type(path, "jsobject");
        return None;
    };
    let id_path = format!("{path}/id");
    let Some(id) = text_of(body, "id", path, issues) else {
        issues.add_path_missing(&id_path);
        return None;
    };
    let id = AppId::resolve(parent, id);
    check_child(parent, &id, &id_path, issues);
    check_id(&id, &id_path, issues);
    if id.is_too_long() {
        return None;
    }
    refuse_aims(body, path, issues);
    Some(read_group(id, body, path, issues))
}

/// Reads an app of a group, whose id and dependencies may be relative to the group.
fn read_app(group: &AppId, value: &Value, path: &str, issues: &mut Issues) -> Option<Definition> {
    let Some(body) = value.as_object() else {
        issues.add_wrong_type(path, "jsobject");
        return None;
    };
    let mut body = body.clone();
    if let Some(Value::String(id)) = body.get("id") {
        let id = AppId::resolve(group, id);
        check_child(group, &id, &format!("{path}/id"), issues);
        body.insert("id".to_owned(), Value::from(id.as_str()));
    }
    if let Some(Value::Array(dependencies)) = body.get_mut("dependencies") {
        for dependency in dependencies {
            if let Value::String(text) = dependency {
                *text = AppId::resolve(group, text).as_str().to_owned();
            }
        }
    }
    match Definition::read(None, &body) {
        Ok(definition) => Some(definition),
        Err(mistakes) => {
            issues.absorb(path, mistakes);
            None
        }
    }
}

fn check_child(parent: &AppId, id: &AppId, path: &str, issues: &mut Issues) {
    if id.parent().as_ref() != Some(parent) {
        issues.add(path, format!("Identifier is not child of '{parent}'"));
    }
}

fn check_id(id: &AppId, path: &str, issues: &mut Issues) {
    if *id == AppId::root() {
        return;
    }
    for mistake in id.mistakes() {
        issues.add(path, mistake);
    }
}

/// One machine has one role, so a group cannot enforce one of its own.
fn read_enforce_role(body: &Map<String, Value>, path: &str, issues: &mut Issues) {
    let path = format!("{path}/enforceRole");
    match given(body, "enforceRole") {
        None | Some(Value::Bool(false)) => {}
        Some(Value::Bool(true)) => {
            issues.add(
                &path,
                "must be false: this engine has no other role than '*'",
            );
        }
        Some(_) => issues.add_wrong_type(&path, "jsboolean"),
    }
}

/// Returns a field's value; null means that it is not given.
fn given<'a>(body: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    body.get(key).filter(|value| !value.is_null())
}

fn text_of<'a>(
    body: &'a Map<String, Value>,
    key: &str,
    path: &str,
    issues: &mut Issues,
) -> Option<&'a str> {
    let value = given(body, key)?;
    if value.as_str().is_none() {
        issues.add_wrong_type(&format!("{path}/{key}"), "jsstring");
    }
    value.as_str()
}

fn array_of<'a>(
    body: &'a Map<String, Value>,
    key: &str,
    path: &str,
    issues: &mut Issues,
) -> Option<&'a Vec<Value>> {
    let value = given(body, key)?;
    if value.as_array().is_none() {
        issues.add_wrong_type(&format!("{path}/{key}"), "jsarray");
    }
    value.as_array()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::fields;

    #[test]
    fn what_stands_in_a_group_whose_id_is_too_long_is_not_read() {
        let long = "a".repeat(200);
        let children = vec![json!({ "id": "b" }); 3];
        let body = json!({ "id": long, "groups": children });
        let nested = json!({ "groups": [body] });

        for body in [body, nested] {
            let issues = GroupUpdate::read(&AppId::root(), &fields(body)).expect_err("too long");
            let told = issues.body().to_string();
            assert!(told.contains("must not be longer than 180 characters"));
            assert!(!told.contains("groups(0)/groups") && !told.contains("is not child"));
        }
    }

    #[test]
    fn ids_and_dependencies_are_relative_to_the_group_they_stand_in() {
        let update = read(
            "/",
            json!({
                "id": "shop",
                "dependencies": ["../data"],
                "apps": [{ "id": "cart", "cmd": "sleep 1", "dependencies": ["till", "/data/db"] }],
                "groups": [{ "id": "eu", "apps": [{ "id": "/shop/eu/till", "cmd": "sleep 1" }] }],
            }),
        );

        let Ok(GroupUpdate {
            id,
            aim: GroupAim::Structure(shop),
        }) = update
        else {
            panic!("a structure, and not {update:?}");
        };
        assert_eq!(id.as_str(), "/shop");
        assert_eq!(shop.dependencies, Some(vec![AppId::from_text("/data")]));
        let apps = shop.apps.expect("apps are given");
        assert_eq!(apps[0].id.as_str(), "/shop/cart");
        let needed: Vec<&str> = apps[0].dependencies.iter().map(AppId::as_str).collect();
        assert_eq!(needed, ["/shop/till", "/data/db"]);
        let groups = shop.groups.expect("groups are given");
        assert_eq!(groups[0].id.as_str(), "/shop/eu");
        assert_eq!(
            groups[0].apps.as_ref().expect("apps are given")[0]
                .id
                .as_str(),
            "/shop/eu/till"
        );
    }

    #[test]
    fn every_mistake_is_found_and_placed() {
        let mistakes = read(
            "/shop",
            json!({
                "id": "/shop",
                "apps": [{ "id": "/other/cart", "cmd": "sleep 1", "cpus": -1 }, 7],
                "groups": [{ "apps": [] }, { "id": "EU" }],
                "dependencies": "data",
                "enforceRole": true,
            }),
        )
        .expect_err("there are mistakes");

        let body = mistakes.body();
        let details = body["details"].as_array().expect("a list");
        let mut paths: Vec<&str> = details
            .iter()
            .filter_map(|detail| detail["path"].as_str())
            .collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                "/apps(0)/cpus",
                "/apps(0)/id",
                "/apps(1)",
                "/dependencies",
                "/enforceRole",
                "/groups(0)/id",
                "/groups(1)/id",
            ]
        );
    }

    #[test]
    fn a_version_and_a_factor_stand_alone() {
        let version = read("/shop", json!({ "version": "2014-03-01T23:29:30.158Z" }));
        let factor = read("/shop", json!({ "scaleBy": 1.5 }));

        assert!(matches!(
            version.map(|update| update.aim),
            Ok(GroupAim::Version(_))
        ));
        assert_eq!(factor.map(|update| update.aim), Ok(GroupAim::Scale(1.5)));
        for mixed in [
            json!({ "scaleBy": 2, "apps": [] }),
            json!({ "version": "2014-03-01T23:29:30.158Z", "scaleBy": 2 }),
            json!({ "scaleBy": -1 }),
            json!({ "version": "yesterday" }),
        ] {
            assert!(read("/shop", mixed.clone()).is_err(), "{mixed}");
        }
    }

    fn read(base: &str, body: Value) -> Result<GroupUpdate, Issues> {
        GroupUpdate::read(&AppId::from_text(base), &fields(body))
    }
}
