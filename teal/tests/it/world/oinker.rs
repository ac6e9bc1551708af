//! Definitions of the sample service, as an operator would write them.

use serde_json::{Value, json};
use std::path::Path;

/// A revision of the sample service.
#[derive(Debug, Clone)]
pub(crate) struct Oinker {
    pub(crate) revision: String,
    body: Value,
}

impl Oinker {
    /// Returns a revision with three instances that is well in every way.
    pub(crate) fn new(revision: &str) -> Self {
        let body = json!({
            "id": "/oinker",
            "cmd": format!("exec '{}' oinker", env!("CARGO_BIN_EXE_teal")),
            "instances": 3,
            "cpus": 1,
            "mem": 128,
            "ports": [0],
            "env": { "OINKER_REVISION": revision, "OINKER_COMMIT_DELAY_MS": "80" },
            "labels": {
                "TEAL_PENDING_PATH": "/metrics",
                "TEAL_PENDING_GAUGE": "oinker_pending_operations",
                "TEAL_MIN_HEALTHY_TIME": "200ms",
                "TEAL_DRAIN_INTERVAL": "100ms",
            },
            "healthChecks": [{
                "protocol": "HTTP", "path": "/health", "portIndex": 0,
                "gracePeriodSeconds": 60, "intervalSeconds": 1, "timeoutSeconds": 5,
                "maxConsecutiveFailures": 3,
            }],
        });
        Self {
            revision: revision.to_owned(),
            body,
        }
    }

    /// Asks for this many instances.
    pub(crate) fn instances(self, count: usize) -> Self {
        self.with("instances", count)
    }

    /// Makes it sick: `health`, `stuck-gauge`, `gauge-error`, `gauge-garbage` or `gauge-timeout`.
    pub(crate) fn sick(self, how: &str) -> Self {
        self.env("OINKER_SICK", how)
    }

    /// Lets it be unhealthy for longer than any scenario lasts.
    pub(crate) fn slow_to_start(self) -> Self {
        self.env("OINKER_START_DELAY_MS", "3000000")
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.body["env"][name] = json!(value);
        self
    }

    /// Sets a label.
    pub(crate) fn label(mut self, name: &str, value: &str) -> Self {
        self.body["labels"][name] = json!(value);
        self
    }

    /// Removes a label.
    pub(crate) fn without_label(mut self, name: &str) -> Self {
        self.body["labels"]
            .as_object_mut()
            .expect("labels are an object")
            .remove(name);
        self
    }

    /// Sets a key of the definition.
    pub(crate) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.body[key] = value.into();
        self
    }

    /// Removes a key of the definition.
    pub(crate) fn without(mut self, key: &str) -> Self {
        self.body
            .as_object_mut()
            .expect("a definition is an object")
            .remove(key);
        self
    }

    /// Returns the definition, with this database and this file, which a check may look for.
    pub(crate) fn definition(&self, database: &Path, sick: &Path) -> Value {
        let mut body = self.body.clone();
        body["env"]["OINKER_DATABASE"] = json!(database);
        body["env"]["OINKER_SICK_FILE"] = json!(sick);
        body
    }
}
