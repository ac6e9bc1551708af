//! What `teal doctor` finds out about the balancer. Of HAProxy: for every process whether it can be asked and changed,
//! where endpoints find a place, and what becomes of all that when it is reloaded.

use super::Check;
use crate::failure::{Exit, Failure};
use crate::settings::{BalancerKind, Places};
use crate::systems;
use teal_core::Span;
use teal_core::name::PoolId;
use teal_drivers::balancers::haproxy::{Backend, Inspection, Process};
use teal_drivers::directory::{Directory, Listed};
use teal_drivers::{Balancer, Orchestrator};

/// Backends beyond this many are counted and not told one by one.
const TOLD: usize = 20;

/// Asks, and returns what there is to tell.
pub(super) async fn checks(places: &Places) -> Vec<Check> {
    let unusable = |failure| vec![Check::new("balancer", Exit::Balancer, Err(failure))];
    match places.balancer.kind() {
        Err(failure) => unusable(failure),
        Ok(BalancerKind::Builtin(url)) => {
            vec![Check::new("balancer", Exit::Balancer, builtin(url).await)]
        }
        Ok(BalancerKind::Haproxy(addresses)) => {
            match systems::haproxy(&addresses, residents(places).await) {
                Ok(haproxy) => processes(&haproxy.inspect().await),
                Err(failure) => unusable(failure),
            }
        }
    }
}

/// Who lives where, as a deployment would know it. That Marathon does not answer is told elsewhere.
async fn residents(places: &Places) -> Directory {
    let directory = Directory::new();
    if let Ok(marathon) = systems::marathon(places) {
        Listed::new(marathon, directory.clone()).find().await.ok();
    }
    directory
}

async fn builtin(url: &str) -> Result<String, Failure> {
    let balancer = systems::builtin(url)?;
    let pool = PoolId::from("doctor-asks-for-a-pool-that-is-not-there");
    balancer
        .observe(&[pool])
        .await
        .map_err(|error| Failure::balancer(&error))?;
    let can = balancer.capabilities();
    Ok(format!(
        "at {url}; tells in-flight: {}, changes a pool in one step: {}",
        can.in_flight, can.atomic_change
    ))
}

/// Of an only process it need not be said every time which one is spoken of.
fn processes(inspections: &[Inspection]) -> Vec<Check> {
    let several = inspections.len() > 1;
    let mut all = Vec::new();
    for inspection in inspections {
        let mut checks = process(inspection);
        for check in checks.iter_mut().skip(1).filter(|_| several) {
            check.found = format!("{}: {}", inspection.place, check.found);
        }
        all.extend(checks);
    }
    all
}

/// One process of HAProxy: one line when it does not answer.
fn process(inspection: &Inspection) -> Vec<Check> {
    let found = match &inspection.found {
        Ok(found) => found,
        Err(error) => {
            let hint = "is HAProxy running, and may this user open that socket? It is the `stats socket` of its \
                        section `global`; `teal haproxy-config` shows one";
            return vec![failed("balancer", error.to_string(), hint)];
        }
    };
    let (version, uptime) = (&found.version, Span::seconds(found.uptime_s));
    let said = format!("HAProxy {version} at {}, up for {uptime}", inspection.place);
    let mut checks = vec![Check::told("balancer", said, None), rights(found)];
    checks.extend(backends(found));
    checks.push(master(found));
    checks.push(state_file(found));
    checks
}

fn failed(what: &'static str, found: String, hint: &str) -> Check {
    let failure = Failure::new(Exit::Balancer, found).hint(hint);
    Check::new(what, Exit::Balancer, Err(failure))
}

fn rights(found: &Process) -> Check {
    if found.may_change {
        return Check::told("rights", "level admin".to_owned(), None);
    }
    let hint = "add `level admin` to its `stats socket` line and reload HAProxy";
    failed(
        "rights",
        "the socket permits to look and not to change".to_owned(),
        hint,
    )
}

/// A backend without a place left is nothing to fail for as long as another has one: it may be none of teal's.
fn backends(found: &Process) -> Vec<Check> {
    let has_place = |backend: &Backend| backend.adds_servers || backend.free > 0;
    if !found.backends.iter().any(has_place) {
        let names: Vec<&str> = found.backends.iter().map(|one| one.name.as_str()).collect();
        let what = if names.is_empty() {
            "there is none that has servers or slots".to_owned()
        } else {
            format!("no place for a server in {}", names.join(", "))
        };
        let hint = "give the backend slots (`server-template slot 1-20 127.0.0.1:1 disabled`; `teal haproxy-config` shows \
                    where), or use HAProxy 2.5 or later with `balance roundrobin`, `leastconn` or `random`";
        return vec![failed("backend", what, hint)];
    }
    let mut checks: Vec<Check> = found
        .backends
        .iter()
        .take(TOLD)
        .map(|backend| {
            let hint = "no instance can be admitted there: give it slots";
            let hint = (!has_place(backend)).then_some(hint);
            Check::told("backend", sentence(backend), hint)
        })
        .collect();
    if let Some(more @ 1..) = found.backends.len().checked_sub(TOLD) {
        checks.push(Check::told("backend", format!("{more} more"), None));
    }
    checks
}

fn sentence(backend: &Backend) -> String {
    let Backend {
        name,
        serving,
        draining,
        free,
        adds_servers,
    } = backend;
    let places = match (free, adds_servers) {
        (0, true) => "servers are added as they are needed".to_owned(),
        (0, false) => "no slot is free".to_owned(),
        (1, _) => "1 slot is free".to_owned(),
        (free, _) => format!("{free} slots are free"),
    };
    format!("{name}: {serving} serving, {draining} draining, {places}")
}

fn master(found: &Process) -> Check {
    const WHAT: &str = "master socket";
    match &found.master {
        None => {
            let hint = "what a process from before a reload still carries can be seen through the master socket alone: \
                        start HAProxy with -W -S PATH, and add ?master=PATH to the address";
            Check::told(WHAT, "none is named".to_owned(), Some(hint))
        }
        Some(Ok(old)) => {
            let said = match old {
                0 => "answers; no process from before a reload is left".to_owned(),
                1 => "answers; 1 process from before a reload is left".to_owned(),
                old => format!("answers; {old} processes from before reloads are left"),
            };
            Check::told(WHAT, said, None)
        }
        Some(Err(error)) => {
            let hint = "name the PATH after `-S` with which HAProxy was started; -S needs -W, the master-worker mode";
            failed(WHAT, error.to_string(), hint)
        }
    }
}

fn state_file(found: &Process) -> Check {
    const WHAT: &str = "state file";
    match &found.state_file {
        None => {
            let hint = "a reload forgets who serves and who drains, and teal has to put it back: give HAProxy a \
                        `server-state-file`, and add &state_file=PATH to the address";
            Check::told(WHAT, "none is named".to_owned(), Some(hint))
        }
        Some(Ok(())) => Check::told(WHAT, "can be written".to_owned(), None),
        Some(Err(error)) => {
            let hint =
                "name the `server-state-file` of HAProxy, in a folder that this user may write to";
            failed(WHAT, error.to_string(), hint)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use teal_drivers::DriverError;

    fn backend(free: usize, adds_servers: bool) -> Backend {
        Backend {
            name: "oinker".to_owned(),
            serving: 3,
            draining: 1,
            free,
            adds_servers,
        }
    }

    fn well() -> Process {
        Process {
            version: "2.6.12".to_owned(),
            uptime_s: 90,
            may_change: true,
            adds_servers: true,
            master: Some(Ok(0)),
            state_file: Some(Ok(())),
            backends: vec![backend(17, true)],
        }
    }

    fn inspection(place: &str, found: Result<Process, DriverError>) -> Inspection {
        Inspection {
            place: place.to_owned(),
            found,
        }
    }

    fn told(found: Result<Process, DriverError>) -> Vec<Check> {
        processes(&[inspection("/run/h.sock", found)])
    }

    fn unreachable() -> DriverError {
        DriverError::Unreachable {
            url: "/run/h.sock".to_owned(),
            reason: "no such file".to_owned(),
        }
    }

    #[test]
    fn a_process_that_is_well_is_told_of_in_full_and_without_advice() {
        let checks = told(Ok(well()));

        let lines: Vec<String> = checks
            .iter()
            .map(|one| format!("{}: {}", one.what, one.found))
            .collect();
        assert_eq!(
            lines,
            [
                "balancer: HAProxy 2.6.12 at /run/h.sock, up for 1m30s",
                "rights: level admin",
                "backend: oinker: 3 serving, 1 draining, 17 slots are free",
                "master socket: answers; no process from before a reload is left",
                "state file: can be written",
            ]
        );
        assert!(checks.iter().all(|one| one.ok && one.hint.is_none()));
    }

    #[test]
    fn of_several_processes_every_line_says_which_one() {
        let both = ["/run/a.sock", "/run/b.sock"].map(|place| inspection(place, Ok(well())));

        let checks = processes(&both);

        let of = |place: &str| {
            checks
                .iter()
                .filter(|one| one.found.contains(place))
                .count()
        };
        assert_eq!((of("/run/a.sock"), of("/run/b.sock")), (5, 5));
    }

    #[test]
    fn every_failure_of_a_process_comes_with_what_to_do_about_it() {
        let cases: [(&str, Result<Process, DriverError>); 6] = [
            ("balancer", Err(unreachable())),
            (
                "rights",
                Ok(Process {
                    may_change: false,
                    ..well()
                }),
            ),
            (
                "backend",
                Ok(Process {
                    backends: Vec::new(),
                    ..well()
                }),
            ),
            (
                "backend",
                Ok(Process {
                    backends: vec![backend(0, false)],
                    ..well()
                }),
            ),
            (
                "master socket",
                Ok(Process {
                    master: Some(Err(unreachable())),
                    ..well()
                }),
            ),
            (
                "state file",
                Ok(Process {
                    state_file: Some(Err(unreachable())),
                    ..well()
                }),
            ),
        ];

        for (what, found) in cases {
            let checks = told(found);

            let failed: Vec<&Check> = checks.iter().filter(|one| !one.ok).collect();
            assert_eq!(failed.len(), 1, "{what}");
            assert_eq!((failed[0].what, failed[0].exit), (what, Exit::Balancer));
            assert!(failed[0].hint.is_some(), "{what}");
        }
    }

    #[test]
    fn what_a_reload_would_cost_is_told_and_is_no_failure() {
        let checks = told(Ok(Process {
            master: None,
            state_file: None,
            ..well()
        }));

        let advised: Vec<&str> = checks
            .iter()
            .filter(|one| one.hint.is_some())
            .map(|one| one.what)
            .collect();
        assert_eq!(advised, ["master socket", "state file"]);
        assert!(checks.iter().all(|one| one.ok));
    }

    #[test]
    fn a_full_backend_beside_one_with_places_is_told_and_is_no_failure() {
        let backends = vec![backend(0, false), backend(0, true)];

        let checks = told(Ok(Process { backends, ..well() }));

        let said: Vec<&str> = checks
            .iter()
            .filter(|one| one.what == "backend")
            .map(|one| one.found.as_str())
            .collect();
        assert_eq!(
            said,
            [
                "oinker: 3 serving, 1 draining, no slot is free",
                "oinker: 3 serving, 1 draining, servers are added as they are needed",
            ]
        );
        assert!(checks.iter().all(|one| one.ok));
    }
}
