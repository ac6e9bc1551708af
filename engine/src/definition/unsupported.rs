//! Everything Marathon has a field for and this engine cannot do, refused in so many words.
//!
//! A field that is silently ignored would be a promise that is silently broken.

use super::fields::Fields;
use crate::issues::Issues;

/// Fields that may be absent, null or empty, and nothing else, with what to say otherwise.
const EMPTY_ONLY: [(&str, &str); 10] = [
    ("check", "Mesos checks"),
    ("executorResources", "executor resources"),
    ("fetch", "fetching artifacts"),
    ("ipAddress", "an address per task"),
    ("readinessChecks", "readiness checks"),
    ("residency", "resident tasks"),
    ("resourceLimits", "resource limits"),
    ("secrets", "secrets"),
    ("uris", "fetching artifacts"),
    ("user", "running as another user"),
];

/// Reports every field that asks for something the engine cannot do.
pub(super) fn report(fields: &Fields<'_>, issues: &mut Issues) {
    for (key, what) in EMPTY_ONLY {
        if fields.has_content(key) {
            issues.add(
                &fields.path(key),
                format!("is not supported by this engine yet: {what}"),
            );
        }
    }
    report_container(fields, issues);
    report_networks(fields, issues);
    if fields
        .number("gpus", 0.0, issues)
        .is_some_and(|gpus| gpus > 0.0)
    {
        issues.add(
            "/gpus",
            "is not supported by this engine: it offers no GPUs",
        );
    }
    if fields.boolean("tty", issues).is_some_and(|tty| tty) {
        issues.add(
            "/tty",
            "is not supported by this engine yet: a terminal for the task",
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
}

fn report_container(fields: &Fields<'_>, issues: &mut Issues) {
    let Some(container) = fields.object("container", issues) else {
        return;
    };
    match container.text("type", issues).unwrap_or("DOCKER") {
        "MESOS" => {}
        "DOCKER" => issues.add(
            &container.path("type"),
            "DOCKER is not supported by this engine yet: it runs cmd or args as a process",
        ),
        _ => issues.add(&container.path("type"), "error.unknown.enum.literal"),
    }
    let parts = [
        ("docker", "container images"),
        ("volumes", "volumes"),
        ("portMappings", "port mappings (use portDefinitions)"),
        ("linuxInfo", "Linux security settings"),
    ];
    for (key, what) in parts {
        if container.has_content(key) {
            issues.add(
                &container.path(key),
                format!("is not supported by this engine yet: {what}"),
            );
        }
    }
}

fn report_networks(fields: &Fields<'_>, issues: &mut Issues) {
    for network in fields.objects("networks", issues).unwrap_or_default() {
        let mode = network.text("mode", issues).unwrap_or("container");
        match mode {
            "host" => {}
            "container" | "container/bridge" => issues.add(
                &network.path("mode"),
                format!(
                    "{mode} is not supported by this engine yet: processes use the host's network"
                ),
            ),
            _ => issues.add(&network.path("mode"), "error.unknown.enum.literal"),
        }
    }
}
