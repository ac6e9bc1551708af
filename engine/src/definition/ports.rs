//! The ports that tasks want: `portDefinitions` on the machine's network, `portMappings` elsewhere.
//!
//! Both spellings and the older `ports`, `container.docker.portMappings` and
//! `ipAddress.discovery.ports` end up here, by the rules of `AppNormalization.scala` in Marathon
//! 1.10. [`WantedPort`] is what the rest of the engine looks at: it is the same in every network.

use serde_json::{Map, Value, json};

use super::fields::{Fields, whole_value};
use super::networks::Network;
use super::print::entries;
use super::{Container, Definition};
use crate::issues::Issues;

const PORT_MAX: u32 = u16::MAX as u32;

/// One wanted port in host mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortDefinition {
    /// The service port, and the host port too where `requirePorts` is set. 0 = to be assigned.
    pub(crate) port: u16,
    pub(crate) protocol: String,
    pub(crate) name: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
}

/// One port of a container that has a network of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortMapping {
    /// The port inside the container; 0 = the same number as the host port.
    pub(crate) container_port: u16,
    /// The port on the machine; 0 = any free one, nothing = not reachable through the machine.
    pub(crate) host_port: Option<u16>,
    /// 0 = to be assigned.
    pub(crate) service_port: u16,
    pub(crate) protocol: String,
    pub(crate) name: Option<String>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) network_names: Vec<String>,
}

/// A port that every task of an app gets, whatever its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WantedPort<'a> {
    /// The port on which the task listens; 0 = the number of the host port.
    pub(crate) container_port: u16,
    /// The port on the machine; 0 = any free one, nothing = not reachable through the machine.
    pub(crate) host_port: Option<u16>,
    /// What balancers offer the port as; 0 = to be assigned.
    pub(crate) service_port: u16,
    /// The number by which the variable `PORT_<number>` calls it; 0 = that of the host port.
    pub(crate) requested: u16,
    pub(crate) name: Option<&'a str>,
}

impl Definition {
    /// Returns the ports of a task in the order of port indices.
    pub(crate) fn wanted_ports(&self) -> Vec<WantedPort<'_>> {
        if self.network.is_host() {
            let definitions = self.port_definitions.iter();
            return definitions
                .map(|definition| WantedPort {
                    container_port: 0,
                    host_port: Some(if self.require_ports {
                        definition.port
                    } else {
                        0
                    }),
                    service_port: definition.port,
                    requested: definition.port,
                    name: definition.name.as_deref(),
                })
                .collect();
        }
        let mappings = self.port_mappings().iter();
        mappings
            .map(|mapping| WantedPort {
                container_port: mapping.container_port,
                host_port: mapping.host_port,
                service_port: mapping.service_port,
                requested: mapping.container_port,
                name: mapping.name.as_deref(),
            })
            .collect()
    }

    /// Returns the port mappings; there are none in host mode.
    pub(crate) fn port_mappings(&self) -> &[PortMapping] {
        let container = self.container.as_ref();
        container.map_or(&[], |container| &container.port_mappings)
    }

    /// Sets the service port of the nth wanted port.
    pub(crate) fn set_service_port(&mut self, index: usize, port: u16) {
        if self.network.is_host() {
            if let Some(definition) = self.port_definitions.get_mut(index) {
                definition.port = port;
            }
        } else if let Some(mapping) = self
            .container
            .as_mut()
            .and_then(|container| container.port_mappings.get_mut(index))
        {
            mapping.service_port = port;
        }
    }
}

impl PortDefinition {
    fn any() -> Self {
        Self {
            port: 0,
            protocol: "tcp".to_owned(),
            name: None,
            labels: Vec::new(),
        }
    }

    fn read(fields: &Fields<'_>, issues: &mut Issues) -> Self {
        Self {
            port: read_port(fields, "port", issues).unwrap_or_default(),
            protocol: read_protocol(fields, issues),
            name: read_name(fields, issues),
            labels: fields.text_map("labels", issues).unwrap_or_default(),
        }
    }

    pub(super) fn to_json(&self) -> Value {
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

impl PortMapping {
    fn any() -> Self {
        Self {
            container_port: 0,
            host_port: None,
            service_port: 0,
            protocol: "tcp".to_owned(),
            name: None,
            labels: Vec::new(),
            network_names: Vec::new(),
        }
    }

    fn read(fields: &Fields<'_>, issues: &mut Issues) -> Self {
        Self {
            container_port: read_port(fields, "containerPort", issues).unwrap_or_default(),
            host_port: read_port(fields, "hostPort", issues),
            service_port: read_port(fields, "servicePort", issues).unwrap_or_default(),
            protocol: read_protocol(fields, issues),
            name: read_name(fields, issues),
            labels: fields.text_map("labels", issues).unwrap_or_default(),
            network_names: fields.texts("networkNames", issues).unwrap_or_default(),
        }
    }

    /// Reads a port of `ipAddress.discovery`: it is not reachable through the machine.
    fn read_discovered(fields: &Fields<'_>, issues: &mut Issues) -> Self {
        Self {
            container_port: read_port(fields, "number", issues).unwrap_or_default(),
            protocol: read_protocol(fields, issues),
            name: read_name(fields, issues),
            labels: fields.text_map("labels", issues).unwrap_or_default(),
            ..Self::any()
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut mapping = Map::new();
        let mut put = |key: &str, value: Value| {
            mapping.insert(key.to_owned(), value);
        };
        put("containerPort", json!(self.container_port));
        if let Some(port) = self.host_port {
            put("hostPort", json!(port));
        }
        put("labels", entries(&self.labels));
        if let Some(name) = &self.name {
            put("name", json!(name));
        }
        put("protocol", json!(self.protocol));
        put("servicePort", json!(self.service_port));
        if !self.network_names.is_empty() {
            put("networkNames", json!(self.network_names));
        }
        Value::Object(mapping)
    }
}

/// Reads every spelling of ports, leaves the mappings in the container and returns the definitions.
pub(super) fn read(
    fields: &Fields<'_>,
    network: &Network,
    container: &mut Option<Container>,
    issues: &mut Issues,
) -> Vec<PortDefinition> {
    let given = read_definitions(fields, issues);
    let mappings = read_mappings(fields, issues);
    if network.is_host() {
        return given.unwrap_or_else(|| {
            vec![PortDefinition {
                name: Some("default".to_owned()),
                ..PortDefinition::any()
            }]
        });
    }
    let mut mappings = mappings.unwrap_or_else(|| {
        vec![PortMapping {
            name: Some("default".to_owned()),
            ..PortMapping::any()
        }]
    });
    let wanted = given.map_or(0, |given| given.len()).max(mappings.len());
    mappings.resize(wanted, PortMapping::any());
    check_mappings(&mappings, network, issues);
    if let Network::Bridge { .. } = network {
        for mapping in &mut mappings {
            mapping.host_port.get_or_insert(0);
        }
    }
    if let Some(container) = container {
        container.port_mappings = mappings;
    }
    Vec::new()
}

fn read_definitions(fields: &Fields<'_>, issues: &mut Issues) -> Option<Vec<PortDefinition>> {
    let plain = read_plain_ports(fields, issues);
    let definitions: Option<Vec<PortDefinition>> =
        fields.objects("portDefinitions", issues).map(|objects| {
            objects
                .iter()
                .map(|object| PortDefinition::read(object, issues))
                .collect()
        });
    let given = fields.has_content("ports") || fields.has_content("portDefinitions");
    if given && fields.has("ipAddress") {
        issues.add("/", "cannot specify both an IP address and port");
    }
    if let Some(plain) = &plain
        && has_duplicates(&fixed(plain.iter().copied()))
    {
        issues.add("/", "ports must be unique");
    }
    if let Some(definitions) = &definitions {
        let numbers: Vec<u16> = definitions.iter().map(|d| d.port).collect();
        if plain.as_ref().is_some_and(|plain| *plain != numbers) {
            issues.add("/", "cannot specify both ports and port definitions");
        }
        if has_duplicates(&fixed(numbers.into_iter())) {
            issues.add("/portDefinitions", "Ports must be unique.");
        }
        let names: Vec<&String> = definitions.iter().filter_map(|d| d.name.as_ref()).collect();
        if has_duplicates(&names) {
            issues.add("/portDefinitions", "Port names must be unique.");
        }
    }
    let from_plain = |ports: Vec<u16>| {
        let definitions = ports.into_iter().map(|port| PortDefinition {
            port,
            ..PortDefinition::any()
        });
        definitions.collect()
    };
    definitions.or_else(|| plain.map(from_plain))
}

fn read_plain_ports(fields: &Fields<'_>, issues: &mut Issues) -> Option<Vec<u16>> {
    let ports = fields.array("ports", issues)?;
    let numbered = ports.iter().enumerate().map(|(index, port)| {
        let path = format!("/ports({index})");
        let port = whole_value(port, &path, PORT_MAX, issues).unwrap_or_default();
        u16::try_from(port).unwrap_or_default()
    });
    Some(numbered.collect())
}

/// Reads the mappings of the container, of its `docker` part, or of an `ipAddress`.
fn read_mappings(fields: &Fields<'_>, issues: &mut Issues) -> Option<Vec<PortMapping>> {
    let container = fields.quiet_object("container");
    let read = |objects: Vec<Fields<'_>>, issues: &mut Issues| -> Vec<PortMapping> {
        let mappings = objects
            .iter()
            .map(|object| PortMapping::read(object, issues));
        mappings.collect()
    };
    let own = container
        .as_ref()
        .and_then(|container| container.objects("portMappings", issues))
        .map(|objects| read(objects, issues));
    let old = container
        .as_ref()
        .and_then(|container| container.quiet_object("docker"))
        .and_then(|docker| docker.objects("portMappings", issues))
        .map(|objects| read(objects, issues));
    let discovered = fields
        .quiet_object("ipAddress")
        .and_then(|address| address.object("discovery", issues))
        .and_then(|discovery| discovery.objects("ports", issues))
        .filter(|ports| !ports.is_empty())
        .map(|ports| {
            let mappings = ports
                .iter()
                .map(|port| PortMapping::read_discovered(port, issues));
            mappings.collect::<Vec<PortMapping>>()
        });
    if own.is_some() && old.as_ref().is_some_and(|old| !old.is_empty()) {
        issues.add(
            "/container/docker/portMappings",
            "cannot specify both portMappings and docker.portMappings",
        );
    }
    if discovered.is_some() && (own.is_some() || old.is_some()) {
        issues.add(
            "/ipAddress/discovery/ports",
            "container.portMappings and ipAddress.discovery.ports must not both be set",
        );
    }
    own.or(old).or(discovered)
}

fn check_mappings(mappings: &[PortMapping], network: &Network, issues: &mut Issues) {
    let names: Vec<&String> = mappings.iter().filter_map(|m| m.name.as_ref()).collect();
    if has_duplicates(&names) {
        issues.add("/container/portMappings", "Port names must be unique.");
    }
    let known = match network {
        Network::Named { name, .. } => Some(name),
        Network::Host | Network::Bridge { .. } => None,
    };
    for (index, mapping) in mappings.iter().enumerate() {
        for (nth, name) in mapping.network_names.iter().enumerate() {
            if known != Some(name) {
                issues.add(
                    &format!("/container/portMappings({index})/networkNames({nth})"),
                    "is not the name of a network of this app",
                );
            }
        }
    }
}

fn read_port(fields: &Fields<'_>, key: &str, issues: &mut Issues) -> Option<u16> {
    let port = fields.whole(key, PORT_MAX, issues)?;
    u16::try_from(port).ok()
}

/// Reads a protocol. Both at once are written `udp,tcp`; the other order is an old slip that
/// Marathon mends (its issue MARATHON-8575).
fn read_protocol(fields: &Fields<'_>, issues: &mut Issues) -> String {
    let protocol = match fields.text("protocol", issues).unwrap_or("tcp") {
        "tcp,udp" => "udp,tcp",
        protocol => protocol,
    };
    if !["tcp", "udp", "udp,tcp"].contains(&protocol) {
        issues.add(&fields.path("protocol"), "error.unknown.enum.literal");
    }
    protocol.to_owned()
}

fn read_name(fields: &Fields<'_>, issues: &mut Issues) -> Option<String> {
    let name = fields.text("name", issues)?;
    if !is_port_name(name) {
        issues.add(
            &fields.path("name"),
            "must fully match regular expression '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
        );
    }
    Some(name.to_owned())
}

fn is_port_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

fn fixed(ports: impl Iterator<Item = u16>) -> Vec<u16> {
    ports.filter(|port| *port != 0).collect()
}

fn has_duplicates<T: PartialEq>(items: &[T]) -> bool {
    let mut rest = items;
    while let [first, others @ ..] = rest {
        if others.contains(first) {
            return true;
        }
        rest = others;
    }
    false
}
