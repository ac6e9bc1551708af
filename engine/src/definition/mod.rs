//! What an app is: Marathon's app definition in its canonical form (Marathon 1.10).
//!
//! [`Definition::read`] takes a body in any form Marathon accepts, old spellings included, and gives
//! the one canonical form, or every mistake in it. [`Definition::to_json`] prints that form and
//! `update.rs` merges a partial update into it. What one machine cannot do is refused in so many
//! words where it is read: by `unsupported.rs`, `container.rs`, `constraints.rs` and `networks.rs`.

mod artifacts;
mod check;
mod constraints;
mod container;
mod fields;
mod health_checks;
mod networks;
mod ports;
mod print;
mod read;
mod readiness;
mod resources;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
mod unsupported;
mod update;

use std::time::Duration;

pub(crate) use artifacts::{Artifact, Source};
pub(crate) use check::{Check, CheckProbe};
pub(crate) use container::{Container, ContainerKind, HostVolume, Image};
pub(crate) use health_checks::{HealthCheck, IpProtocol, Port, Protocol};
pub(crate) use networks::Network;
pub(crate) use ports::PortDefinition;
pub(crate) use readiness::{ReadinessCheck, Scheme};
pub(crate) use resources::{ExecutorResources, Limit, ResourceLimits};
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
    pub(crate) check: Option<Check>,
    pub(crate) container: Option<Container>,
    pub(crate) cpus: f64,
    pub(crate) dependencies: Vec<AppId>,
    pub(crate) disk: f64,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) executor: String,
    pub(crate) executor_resources: Option<ExecutorResources>,
    pub(crate) fetch: Vec<Artifact>,
    pub(crate) health_checks: Vec<HealthCheck>,
    pub(crate) instances: u32,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) max_launch_delay_seconds: u32,
    pub(crate) mem: f64,
    pub(crate) network: Network,
    /// In the order of port indices; empty unless the network is the host's.
    pub(crate) port_definitions: Vec<PortDefinition>,
    pub(crate) readiness_checks: Vec<ReadinessCheck>,
    pub(crate) require_ports: bool,
    pub(crate) resource_limits: Option<ResourceLimits>,
    pub(crate) task_kill_grace_period_seconds: Option<u32>,
    /// Whether the task gets a terminal.
    pub(crate) tty: Option<bool>,
    pub(crate) upgrade_strategy: UpgradeStrategy,
    pub(crate) kill_selection: KillSelection,
    pub(crate) unreachable_strategy: UnreachableStrategy,
    /// The name of the user who runs the task; nothing: whoever runs the engine.
    pub(crate) user: Option<String>,
}

/// What a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// `cmd`: a line for `/bin/sh -c`. An image's entrypoint is not used.
    Shell(String),
    /// `args`: a program and its arguments, started without a shell; with an image the arguments of
    /// its entrypoint.
    Arguments(Vec<String>),
    /// Neither: the image's own entrypoint and command.
    OfImage,
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
        let wanted = self.wanted_ports();
        wanted.iter().map(|port| port.service_port).collect()
    }

    /// Returns the image that the task's files come from, where there is one.
    pub(crate) fn image(&self) -> Option<&Image> {
        self.container.as_ref()?.image.as_ref()
    }
}
