//! Shapes of answers, written down from Marathon's documentation and the fixtures of its clients, cut to what is read.

use super::*;
use serde_json::json;

/// It shows what ours shows.
fn clock() -> Clock {
    Clock::that_is_behind_by(Some(0), Moment(2_000_000_000_000))
}

#[test]
fn a_states_phase_is_what_the_instance_is_in() {
    for (state, phase) in [
        (json!("TASK_STAGING"), Some(Phase::Starting)),
        (json!("TASK_STARTING"), Some(Phase::Starting)),
        (json!("TASK_RUNNING"), Some(Phase::Running)),
        (json!("TASK_KILLING"), Some(Phase::Stopping)),
        (json!("TASK_UNREACHABLE"), Some(Phase::Unreachable)),
        (json!("TASK_LOST"), Some(Phase::Unreachable)),
        (json!("TASK_OF_THE_FUTURE"), Some(Phase::Unreachable)),
        (json!("TASK_FAILED"), None),
        (json!("TASK_KILLED"), None),
        (json!("TASK_GONE"), None),
        (json!(null), Some(Phase::Starting)),
    ] {
        let seen = sight(json!({ "id": "t", "state": state }));
        assert_eq!(
            seen.first().map(|instance| instance.phase),
            phase,
            "{state}"
        );
    }
}

#[test]
fn counts_that_cannot_be_added_up_in_32_bits_are_counts_all_the_same() {
    let app =
        json!({ "id": "/a", "instances": 1, "tasksRunning": u32::MAX, "tasksStaged": u32::MAX });
    let app = App::read(listed(app)).expect("it is an app");

    let why = app.sighting(&clock()).expect_err("it lists no tasks");

    assert!(why.contains("8589934590"), "{why}");
}

#[test]
fn a_task_without_a_state_runs_once_it_has_started() {
    let seen = sight(json!({ "id": "t", "startedAt": "2014-03-01T23:29:30.158Z" }));

    assert_eq!(seen[0].phase, Phase::Running);
}

#[test]
fn healthy_takes_a_living_result_of_every_check() {
    let alive = json!({ "alive": true, "firstSuccess": "2014-03-01T23:29:30.158Z" });
    let dead = json!({ "alive": false, "consecutiveFailures": 1, "lastFailure": "2014-03-01T23:29:30.158Z" });
    let in_grace = json!({ "alive": false, "consecutiveFailures": 0 });
    let in_grace_before_1_5 = json!({ "alive": false, "consecutiveFailures": 0, "firstSuccess": null,
                                      "lastSuccess": null, "lastFailure": null, "taskId": "t" });
    for (checks, results, health) in [
        (1, json!([alive]), Health::Healthy),
        (2, json!([alive, alive]), Health::Healthy),
        (2, json!([alive]), Health::Unknown),
        (2, json!([alive, in_grace]), Health::Unknown),
        (2, json!([alive, dead]), Health::Unhealthy),
        (2, json!([dead]), Health::Unhealthy),
        (1, json!([in_grace]), Health::Unknown),
        (1, json!([in_grace_before_1_5]), Health::Unknown),
        (1, json!([]), Health::Unknown),
        (1, json!(null), Health::Unknown),
        (1, json!([null]), Health::Unknown),
        (1, json!([{}]), Health::Unknown),
        (0, json!([alive]), Health::Unknown),
        (1, json!([alive, in_grace]), Health::Unknown),
    ] {
        let task = json!({ "id": "t", "state": "TASK_RUNNING", "healthCheckResults": results });
        let app = app(json!({ "healthChecks": vec![json!({}); checks], "tasks": [task] }));
        let seen = app.sighting(&clock()).expect("reads");
        assert_eq!(
            seen.instances[0].health, health,
            "{checks} checks, {results}"
        );
        assert_eq!(seen.checked, checks > 0);
    }
}

#[test]
fn health_has_held_since_the_last_check_first_said_alive_unless_one_failed_since() {
    let first = json!({ "alive": true, "firstSuccess": "1970-01-01T00:00:01.000Z" });
    let second = json!({ "alive": true, "firstSuccess": "1970-01-01T00:00:02.000Z",
                         "lastFailure": "1970-01-01T00:00:01.500Z" });
    let broken = json!({ "alive": true, "firstSuccess": "1970-01-01T00:00:02.000Z",
                         "lastFailure": "1970-01-01T00:00:02.500Z" });
    for (results, since) in [
        (json!([first, first]), Some(Moment(1000))),
        (json!([first, second]), Some(Moment(2000))),
        (json!([first, broken]), None),
        (json!([first, { "alive": true }]), None),
        (json!([first]), None),
    ] {
        let task = json!({ "id": "t", "state": "TASK_RUNNING", "healthCheckResults": results });
        let app = app(json!({ "healthChecks": [{}, {}], "tasks": [task] }));
        let seen = app.sighting(&clock()).expect("reads");
        assert_eq!(seen.instances[0].healthy_since, since, "{results}");
    }
}

/// From Marathon 1.8 on a task that crashed comes back under its instance's id.
#[test]
fn results_of_the_incarnation_before_say_nothing_of_this_one() {
    let started = "1970-01-01T00:01:00.000Z";
    let result = |alive: bool, at: &str| {
        let told = if alive { "lastSuccess" } else { "lastFailure" };
        json!({ "alive": alive, "consecutiveFailures": u8::from(!alive), "firstSuccess": "1970-01-01T00:00:10.000Z",
                told: at, "instanceId": "oinker.instance-5c3" })
    };
    for (result, health, since) in [
        (
            result(true, "1970-01-01T00:00:50.000Z"),
            Health::Unknown,
            None,
        ),
        (
            result(false, "1970-01-01T00:00:50.000Z"),
            Health::Unknown,
            None,
        ),
        (
            result(true, "1970-01-01T00:01:05.000Z"),
            Health::Healthy,
            Some(Moment(60_000)),
        ),
        (
            result(true, "1970-01-01T00:00:59.900Z"),
            Health::Healthy,
            Some(Moment(60_000)),
        ),
        (
            result(false, "1970-01-01T00:01:05.000Z"),
            Health::Unhealthy,
            None,
        ),
    ] {
        let task = json!({ "id": "oinker.instance-5c3._app.2", "state": "TASK_RUNNING", "startedAt": started,
                           "healthCheckResults": [result] });
        let app = app(json!({ "healthChecks": [{}], "tasks": [task] }));
        let seen = app.sighting(&clock()).expect("reads");
        assert_eq!(seen.instances[0].health, health, "{result}");
        assert_eq!(seen.instances[0].healthy_since, since, "{result}");
    }
}

#[test]
fn a_higher_incarnation_of_an_instance_is_another_one_and_a_returning_task_the_same() {
    let id = |task: &str, state: &str| sight(json!({ "id": task, "state": state }))[0].id.clone();
    let first = id("oinker.instance-5c3._app.1", "TASK_RUNNING");

    assert_eq!(id("oinker.instance-5c3._app.1", "TASK_UNREACHABLE"), first);
    assert_ne!(id("oinker.instance-5c3._app.2", "TASK_RUNNING"), first);
}

#[test]
fn a_change_of_size_keeps_what_marathon_would_reset() {
    let resources = json!({ "cpus": 0.2, "mem": 64, "disk": 10 });
    let limits = json!({ "cpus": "unlimited" });
    let rich = app(json!({ "executorResources": resources, "resourceLimits": limits }));
    let plain = app(json!({ "executorResources": null }));

    assert_eq!(
        rich.resized(3),
        json!({ "instances": 3, "executorResources": resources, "resourceLimits": limits })
    );
    assert_eq!(plain.resized(3), json!({ "instances": 3 }));
}

#[test]
fn ten_thousand_tasks_are_read_from_one_answer() {
    let task = |number: usize| {
        json!({ "id": format!("oinker.instance-{number}._app.1"), "appId": "/oinker", "host": format!("10.0.0.{}", number % 250),
                "ports": [31000 + number % 1000], "servicePorts": [10000], "state": "TASK_RUNNING",
                "startedAt": "2020-01-01T00:00:00.000Z", "stagedAt": "2020-01-01T00:00:00.000Z",
                "version": "2020-01-01T00:00:00.000Z",
                "healthCheckResults": [{ "alive": true, "consecutiveFailures": 0,
                    "firstSuccess": "2020-01-01T00:00:05.000Z", "lastSuccess": "2020-01-01T00:01:05.000Z",
                    "lastFailure": null, "lastFailureCause": null, "instanceId": format!("oinker.instance-{number}") }] })
    };
    let tasks: Vec<Value> = (0..10_000).map(task).collect();
    let app = app(json!({ "healthChecks": [{}], "tasks": tasks }));

    let seen = app.sighting(&clock()).expect("reads");

    assert_eq!(seen.instances.len(), 10_000);
    let healthy = |one: &&InstanceSighting| one.health == Health::Healthy && one.current;
    assert_eq!(seen.instances.iter().filter(healthy).count(), 10_000);
}

#[test]
fn a_task_is_current_when_it_is_no_older_than_the_last_change_of_configuration() {
    for (app_versions, version, current) in [
        (
            json!({ "versionInfo": { "lastConfigChangeAt": "2020-01-01T00:00:00.001Z" } }),
            "2020-01-01T00:00:00.001Z",
            true,
        ),
        (
            json!({ "versionInfo": { "lastConfigChangeAt": "2020-01-01T00:00:00.001Z" } }),
            "2020-01-01T00:00:00.002Z",
            true,
        ),
        (
            json!({ "versionInfo": { "lastConfigChangeAt": "2020-01-01T00:00:00.001Z" } }),
            "2020-01-01T00:00:00.000Z",
            false,
        ),
        (
            json!({ "version": "2020-01-01T00:00:00.001Z" }),
            "2020-01-01T00:00:00.001Z",
            true,
        ),
        (
            json!({ "version": "2020-01-01T00:00:00.001Z" }),
            "2020-01-01T00:00:00.000Z",
            false,
        ),
        (json!({}), "2020-01-01T00:00:00.000Z", true),
    ] {
        let mut body = app_versions.clone();
        body["tasks"] = json!([{ "id": "t", "state": "TASK_RUNNING", "version": version }]);
        let seen = app(body).sighting(&clock()).expect("reads");
        assert_eq!(
            seen.instances[0].current, current,
            "{app_versions} {version}"
        );
    }
}

/// Body of the app, task, and its addresses by port index.
type Reached = (Value, Value, Vec<&'static str>);

#[test]
fn addresses_are_on_the_host_unless_the_network_is_the_containers_own() {
    let own_ip = own_ip();
    are_reached([
        (
            json!({}),
            task(json!({ "ports": [31001, 31002] })),
            vec!["agent-1:31001", "agent-1:31002"],
        ),
        (json!({}), task(json!({ "ports": [] })), vec![]),
        (
            json!({}),
            task(json!({ "ports": [31001], "host": "fd00::7" })),
            vec!["[fd00::7]:31001"],
        ),
        (
            json!({ "networks": [{ "mode": "container/bridge" }],
                    "container": { "portMappings": [{ "containerPort": 3000, "hostPort": 0 }] } }),
            task(json!({ "ports": [31001], "ipAddresses": [{ "ipAddress": "172.17.0.2" }] })),
            vec!["agent-1:31001"],
        ),
        (
            json!({ "networks": [{ "mode": "container", "name": "dcos" }],
                    "container": { "portMappings": [{ "containerPort": 3000 }, { "containerPort": 4000, "hostPort": 0 }] } }),
            task(json!({ "ports": [31001], "ipAddresses": own_ip })),
            vec!["9.0.0.7:3000", "agent-1:31001"],
        ),
        (
            json!({ "networks": [{ "mode": "container", "name": "dcos" }],
                    "container": { "portMappings": [{ "containerPort": 3000, "hostPort": 0 }, { "containerPort": 0 },
                                                    { "containerPort": 4000 }] } }),
            task(json!({ "ports": [31001], "ipAddresses": own_ip })),
            vec!["agent-1:31001", "-", "9.0.0.7:4000"],
        ),
    ]);
}

#[test]
fn a_port_that_is_not_exposed_keeps_its_place_among_the_addresses() {
    let own_ip = own_ip();
    are_reached([
        (
            json!({ "networks": [{ "mode": "container", "name": "dcos" }],
                    "container": { "portMappings": [{ "containerPort": 3000 }] } }),
            task(json!({ "ports": [], "ipAddresses": [] })),
            vec!["-"],
        ),
        (
            json!({ "networks": [{ "mode": "container/bridge" }],
                    "container": { "portMappings": [{ "containerPort": 9000 }, { "containerPort": 3000, "hostPort": 0 }] } }),
            task(json!({ "ports": [31001], "ipAddresses": [{ "ipAddress": "172.17.0.2" }] })),
            vec!["-", "agent-1:31001"],
        ),
        (
            json!({ "container": { "docker": { "network": "USER", "portMappings": [{ "containerPort": 3000 },
                                                                                   { "containerPort": 4000, "hostPort": 0 }] } } }),
            task(json!({ "ports": [31001], "ipAddresses": own_ip })),
            vec!["9.0.0.7:3000", "agent-1:31001"],
        ),
        (
            json!({ "container": { "docker": { "network": "BRIDGE", "portMappings": [{ "containerPort": 3000 }] } } }),
            task(json!({ "ports": [31001], "ipAddresses": [{ "ipAddress": "172.17.0.2" }] })),
            vec!["agent-1:31001"],
        ),
        (
            json!({ "ipAddress": { "discovery": { "ports": [{ "number": 80, "name": "http" }] } } }),
            task(json!({ "ports": [], "ipAddresses": own_ip })),
            vec!["9.0.0.7:80"],
        ),
        (
            json!({ "container": { "docker": { "portMappings": [{ "containerPort": 3000 }] } } }),
            task(json!({ "ports": null, "ipAddresses": own_ip })),
            vec!["9.0.0.7:3000"],
        ),
    ]);
}

fn own_ip() -> Value {
    json!([{ "ipAddress": "9.0.0.7", "protocol": "IPv4" }])
}

fn task(more: Value) -> Value {
    let mut task = json!({ "id": "t", "state": "TASK_RUNNING", "host": "agent-1" });
    for (key, value) in more.as_object().expect("an object") {
        task[key] = value.clone();
    }
    task
}

fn are_reached<const CASES: usize>(cases: [Reached; CASES]) {
    for (body, task, expected) in cases {
        let mut body = body;
        body["tasks"] = json!([task]);
        let seen = app(body.clone()).sighting(&clock()).expect("reads");
        let addresses: Vec<_> = seen.instances[0]
            .addresses
            .iter()
            .map(|address| address.map_or("-", Address::as_str))
            .collect();
        assert_eq!(addresses, expected, "{body}");
    }
}

#[test]
fn an_app_with_deployments_is_locked() {
    let locked = app(json!({ "deployments": [{ "id": "d1" }] }));
    let free = app(json!({ "deployments": [] }));

    assert!(locked.sighting(&clock()).expect("reads").locked);
    assert_eq!(locked.locked_by(), ["d1"]);
    assert!(!free.sighting(&clock()).expect("reads").locked);
}

#[test]
fn an_app_that_counts_tasks_and_lists_none_is_not_taken_for_empty() {
    assert!(
        app(json!({ "tasksRunning": 3 }))
            .sighting(&clock())
            .is_err()
    );
    assert!(app(json!({ "tasksRunning": 0 })).sighting(&clock()).is_ok());
    assert!(
        app(json!({ "tasksRunning": 3, "tasks": [] }))
            .sighting(&clock())
            .is_ok()
    );
}

#[test]
fn an_app_of_1_4_with_its_nulls_is_read() {
    let app = app(json!({
        "cmd": null, "args": null, "container": null, "ipAddress": null, "versionInfo": null,
        "labels": { "TEAL_DEPLOYMENT": "d" }, "healthChecks": [], "ports": [10000], "uris": [],
        "tasks": [{ "id": "oinker.5c3", "host": "agent-1", "ports": [31001], "servicePorts": [10000],
                    "ipAddresses": [{ "ipAddress": "10.0.0.1", "protocol": "IPv4" }],
                    "healthCheckResults": null, "startedAt": "2014-03-01T23:29:30.158Z", "appId": "/oinker" }]
    }));

    let seen = app.sighting(&clock()).expect("reads");

    assert_eq!(app.label("TEAL_DEPLOYMENT"), Some("d"));
    assert_eq!(seen.instances[0].phase, Phase::Running);
    assert_eq!(
        seen.instances[0].addresses,
        [Address::from("agent-1:31001")].into()
    );
    assert_eq!(seen.instances[0].health, Health::Unknown);
}

fn sight(task: Value) -> Vec<InstanceSighting> {
    app(json!({ "tasks": [task] }))
        .sighting(&clock())
        .expect("reads")
        .instances
}

fn listed(body: Value) -> ListedApp {
    serde_json::from_value(body).expect("it is an app")
}

fn app(mut body: Value) -> App {
    body["id"] = json!("/oinker");
    body["instances"] = json!(1);
    App::read(listed(body)).expect("is an app")
}
