//! The container of an app: its image, its volumes and what Linux allows it.
//!
//! Follows `appContainer.raml`, `volumes.raml` and `linux.raml`, and the rules of
//! `AppValidation.validContainer`, of Marathon 1.10.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::networks::Network;
use super::ports::PortMapping;
use crate::issues::Issues;

/// What surrounds a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) kind: ContainerKind,
    /// What the task's files come from; nothing: it is a process of the machine.
    pub(crate) image: Option<Image>,
    pub(crate) volumes: Vec<HostVolume>,
    /// In the order of port indices; empty in host mode.
    pub(crate) port_mappings: Vec<PortMapping>,
    pub(crate) linux: Option<LinuxInfo>,
}

/// Which of Marathon's two container types was written. Both are run in the same way here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContainerKind {
    Docker,
    Mesos,
}

/// A Docker image and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The image's name, with an optional registry before and tag or digest behind.
    pub(crate) name: String,
    /// Whether the image is pulled although it is there.
    pub(crate) force_pull: bool,
    pub(crate) privileged: bool,
    /// Options of `docker run` without their dashes, each with its value.
    pub(crate) parameters: Vec<(String, String)>,
}

/// A file or folder of the machine that is seen inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostVolume {
    /// Absolute, or below the sandbox's place inside the container.
    pub(crate) container_path: String,
    /// Absolute, or below the task's sandbox on the machine.
    pub(crate) host_path: String,
    pub(crate) read_only: bool,
}

/// Linux settings of a container of type MESOS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LinuxInfo {
    /// Whether system calls are not filtered; nothing: the container engine's own rule.
    pub(crate) unconfined: Option<bool>,
    pub(crate) ipc: Option<Ipc>,
}

/// The shared memory of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ipc {
    /// Whether the machine's shared memory is used (`SHARE_PARENT`) instead of one's own.
    pub(crate) shared: bool,
    /// The size of `/dev/shm` in MiB.
    pub(crate) size_mib: Option<u32>,
}

impl Container {
    /// Reads `container`; port mappings come later. An `ipAddress` alone implies an empty one.
    pub(super) fn read(
        fields: &Fields<'_>,
        network: &Network,
        issues: &mut Issues,
    ) -> Option<Self> {
        let Some(container) = fields.object("container", issues) else {
            if fields.has("ipAddress") {
                refuse_without_image(&fields.path("ipAddress"), network, issues);
            } else {
                refuse_without_image(&fields.path("networks"), network, issues);
            }
            return None;
        };
        let kind = read_kind(&container, issues);
        let docker = container.object("docker", issues);
        if kind == ContainerKind::Docker && docker.is_none() {
            issues.add(
                &container.path("docker"),
                "must be given with an image for a container of type DOCKER",
            );
        }
        if kind == ContainerKind::Docker && fields.has_content("ipAddress") {
            let address = fields.object("ipAddress", issues);
            if address.is_some_and(|address| address.has_content("discovery")) {
                issues.add(
                    "/ipAddress",
                    "ipAddress/discovery is not allowed for Docker containers",
                );
            }
        }
        let image = docker.map(|docker| Image::read(&docker, kind, issues));
        let volumes = read_volumes(&container, image.is_some(), issues);
        let linux = read_linux(&container, kind, image.is_some(), issues);
        if image.is_none() && kind == ContainerKind::Mesos {
            refuse_without_image(&fields.path("networks"), network, issues);
        }
        Some(Self {
            kind,
            image,
            volumes,
            port_mappings: Vec::new(),
            linux,
        })
    }

    /// Returns the container as it stands in an app object on this network.
    pub(super) fn to_json(&self, network: &Network) -> Value {
        let mut container = Map::new();
        let mut put = |key: &str, value: Value| {
            container.insert(key.to_owned(), value);
        };
        put("type", json!(self.kind.as_str()));
        if let Some(image) = &self.image {
            put("docker", image.to_json());
        }
        if let Some(linux) = &self.linux {
            put("linuxInfo", linux.to_json());
        }
        put(
            "volumes",
            self.volumes.iter().map(HostVolume::to_json).collect(),
        );
        if !network.is_host() {
            let mappings = self.port_mappings.iter().map(PortMapping::to_json);
            put("portMappings", mappings.collect());
        }
        Value::Object(container)
    }
}

/// A process shares the machine's network; a network of its own needs a container.
fn refuse_without_image(path: &str, network: &Network, issues: &mut Issues) {
    if !network.is_host() {
        issues.add(
            path,
            "a network of its own is not supported by this engine for an app without a container \
             image: processes use the host's network",
        );
    }
}

impl ContainerKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "DOCKER",
            Self::Mesos => "MESOS",
        }
    }
}

fn read_kind(container: &Fields<'_>, issues: &mut Issues) -> ContainerKind {
    match container.text("type", issues).unwrap_or("DOCKER") {
        "DOCKER" => ContainerKind::Docker,
        "MESOS" => ContainerKind::Mesos,
        _ => {
            issues.add(&container.path("type"), "error.unknown.enum.literal");
            ContainerKind::Mesos
        }
    }
}

impl Image {
    fn read(docker: &Fields<'_>, kind: ContainerKind, issues: &mut Issues) -> Self {
        let name = docker.text("image", issues);
        match name {
            None if docker.has("image") => {}
            None => issues.add_path_missing(&docker.path("image")),
            Some(name) if name.trim().is_empty() => {
                issues.add(&docker.path("image"), "must not be empty");
            }
            Some(_) => {}
        }
        if docker.has_content("credential") {
            issues.add(&docker.path("credential"), "must be empty");
        }
        if docker.has_content("pullConfig") {
            let problem = match kind {
                ContainerKind::Docker => "pullConfig is not supported with Docker containerizer",
                ContainerKind::Mesos => {
                    "is not supported by this engine: it has no secrets; log in to the registry \
                     with 'docker login' on this machine instead"
                }
            };
            issues.add(&docker.path("pullConfig"), problem);
        }
        if kind == ContainerKind::Mesos {
            for key in ["network", "parameters", "portMappings"] {
                if docker.has_content(key) {
                    issues.add(&docker.path(key), "must be empty");
                }
            }
        }
        Self {
            name: name.unwrap_or_default().to_owned(),
            force_pull: docker.boolean("forcePullImage", issues).unwrap_or(false),
            privileged: docker.boolean("privileged", issues).unwrap_or(false),
            parameters: read_parameters(docker, issues),
        }
    }

    fn to_json(&self) -> Value {
        let parameters: Vec<Value> = self
            .parameters
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        json!({
            "forcePullImage": self.force_pull,
            "image": self.name,
            "parameters": parameters,
            "privileged": self.privileged,
        })
    }
}

fn read_parameters(docker: &Fields<'_>, issues: &mut Issues) -> Vec<(String, String)> {
    let objects = docker.objects("parameters", issues).unwrap_or_default();
    let parameters = objects.iter().map(|object| {
        let mut text = |key: &str| {
            if !object.has(key) {
                issues.add_path_missing(&object.path(key));
            }
            object.text(key, issues).unwrap_or_default().to_owned()
        };
        (text("key"), text("value"))
    });
    parameters.collect()
}

fn read_volumes(container: &Fields<'_>, has_image: bool, issues: &mut Issues) -> Vec<HostVolume> {
    let objects = container.objects("volumes", issues).unwrap_or_default();
    let volumes = objects
        .iter()
        .filter_map(|object| HostVolume::read(object, has_image, issues));
    volumes.collect()
}

impl HostVolume {
    fn read(fields: &Fields<'_>, has_image: bool, issues: &mut Issues) -> Option<Self> {
        let elsewhere = [
            (
                "persistent",
                "persistent volumes are not supported by this engine: use a volume with a hostPath",
            ),
            (
                "external",
                "external volumes are not supported by this engine: use a volume with a hostPath",
            ),
            (
                "secret",
                "secret volumes are not supported by this engine: it has no secrets",
            ),
        ];
        if let Some((key, problem)) = elsewhere.iter().find(|(key, _)| fields.has(key)) {
            issues.add(&fields.path(key), *problem);
            return None;
        }
        if !has_image {
            issues.add(
                &fields.path("hostPath"),
                "is not supported by this engine for an app without a container image: a process \
                 sees the machine's own files",
            );
            return None;
        }
        let mut path = |key: &str| {
            if !fields.has(key) {
                issues.add_path_missing(&fields.path(key));
            }
            let path = fields.text(key, issues);
            if path.is_some_and(str::is_empty) {
                issues.add(&fields.path(key), "must not be empty");
            }
            path.unwrap_or_default().to_owned()
        };
        let (container_path, host_path, mode) =
            (path("containerPath"), path("hostPath"), path("mode"));
        if !["RO", "RW", ""].contains(&mode.as_str()) {
            issues.add(&fields.path("mode"), "error.unknown.enum.literal");
        }
        Some(Self {
            container_path,
            host_path,
            read_only: mode == "RO",
        })
    }

    fn to_json(&self) -> Value {
        json!({
            "containerPath": self.container_path,
            "hostPath": self.host_path,
            "mode": if self.read_only { "RO" } else { "RW" },
        })
    }
}

fn read_linux(
    container: &Fields<'_>,
    kind: ContainerKind,
    has_image: bool,
    issues: &mut Issues,
) -> Option<LinuxInfo> {
    let linux = container.object("linuxInfo", issues)?;
    if kind == ContainerKind::Docker || !has_image {
        issues.add(
            &container.path("linuxInfo"),
            "is honoured by this engine only for containers of type MESOS with an image",
        );
    }
    let seccomp = linux.object("seccomp", issues);
    if let Some(seccomp) = &seccomp
        && seccomp.has("profileName")
    {
        issues.add(
            &seccomp.path("profileName"),
            "is not supported by this engine: it has no folder of seccomp profiles",
        );
    }
    let ipc = linux.object("ipcInfo", issues);
    Some(LinuxInfo {
        unconfined: seccomp.map(|seccomp| seccomp.boolean("unconfined", issues).unwrap_or(false)),
        ipc: ipc.map(|ipc| Ipc::read(&ipc, issues)),
    })
}

impl Ipc {
    fn read(fields: &Fields<'_>, issues: &mut Issues) -> Self {
        const MEMORY_MIB_MAX: u32 = 1 << 20;
        let shared = match fields.text("mode", issues) {
            Some("SHARE_PARENT") => true,
            Some("PRIVATE") => false,
            Some(_) => {
                issues.add(&fields.path("mode"), "error.unknown.enum.literal");
                false
            }
            None if fields.has("mode") => false,
            None => {
                issues.add_path_missing(&fields.path("mode"));
                false
            }
        };
        Self {
            shared,
            size_mib: fields.whole("shmSize", MEMORY_MIB_MAX, issues),
        }
    }
}

impl LinuxInfo {
    fn to_json(&self) -> Value {
        let mut linux = Map::new();
        if let Some(unconfined) = self.unconfined {
            linux.insert("seccomp".to_owned(), json!({ "unconfined": unconfined }));
        }
        if let Some(ipc) = self.ipc {
            let mode = if ipc.shared {
                "SHARE_PARENT"
            } else {
                "PRIVATE"
            };
            let mut info = json!({ "mode": mode });
            if let Some(size) = ipc.size_mib {
                info["shmSize"] = json!(size);
            }
            linux.insert("ipcInfo".to_owned(), info);
        }
        Value::Object(linux)
    }
}
