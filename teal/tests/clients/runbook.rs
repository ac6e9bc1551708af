//! The runbook's page, command by command, with the program that it was written for.

use serde_json::{Value, json};

use crate::machine::Machine;

/// The page's line that is to print nothing before one goes on.
const UNHEALTHY: &str = r#"dcos marathon app show /green-oinker | jq '.tasks[].healthCheckResults[] | select (.alive == false)'"#;

#[test]
fn the_runbook_is_walked_with_the_cli_from_blue_to_green() {
    let machine = Machine::up();
    machine.run(&oinker("blue", 2));
    let mut blues = machine.tasks("/blue-oinker");
    let file = machine.write("green-oinker.json", &oinker("green", 0));

    machine
        .dcos(&["app", "add", &file])
        .prints("Created deployment 00000000-0000-4000-8000-000000000000");
    for step in 1..=2 {
        let size = format!("instances={step}");
        machine
            .dcos(&["app", "update", "/green-oinker", &size])
            .prints("Created deployment 00000000-0000-4000-8000-000000000000");
        machine.until_settled();
        machine.sh(UNHEALTHY, &[]).prints("");
        assert_eq!(machine.tasks("/green-oinker").len(), step);

        let picked = blues.pop().expect("a BLUE is left");
        machine
            .dcos(&["task", "kill", "--scale", &picked])
            .prints("Created deployment: 00000000-0000-4000-8000-000000000000");
        machine.until_settled();
        assert_eq!(machine.tasks("/blue-oinker"), blues);
    }
    machine.dcos(&["app", "remove", "/blue-oinker"]).prints("");
    machine.until_settled();

    machine
        .dcos(&["app", "list", "--quiet"])
        .prints("/green-oinker");
    machine.dcos(&["task", "list"]).prints(
        "\
APP            HEALTHY          STARTED              HOST    ID
/green-oinker    True   2014-03-01T23:29:30.158Z  127.0.0.1  green-oinker.instance-00000000-0000-4000-8000-000000000000._app.1
/green-oinker    True   2014-03-01T23:29:30.158Z  127.0.0.1  green-oinker.instance-00000000-0000-4000-8000-000000000000._app.1",
    );
}

#[test]
fn the_pages_line_shows_a_check_that_fails() {
    let machine = Machine::up();
    let mut sick = oinker("green", 1);
    sick["cmd"] = json!("exec sleep 1000");
    sick["healthChecks"][0]["gracePeriodSeconds"] = json!(0);
    sick["healthChecks"][0]["intervalSeconds"] = json!(1);
    sick["healthChecks"][0]["maxConsecutiveFailures"] = json!(0);
    let file = machine.write("sick.json", &sick);

    machine.dcos(&["app", "add", &file]).went_well();

    let line = format!("while [ -z \"$({UNHEALTHY})\" ]; do :; done; {UNHEALTHY} | jq -r .alive");
    machine.sh(&line, &[]).prints("false");
}

#[test]
fn a_change_during_a_deployment_is_refused_in_the_clis_words() {
    let machine = Machine::up();
    let file = machine.write("gated.json", &machine.gated("/green-oinker"));
    machine.dcos(&["app", "add", &file]).went_well();

    machine
        .dcos(&["app", "update", "/green-oinker", "instances=2"])
        .fails("Changes blocked: deployment already in progress for app.");
    machine.open_gate();
    machine.until_settled();

    machine
        .dcos(&["app", "update", "/green-oinker", "instances=2"])
        .went_well();
}

/// The page's definition, with a process in place of the image.
fn oinker(colour: &str, instances: u32) -> Value {
    json!({
        "id": format!("/{colour}-oinker"),
        "instances": instances,
        "healthChecks": [{
            "protocol": "TCP",
            "gracePeriodSeconds": 600,
            "intervalSeconds": 30,
            "portIndex": 0,
            "timeoutSeconds": 10,
            "maxConsecutiveFailures": 2,
        }],
        "cmd": "exec python3 -m http.server $PORT0 --bind 127.0.0.1",
        "ports": [0],
        "cpus": 0.25,
        "mem": 256.0,
    })
}
