//! What the fields of an app and of its tasks say. Absent and null are the same everywhere: Marathon up to 1.4 writes
//! nulls, later ones leave out.

use super::reckoning::Clock;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use teal_core::name::{Address, Addresses, InstanceId, RevisionId};
use teal_core::observation::{Health, InstanceSighting, Phase, RevisionSighting};
use teal_core::report::short;
use teal_core::{Moment, Span};

/// How far before its task's start a result may have come that is of this incarnation all the same: a check of Mesos'
/// own can report together with the start, and then reports changes alone.
const SAME_START: Span = Span(500);

/// `GET /v2/apps`.
#[derive(Deserialize)]
pub(super) struct AppsEnvelope {
    pub(super) apps: Vec<ListedApp>,
}

/// An app with all its fields. Its tasks, of which there may be ten thousand, are read as they come.
#[derive(Deserialize)]
pub(super) struct ListedApp {
    tasks: Option<Vec<Task>>,
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// `GET /v2/apps/{id}`.
#[derive(Deserialize)]
pub(super) struct AppEnvelope {
    pub(super) app: App,
}

/// The fields of an app that are read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct App {
    id: String,
    pub(super) instances: u32,
    version: Option<String>,
    version_info: Option<VersionInfo>,
    labels: Option<Map<String, Value>>,
    health_checks: Option<Vec<IgnoredAny>>,
    networks: Option<Vec<Network>>,
    container: Option<Container>,
    ip_address: Option<IpPerTask>,
    deployments: Option<Vec<Deployment>>,
    tasks: Option<Vec<Task>>,
    last_task_failure: Option<TaskFailure>,
    tasks_staged: Option<u32>,
    tasks_running: Option<u32>,
    executor_resources: Option<Value>,
    resource_limits: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionInfo {
    last_config_change_at: Option<String>,
}

/// Whose network a task is in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum OwnOr {
    /// Its container's own: reached by its own address.
    Own,
    /// The host's, or a bridge behind it: reached by ports of the host.
    Hosts,
}

#[derive(Deserialize)]
struct Network {
    mode: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    port_mappings: Option<Vec<PortMapping>>,
    docker: Option<Docker>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Docker {
    network: Option<String>,
    port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    container_port: Option<u16>,
    host_port: Option<u16>,
}

#[derive(Deserialize)]
struct IpPerTask {
    discovery: Option<Discovery>,
}

#[derive(Deserialize)]
struct Discovery {
    ports: Option<Vec<DiscoveryPort>>,
}

#[derive(Deserialize)]
struct DiscoveryPort {
    number: Option<u16>,
}

#[derive(Deserialize)]
struct Deployment {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskFailure {
    state: Option<String>,
    message: Option<String>,
    task_id: Option<String>,
}

impl TaskFailure {
    fn sentence(&self) -> String {
        let state = self
            .state
            .as_deref()
            .unwrap_or("TASK_FAILED")
            .trim_start_matches("TASK_");
        let task = self
            .task_id
            .as_deref()
            .map(|id| short(&InstanceId::from(id)));
        let task = task.unwrap_or_else(|| "an instance".to_owned());
        let message = self.message.as_deref().unwrap_or("no reason given");
        format!("{task} ended as {}: {message}", state.to_lowercase())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    id: String,
    state: Option<String>,
    started_at: Option<String>,
    version: Option<String>,
    host: Option<String>,
    ports: Option<Vec<u16>>,
    ip_addresses: Option<Vec<TaskIp>>,
    health_check_results: Option<Vec<Option<CheckResult>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskIp {
    ip_address: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CheckResult {
    alive: Option<bool>,
    consecutive_failures: Option<u64>,
    first_success: Option<String>,
    last_success: Option<String>,
    last_failure: Option<String>,
}

impl App {
    pub(super) fn read(listed: ListedApp) -> Result<Self, String> {
        let app = serde_json::from_value(Value::Object(listed.fields));
        let app: Self = app.map_err(|error| error.to_string())?;
        Ok(Self {
            tasks: listed.tasks,
            ..app
        })
    }

    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.as_ref()?.get(name)?.as_str()
    }

    /// Returns the update that changes the number of instances and nothing else. An update that leaves out these two
    /// fields resets them (Marathon 1.10, raml/AppConversion.scala), which is a change of configuration, and that
    /// restarts every task.
    pub(super) fn resized(&self, instances: u32) -> Value {
        let mut update = json!({ "instances": instances });
        for (name, value) in [
            ("executorResources", &self.executor_resources),
            ("resourceLimits", &self.resource_limits),
        ] {
            if let Some(value) = value {
                update[name] = value.clone();
            }
        }
        update
    }

    /// Returns the ids of the deployments that lock the app.
    pub(super) fn locked_by(&self) -> Vec<String> {
        self.deployments
            .iter()
            .flatten()
            .map(|deployment| deployment.id.clone())
            .collect()
    }

    /// Returns the app as a revision, or why its answer cannot be trusted.
    pub(super) fn sighting(&self, clock: &Clock) -> Result<RevisionSighting, String> {
        let counts = [self.tasks_running, self.tasks_staged];
        let told: u64 = counts.into_iter().flatten().map(u64::from).sum();
        if self.tasks.is_none() && told > 0 {
            return Err(format!(
                "{} lists no tasks and counts {told} of them",
                self.id
            ));
        }
        let tasks = self.tasks.iter().flatten();
        Ok(RevisionSighting {
            id: RevisionId(self.id.clone()),
            wanted: self.instances,
            locked: self
                .deployments
                .as_ref()
                .is_some_and(|them| !them.is_empty()),
            checked: self.checks() > 0,
            trouble: self.last_task_failure.as_ref().map(TaskFailure::sentence),
            instances: tasks
                .filter_map(|task| self.instance(task, clock))
                .collect(),
        })
    }

    /// Returns a task as an instance; None when it has come to its end.
    fn instance(&self, task: &Task, clock: &Clock) -> Option<InstanceSighting> {
        let health = task.health(self.checks());
        let settled = (health == Health::Healthy)
            .then(|| task.healthy_since())
            .flatten();
        Some(InstanceSighting {
            id: InstanceId(task.id.clone()),
            phase: task.phase()?,
            current: self.runs_latest(task),
            health,
            healthy_since: settled.and_then(|moment| clock.ours(moment)),
            addresses: self.addresses(task),
        })
    }

    fn checks(&self) -> usize {
        self.health_checks.as_ref().map_or(0, Vec::len)
    }

    /// A task keeps the version it was launched at, and a mere change of scale makes a new one of the app: only the
    /// last change of configuration counts.
    fn runs_latest(&self, task: &Task) -> bool {
        let changed = self
            .version_info
            .as_ref()
            .and_then(|info| info.last_config_change_at.as_ref());
        match (&task.version, changed, &self.version) {
            (Some(task), Some(changed), _) => match (moment(task), moment(changed)) {
                (Some(task), Some(changed)) => task >= changed,
                (_, _) => task == changed,
            },
            (Some(task), None, Some(version)) => task == version,
            (None, _, _) | (Some(_), None, None) => true,
        }
    }

    /// Returns where a task is reached, by the port index that health checks and service ports count by: the place in
    /// the port mappings where there are any, else in the host's ports. A task lists host ports of those mappings alone
    /// that have one, and a mapping without one is reached in the container's own network or not at all (Marathon,
    /// core/task/state/NetworkInfo.scala).
    fn addresses(&self, task: &Task) -> Addresses {
        let host_ports = task.ports.as_deref().unwrap_or_default();
        let on_host = |port: &u16| address(task.host.as_deref(), *port);
        let own_ip = task
            .ip_addresses
            .iter()
            .flatten()
            .find_map(|ip| ip.ip_address.as_deref());
        let own_network = match self.network() {
            Some(network) => network == OwnOr::Own,
            None => host_ports.is_empty() && own_ip.is_some(),
        };
        let mappings = self.mappings();
        if mappings.is_empty() {
            return if own_network {
                self.discovered(own_ip)
            } else {
                host_ports.iter().map(on_host).collect()
            };
        }
        let all_on_host = host_ports.len() >= mappings.len();
        let mut host_ports = host_ports.iter();
        let of_mapping = |mapping: &PortMapping| {
            if all_on_host || mapping.host_port.is_some() {
                return host_ports.next().and_then(on_host);
            }
            let port = mapping.container_port.filter(|port| *port > 0);
            address(own_ip.filter(|_| own_network), port?)
        };
        mappings.iter().map(of_mapping).collect()
    }

    fn discovered(&self, own_ip: Option<&str>) -> Addresses {
        let discovery = self
            .ip_address
            .as_ref()
            .and_then(|ip| ip.discovery.as_ref());
        let ports = discovery
            .and_then(|discovery| discovery.ports.as_deref())
            .unwrap_or_default();
        let of_port = |port: &DiscoveryPort| address(own_ip, port.number?);
        ports.iter().map(of_port).collect()
    }

    /// Returns which network the tasks are in, if the app says so: `networks` since 1.5, `ipAddress` and
    /// `container.docker.network` before.
    fn network(&self) -> Option<OwnOr> {
        if self.ip_address.is_some() {
            return Some(OwnOr::Own);
        }
        let modes = self.networks.iter().flatten();
        let mode = modes.filter_map(|network| network.mode.as_deref()).next();
        let docker = self.container.as_ref().and_then(|one| one.docker.as_ref());
        let older = docker.and_then(|docker| docker.network.as_deref());
        match (mode, older) {
            (Some("container"), _) | (None, Some("USER")) => Some(OwnOr::Own),
            (Some(_), _) | (None, Some(_)) => Some(OwnOr::Hosts),
            (None, None) => None,
        }
    }

    fn mappings(&self) -> &[PortMapping] {
        let Some(container) = &self.container else {
            return &[];
        };
        let older = container
            .docker
            .as_ref()
            .and_then(|docker| docker.port_mappings.as_deref());
        container
            .port_mappings
            .as_deref()
            .or(older)
            .unwrap_or_default()
    }
}

impl Task {
    fn phase(&self) -> Option<Phase> {
        let Some(state) = &self.state else {
            // Before 1.1 a task has no state, and `startedAt` appears when it first runs.
            return Some(if self.started_at.is_some() {
                Phase::Running
            } else {
                Phase::Starting
            });
        };
        match state.as_str() {
            "TASK_CREATED" | "TASK_SCHEDULED" | "TASK_PROVISIONED" | "TASK_STAGING"
            | "TASK_STARTING" => Some(Phase::Starting),
            "TASK_RUNNING" => Some(Phase::Running),
            "TASK_KILLING" => Some(Phase::Stopping),
            "TASK_GONE"
            | "TASK_GONE_BY_OPERATOR"
            | "TASK_DROPPED"
            | "TASK_ERROR"
            | "TASK_FAILED"
            | "TASK_FINISHED"
            | "TASK_KILLED" => None,
            // TASK_UNREACHABLE, TASK_UNKNOWN, TASK_LOST, and what a later Mesos may add: it may still run.
            _ => Some(Phase::Unreachable),
        }
    }

    /// Results of this incarnation. From 1.8 on a task that crashed comes back under the same instance id, and Marathon
    /// keeps results by that id; it may not have cleared away what it knew of the incarnation before (1.10,
    /// core/health/impl/HealthCheckActor.scala).
    fn results(&self) -> impl Iterator<Item = &CheckResult> {
        let started = self.incarnation_began();
        let all = self.health_check_results.iter().flatten().flatten();
        all.filter(move |result| {
            let told = result.last_told();
            told.is_none_or(|told| started.is_none_or(|started| told + SAME_START >= started))
        })
    }

    /// Returns when the task started, if its id is one that a later incarnation's results could be mistaken for. Older
    /// tasks have an id of their own, and a `startedAt` that moved on whenever Mesos told their state again.
    fn incarnation_began(&self) -> Option<Moment> {
        let started = self.started_at.as_deref();
        moment(started.filter(|_| self.id.contains(".instance-"))?)
    }

    fn health(&self, checks: usize) -> Health {
        if self.results().any(CheckResult::is_dead) {
            return Health::Unhealthy;
        }
        let alive = self
            .results()
            .filter(|result| result.alive == Some(true))
            .count();
        if checks > 0 && alive >= checks && alive == self.results().count() {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    /// Returns since when every check has said alive without a break, on Marathon's clock.
    fn healthy_since(&self) -> Option<Moment> {
        let since: Option<Vec<Moment>> = self.results().map(CheckResult::alive_since).collect();
        since?.into_iter().chain(self.incarnation_began()).max()
    }
}

impl CheckResult {
    /// Returns when the check last said something, if it tells.
    fn last_told(&self) -> Option<Moment> {
        let told = [&self.last_success, &self.last_failure];
        told.into_iter()
            .filter_map(|told| moment(told.as_deref()?))
            .max()
    }

    fn is_dead(&self) -> bool {
        self.alive == Some(false) && !self.is_blank()
    }

    /// A check that fails within the grace period shows a result that says dead and that nothing ever happened.
    fn is_blank(&self) -> bool {
        self.consecutive_failures.unwrap_or(0) == 0
            && self.first_success.is_none()
            && self.last_success.is_none()
            && self.last_failure.is_none()
    }

    /// `firstSuccess` stays when a check fails in between, so it counts only where no failure came after it.
    fn alive_since(&self) -> Option<Moment> {
        let first = moment(self.first_success.as_deref()?)?;
        match &self.last_failure {
            None => Some(first),
            Some(failure) => (moment(failure)? < first).then_some(first),
        }
    }
}

fn moment(timestamp: &str) -> Option<Moment> {
    let timestamp = timestamp.parse::<jiff::Timestamp>().ok()?;
    u64::try_from(timestamp.as_millisecond()).ok().map(Moment)
}

fn address(host: Option<&str>, port: u16) -> Option<Address> {
    let host = host.filter(|host| !host.is_empty())?;
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    Some(Address(if bare_v6 {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }))
}

#[cfg(test)]
mod tests;
