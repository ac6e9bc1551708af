//! What the operator wrote: a Marathon app definition as it is, with teal's own words in its labels.
//!
//! Every mistake is reported at once. What teal does not use is passed on to the orchestrator untouched.

mod fields;
mod labels;
mod pending;

pub use labels::{DEPLOYMENT, DIGEST, Labels, PLAN, PoolLabels, REPLACES, SERVICE};

use crate::name::{PoolId, RevisionId, ServiceName};
use crate::problem::Problem;
use crate::settings::Settings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Ports beyond this many are not looked for in a balancer, unless a label speaks of them.
const PORTS: usize = 8;

/// An app definition that teal can deploy.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The app id as written, made absolute: `/green-oinker`.
    pub id: RevisionId,
    /// The service it belongs to.
    pub service: ServiceName,
    /// How many instances it asks for.
    pub instances: u32,
    /// How many health checks it declares.
    pub health_checks: usize,
    /// The service ports it asks for, one per port of an instance; 0 where the orchestrator is to choose.
    pub service_ports: Vec<u16>,
    /// What its labels say to teal.
    pub labels: Labels,
    /// The whole, as written.
    pub body: Map<String, Value>,
}

/// Where an instance's pending operations are read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum PendingSource {
    /// Nowhere, and the definition says so: only in-flight is watched.
    None,
    /// A gauge on a page in Prometheus' text format.
    Prometheus {
        /// The page's path.
        path: String,
        /// The gauge's name, optionally with labels: `queue_length{queue="db"}`. Series that match are added up.
        gauge: String,
        /// Which of the instance's ports answers.
        port_index: usize,
    },
    /// A number in a JSON document.
    Pointer {
        /// The document's path.
        path: String,
        /// Where in it the number stands (RFC 6901): `/pending/operations`.
        pointer: String,
        /// Which of the instance's ports answers.
        port_index: usize,
    },
}

/// What an operator said besides the file: settings by name, each with the place it was written at.
pub type Overrides<'a> = &'a [(String, String, String)];

impl Definition {
    /// Parses a definition and resolves the settings of its deployment: `base` (defaults and the project's file),
    /// then the definition's labels, then `overrides` (environment and flags).
    ///
    /// # Errors
    /// Everything that is wrong: malformed JSON (one problem, with line and column), or every unknown key, wrong
    /// type, missing part, unusable label and setting at once.
    pub fn resolve(
        text: &str,
        base: &Settings,
        overrides: Overrides<'_>,
    ) -> Result<(Self, Settings), Vec<Problem>> {
        let body = parse_object(text)?;
        let mut problems = Vec::new();
        let definition = Self::gather(body, &mut problems);
        let mut settings = base.clone();
        let labels = definition.labels.settings.iter();
        for (name, value, place) in labels.chain(overrides) {
            if let Err(problem) = settings.set(name, value, place) {
                problems.push(problem);
            }
        }
        problems.extend(settings.contradictions());
        definition.check_deployable(&settings, &mut problems);
        if problems.is_empty() {
            Ok((definition, settings))
        } else {
            Err(problems)
        }
    }

    /// Reads what can be read of a definition that runs already; its mistakes are not ours to report.
    #[must_use]
    pub fn of_running(body: &Map<String, Value>) -> Self {
        Self::gather(body.clone(), &mut Vec::new())
    }

    /// Returns what the pool of a port index may be called, the likeliest first: what a label says alone, or else what
    /// teal calls it, and what marathon-lb calls it (`<group>_<port>`; its `marathon_lb.py`, `App.backend`).
    #[must_use]
    pub fn pool_ids_of(&self, index: usize) -> Vec<PoolId> {
        let labels = self.labels.pools.get(&index);
        if let Some(backend) = labels.and_then(|labels| labels.backend.as_ref()) {
            return vec![PoolId::from(backend.as_str())];
        }
        let own = match index {
            0 => PoolId::from(self.service.as_str()),
            _ => PoolId(format!("{}:{index}", self.service)),
        };
        let port = labels.and_then(|labels| labels.port);
        let marathon_lbs = port.map(|port| PoolId(format!("{}_{port}", self.service)));
        std::iter::once(own).chain(marathon_lbs).collect()
    }

    /// Returns everything that a pool of this service may be called.
    #[must_use]
    pub fn pool_ids(&self) -> Vec<PoolId> {
        let named = self
            .labels
            .pools
            .keys()
            .copied()
            .filter(|index| *index >= PORTS);
        let ports = (0..PORTS).chain(named);
        ports.flat_map(|index| self.pool_ids_of(index)).collect()
    }

    fn gather(body: Map<String, Value>, problems: &mut Vec<Problem>) -> Self {
        problems.extend(fields::check(&body));
        fields::check_command(&body, problems);
        let labels = Labels::read(&body, problems);
        let id = RevisionId(fields::id(&body, problems));
        let service_ports = fields::service_ports(&body);
        labels.check_ports(service_ports.len(), problems);
        Self {
            service: labels.service.clone().unwrap_or_else(|| service_of_id(&id)),
            id,
            instances: fields::instances(&body),
            health_checks: body
                .get("healthChecks")
                .and_then(Value::as_array)
                .map_or(0, Vec::len),
            service_ports,
            labels,
            body,
        }
    }

    fn check_deployable(&self, settings: &Settings, problems: &mut Vec<Problem>) {
        if self.health_checks == 0 && !settings.without_health_checks {
            problems.push(
                Problem::new("healthChecks", "no health check is declared, so nothing can tell when GREEN may serve")
                    .hint("declare at least one, or accept running for min_healthy_time as evidence with --without-health-checks"),
            );
        }
        if self.labels.pending.is_none() && !self.labels.pending_is_broken {
            problems.push(
                Problem::new("labels", "nothing says where pending operations are read, so nothing can tell when BLUE may stop")
                    .hint("set TEAL_PENDING_PATH and TEAL_PENDING_GAUGE (Prometheus) or TEAL_PENDING_POINTER (JSON); \
                           if the service has no such gauge, say TEAL_PENDING=none and only in-flight is watched"),
            );
        }
        if self.service_ports.is_empty() {
            problems.push(
                Problem::new(
                    "portDefinitions",
                    "the definition gives its instances no port, so no balancer can reach them",
                )
                .hint("leave `ports` out (one is given) or write \"ports\": [0]"),
            );
        }
    }
}

fn parse_object(text: &str) -> Result<Map<String, Value>, Vec<Problem>> {
    let whole = |problem: Problem| {
        vec![problem.hint("teal deploys one app at a time: one file, one `{ … }`")]
    };
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_),
        ) => Err(whole(Problem::new(
            "",
            "an app definition is one JSON object",
        ))),
        Err(error) => Err(vec![
            Problem::new(
                format!("line {}, column {}", error.line(), error.column()),
                format!("this is not JSON: {}", without_position(&error)),
            )
            .hint("check for a missing comma, quote or bracket just before this place"),
        ]),
    }
}

/// Returns every unknown key and wrong type of a part of a definition, such as a change of an app.
#[must_use]
pub fn check_part(part: &Map<String, Value>) -> Vec<Problem> {
    fields::check(part)
}

/// Returns the service that an app's id stands for: without a `blue-`/`green-` prefix or a `-blue`/`-green` suffix in
/// its last segment. A revision suffix that teal added itself is in the app's labels and not guessed here.
#[must_use]
pub fn service_of_id(id: &RevisionId) -> ServiceName {
    let path = id.as_str().trim_matches('/');
    let (group, last) = path
        .rsplit_once('/')
        .map_or(("", path), |(group, last)| (group, last));
    let bare = ["blue-", "green-"]
        .iter()
        .find_map(|prefix| last.strip_prefix(prefix));
    let bare = bare.or_else(|| {
        ["-blue", "-green"]
            .iter()
            .find_map(|end| last.strip_suffix(end))
    });
    let last = bare.filter(|bare| !bare.is_empty()).unwrap_or(last);
    if group.is_empty() {
        ServiceName::from(last)
    } else {
        ServiceName(format!("{group}/{last}"))
    }
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).to_owned()
}
