//! What Marathon has a field for and this engine cannot do, refused in so many words.
//!
//! A field that is silently ignored would be a promise that is silently broken. What a type of its
//! own reads (volumes, networks, constraints, checks) is refused there.

use super::Definition;
use super::fields::Fields;
use crate::docker::parameter_mistakes;
use crate::issues::Issues;

/// The most instances that an app may have: far more than one machine runs, and few enough to be counted in memory.
const INSTANCES_MAX: u32 = 10_000;

/// Reports every field that asks for something that one machine without Mesos cannot do.
pub(super) fn report(fields: &Fields<'_>, issues: &mut Issues) {
    if fields.has_content("secrets") {
        issues.add(
            "/secrets",
            "is not supported by this engine: it has no secrets",
        );
    }
    if fields
        .number("gpus", 0.0, issues)
        .is_some_and(|gpus| gpus > 0.0)
    {
        issues.add(
            "/gpus",
            "is not supported by this engine: it offers no GPUs",
        );
    }
    if let Some(executor) = fields.text("executor", issues)
        && !["", "//cmd"].contains(&executor)
    {
        issues.add(
            "/executor",
            "is not supported by this engine: it starts commands itself",
        );
    }
    if let Some(role) = fields.text("role", issues)
        && role != "*"
    {
        issues.add("/role", "must be '*': this engine has no other role");
    }
    if let Some(roles) = fields.texts("acceptedResourceRoles", issues)
        && !roles.iter().any(|role| role == "*")
    {
        issues.add(
            "/acceptedResourceRoles",
            "must contain '*': this engine offers its resources to no other role",
        );
    }
    // `residency` has no effect in Marathon 1.10 either (`app.raml`), so it is no wish.
    if let Some(residency) = fields.object("residency", issues)
        && let Some(behavior) = residency.text("taskLostBehavior", issues)
        && !["WAIT_FOREVER", "RELAUNCH_AFTER_TIMEOUT"].contains(&behavior)
    {
        issues.add(
            &residency.path("taskLostBehavior"),
            "error.unknown.enum.literal",
        );
    }
}

impl Definition {
    /// Refuses what can be written and shown but not carried out: yet, at all, or on this machine.
    ///
    /// # Errors
    /// Every field that would be silently ignored.
    pub(crate) fn must_be_runnable(&self) -> Result<(), Issues> {
        let mut issues = Issues::new();
        if self.instances > INSTANCES_MAX {
            issues.add(
                "/instances",
                format!("is greater than {INSTANCES_MAX}: this engine is one machine"),
            );
        }
        if self.user.is_some() && self.image().is_some() {
            issues.add(
                "/user",
                "is not supported by this engine for a container image: use the parameter 'user' \
                 of its docker part",
            );
        }
        let parameters = self.image().map(|image| image.parameters.iter());
        let parameters = parameters.into_iter().flatten();
        let parameters = parameters.map(|(key, value)| (key.as_str(), value.as_str()));
        for (index, mistake) in parameter_mistakes(parameters) {
            issues.add(&format!("/container/docker/parameters({index})"), mistake);
        }
        issues.into_result()
    }
}
