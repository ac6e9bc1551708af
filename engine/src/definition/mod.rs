//! What an app is: Marathon's app definition in its canonical form (Marathon 1.10).
//!
//! [`Definition::read`] takes a body in any form Marathon accepts for a process without a container
//! image and gives the one canonical form, or every mistake in it. [`Definition::to_json`] prints
//! that form and `update.rs` merges a partial update into it. What the engine cannot do is refused
//! by `unsupported.rs` in so many words.

mod constraints;
mod fields;
mod health_checks;
mod print;
mod read;
#[cfg(test)]
mod tests;
mod unsupported;
mod update;

use std::time::Duration;

pub(crate) use health_checks::{HealthCheck, Port, Protocol};
pub(crate) use update::{Update, whole_change};

use crate::identity::AppId;

/// The most a whole-number field may say (Marathon's fields are 32-bit signed integers).
pub(crate) const WHOLE_MAX: u32 = i32::MAX as u32;

/// The whole of one app's wishes, normalised.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Definition {
    pub(crate) id: AppId,
    pub(crate) accepted_resource_roles: Option<Vec<String>>,
    pub(crate) command: Command,
    pub(crate) backoff_factor: f64,
    pub(crate) backoff_seconds: u32,
    pub(crate) constraints: Vec<Vec<String>>,
    /// Whether a `container` of type MESOS without an image was given; it changes nothing here.
    pub(crate) imageless_container: bool,
    pub(crate) cpus: f64,
    pub(crate) dependencies: Vec<AppId>,
    pub(crate) disk: f64,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) executor: String,
    pub(crate) health_checks: Vec<HealthCheck>,
    pub(crate) instances: u32,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) max_launch_delay_seconds: u32,
    pub(crate) mem: f64,
    pub(crate) port_definitions: Vec<PortDefinition>,
    pub(crate) require_ports: bool,
    pub(crate) task_kill_grace_period_seconds: Option<u32>,
    pub(crate) upgrade_strategy: UpgradeStrategy,
    pub(crate) kill_selection: KillSelection,
    pub(crate) unreachable_strategy: UnreachableStrategy,
}

/// What a task runs: exactly one of `cmd` and `args`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments, started without a shell.
    Arguments(Vec<String>),
}

/// One wanted port in host mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortDefinition {
    /// The service port, and the host port too where `requirePorts` is set. 0 = to be assigned.
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) name: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// How far a rolling restart may go below and above the wanted count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct UpgradeStrategy {
    pub(crate) minimum_health_capacity: f64,
    pub(crate) maximum_over_capacity: f64,
}

/// Which of several equal instances goes first when the app is scaled down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillSelection {
    YoungestFirst,
    OldestFirst,
}

/// What would happen to unreachable instances; on one machine none ever is, so it is only kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnreachableStrategy {
    Disabled,
    Replace {
        inactive_after_seconds: u32,
        expunge_after_seconds: u32,
    },
}

impl Definition {
    /// Returns whether another definition differs from this one in nothing but its count.
    pub(crate) fn differs_only_in_scale(&self, other: &Self) -> bool {
        let mut same_count = other.clone();
        same_count.instances = self.instances;
        *self == same_count
    }

    /// Returns how long a task may take between SIGTERM and SIGKILL.
    ///
    /// Where the definition says nothing it is three seconds, the Mesos executor's default
    /// (`executor_shutdown_grace_period` leaves a task 3 s; `src/slave/constants.hpp`).
    pub(crate) fn kill_grace(&self) -> Duration {
        const DEFAULT_KILL_GRACE_SECONDS: u32 = 3;
        let seconds = self
            .task_kill_grace_period_seconds
            .unwrap_or(DEFAULT_KILL_GRACE_SECONDS);
        Duration::from_secs(u64::from(seconds))
    }

    /// Returns the service ports in order.
    pub(crate) fn service_ports(&self) -> Vec<u16> {
        self.port_definitions.iter().map(|d| d.port).collect()
    }
}
