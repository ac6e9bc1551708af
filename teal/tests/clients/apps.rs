//! `dcos marathon app` and `dcos marathon task`.

use serde_json::json;

use crate::machine::{Machine, sleeper};

#[test]
fn an_app_is_listed_in_a_table() {
    let machine = Machine::up();
    machine.dcos(&["app", "list"]).prints("");
    let mut checked = sleeper("/shop/cart", 1);
    checked["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": "true" }, "delaySeconds": 0,
    }]);
    machine.run(&checked);
    machine.run(&sleeper("/idle", 0));

    machine.dcos(&["app", "list"]).prints(
        "\
ID          MEM  CPUS  TASKS  HEALTH  DEPLOYMENT  WAITING  CONTAINER  CMD
/idle        16  0.1    0/0    N/A       ---      False       N/A     exec sleep 1000
/shop/cart   16  0.1    1/1    1/1       ---      False       N/A     exec sleep 1000",
    );
    machine
        .dcos(&["app", "list", "--quiet"])
        .prints("/idle\n/shop/cart");
}

#[test]
fn an_app_is_shown_with_everything_that_marathon_fills_in() {
    let machine = Machine::up();
    let mut app = sleeper("/green-oinker", 0);
    app["ports"] = json!([0]);
    machine.run(&app);

    machine
        .dcos(&["app", "show", "green-oinker"])
        .prints(include_str!("shown.json"));
}

#[test]
fn adding_an_app_twice_is_refused() {
    let machine = Machine::up();
    let file = machine.write("app.json", &sleeper("green-oinker", 0));
    machine.dcos(&["app", "add", &file]).went_well();

    machine
        .dcos(&["app", "add", &file])
        .fails("Application '/green-oinker' already exists");
}

#[test]
fn a_definition_may_come_from_standard_input() {
    let machine = Machine::up();
    let app = sleeper("green-oinker", 0).to_string();

    machine
        .dcos_reading(Some(&app), &["app", "add"])
        .went_well();
    machine
        .dcos_reading(
            Some(r#"{ "env": { "A": "b" }, "cmd": null }"#),
            &["app", "update", "green-oinker"],
        )
        .went_well();
    machine.until_settled();

    let shown = machine.dcos(&["app", "show", "green-oinker"]).json();
    assert_eq!(shown["env"], json!({ "A": "b" }));
    assert_eq!(shown["cmd"], "exec sleep 1000");
}

#[test]
fn an_app_is_stopped_started_restarted_and_killed() {
    let machine = Machine::up();
    let deployment = "Created deployment 00000000-0000-4000-8000-000000000000";
    machine.run(&sleeper("/a", 1));
    let first = machine.tasks("/a");

    machine
        .dcos(&["app", "start", "/a"])
        .refuses("Application '/a' already started: 1 instances.");
    machine.dcos(&["app", "restart", "/a"]).prints(deployment);
    machine.until_settled();
    let second = machine.tasks("/a");
    assert_ne!(first, second);
    let killed = machine.dcos(&["app", "kill", "/a"]).went_well().lines();
    assert!(killed[0].starts_with("Killed tasks: [{"), "{killed:?}");
    let scaled = machine
        .dcos(&["app", "kill", "--scale", "/a"])
        .went_well()
        .lines();
    assert!(
        scaled[0].starts_with("Started deployment: {'version': '"),
        "{scaled:?}"
    );
    machine.until_settled();
    machine
        .dcos(&["app", "stop", "/a"])
        .refuses("Application '/a' already stopped: 0 instances.");
    machine.dcos(&["app", "restart", "/a"]).refuses(
        "Unable to perform rolling restart of application '/a' because it has no running tasks",
    );
    machine
        .dcos(&["app", "start", "/a", "2"])
        .prints(deployment);
    machine.until_settled();
    assert_eq!(machine.tasks("/a").len(), 2);
    machine.dcos(&["app", "stop", "/a"]).prints(deployment);
    machine.until_settled();

    assert!(machine.tasks("/a").is_empty());
}

#[test]
fn versions_are_listed_newest_first_and_shown() {
    let machine = Machine::up();
    machine.run(&sleeper("/a", 0));
    machine.dcos(&["app", "update", "/a", "mem=32"]).went_well();
    machine.until_settled();

    machine.dcos(&["app", "version", "list", "/a"]).went_well();
    let versions = machine.dcos(&["app", "version", "list", "/a"]).json();
    let versions = versions.as_array().expect("a list").clone();
    assert_eq!(versions.len(), 2);
    assert!(versions[0].as_str() > versions[1].as_str(), "{versions:?}");
    let current = machine.dcos(&["app", "show", "/a"]).json();
    let former = machine
        .dcos(&["app", "show", "--app-version=-1", "/a"])
        .json();
    assert_eq!((&current["mem"], &former["mem"]), (&json!(32), &json!(16)));
    assert_eq!(former["version"], versions[1]);
    let exact = versions[1].as_str().expect("a time");
    let exact = machine.dcos(&["app", "show", &format!("--app-version={exact}"), "/a"]);
    assert_eq!(exact.json(), former);
    machine
        .dcos(&["app", "show", "--app-version=-2", "/a"])
        .fails("Application '/a' only has 2 version(s).");
}

#[test]
fn a_task_is_shown_stopped_and_killed() {
    let machine = Machine::up();
    machine.run(&sleeper("/a", 2));
    let tasks = machine.tasks("/a");

    let shown = machine.dcos(&["task", "show", &tasks[0]]).json();
    assert_eq!(
        (&shown["appId"], &shown["state"]),
        (&json!("/a"), &json!("TASK_RUNNING"))
    );
    let stopped = machine.dcos(&["task", "stop", &tasks[0]]).json();
    assert_eq!(stopped["id"], tasks[0].as_str());
    machine
        .dcos(&["task", "kill", &tasks[1]])
        .prints("Killed tasks: ['a.instance-00000000-0000-4000-8000-000000000000._app.1']");
    let unknown = "a.instance-00000000-0000-4000-8000-000000000000._app.9";
    machine
        .dcos(&["task", "show", unknown])
        .fails(&format!("Task '{unknown}' does not exist"));
    let killed = machine.dcos(&["task", "kill", unknown]);

    assert!(!killed.is_well(), "{killed}");
}

#[test]
fn what_is_not_there_is_said_to_be_missing() {
    let machine = Machine::up();

    machine
        .dcos(&["app", "remove", "/nothing"])
        .fails("Error: App '/nothing' does not exist");
    machine
        .dcos(&["app", "show", "/nothing"])
        .fails("Error: App '/nothing' does not exist");
    machine
        .dcos(&["app", "update", "/nothing", "instances=1"])
        .fails("Error: App '/nothing' does not exist");
    machine.dcos(&["task", "list", "/nothing"]).prints("");
}

#[test]
fn a_mistake_in_a_definition_is_told_with_its_field() {
    let machine = Machine::up();
    let mut wrong = sleeper("/a", 1);
    wrong["upgradeStrategy"] = json!({ "minimumHealthCapacity": 2, "maximumOverCapacity": 1 });
    let file = machine.write("wrong.json", &wrong);

    let refused = machine.dcos(&["app", "add", &file]);

    refused.fails(
        "Error while fetching [http://marathon/v2/apps]: HTTP 422: \"{\"message\":\"Object is not valid\",\
         \"details\":[{\"path\":\"/upgradeStrategy/minimumHealthCapacity\",\"errors\":[\"is greater than 1\"]}]}\".",
    );
}
