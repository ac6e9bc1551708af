//! How an app's tasks are connected, in today's spelling and in the two that came before it.
//!
//! Follows `AppNormalization.NetworkTranslation` and `NetworkValidation` of Marathon 1.10.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::print::entries;
use crate::issues::Issues;

/// The name by which an old `ipAddress` asks for the bridge (`--mesos_bridge_name`'s default).
const BRIDGE_NAME: &str = "mesos-bridge";

/// The network of an app's tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Network {
    /// The machine's own: a task binds its host ports itself.
    Host,
    /// An address of its own behind the container engine's default bridge.
    Bridge { labels: Vec<(String, String)> },
    /// An address of its own in a network that was made by this name beforehand.
    Named {
        name: String,
        labels: Vec<(String, String)>,
    },
}

impl Network {
    /// Returns whether tasks use the machine's own network.
    pub(crate) fn is_host(&self) -> bool {
        *self == Self::Host
    }

    /// Returns the `networks` of an app object.
    pub(super) fn to_json(&self) -> Value {
        let mut network = Map::new();
        let (mode, labels) = match self {
            Self::Host => ("host", None),
            Self::Bridge { labels } => ("container/bridge", Some(labels)),
            Self::Named { name, labels } => {
                network.insert("name".to_owned(), json!(name));
                ("container", Some(labels))
            }
        };
        network.insert("mode".to_owned(), json!(mode));
        if let Some(labels) = labels.filter(|labels| !labels.is_empty()) {
            network.insert("labels".to_owned(), entries(labels));
        }
        json!([network])
    }

    /// Reads `networks`, or what `ipAddress` and `container.docker.network` say instead of it.
    pub(super) fn read(fields: &Fields<'_>, issues: &mut Issues) -> Self {
        let docker = fields
            .quiet_object("container")
            .and_then(|container| container.quiet_object("docker"));
        let old_mode = docker
            .as_ref()
            .and_then(|docker| docker.text("network", issues));
        let address = fields.object("ipAddress", issues);
        let wishes: Vec<Wish> = fields
            .objects("networks", issues)
            .unwrap_or_default()
            .iter()
            .filter_map(|network| Wish::read(network, issues))
            .collect();
        if !wishes.is_empty() {
            if old_mode.is_some() {
                issues.add(
                    "/",
                    "must not specify both container.docker.network and networks",
                );
            }
            if address.is_some() {
                issues.add("/", "must not specify both networks and ipAddress");
            }
            return join(wishes, issues);
        }
        let old = old_wish(old_mode, address.as_ref(), issues);
        join(old.into_iter().collect(), issues)
    }
}

/// One entry of `networks` before the rules have been applied.
#[derive(Debug)]
struct Wish {
    mode: Mode,
    name: Option<String>,
    labels: Vec<(String, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Host,
    Bridge,
    Container,
}

impl Wish {
    fn read(fields: &Fields<'_>, issues: &mut Issues) -> Option<Self> {
        let mode = match fields.text("mode", issues).unwrap_or("container") {
            "host" => Mode::Host,
            "container/bridge" => Mode::Bridge,
            "container" => Mode::Container,
            _ => {
                issues.add(&fields.path("mode"), "error.unknown.enum.literal");
                return None;
            }
        };
        Some(Self {
            mode,
            name: fields.text("name", issues).map(str::to_owned),
            labels: fields.text_map("labels", issues).unwrap_or_default(),
        })
    }
}

/// Returns the network that the two old spellings ask for.
fn old_wish(
    old_mode: Option<&str>,
    address: Option<&Fields<'_>>,
    issues: &mut Issues,
) -> Option<Wish> {
    let name = address.and_then(|address| address.text("networkName", issues));
    let labels = address
        .and_then(|address| address.text_map("labels", issues))
        .unwrap_or_default();
    let mode = match old_mode {
        Some("HOST") => {
            return Some(Wish {
                mode: Mode::Host,
                name: None,
                labels: Vec::new(),
            });
        }
        Some("BRIDGE") => Mode::Bridge,
        Some("USER") => Mode::Container,
        Some(other) => {
            let problem = match other {
                "NONE" => "unsupported docker network type NONE",
                _ => "error.unknown.enum.literal",
            };
            issues.add("/container/docker/network", problem);
            return None;
        }
        None if address.is_none() => return None,
        None if name == Some(BRIDGE_NAME) => Mode::Bridge,
        None => Mode::Container,
    };
    Some(Wish {
        mode,
        name: name.filter(|_| mode == Mode::Container).map(str::to_owned),
        labels,
    })
}

/// Applies the rules that span the entries and returns the one network.
fn join(wishes: Vec<Wish>, issues: &mut Issues) -> Network {
    const PATH: &str = "/networks";
    let count = |mode| wishes.iter().filter(|wish| wish.mode == mode).count();
    let (hosts, bridges, others) = (
        count(Mode::Host),
        count(Mode::Bridge),
        count(Mode::Container),
    );
    let dressed = |wish: &&Wish| wish.name.is_some() || !wish.labels.is_empty();
    if wishes
        .iter()
        .filter(|w| w.mode == Mode::Host)
        .any(|w| dressed(&w))
    {
        issues.add(PATH, "Host networks may not have names or labels");
    }
    if wishes
        .iter()
        .any(|w| w.mode == Mode::Bridge && w.name.is_some())
    {
        issues.add(PATH, "Bridge networks may not have names");
    }
    let single = (hosts <= 1 && bridges == 0 && others == 0)
        || (hosts == 0 && bridges <= 1 && others == 0)
        || (hosts == 0 && bridges == 0);
    if !single {
        issues.add(
            PATH,
            "May specify a single host network, single bridge network, or else 1-to-n container \
             networks",
        );
    } else if others > 1 {
        issues.add(
            PATH,
            "more than one container network is not supported by this engine: it joins a task to \
             one network",
        );
    }
    let Some(wish) = wishes.into_iter().next() else {
        return Network::Host;
    };
    let labels = wish.labels;
    match (wish.mode, wish.name) {
        (Mode::Host, _) => Network::Host,
        (Mode::Bridge, _) => Network::Bridge { labels },
        (Mode::Container, Some(name)) => Network::Named { name, labels },
        (Mode::Container, None) => {
            issues.add(
                PATH,
                "Network name must be specified when container network is selected.",
            );
            Network::Bridge { labels }
        }
    }
}
