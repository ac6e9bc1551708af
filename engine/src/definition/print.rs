//! Prints a definition as Marathon 1.10 does: canonical fields only, unset ones left out.

use serde_json::{Map, Value, json};

use super::{
    Command, Definition, HealthCheck, KillSelection, Port, PortDefinition, UnreachableStrategy,
};

impl Definition {
    /// Returns the app object, without `version` and `versionInfo`.
    ///
    /// Which empty fields appear follows `(pragma.omitEmpty)` in Marathon's `app.raml`.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let mut app = Map::new();
        let mut put = |key: &str, value: Value| {
            app.insert(key.to_owned(), value);
        };
        put("id", json!(self.id));
        if let Some(roles) = &self.accepted_resource_roles {
            put("acceptedResourceRoles", json!(roles));
        }
        if let Command::Arguments(arguments) = &self.command {
            put("args", json!(arguments));
        }
        put("backoffFactor", number(self.backoff_factor));
        put("backoffSeconds", json!(self.backoff_seconds));
        if let Command::Shell(line) = &self.command {
            put("cmd", json!(line));
        }
        if !self.constraints.is_empty() {
            put("constraints", json!(self.constraints));
        }
        if self.imageless_container {
            put("container", json!({ "type": "MESOS", "volumes": [] }));
        }
        put("cpus", number(self.cpus));
        if !self.dependencies.is_empty() {
            put("dependencies", json!(self.dependencies));
        }
        put("disk", number(self.disk));
        if !self.env.is_empty() {
            put("env", entries(&self.env));
        }
        put("executor", json!(self.executor));
        if !self.health_checks.is_empty() {
            let checks = self.health_checks.iter().map(HealthCheck::to_json);
            put("healthChecks", checks.collect());
        }
        put("instances", json!(self.instances));
        put("labels", entries(&self.labels));
        put(
            "maxLaunchDelaySeconds",
            json!(self.max_launch_delay_seconds),
        );
        put("mem", number(self.mem));
        put("gpus", json!(0));
        put("networks", json!([{ "mode": "host" }]));
        let ports = self.port_definitions.iter().map(PortDefinition::to_json);
        put("portDefinitions", ports.collect());
        put("requirePorts", json!(self.require_ports));
        if let Some(seconds) = self.task_kill_grace_period_seconds {
            put("taskKillGracePeriodSeconds", json!(seconds));
        }
        put("upgradeStrategy", self.upgrade_json());
        put("killSelection", json!(self.kill_selection.as_str()));
        put("unreachableStrategy", self.unreachable_strategy.to_json());
        put("role", json!("*"));
        app
    }

    fn upgrade_json(&self) -> Value {
        json!({
            "maximumOverCapacity": number(self.upgrade_strategy.maximum_over_capacity),
            "minimumHealthCapacity": number(self.upgrade_strategy.minimum_health_capacity),
        })
    }
}

impl PortDefinition {
    fn to_json(&self) -> Value {
        let mut definition = Map::new();
        definition.insert("port".to_owned(), json!(self.port));
        definition.insert("protocol".to_owned(), json!(self.protocol));
        if let Some(name) = &self.name {
            definition.insert("name".to_owned(), json!(name));
        }
        definition.insert("labels".to_owned(), entries(&self.labels));
        Value::Object(definition)
    }
}

impl HealthCheck {
    /// Returns the check as it stands in an app object and in health events.
    pub(crate) fn to_json(&self) -> Value {
        let mut check = Map::new();
        let mut put = |key: &str, value: Value| {
            check.insert(key.to_owned(), value);
        };
        if let Some(line) = &self.command {
            put("command", json!({ "value": line }));
        }
        put("gracePeriodSeconds", json!(self.grace_period_seconds));
        if self.ignore_http_1xx {
            put("ignoreHttp1xx", json!(true));
        }
        put("intervalSeconds", json!(self.interval_seconds));
        put(
            "maxConsecutiveFailures",
            json!(self.max_consecutive_failures),
        );
        if let Some(path) = &self.path {
            put("path", json!(path));
        }
        match self.port {
            Port::None => {}
            Port::Index(index) => put("portIndex", json!(index)),
            Port::Number(number) => put("port", json!(number)),
        }
        put("protocol", json!(self.protocol.as_str()));
        put("ipProtocol", json!("IPv4"));
        put("timeoutSeconds", json!(self.timeout_seconds));
        put("delaySeconds", json!(self.delay_seconds));
        Value::Object(check)
    }
}

impl KillSelection {
    /// Returns Marathon's word for the selection.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::YoungestFirst => "YOUNGEST_FIRST",
            Self::OldestFirst => "OLDEST_FIRST",
        }
    }
}

impl UnreachableStrategy {
    fn to_json(self) -> Value {
        match self {
            Self::Disabled => json!("disabled"),
            Self::Replace {
                inactive_after_seconds,
                expunge_after_seconds,
            } => json!({
                "inactiveAfterSeconds": inactive_after_seconds,
                "expungeAfterSeconds": expunge_after_seconds,
            }),
        }
    }
}

/// Returns a number without a fraction where it has none: `256`, `0.25`.
pub(crate) fn number(value: f64) -> Value {
    const WHOLE_LIMIT: f64 = 9e15;
    if value.fract() == 0.0 && value.abs() < WHOLE_LIMIT {
        #[expect(clippy::cast_possible_truncation, reason = "whole and far below 2^63")]
        return json!(value as i64);
    }
    json!(value)
}

fn entries(entries: &[(String, String)]) -> Value {
    let map: Map<String, Value> = entries
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    Value::Object(map)
}
