//! Prints a definition as Marathon 1.10 does: canonical fields only, unset ones left out.

use serde_json::{Map, Value, json};

use super::{
    Artifact, Check, Command, Definition, ExecutorResources, HealthCheck, KillSelection, Port,
    PortDefinition, Protocol, ReadinessCheck, ResourceLimits, UnreachableStrategy,
};

impl Definition {
    /// Returns the app object, without `version` and `versionInfo`.
    ///
    /// Which empty fields appear follows `(pragma.omitEmpty)` in Marathon's `app.raml`.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let all = self.first_fields().into_iter().chain(self.last_fields());
        all.filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }

    /// Returns the fields up to `check` in the order in which Marathon writes them.
    fn first_fields(&self) -> Vec<(&'static str, Option<Value>)> {
        let given = Some;
        let (line, arguments) = match &self.command {
            Command::Shell(line) => (Some(json!(line)), None),
            Command::Arguments(arguments) => (None, Some(json!(arguments))),
            Command::OfImage => (None, None),
        };
        let container = self.container.as_ref();
        vec![
            ("id", given(json!(self.id))),
            (
                "acceptedResourceRoles",
                self.accepted_resource_roles.as_ref().map(|r| json!(r)),
            ),
            ("args", arguments),
            ("backoffFactor", given(number(self.backoff_factor))),
            ("backoffSeconds", given(json!(self.backoff_seconds))),
            ("cmd", line),
            ("constraints", list(&self.constraints, |words| json!(words))),
            ("container", container.map(|c| c.to_json(&self.network))),
            ("cpus", given(number(self.cpus))),
            ("dependencies", list(&self.dependencies, |id| json!(id))),
            ("disk", given(number(self.disk))),
            (
                "env",
                Some(entries(&self.env)).filter(|_| !self.env.is_empty()),
            ),
            ("executor", given(json!(self.executor))),
            (
                "executorResources",
                self.executor_resources.map(ExecutorResources::to_json),
            ),
            ("fetch", list(&self.fetch, Artifact::to_json)),
            (
                "healthChecks",
                list(&self.health_checks, HealthCheck::to_json),
            ),
            ("check", self.check.as_ref().map(Check::to_json)),
        ]
    }

    /// Returns the fields after `check`.
    fn last_fields(&self) -> Vec<(&'static str, Option<Value>)> {
        let given = Some;
        let definitions = self.port_definitions.iter().map(PortDefinition::to_json);
        let definitions: Value = definitions.collect();
        vec![
            ("instances", given(json!(self.instances))),
            ("labels", given(entries(&self.labels))),
            (
                "maxLaunchDelaySeconds",
                given(json!(self.max_launch_delay_seconds)),
            ),
            ("mem", given(number(self.mem))),
            ("gpus", given(json!(0))),
            ("networks", given(self.network.to_json())),
            (
                "portDefinitions",
                Some(definitions).filter(|_| self.network.is_host()),
            ),
            (
                "readinessChecks",
                list(&self.readiness_checks, ReadinessCheck::to_json),
            ),
            (
                "resourceLimits",
                self.resource_limits.map(ResourceLimits::to_json),
            ),
            ("requirePorts", given(json!(self.require_ports))),
            (
                "taskKillGracePeriodSeconds",
                self.task_kill_grace_period_seconds.map(|s| json!(s)),
            ),
            ("upgradeStrategy", given(self.upgrade_json())),
            ("user", self.user.as_ref().map(|user| json!(user))),
            ("killSelection", given(json!(self.kill_selection.as_str()))),
            (
                "unreachableStrategy",
                given(self.unreachable_strategy.to_json()),
            ),
            ("tty", self.tty.map(|tty| json!(tty))),
            ("role", given(json!("*"))),
        ]
    }

    fn upgrade_json(&self) -> Value {
        json!({
            "maximumOverCapacity": number(self.upgrade_strategy.maximum_over_capacity),
            "minimumHealthCapacity": number(self.upgrade_strategy.minimum_health_capacity),
        })
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
        // `HealthCheckConversion.appHealthCheckWrites` writes it for every HTTP and HTTPS check.
        if let Protocol::Http | Protocol::Https = self.protocol {
            put("ignoreHttp1xx", json!(self.ignore_http_1xx));
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
        put("ipProtocol", json!(self.ip_protocol.as_str()));
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

/// Returns the items as an array, or nothing where there are none.
fn list<T>(items: &[T], to_json: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| items.iter().map(to_json).collect())
}

/// Returns labels or variables as an object.
pub(super) fn entries(entries: &[(String, String)]) -> Value {
    let map: Map<String, Value> = entries
        .iter()
        .map(|(key, value)| (key.clone(), json!(value)))
        .collect();
    Value::Object(map)
}
