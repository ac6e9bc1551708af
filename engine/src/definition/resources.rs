//! What a task may use beyond what it asks for, and what its executor takes.
//!
//! Follows `resources.raml` and `AppValidation.validResourceLimits` of Marathon 1.10.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::print::number;
use crate::issues::Issues;

/// The most that a task may use; where a part is not given, what was asked for is the limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ResourceLimits {
    pub(crate) cpus: Option<Limit>,
    /// In MiB.
    pub(crate) mem: Option<Limit>,
}

/// One limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    Unlimited,
    Amount(f64),
}

/// What the executor beside each task would take on a Mesos agent; there is none here.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ExecutorResources {
    pub(crate) cpus: f64,
    /// In MiB.
    pub(crate) mem: f64,
    /// In MiB.
    pub(crate) disk: f64,
}

impl ResourceLimits {
    /// Reads the limits of an app that asks for so much.
    pub(super) fn read(
        fields: &Fields<'_>,
        cpus: f64,
        mem: f64,
        issues: &mut Issues,
    ) -> Option<Self> {
        let limits = fields.object("resourceLimits", issues)?;
        Some(Self {
            cpus: Limit::read(&limits, "cpus", cpus, issues),
            mem: Limit::read(&limits, "mem", mem, issues),
        })
    }

    pub(super) fn to_json(self) -> Value {
        let mut limits = Map::new();
        for (key, limit) in [("cpus", self.cpus), ("mem", self.mem)] {
            if let Some(limit) = limit {
                limits.insert(key.to_owned(), limit.to_json());
            }
        }
        Value::Object(limits)
    }
}

impl Limit {
    fn read(fields: &Fields<'_>, key: &str, asked: f64, issues: &mut Issues) -> Option<Self> {
        let value = fields.value(key)?;
        match (value.as_str(), value.as_f64()) {
            (Some("unlimited"), _) => Some(Self::Unlimited),
            (Some(other), _) => {
                issues.add(
                    &fields.path(key),
                    format!(
                        "'{other}' is an invalid resource limit. It must be 'unlimited' or a number"
                    ),
                );
                None
            }
            (None, Some(amount)) => {
                if amount < asked {
                    issues.add(
                        &fields.path(key),
                        format!(
                            "resource limit must be greater than or equal to requested resource \
                             ({asked})"
                        ),
                    );
                }
                Some(Self::Amount(amount))
            }
            (None, None) => {
                issues.add_wrong_type(&fields.path(key), "jsnumber");
                None
            }
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::Unlimited => json!("unlimited"),
            Self::Amount(amount) => number(amount),
        }
    }
}

impl ExecutorResources {
    /// Reads the resources; defaults and minimums are those of `resources.raml`.
    pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Option<Self> {
        let resources = fields.object("executorResources", issues)?;
        let mut amount = |key: &str, min: f64| resources.number(key, min, issues).unwrap_or(min);
        Some(Self {
            cpus: amount("cpus", 0.1),
            mem: amount("mem", 32.0),
            disk: amount("disk", 10.0),
        })
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "cpus": number(self.cpus),
            "mem": number(self.mem),
            "disk": number(self.disk),
        })
    }
}
