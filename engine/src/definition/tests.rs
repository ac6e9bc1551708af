//! Definitions as they come in and as they are shown.

use serde_json::{Value, json};

use super::{Definition, Update, update};
use crate::fixtures::{definition_of, fields};

#[test]
fn a_small_app_is_shown_with_every_default_of_marathon_1_10() {
    let app = definition_of(json!({ "id": "/app", "cmd": "sleep 1000" }));

    assert_eq!(
        Value::Object(app.to_json()),
        json!({
            "id": "/app",
            "backoffFactor": 1.15,
            "backoffSeconds": 1,
            "cmd": "sleep 1000",
            "cpus": 1,
            "disk": 0,
            "executor": "",
            "instances": 1,
            "labels": {},
            "maxLaunchDelaySeconds": 300,
            "mem": 128,
            "gpus": 0,
            "networks": [{ "mode": "host" }],
            "portDefinitions": [{ "port": 0, "protocol": "tcp", "name": "default", "labels": {} }],
            "requirePorts": false,
            "upgradeStrategy": { "maximumOverCapacity": 1, "minimumHealthCapacity": 1 },
            "killSelection": "YOUNGEST_FIRST",
            "unreachableStrategy": { "inactiveAfterSeconds": 0, "expungeAfterSeconds": 0 },
            "role": "*",
        })
    );
}

#[test]
fn a_health_check_is_shown_with_its_defaults() {
    let app = definition_of(json!({
        "id": "a", "cmd": "sleep 1",
        "healthChecks": [{ "path": "/health" }, { "protocol": "TCP", "port": 8080 }],
    }));

    assert_eq!(
        app.to_json()["healthChecks"],
        json!([
            {
                "gracePeriodSeconds": 300,
                "ignoreHttp1xx": false,
                "intervalSeconds": 60,
                "maxConsecutiveFailures": 3,
                "path": "/health",
                "portIndex": 0,
                "protocol": "HTTP",
                "ipProtocol": "IPv4",
                "timeoutSeconds": 20,
                "delaySeconds": 15,
            },
            {
                "gracePeriodSeconds": 300,
                "intervalSeconds": 60,
                "maxConsecutiveFailures": 3,
                "port": 8080,
                "protocol": "TCP",
                "ipProtocol": "IPv4",
                "timeoutSeconds": 20,
                "delaySeconds": 15,
            },
        ])
    );
}

#[test]
fn what_is_shown_is_accepted_as_it_is() {
    let app = definition_of(json!({
        "id": "/shop/cart", "args": ["a", "b"], "env": { "A": "1" }, "labels": { "l": "m" },
        "ports": [8080, 0], "requirePorts": true, "dependencies": ["/shop/db"],
        "constraints": [["hostname", "CLUSTER"]], "container": { "type": "MESOS" },
        "healthChecks": [{ "protocol": "COMMAND", "command": { "value": "true" } }],
        "taskKillGracePeriodSeconds": 7, "unreachableStrategy": "disabled",
        "acceptedResourceRoles": ["*"], "cpus": 0.25, "killSelection": "OLDEST_FIRST",
    }));

    let again = definition_of(Value::Object(app.to_json()));

    assert_eq!(again, app);
}

#[test]
fn nulls_and_empty_wishes_for_unsupported_things_are_no_wishes() {
    let app = definition_of(json!({
        "id": "a", "cmd": "sleep 1", "args": null, "container": null, "user": null, "uris": [],
        "fetch": [], "secrets": {}, "gpus": 0, "residency": null, "readinessChecks": [],
        "ipAddress": null, "storeUrls": [], "executor": "//cmd", "tty": false, "role": "*",
    }));

    assert_eq!(app.health_checks, []);
}

#[test]
fn each_broken_rule_is_reported_at_its_path() {
    let cases = [
        (json!({ "cmd": "sleep 1" }), "/id", "error.path.missing"),
        (
            json!({ "id": "a", "cmd": "x" }),
            "/cmd",
            "must not be an empty string",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "cpus": 0 }),
            "/cpus",
            "is less than 0.001",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "instances": -1 }),
            "/instances",
            "is less than 0",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "instances": 1.5 }),
            "/instances",
            "error.expected.int",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "instances": "1" }),
            "/instances",
            "error.expected.jsnumber",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "env": { "A": 1 } }),
            "/env/A",
            "error.expected.jsstring",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "ports": [1, 1] }),
            "/",
            "ports must be unique",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "ports": [70000] }),
            "/ports(0)",
            "is greater than 65535",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "killSelection": "ANY" }),
            "/killSelection",
            "error.unknown.enum.literal",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "upgradeStrategy": { "maximumOverCapacity": 0 } }),
            "/upgradeStrategy/minimumHealthCapacity",
            "error.path.missing",
        ),
        (
            json!({ "id": "a", "cmd": "ls", "labels": { "MARATHON_SINGLE_INSTANCE_APP": "true" }, "instances": 2 }),
            "/instances",
            "single instance app may only have one instance",
        ),
    ];
    for (body, path, error) in cases {
        let issues = Definition::read(None, &fields(body.clone())).expect_err("it is wrong");
        let details = issues.body()["details"].clone();
        let expected = json!({ "path": path, "errors": [error] });
        let found = details
            .as_array()
            .is_some_and(|details| details.contains(&expected));
        assert!(found, "{body}: {details}");
    }
}

#[test]
fn what_is_shown_of_a_container_is_accepted_as_it_is() {
    let app = definition_of(json!({
        "id": "a", "user": "nobody", "tty": true, "networks": [{ "name": "front", "labels": { "a": "b" } }],
        "container": {
            "type": "MESOS",
            "docker": { "image": "i:1", "forcePullImage": true },
            "volumes": [{ "containerPath": "/data", "hostPath": "data", "mode": "RO" }],
            "portMappings": [{
                "containerPort": 80, "name": "web", "labels": { "l": "m" }, "networkNames": ["front"],
            }],
            "linuxInfo": {
                "seccomp": { "unconfined": true }, "ipcInfo": { "mode": "PRIVATE", "shmSize": 64 },
            },
        },
        "check": { "http": { "port": 80, "scheme": "HTTPS" }, "delaySeconds": 1 },
        "readinessChecks": [{ "portName": "web" }],
        "resourceLimits": { "cpus": "unlimited", "mem": 512 },
        "executorResources": { "cpus": 0.5 },
        "uris": ["http://host/a.tgz", "file:///b"],
    }));

    let again = definition_of(Value::Object(app.to_json()));

    assert_eq!(again, app);
}

#[test]
fn an_old_network_in_an_update_replaces_todays() {
    let app = definition_of(json!({
        "id": "a", "container": { "docker": { "image": "i", "network": "BRIDGE" } },
    }));

    let change = fields(json!({ "container": { "docker": { "image": "i", "network": "HOST" } } }));
    let merged = update::merge(&app, &change).expect("the change is valid");

    assert_eq!(
        app.to_json()["networks"],
        json!([{ "mode": "container/bridge" }])
    );
    assert_eq!(merged.to_json()["networks"], json!([{ "mode": "host" }]));
    assert!(merged.to_json()["container"].get("portMappings").is_none());
}

#[test]
fn a_partial_update_replaces_whole_fields_and_forgets_their_alternatives() {
    let app = definition_of(json!({
        "id": "a", "cmd": "sleep 1", "env": { "A": "1" }, "ports": [8080], "mem": 64,
    }));

    let change =
        fields(json!({ "args": ["b"], "env": { "B": "2" }, "ports": [9090], "mem": null }));
    let merged = update::merge(&app, &change).expect("the change is valid");

    let shown = merged.to_json();
    assert_eq!(shown["args"], json!(["b"]));
    assert!(!shown.contains_key("cmd"));
    assert_eq!(shown["env"], json!({ "B": "2" }));
    assert_eq!(merged.service_ports(), [9090]);
    assert_eq!(shown["mem"], 64);
}

#[test]
fn a_version_alone_is_a_return_to_it() {
    let version = "2014-03-01T23:29:30.158Z";

    let update = Update::read(fields(
        json!({ "id": "/a", "version": version, "cmd": null }),
    ));

    assert!(matches!(update, Ok(Update::Version(stamp)) if stamp.to_string() == version));
}
