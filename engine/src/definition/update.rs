//! Changes to an existing definition: a partial update, a replacement, or a return to a version.
//!
//! Follows `AppUpdate` and `AppHelpers.updateOrCreate` of Marathon 1.10: a field that is given
//! replaces the whole field, null means "not given", and the URL's id wins over the body's.

use serde_json::{Map, Value};

use super::Definition;
use super::fields::Fields;
use crate::identity::AppId;
use crate::issues::Issues;
use crate::time::Stamp;

/// What a PUT or PATCH body asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Update {
    /// Take this version's definition again.
    Version(Stamp),
    /// Change these fields.
    Fields(Map<String, Value>),
}

/// Pairs of fields of which one given makes the current other one void.
const ALTERNATIVES: [(&str, &str); 6] = [
    ("cmd", "args"),
    ("args", "cmd"),
    ("ipAddress", "container"),
    ("ipAddress", "networks"),
    ("ports", "portDefinitions"),
    ("uris", "fetch"),
];

/// What an answer carries and an update may carry back without any effect.
const READ_ONLY: [&str; 11] = [
    "deployments",
    "id",
    "lastTaskFailure",
    "readinessCheckResults",
    "tasks",
    "tasksHealthy",
    "tasksRunning",
    "tasksStaged",
    "tasksStats",
    "tasksUnhealthy",
    "version",
];

impl Update {
    /// Reads what a body asks for.
    ///
    /// # Errors
    /// A `version` that is no time, or one that stands beside other fields.
    pub(crate) fn read(body: Map<String, Value>) -> Result<Self, Issues> {
        let mut issues = Issues::new();
        let fields = Fields::root(&body);
        if !fields.has("version") {
            issues.into_result()?;
            return Ok(Self::Fields(body));
        }
        let version = fields.text("version", &mut issues).and_then(Stamp::parse);
        if fields.names().any(|name| !READ_ONLY.contains(&name)) {
            issues.add(
                "/",
                "The 'version' field may only be combined with the 'id' field.",
            );
        }
        let Some(version) = version else {
            issues.add("/version", "error.expected.date.isoformat");
            return Err(issues);
        };
        issues.into_result()?;
        Ok(Self::Version(version))
    }
}

/// Returns the definition that a partial update makes of the current one.
///
/// # Errors
/// Every mistake in the merged definition.
pub(crate) fn merge(
    current: &Definition,
    change: &Map<String, Value>,
) -> Result<Definition, Issues> {
    let mut merged = current.to_json();
    for (given, void) in ALTERNATIVES {
        if Fields::root(change).has(given) {
            merged.remove(void);
        }
    }
    let old_network = Fields::root(change)
        .quiet_object("container")
        .and_then(|container| container.quiet_object("docker"))
        .is_some_and(|docker| docker.has("network"));
    if old_network {
        merged.remove("networks");
    }
    for name in Fields::root(change).names() {
        if let Some(value) = change.get(name) {
            merged.insert(name.to_owned(), value.clone());
        }
    }
    Definition::read(Some(&current.id), &merged)
}

/// Returns the definition after a PUT or PATCH: merged into the current one, or on its own.
///
/// # Errors
/// Every mistake in the resulting definition.
pub(crate) fn whole_change(
    id: &AppId,
    current: Option<&Definition>,
    change: &Map<String, Value>,
) -> Result<Definition, Issues> {
    match current {
        Some(current) => merge(current, change),
        None => Definition::read(Some(id), change),
    }
}
