//! Readiness checks as a definition declares them; when they are asked is in `crate::readiness`.
//!
//! Follows `readinessCheck.raml` and `AppValidation.readinessCheckValidator` of Marathon 1.10.

use std::time::Duration;

use serde_json::{Value, json};

use super::WHOLE_MAX;
use super::fields::{Fields, whole_value};
use super::ports::WantedPort;
use crate::issues::Issues;

/// The status that means "ready" where none is named (`ReadinessCheck.scala`).
const READY_STATUS: u16 = 200;

/// The question whether a task is ready, asked only while a deployment waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadinessCheck {
    pub(crate) name: String,
    pub(crate) scheme: Scheme,
    pub(crate) path: String,
    /// The name of one of the app's ports.
    pub(crate) port_name: String,
    pub(crate) interval_seconds: u32,
    pub(crate) timeout_seconds: u32,
    pub(crate) ready_statuses: Vec<u16>,
    /// Whether the last answer is shown in the API.
    pub(crate) preserve_last_response: bool,
}

/// How HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Reads `HTTP` (which is also the default) or `HTTPS`.
    pub(super) fn read(fields: &Fields<'_>, key: &str, issues: &mut Issues) -> Self {
        match fields.text(key, issues) {
            None | Some("HTTP") => Self::Http,
            Some("HTTPS") => Self::Https,
            Some(_) => {
                issues.add(&fields.path(key), "error.unknown.enum.literal");
                Self::Http
            }
        }
    }

    /// Returns Marathon's word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Https => "HTTPS",
        }
    }
}

/// Reads the readiness checks of an app with these ports; there may be one at most.
pub(super) fn read(
    fields: &Fields<'_>,
    ports: &[WantedPort<'_>],
    issues: &mut Issues,
) -> Vec<ReadinessCheck> {
    let objects = fields.objects("readinessChecks", issues);
    let objects = objects.unwrap_or_default();
    if objects.len() > 1 {
        issues.add(
            "/readinessChecks",
            format!(
                "has size {}, expected less than or equal to 1",
                objects.len()
            ),
        );
    }
    let checks = objects
        .iter()
        .map(|object| ReadinessCheck::read(object, ports, issues));
    checks.collect()
}

impl ReadinessCheck {
    /// Returns how long to wait between an answer and the next try.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs(u64::from(self.interval_seconds))
    }

    /// Returns how long one try may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(u64::from(self.timeout_seconds))
    }

    fn read(fields: &Fields<'_>, ports: &[WantedPort<'_>], issues: &mut Issues) -> Self {
        let mut text = |key: &str, default: &str| {
            let text = fields.text(key, issues).unwrap_or(default);
            if text.is_empty() || text.contains(char::is_control) {
                issues.add(
                    &fields.path(key),
                    "must not be empty or hold control characters",
                );
            }
            text.to_owned()
        };
        let (name, path) = (text("name", "readinessCheck"), text("path", "/"));
        let port_name = text("portName", "http-api");
        if !ports.iter().any(|port| port.name == Some(&port_name)) {
            issues.add(
                &fields.path("portName"),
                format!("No port definition reference for portName {port_name}"),
            );
        }
        let mut seconds =
            |key: &str, default: u32| fields.whole(key, WHOLE_MAX, issues).unwrap_or(default);
        let (interval_seconds, timeout_seconds) = (
            seconds("intervalSeconds", 30),
            seconds("timeoutSeconds", 10),
        );
        if timeout_seconds == 0 {
            issues.add(&fields.path("timeoutSeconds"), "is less than 1");
        }
        if timeout_seconds >= interval_seconds {
            issues.add(
                &fields.path("timeoutSeconds"),
                format!("got {timeout_seconds}, expected less than {interval_seconds}"),
            );
        }
        Self {
            name,
            scheme: Scheme::read(fields, "protocol", issues),
            path,
            port_name,
            interval_seconds,
            timeout_seconds,
            ready_statuses: read_statuses(fields, issues),
            preserve_last_response: fields
                .boolean("preserveLastResponse", issues)
                .unwrap_or(false),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "protocol": self.scheme.as_str(),
            "path": self.path,
            "portName": self.port_name,
            "intervalSeconds": self.interval_seconds,
            "timeoutSeconds": self.timeout_seconds,
            "httpStatusCodesForReady": self.ready_statuses,
            "preserveLastResponse": self.preserve_last_response,
        })
    }
}

fn read_statuses(fields: &Fields<'_>, issues: &mut Issues) -> Vec<u16> {
    const KEY: &str = "httpStatusCodesForReady";
    const STATUS_MAX: u32 = 999;
    let mut statuses = Vec::new();
    let given = fields.array(KEY, issues).unwrap_or_default();
    for (index, status) in given.iter().enumerate() {
        let path = format!("{}({index})", fields.path(KEY));
        let status = whole_value(status, &path, STATUS_MAX, issues).unwrap_or_default();
        let status = u16::try_from(status).unwrap_or_default();
        if status < 100 {
            issues.add(&path, "is less than 100");
        }
        if !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    if statuses.is_empty() {
        statuses.push(READY_STATUS);
    }
    statuses
}
