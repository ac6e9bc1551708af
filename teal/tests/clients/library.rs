//! marathon-python 0.13.0: what its users call, in programs as they write them.

use crate::machine::Machine;

/// What every program begins with: a client, and waiting for a condition.
const PRELUDE: &str = include_str!("library/prelude.py");

#[test]
fn the_runbooks_app_makes_the_round_trip() {
    run(include_str!("library/runbook.py"));
}

#[test]
fn everything_an_app_may_say_makes_the_round_trip() {
    run(include_str!("library/definitions.py"));
}

#[test]
fn tasks_versions_and_deployments_are_objects_of_its_own() {
    run(include_str!("library/lifecycle.py"));
}

#[test]
fn groups_are_objects_with_apps_and_groups_in_them() {
    run(include_str!("library/groups.py"));
}

#[test]
fn events_arrive_as_its_event_objects() {
    run(include_str!("library/events.py"));
}

#[test]
fn what_the_server_is_and_what_waits_are_objects_too() {
    run(include_str!("library/server.py"));
}

/// Runs a program against a Marathon of its own. It asserts by itself.
fn run(program: &str) {
    let machine = Machine::up();
    machine
        .python(&format!("{PRELUDE}\n{program}"))
        .says_only("all is as it should be");
}
