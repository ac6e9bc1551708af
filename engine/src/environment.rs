//! The environment of a task: what Marathon and the Mesos executor would set, and nothing else.
//!
//! Follows `EnvironmentHelper.scala` and `TaskBuilder` of Marathon 1.10: later entries win and the
//! definition's own `env` comes last.

use std::collections::BTreeMap;

use crate::definition::Definition;
use crate::identity::TaskId;
use crate::time::Stamp;

/// Labels longer than this, or with a longer value, are left out (`EnvironmentHelper.maxVariableLength`).
const LABEL_LENGTH_LIMIT: usize = 512;

/// What the environment is made of besides the definition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) task: &'a TaskId,
    pub(crate) version: Stamp,
    pub(crate) host: &'a str,
    pub(crate) ports: &'a [u16],
    pub(crate) sandbox: &'a str,
    /// The engine's own `PATH`, the one variable that is passed on.
    pub(crate) search_path: &'a str,
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
    set("PATH", around.search_path.to_owned());
    set("MESOS_SANDBOX", around.sandbox.to_owned());
    set("MESOS_DIRECTORY", around.sandbox.to_owned());
    set("MESOS_TASK_ID", around.task.to_string());
    set("MARATHON_APP_ID", definition.id.to_string());
    set("MARATHON_APP_VERSION", around.version.to_string());
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
        if key.len() < LABEL_LENGTH_LIMIT && value.len() < LABEL_LENGTH_LIMIT {
            let name = variable_name(key);
            environment.insert(format!("MARATHON_APP_LABEL_{name}"), value.clone());
            names.push(name);
        }
    }
    environment.insert("MARATHON_APP_LABELS".to_owned(), names.join(" "));
    environment
}

fn ports(definition: &Definition, host_ports: &[u16]) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for (index, (wanted, host_port)) in definition
        .port_definitions
        .iter()
        .zip(host_ports)
        .enumerate()
    {
        let value = host_port.to_string();
        let requested = if wanted.port == 0 {
            *host_port
        } else {
            wanted.port
        };
        environment.insert(format!("PORT{index}"), value.clone());
        environment.insert(format!("PORT_{requested}"), value.clone());
        if let Some(name) = &wanted.name {
            environment.insert(format!("PORT_{}", variable_name(name)), value);
        }
    }
    if let Some(first) = host_ports.first() {
        environment.insert("PORT".to_owned(), first.to_string());
        let all: Vec<String> = host_ports.iter().map(u16::to_string).collect();
        environment.insert("PORTS".to_owned(), all.join(","));
    }
    environment
}

fn variable_name(text: &str) -> String {
    let sanitised = text.chars().map(|c| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_uppercase()
        } else {
            '_'
        }
    });
    sanitised.collect()
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
            "labels": { "tier.one": "front", "long": "x".repeat(512) },
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
                search_path: "/bin",
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
            ("PORT_WEB_UI", "31005"),
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
    fn a_task_without_ports_has_no_port_variables() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1", "portDefinitions": [] }));

        assert_eq!(ports(&app, &[]), BTreeMap::new());
    }
}
