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
        definition.port_definitions[index].port = port;
    }
}

/// Returns the host ports of a task to be launched, or the reason why there are none.
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
    for wanted in &definition.port_definitions {
        if definition.require_ports && wanted.port != 0 {
            if !is_free(wanted.port) {
                return Err(format!("required port {} is in use", wanted.port));
            }
            chosen.push(wanted.port);
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
    fn an_exhausted_range_is_an_error() {
        let app = definition_of(json!({ "id": "a", "cmd": "sleep 1" }));

        assert!(choose_host_ports(&app, &HOST_PORTS, 31_000, |_| false).is_err());
    }
}
