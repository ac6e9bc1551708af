//! An app, and the deployments that change it.

use super::By;
use serde_json::{Map, Value};
use teal_core::{Moment, Span};

/// What a task that failed leaves for the next one: from Marathon 1.8 on it comes back as the same instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Returning {
    pub(super) instance: String,
    pub(super) incarnation: u32,
}

/// What is said of the last task that failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) task: String,
    pub(super) host: String,
    pub(super) state: &'static str,
    pub(super) at: Moment,
    pub(super) version: Moment,
}

#[derive(Debug)]
pub(super) struct App {
    /// As it was posted, without `instances`.
    pub(super) definition: Map<String, Value>,
    pub(super) instances: u32,
    pub(super) version: Moment,
    pub(super) scaled_at: Moment,
    pub(super) configured_at: Moment,
    /// Who made it smaller last: what Marathon stops then is on them.
    pub(super) lowered_by: By,
    /// When the next missing tasks are launched, once some are missing.
    pub(super) offer_at: Option<Moment>,
    pub(super) backoff: Span,
    pub(super) backoff_until: Moment,
    pub(super) returning: Vec<Returning>,
    pub(super) last_failure: Option<Failure>,
}

/// A health check as an app declares it. Defaults: Marathon 1.10, `AppHealthCheck` in healthcheck.raml.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CheckRule {
    pub(super) interval: Span,
    pub(super) grace: Span,
    pub(super) failures_max: u64,
}

/// What Marathon does about a task that it lost sight of (`unreachableStrategy`; both 0 by default).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreachable {
    pub(super) inactive_after: Span,
    pub(super) expunge_after: Span,
}

impl App {
    pub(super) fn new(definition: &Map<String, Value>, now: Moment) -> Self {
        let instances = definition.get("instances").and_then(Value::as_u64);
        let mut definition = definition.clone();
        definition.remove("instances");
        Self {
            definition,
            instances: u32::try_from(instances.unwrap_or(1)).unwrap_or(u32::MAX),
            version: now,
            scaled_at: now,
            configured_at: now,
            lowered_by: By::Another,
            offer_at: None,
            backoff: Span::ZERO,
            backoff_until: now,
            returning: Vec::new(),
            last_failure: None,
        }
    }

    pub(super) fn check_rules(&self) -> Vec<CheckRule> {
        let checks = self
            .definition
            .get("healthChecks")
            .and_then(Value::as_array);
        let rule = |check: &Value| {
            let number =
                |name: &str, default| check.get(name).and_then(Value::as_u64).unwrap_or(default);
            CheckRule {
                interval: Span::seconds(number("intervalSeconds", 60)),
                grace: Span::seconds(number("gracePeriodSeconds", 300)),
                failures_max: number("maxConsecutiveFailures", 3),
            }
        };
        checks.into_iter().flatten().map(rule).collect()
    }

    pub(super) fn unreachable(&self) -> Unreachable {
        let strategy = self.definition.get("unreachableStrategy");
        let seconds = |name: &str| {
            let seconds = strategy.and_then(|it| it.get(name)).and_then(Value::as_u64);
            Span::seconds(seconds.unwrap_or(0))
        };
        Unreachable {
            inactive_after: seconds("inactiveAfterSeconds"),
            expunge_after: seconds("expungeAfterSeconds"),
        }
    }

    /// How long a task has between the word to stop and its end by force, at most: 3 s in Mesos' executor.
    pub(super) fn kill_grace(&self) -> Span {
        let grace = self.definition.get("taskKillGracePeriodSeconds");
        grace
            .and_then(Value::as_u64)
            .map_or(Span::seconds(3), Span::seconds)
    }

    /// Sets how many tasks there are to be.
    pub(super) fn resize(&mut self, instances: u32, by: By, now: Moment) {
        if instances < self.instances {
            self.lowered_by = by;
        }
        self.instances = instances;
        self.version = now;
        self.scaled_at = now;
    }

    /// Delays the next launch after a failure: 1 s, then 1.15 times as long each time (the defaults of 1.10).
    pub(super) fn back_off(&mut self, now: Moment) {
        self.backoff = Span((self.backoff.0 * 115 / 100).clamp(1000, 300_000));
        self.backoff_until = now + self.backoff;
    }
}

/// What a deployment waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Goal {
    /// The app has as many tasks as it is to have, healthy ones, and none that is stopping.
    Size,
    /// No task of the app is left.
    Gone,
    /// Every task runs the latest configuration.
    Restarted,
    /// Another tool's business ends.
    Until(Moment),
}

#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) id: String,
    pub(super) app: String,
    pub(super) action: &'static str,
    pub(super) goal: Goal,
    pub(super) version: Moment,
    /// It takes at least until here.
    pub(super) earliest_end: Moment,
}
