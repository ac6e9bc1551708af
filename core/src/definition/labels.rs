//! What a definition's labels say to teal, and to marathon-lb where teal's own are absent.

use super::PendingSource;
use super::fields::object;
use super::pending;
use crate::name::{DeploymentId, RevisionId, ServiceName};
use crate::plan::Protocol;
use crate::problem::{Problem, nearest};
use crate::settings::SETTINGS;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The service's stable name.
pub const SERVICE: &str = "TEAL_SERVICE";
/// Written by teal on what it creates: the deployment that did.
pub const DEPLOYMENT: &str = "TEAL_DEPLOYMENT";
/// Written by teal on GREEN: the revision it replaces; absent at a first deployment.
pub const REPLACES: &str = "TEAL_REPLACES";
/// Written by teal on GREEN: the whole plan, so that another machine can go on with it.
pub const PLAN: &str = "TEAL_PLAN";

/// Written by teal on what it creates: tells two definitions of one revision id apart.
pub const DIGEST: &str = "TEAL_DIGEST";

const OWN: [&str; 13] = [
    SERVICE,
    DEPLOYMENT,
    REPLACES,
    PLAN,
    DIGEST,
    "TEAL_PENDING",
    "TEAL_PENDING_PATH",
    "TEAL_PENDING_GAUGE",
    "TEAL_PENDING_POINTER",
    "TEAL_PENDING_PORT_INDEX",
    "TEAL_LISTEN",
    "TEAL_PROTOCOL",
    "TEAL_HAPROXY_BACKEND",
];

/// The labels, understood.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    /// The service's name, if said.
    pub service: Option<ServiceName>,
    /// Where pending operations are read, if said.
    pub pending: Option<PendingSource>,
    /// Whether something was said of it that cannot be used.
    pub pending_is_broken: bool,
    /// What is said of pools, by port index.
    pub pools: BTreeMap<usize, PoolLabels>,
    /// Settings: name, value, label.
    pub settings: Vec<(String, String, String)>,
    /// The deployment that created it.
    pub deployment: Option<DeploymentId>,
    /// The revision that it replaces.
    pub replaces: Option<RevisionId>,
    /// The plan that teal wrote on it, as JSON.
    pub plan: Option<String>,
}

/// What is said of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolLabels {
    /// Where the balancer listens.
    pub listen: Option<String>,
    /// What it speaks.
    pub protocol: Option<Protocol>,
    /// What the pool is called where somebody else made it: the name of a backend of HAProxy.
    pub backend: Option<String>,
    /// The service port that marathon-lb has it at, which is in its name for the backend.
    pub port: Option<u16>,
}

impl Labels {
    /// Reads the labels of an app definition; what cannot be used is added to `problems`.
    #[must_use]
    pub fn read(body: &Map<String, Value>, problems: &mut Vec<Problem>) -> Self {
        let texts: BTreeMap<&str, &str> = object(body, "labels")
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| value.as_str().map(|text| (name.as_str(), text)))
            .collect();
        let mut labels = Self::default();
        for (name, text) in &texts {
            labels.take(name, text, problems);
        }
        if labels.service.is_none() {
            labels.service = texts
                .get("HAPROXY_DEPLOYMENT_GROUP")
                .map(|group| ServiceName::from(*group));
        }
        let before = problems.len();
        labels.pending = pending::read(&texts, problems);
        labels.pending_is_broken = problems.len() > before;
        labels
    }

    /// Reports pools for ports that instances do not have.
    pub(super) fn check_ports(&self, ports: usize, problems: &mut Vec<Problem>) {
        for index in self.pools.keys().filter(|index| **index >= ports) {
            problems.push(Problem::new(
                "labels",
                format!(
                    "a label speaks of port index {index}, and an instance has {ports} port(s)"
                ),
            ));
        }
        let gauge_port = match &self.pending {
            Some(
                PendingSource::Prometheus { port_index, .. }
                | PendingSource::Pointer { port_index, .. },
            ) => *port_index,
            Some(PendingSource::None) | None => return,
        };
        if gauge_port >= ports && ports > 0 {
            problems.push(Problem::new(
                "labels.TEAL_PENDING_PORT_INDEX",
                format!("there is no port index {gauge_port}: an instance has {ports} port(s)"),
            ));
        }
    }

    fn take(&mut self, name: &str, text: &str, problems: &mut Vec<Problem>) {
        if let Some(rest) = name.strip_prefix("HAPROXY_") {
            self.take_haproxy(rest, text);
            return;
        }
        let Some(rest) = name.strip_prefix("TEAL_") else {
            return;
        };
        match name {
            SERVICE => self.service = Some(ServiceName::from(text.trim_matches('/'))),
            DEPLOYMENT => self.deployment = Some(DeploymentId::from(text)),
            REPLACES => self.replaces = Some(RevisionId::from(text)),
            PLAN => self.plan = Some(text.to_owned()),
            _ if OWN[4..10].contains(&name) => {}
            _ => {
                let (index, key) = split_index(rest);
                match key {
                    "LISTEN" => self.listen(index, name, text, problems),
                    "PROTOCOL" => self.protocol(index, name, text, problems),
                    "HAPROXY_BACKEND" => self.backend(index, name, text, problems),
                    _ => self.setting(name, rest, text, problems),
                }
            }
        }
    }

    fn listen(&mut self, index: usize, name: &str, text: &str, problems: &mut Vec<Problem>) {
        let port = text.rsplit_once(':').and_then(|(host, port)| {
            (!host.is_empty())
                .then(|| port.parse::<u16>().ok())
                .flatten()
        });
        if port.is_none() {
            let problem = Problem::new(
                format!("labels.{name}"),
                format!("`{text}` is not host:port"),
            );
            problems.push(problem.hint("write it like 127.0.0.1:8090"));
        }
        self.pools.entry(index).or_default().listen = Some(text.to_owned());
    }

    fn protocol(&mut self, index: usize, name: &str, text: &str, problems: &mut Vec<Problem>) {
        let protocol = match text {
            "http" => Protocol::Http,
            "tcp" => Protocol::Tcp,
            _ => {
                let what = format!("`{text}` is none of http, tcp");
                problems.push(Problem::new(format!("labels.{name}"), what));
                return;
            }
        };
        self.pools.entry(index).or_default().protocol = Some(protocol);
    }

    fn backend(&mut self, index: usize, name: &str, text: &str, problems: &mut Vec<Problem>) {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        if text.is_empty() || !text.bytes().all(fine) {
            let what = format!("`{text}` is no name of a backend");
            let problem = Problem::new(format!("labels.{name}"), what);
            problems.push(problem.hint("HAProxy's names have letters, digits and `-_.:` alone"));
        }
        self.pools.entry(index).or_default().backend = Some(text.to_owned());
    }

    fn setting(&mut self, label: &str, rest: &str, text: &str, problems: &mut Vec<Problem>) {
        let name = rest.to_lowercase();
        if SETTINGS.iter().any(|setting| setting.name == name) {
            self.settings
                .push((name, text.to_owned(), format!("labels.{label}")));
            return;
        }
        let settings = SETTINGS
            .iter()
            .map(|setting| format!("TEAL_{}", setting.name.to_uppercase()));
        let known: Vec<String> = OWN
            .iter()
            .map(|own| (*own).to_owned())
            .chain(settings)
            .collect();
        let problem = Problem::new(
            format!("labels.{label}"),
            "teal knows no such label".to_owned(),
        );
        problems.push(match nearest(label, known.iter().map(String::as_str)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem
                .hint("labels that begin with TEAL_ are for teal; `teal deploy --help` lists them"),
        });
    }

    /// marathon-lb's labels count where teal's own are absent, so they never overwrite.
    fn take_haproxy(&mut self, rest: &str, text: &str) {
        let Some((index, key)) = rest.split_once('_') else {
            return;
        };
        let Ok(index) = index.parse::<usize>() else {
            return;
        };
        match key {
            "PORT" => {
                let pool = self.pools.entry(index).or_default();
                pool.port = text.parse().ok();
                pool.listen
                    .get_or_insert_with(|| format!("127.0.0.1:{text}"));
            }
            "MODE" => {
                let protocol = if text == "tcp" {
                    Protocol::Tcp
                } else {
                    Protocol::Http
                };
                self.pools
                    .entry(index)
                    .or_default()
                    .protocol
                    .get_or_insert(protocol);
            }
            _ => {}
        }
    }
}

/// `2_LISTEN` is about port index 2; `LISTEN` about port index 0.
fn split_index(rest: &str) -> (usize, &str) {
    match rest.split_once('_') {
        Some((index, key)) => index.parse().map_or((0, rest), |index| (index, key)),
        None => (0, rest),
    }
}
