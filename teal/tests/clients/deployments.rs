//! `dcos marathon deployment` and `dcos marathon debug`.

use serde_json::json;

use crate::machine::{Machine, sleeper};
use crate::time::eventually;

#[test]
fn a_deployment_is_listed_watched_and_vanishes_when_it_is_done() {
    let machine = Machine::up();
    machine
        .dcos(&["deployment", "list"])
        .fails("There are no deployments");
    let file = machine.write("gated.json", &machine.gated("/a"));
    let id = machine.dcos(&["app", "add", &file]).went_well().last_word();

    machine.dcos(&["deployment", "list"]).prints(
        "\
APP  POD  ACTION  PROGRESS  ID
/a   -    scale     1/2     00000000-0000-4000-8000-000000000000",
    );
    machine
        .dcos(&["deployment", "list", "/b"])
        .fails("There are no deployments for '/b'");
    let watched = machine.dcos(&["deployment", "watch", "--max-count=1", &id]);
    let watched = watched.went_well().lines();
    assert!(
        watched[0].starts_with("Deployment update time: "),
        "{watched:?}"
    );
    machine.open_gate();
    machine.dcos(&["deployment", "watch", &id]).went_well();

    machine
        .dcos(&["deployment", "list"])
        .fails("There are no deployments");
}

#[test]
fn a_deployment_is_rolled_back() {
    let machine = Machine::up();
    let file = machine.write("gated.json", &machine.gated("/a"));
    let id = machine.dcos(&["app", "add", &file]).went_well().last_word();

    let undone = machine.dcos(&["deployment", "rollback", &id]).json();
    machine.until_settled();

    assert_ne!(undone["deploymentId"], id.as_str());
    machine.dcos(&["app", "list", "--quiet"]).prints("");
    machine
        .dcos(&["deployment", "rollback", &id])
        .fails(&format!(
            "Error: DeploymentPlan {} does not exist",
            "00000000-0000-4000-8000-000000000000"
        ));
}

#[test]
fn a_deployment_is_stopped_where_it_is() {
    let machine = Machine::up();
    let file = machine.write("gated.json", &machine.gated("/a"));
    let id = machine.dcos(&["app", "add", &file]).went_well().last_word();

    machine.dcos(&["deployment", "stop", &id]).prints("");

    machine
        .dcos(&["deployment", "list"])
        .fails("There are no deployments");
    machine.dcos(&["app", "list", "--quiet"]).prints("/a");
}

#[test]
fn what_waits_for_its_launch_is_listed_and_explained() {
    let machine = Machine::up();
    machine.dcos(&["debug", "list"]).prints("");
    let mut failing = sleeper("/a", 1);
    failing["cmd"] = json!("exit 1");
    failing["backoffSeconds"] = json!(200);
    let file = machine.write("failing.json", &failing);
    machine.dcos(&["app", "add", &file]).went_well();

    let listed = eventually("it waits", || {
        let listed = machine.dcos(&["debug", "list"]).went_well().lines();
        (listed.len() == 2).then_some(listed)
    });

    let words = |line: &str| {
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(&listed[0]),
        [
            "ID",
            "SINCE",
            "INSTANCES",
            "TO",
            "LAUNCH",
            "WAITING",
            "PROCESSED",
            "OFFERS",
            "UNUSED",
            "OFFERS",
            "LAST",
            "UNUSED",
            "OFFER",
            "LAST",
            "USED",
            "OFFER"
        ]
    );
    assert_eq!(words(&listed[1])[0], "/a");
    machine.dcos(&["debug", "summary", "/a"]).went_well();
    machine.dcos(&["debug", "details", "/a"]).went_well();
    machine
        .dcos(&["debug", "summary", "/b"])
        .fails("No apps found in Marathon queue");
}
