//! The environment of a task: what Marathon and the Mesos executor would set, and nothing else.
//!
//! Follows `EnvironmentHelper.scala` and `TaskBuilder` of Marathon 1.10: later entries win and the
//! definition's own `env` comes last.

use std::collections::BTreeMap;

use crate::definition::{ContainerKind, Definition};
use crate::identity::TaskId;
use crate::ports::task_ports;
use crate::time::Stamp;

/// Labels whose variable would be longer than this, or with a longer value, are left out
/// (`EnvironmentHelper.maxEnvironmentVarLength`).
const VARIABLE_LENGTH_LIMIT: usize = 512;

/// What the variable of a label begins with.
const LABEL_PREFIX: &str = "MARATHON_APP_LABEL_";

/// What the environment is made of besides the definition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) version: Stamp,
    pub(crate) host: &'a str,
    pub(crate) ports: &'a [u16],
    pub(crate) sandbox: &'a str,
    /// The engine's own `PATH`, the one variable that is passed on; nothing where an image has its
    /// own.
    pub(crate) search_path: Option<&'a str>,
}

/// Returns the environment of a task.
pub(crate) fn of_task(
    definition: &Definition,
    around: Surroundings<'_>,
) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        environment.insert(key.to_owned(), value);
    };
    if let Some(path) = around.search_path {
        set("PATH", path.to_owned());
    }
    set("MESOS_SANDBOX", around.sandbox.to_owned());
    set("MESOS_DIRECTORY", around.sandbox.to_owned());
    set("MESOS_TASK_ID", around.task.to_string());
    set("MARATHON_APP_ID", definition.id.to_string());
    set("MARATHON_APP_VERSION", around.version.to_string());
    if let Some(container) = &definition.container
        && let (ContainerKind::Docker, Some(image)) = (container.kind, &container.image)
    {
        set("MARATHON_APP_DOCKER_IMAGE", image.name.clone());
    }
    set(
        "MARATHON_APP_RESOURCE_CPUS",
        format!("{:?}", definition.cpus),
    );
    set("MARATHON_APP_RESOURCE_MEM", format!("{:?}", definition.mem));
    set(
        "MARATHON_APP_RESOURCE_DISK",
        format!("{:?}", definition.disk),
    );
    set("MARATHON_APP_RESOURCE_GPUS", "0".to_owned());
    set("MARATHON_APP_ENFORCE_GROUP_ROLE", "FALSE".to_owned());
    set("HOST", around.host.to_owned());
    environment.extend(labels(definition));
    environment.extend(ports(definition, around.ports));
    environment.extend(definition.env.iter().cloned());
    environment
}

fn labels(definition: &Definition) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let mut names = Vec::new();
    for (key, value) in &definition.labels {
        let key_limit = VARIABLE_LENGTH_LIMIT - LABEL_PREFIX.len();
        if key.len() < key_limit && value.len() < VARIABLE_LENGTH_LIMIT {
            let name = variable_name(key);
            environment.insert(format!("{LABEL_PREFIX}{name}"), value.clone());
            names.push(name);
        }
    }
    environment.insert("MARATHON_APP_LABELS".to_owned(), names.join(" "));
    environment
}

/// Follows `EnvironmentHelper.portsEnv`: a port that is not reachable through the machine is told by
/// its number in the container, and stands in `PORTS` only where that was made up.
fn ports(definition: &Definition, host_ports: &[u16]) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let wanted = definition.wanted_ports();
    let ports = task_ports(definition, host_ports);
    for (index, (wanted, port)) in wanted.iter().zip(&ports).enumerate() {
        let number = port.host.unwrap_or(port.container);
        let value = number.to_string();
        let requested = match wanted.requested {
            0 => number,
            requested => requested,
        };
        environment.insert(format!("PORT{index}"), value.clone());
        environment.insert(format!("PORT_{requested}"), value.clone());
        if let Some(name) = wanted.name {
            environment.insert(format!("PORT_{}", name.to_uppercase()), value);
        }
    }
    if ports.is_empty() {
        return environment;
    }
    let made_up = ports.iter().filter(|port| port.made_up);
    let all: Vec<String> = ports
        .iter()
        .filter_map(|port| port.host)
        .chain(made_up.map(|port| port.container))
        .map(|port| port.to_string())
        .collect();
    if let Some(first) = all.first() {
        environment.insert("PORT".to_owned(), first.clone());
    }
    environment.insert("PORTS".to_owned(), all.join(","));
    environment
}

/// Returns a label's key as part of a variable's name: every run of other characters is one `_`.
fn variable_name(text: &str) -> String {
    let mut name = String::new();
    let mut in_run = false;
    for c in text.chars() {
        let is_plain = c.is_ascii_alphanumeric() || c == '_';
        if is_plain {
            name.push(c.to_ascii_uppercase());
        } else if !in_run {
            name.push('_');
        }
        in_run = !is_plain;
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;
    use crate::identity::InstanceId;

    #[test]
    fn a_task_sees_marathons_variables_and_its_own_env_wins() {
        let app = definition_of(json!({
            "id": "/shop/cart",
            "cmd": "sleep 1",
            "cpus": 0.25,
            "mem": 256,
            "env": { "HOST": "mine", "A": "b" },
            "labels": { "tier. one": "front", "long": "x".repeat(512) },
            "portDefinitions": [{ "port": 10_000, "name": "web-ui" }, { "port": 0 }],
        }));
        let task = InstanceId::new(&app.id, "u").task(1);

        let environment = of_task(
            &app,
            Surroundings {
                task: &task,
                version: Stamp::from_milliseconds(0),
                host: "127.0.0.1",
                ports: &[31_005, 31_006],
                sandbox: "/s",
                search_path: Some("/bin"),
            },
        );

        let expected = [
            ("MESOS_TASK_ID", "shop_cart.instance-u._app.1"),
            ("MARATHON_APP_ID", "/shop/cart"),
            ("MARATHON_APP_VERSION", "1970-01-01T00:00:00.000Z"),
            ("MARATHON_APP_RESOURCE_CPUS", "0.25"),
            ("MARATHON_APP_RESOURCE_MEM", "256.0"),
            ("MARATHON_APP_LABELS", "TIER_ONE"),
            ("MARATHON_APP_LABEL_TIER_ONE", "front"),
            ("HOST", "mine"),
            ("A", "b"),
            ("PORT", "31005"),
            ("PORT0", "31005"),
            ("PORT1", "31006"),
            ("PORTS", "31005,31006"),
            ("PORT_10000", "31005"),
            ("PORT_WEB-UI", "31005"),
            ("PORT_31006", "31006"),
            ("PATH", "/bin"),
        ];
        for (key, value) in expected {
            assert_eq!(
                environment.get(key).map(String::as_str),
                Some(value),
                "{key}"
            );
        }
    }

    #[test]
    fn a_container_sees_host_ports_by_the_names_of_its_own() {
        let app = definition_of(json!({
            "id": "a",
            "container": {
                "docker": { "image": "registry/app:1" },
                "portMappings": [
                    { "containerPort": 3000, "hostPort": 0, "name": "web" },
                    { "containerPort": 9000 },
                    { "containerPort": 0 },
                ],
            },
            "networks": [{ "name": "front" }],
        }));

        let expected = [
            ("PORT", "31005"),
            ("PORT0", "31005"),
            ("PORT_3000", "31005"),
            ("PORT_WEB", "31005"),
            ("PORT1", "9000"),
            ("PORT_9000", "9000"),
            ("PORT2", "10000"),
            ("PORT_10000", "10000"),
            ("PORTS", "31005,10000"),
        ];
        let expected: BTreeMap<String, String> = expected
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        assert_eq!(ports(&app, &[31_005]), expected);
    }

    #[test]
    fn a_task_without_ports_has_no_port_variables() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1", "portDefinitions": [] }));

        assert_eq!(ports(&app, &[]), BTreeMap::new());
    }
}
