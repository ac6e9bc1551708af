//! Which service ports and host ports are given out.
//!
//! Both are pure choices over a question "is this port free"; who asks the operating system decides
//! what free means.

use std::ops::RangeInclusive;

use crate::definition::Definition;

/// Service ports that are assigned where a definition says 0 (Marathon's `local_port_min`/`_max`).
pub(crate) const SERVICE_PORTS: RangeInclusive<u16> = 10_000..=20_000;

/// Host ports given to tasks (the port range a Mesos agent offers by default).
pub(crate) const HOST_PORTS: RangeInclusive<u16> = 31_000..=32_000;

/// Replaces every service port 0: by the app's former port in the same place, else by a free one.
///
/// Where the range is used up the port stays 0, as Marathon leaves it when none is free.
pub(crate) fn assign_service_ports(
    definition: &mut Definition,
    former: Option<&Definition>,
    is_taken: impl Fn(u16) -> bool,
) {
    let former = former.map(Definition::service_ports).unwrap_or_default();
    let mut own = definition.service_ports();
    for index in 0..own.len() {
        if own[index] != 0 {
            continue;
        }
        let kept = former
            .get(index)
            .copied()
            .filter(|port| !own.contains(port));
        let fresh = || {
            SERVICE_PORTS
                .into_iter()
                .find(|port| !own.contains(port) && !is_taken(*port))
        };
        let port = kept.or_else(fresh).unwrap_or(0);
        own[index] = port;
        definition.set_service_port(index, port);
    }
}

/// A port of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TaskPort {
    /// The port on the machine; nothing: it is not reachable through the machine.
    pub(crate) host: Option<u16>,
    /// The port on which the task listens, inside its network.
    pub(crate) container: u16,
    /// Whether the port in the container was made up because neither number was given.
    pub(crate) made_up: bool,
}

/// Returns all ports of a task in the order of port indices. `host_ports` are those it was launched
/// with: one for each wanted port that is reachable through the machine.
///
/// Where neither a container port nor a host port is asked for, Marathon draws a random one
/// (`EnvironmentHelper.ContainerPortGenerator`); here it is the first that is not used, so that it
/// is the same whenever it is asked for.
pub(crate) fn task_ports(definition: &Definition, host_ports: &[u16]) -> Vec<TaskPort> {
    let wanted = definition.wanted_ports();
    let mut used: Vec<u16> = wanted.iter().map(|port| port.container_port).collect();
    used.extend(host_ports);
    let mut host_ports = host_ports.iter().copied();
    let mut ports = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let host = wanted.host_port.and_then(|_| host_ports.next());
        let asked = Some(wanted.container_port).filter(|port| *port != 0);
        let made_up = asked.is_none() && host.is_none();
        let container = asked.or(host).unwrap_or_else(|| {
            let port = SERVICE_PORTS.into_iter().find(|port| !used.contains(port));
            let port = port.unwrap_or(*SERVICE_PORTS.start());
            used.push(port);
            port
        });
        ports.push(TaskPort {
            host,
            container,
            made_up,
        });
    }
    ports
}

/// Returns the host ports of a task to be launched, or the reason why there are none: one for each
/// wanted port that is to be reachable through the machine.
///
/// `start` says where in the range to begin, so that a port is not given out again at once.
///
/// # Errors
/// A sentence: a required port is in use, or the range is exhausted.
pub(crate) fn choose_host_ports(
    definition: &Definition,
    range: &RangeInclusive<u16>,
    start: u16,
    is_free: impl Fn(u16) -> bool,
) -> Result<Vec<u16>, String> {
    let mut chosen: Vec<u16> = Vec::new();
    let (first, last) = (*range.start(), *range.end());
    let from = if range.contains(&start) { start } else { first };
    for wanted in definition.wanted_ports() {
        let Some(wish) = wanted.host_port else {
            continue;
        };
        if wish != 0 {
            if !is_free(wish) {
                return Err(format!("required port {wish} is in use"));
            }
            chosen.push(wish);
            continue;
        }
        let mut candidates = (from..=last).chain(first..from);
        let port = candidates.find(|port| !chosen.contains(port) && is_free(*port));
        chosen.push(port.ok_or_else(|| format!("no port between {first} and {last} is free"))?);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::definition_of;

    #[test]
    fn zero_service_ports_take_free_ports_in_order() {
        let mut app =
            definition_of(json!({ "id": "a", "cmd": "sleep 1", "ports": [0, 10_001, 0] }));

        assign_service_ports(&mut app, None, |port| port == 10_000);

        assert_eq!(app.service_ports(), [10_002, 10_001, 10_003]);
    }

    #[test]
    fn an_update_that_says_zero_keeps_the_former_service_port() {
        let former = definition_of(json!({ "id": "a", "cmd": "sleep 1", "ports": [12_345] }));
        let mut app = definition_of(json!({ "id": "a", "cmd": "sleep 2", "ports": [0, 0] }));

        assign_service_ports(&mut app, Some(&former), |port| port == 12_345);

        assert_eq!(app.service_ports(), [12_345, 10_000]);
    }

    #[test]
    fn host_ports_begin_at_the_start_and_wrap_round() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1", "ports": [0, 0] }));

        let ports = choose_host_ports(&app, &HOST_PORTS, 32_000, |port| port != 31_000);

        assert_eq!(ports, Ok(vec![32_000, 31_001]));
    }

    #[test]
    fn a_required_port_is_taken_as_it_is_or_not_at_all() {
        let app = definition_of(
            json!({ "id": "a", "cmd": "sleep 1", "ports": [8080], "requirePorts": true }),
        );

        assert_eq!(
            choose_host_ports(&app, &HOST_PORTS, 31_000, |_| true),
            Ok(vec![8080])
        );
        assert!(choose_host_ports(&app, &HOST_PORTS, 31_000, |port| port != 8080).is_err());
    }

    #[test]
    fn a_container_has_a_host_port_only_where_one_is_asked_for() {
        let app = definition_of(json!({
            "id": "a",
            "container": {
                "docker": { "image": "i" },
                "portMappings": [
                    { "containerPort": 80, "hostPort": 0, "servicePort": 10_005 },
                    { "containerPort": 81 },
                    { "containerPort": 0, "hostPort": 7777 },
                    { "containerPort": 0 },
                ],
            },
            "networks": [{ "name": "front" }],
        }));

        let chosen = choose_host_ports(&app, &HOST_PORTS, 31_000, |_| true).expect("ports");

        assert_eq!(chosen, [31_000, 7777]);
        let ports: Vec<(Option<u16>, u16)> = task_ports(&app, &chosen)
            .iter()
            .map(|port| (port.host, port.container))
            .collect();
        assert_eq!(
            ports,
            [
                (Some(31_000), 80),
                (None, 81),
                (Some(7777), 7777),
                (None, 10_000)
            ]
        );
        assert_eq!(app.service_ports(), [10_005, 0, 0, 0]);
    }

    #[test]
    fn service_ports_of_mappings_are_assigned_too() {
        let mut app = definition_of(json!({
            "id": "a",
            "container": {
                "docker": { "image": "i", "network": "BRIDGE" },
                "portMappings": [{ "containerPort": 80 }, { "containerPort": 81 }],
            },
        }));

        assign_service_ports(&mut app, None, |_| false);

        assert_eq!(app.service_ports(), [10_000, 10_001]);
    }

    #[test]
    fn an_exhausted_range_is_an_error() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1" }));

        assert!(choose_host_ports(&app, &HOST_PORTS, 31_000, |_| false).is_err());
    }
}
