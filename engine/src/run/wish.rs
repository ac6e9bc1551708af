//! What an app's definition means for its containers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Launch;
use super::container::{Containers, ENGINE_LABEL, TASK_LABEL, name_of};
use crate::definition::{self, Command, Container, Definition, HostVolume, Image, Limit};
use crate::docker::{Mounted, Network, Program, Published, Spec};
use crate::ports::task_ports;
use crate::world::CONTAINER_SANDBOX;

/// Says which app a container belongs to.
const APP_LABEL: &str = "teal.app";

/// A container that is to be run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    pub(super) image: Image,
    app: String,
    program: Program,
    network: Network,
    published: Vec<Published>,
    volumes: Vec<HostVolume>,
    cpus: f64,
    cpus_max: Option<Limit>,
    memory: f64,
    memory_max: Option<Limit>,
    user: Option<String>,
    tty: bool,
    parameters: Vec<(String, String)>,
}

impl Wish {
    /// Returns the container of a task with these host ports, or nothing where it needs none.
    pub(crate) fn of(definition: &Definition, host_ports: &[u16]) -> Option<Self> {
        let container = definition.container.as_ref()?;
        let image = container.image.clone()?;
        let program = match &definition.command {
            Command::Shell(line) => Program::Shell(line.clone()),
            Command::Arguments(words) => Program::Arguments(words.clone()),
            Command::OfImage => Program::OfImage,
        };
        let network = match &definition.network {
            definition::Network::Host => Network::Host,
            definition::Network::Bridge { .. } => Network::Bridge,
            definition::Network::Named { name, .. } => Network::Named(name.clone()),
        };
        let limits = definition.resource_limits;
        let mut parameters = linux_parameters(container);
        parameters.extend(image.parameters.iter().cloned());
        Some(Self {
            image,
            app: definition.id.to_string(),
            program,
            network,
            published: published(definition, host_ports),
            volumes: container.volumes.clone(),
            cpus: definition.cpus,
            cpus_max: limits.and_then(|limits| limits.cpus),
            memory: definition.mem,
            memory_max: limits.and_then(|limits| limits.mem),
            user: definition.user.clone(),
            tty: definition.tty.unwrap_or(false),
            parameters,
        })
    }

    /// Returns everything that the container of a launch is created with.
    pub(super) fn spec(&self, containers: &Containers, launch: &Launch) -> Spec {
        let name = name_of(&launch.task);
        let mut environment = launch.environment.clone();
        environment.insert("MESOS_CONTAINER_NAME".to_owned(), name);
        let labels = [
            (ENGINE_LABEL, containers.engine.as_str()),
            (TASK_LABEL, launch.task.as_str()),
            (APP_LABEL, self.app.as_str()),
        ];
        let labels: BTreeMap<String, String> = labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let cpus_asked = Some(self.cpus).filter(|_| containers.cpus_are_a_limit);
        let (memory_max, memory_reserved) = match self.memory_max {
            None => (Some(self.memory), None),
            Some(Limit::Unlimited) => (None, Some(self.memory)),
            Some(Limit::Amount(most)) => (Some(most), Some(self.memory)),
        };
        Spec {
            image: self.image.name.clone(),
            program: self.program.clone(),
            environment,
            labels,
            network: self.network.clone(),
            published: self.published.clone(),
            publish_on: containers.publish_on,
            mounted: self.mounted(&launch.sandbox),
            cpus: self.cpus,
            cpus_max: match self.cpus_max {
                None => cpus_asked,
                Some(Limit::Unlimited) => None,
                Some(Limit::Amount(most)) => Some(most),
            },
            memory_max,
            memory_reserved,
            privileged: self.image.privileged,
            tty: self.tty,
            user: self.user.clone(),
            parameters: self.parameters.clone(),
        }
    }

    /// Returns what of the machine is inside: the sandbox and the volumes. Their relative paths are
    /// below the sandbox, here and there (Mesos' `Docker::RunOptions::create`).
    fn mounted(&self, sandbox: &Path) -> Vec<Mounted> {
        let own = Mounted {
            host_path: sandbox.to_owned(),
            container_path: PathBuf::from(CONTAINER_SANDBOX),
            read_only: false,
        };
        let of_volume = |volume: &HostVolume| Mounted {
            host_path: sandbox.join(&volume.host_path),
            container_path: Path::new(CONTAINER_SANDBOX).join(&volume.container_path),
            read_only: volume.read_only,
        };
        [own]
            .into_iter()
            .chain(self.volumes.iter().map(of_volume))
            .collect()
    }
}

/// Returns the ports that can be reached through the machine. A protocol may be `udp,tcp`: both.
fn published(definition: &Definition, host_ports: &[u16]) -> Vec<Published> {
    let mappings = definition.port_mappings().iter();
    let ports = task_ports(definition, host_ports);
    let of = mappings.zip(ports).filter_map(|(mapping, port)| {
        let host_port = port.host?;
        let protocols = mapping.protocol.split(',').map(move |protocol| Published {
            container_port: port.container,
            host_port,
            protocol: protocol.to_owned(),
        });
        Some(protocols.collect::<Vec<_>>())
    });
    of.flatten().collect()
}

/// Returns the Linux settings of a definition as flags of `docker run`.
fn linux_parameters(container: &Container) -> Vec<(String, String)> {
    let mut parameters = Vec::new();
    let mut add = |key: &str, value: String| parameters.push((key.to_owned(), value));
    let Some(linux) = &container.linux else {
        return parameters;
    };
    if linux.unconfined == Some(true) {
        add("security-opt", "seccomp=unconfined".to_owned());
    }
    if let Some(ipc) = linux.ipc {
        let mode = if ipc.shared { "host" } else { "private" };
        add("ipc", mode.to_owned());
        if let Some(size) = ipc.size_mib {
            add("shm-size", format!("{size}m"));
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;

    #[test]
    fn only_ports_with_a_host_port_are_published_and_both_protocols_are() {
        let app = definition_of(json!({
            "id": "a",
            "container": {
                "docker": { "image": "i" },
                "portMappings": [
                    { "containerPort": 53, "hostPort": 0, "protocol": "udp,tcp" },
                    { "containerPort": 9000 },
                ],
            },
            "networks": [{ "name": "front" }],
        }));

        let wish = Wish::of(&app, &[31_005]).expect("a container");

        let published: Vec<(u16, u16, &str)> = wish
            .published
            .iter()
            .map(|port| (port.container_port, port.host_port, port.protocol.as_str()))
            .collect();
        assert_eq!(published, [(53, 31_005, "udp"), (53, 31_005, "tcp")]);
        assert_eq!(wish.network, Network::Named("front".to_owned()));
    }

    #[test]
    fn relative_paths_of_volumes_are_in_the_sandbox() {
        let app = definition_of(json!({
            "id": "a",
            "container": {
                "docker": { "image": "i" },
                "volumes": [
                    { "hostPath": "/etc/hosts", "containerPath": "hosts", "mode": "RO" },
                    { "hostPath": "data", "containerPath": "/data", "mode": "RW" },
                ],
            },
        }));
        let wish = Wish::of(&app, &[]).expect("a container");

        let mounted: Vec<String> = wish
            .mounted(Path::new("/s"))
            .iter()
            .map(|mount| {
                let (outside, inside) = (mount.host_path.display(), mount.container_path.display());
                format!("{outside} {inside} {}", mount.read_only)
            })
            .collect();

        assert_eq!(
            mounted,
            [
                "/s /mnt/mesos/sandbox false",
                "/etc/hosts /mnt/mesos/sandbox/hosts true",
                "/s/data /data false",
            ]
        );
    }

    #[test]
    fn an_app_without_an_image_needs_no_container() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1" }));

        assert_eq!(Wish::of(&app, &[31_005]), None);
    }
}
