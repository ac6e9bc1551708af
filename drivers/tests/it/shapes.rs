//! Answers of Marathons of many versions, as they were recorded or documented: what the driver sees in them.

use crate::canned::{Canned, json as reply};
use serde_json::{Value, json};
use teal_core::Moment;
use teal_core::name::{Address, RevisionId};
use teal_core::observation::{Health, InstanceSighting, Phase, RevisionSighting};
use teal_core::plan::Found;
use teal_drivers::Orchestrator;
use teal_drivers::orchestrators::Marathon;

const OF_0_13: &str = include_str!("../data/marathon/marathon-lb-zdd_apps.json");
const OF_1_5: &str = include_str!("../data/marathon/marathon-lb-marathon15_apps.json");

/// Nulls everywhere, tasks without a state, results with a `taskId`, port mappings under `docker`.
#[tokio::test]
async fn apps_of_0_13_are_seen_with_their_tasks() {
    let found = find(OF_0_13).await;

    let sizes: Vec<_> = found
        .iter()
        .map(|one| {
            let seen = &one.sighting;
            (seen.id.as_str(), seen.wanted, seen.instances.len())
        })
        .collect();
    assert_eq!(sizes, [("/nginx-green", 3, 3), ("/nginx-blue", 1, 1)]);
    for one in found.iter().flat_map(|one| &one.sighting.instances) {
        assert_eq!(one.phase, Phase::Running, "{one:?}");
        assert_eq!(one.health, Health::Healthy, "{one:?}");
        assert!(one.current, "a change of scale is none of configuration");
    }
    let first = &found[0].sighting.instances[0];
    assert_eq!(
        first.id.as_str(),
        "nginx-green.1883a887-c931-11e5-9836-026ee08d9f6f"
    );
    assert_eq!(
        first.addresses.at(0),
        Some(&Address::from("10.0.6.25:16916"))
    );
}

#[tokio::test]
async fn an_app_of_1_5_is_seen_with_its_task() {
    let found = find(OF_1_5).await;

    let seen = &found[0].sighting;
    assert_eq!((seen.id.as_str(), seen.wanted), ("/pywebserver", 1));
    let one = &seen.instances[0];
    assert_eq!(one.phase, Phase::Running);
    assert!(one.current);
    let listed: Value = serde_json::from_str(OF_1_5).expect("JSON");
    let task = &listed["apps"][0]["tasks"][0];
    let address = format!(
        "{}:{}",
        task["host"].as_str().expect("a host"),
        task["ports"][0]
    );
    assert_eq!(one.addresses.at(0), Some(&Address(address)));
}

#[tokio::test]
async fn an_app_of_any_version_can_be_posted_again_without_nulls_and_what_is_only_read() {
    for listing in [OF_0_13, OF_1_5] {
        for one in find(listing).await {
            let text = Value::Object(one.definition.clone()).to_string();
            assert!(!text.contains("null"), "{text}");
            for key in [
                "tasks",
                "version",
                "versionInfo",
                "deployments",
                "tasksRunning",
            ] {
                assert!(!one.definition.contains_key(key), "{key}");
            }
            let both = one.definition.contains_key("ports")
                && one.definition.contains_key("portDefinitions");
            assert!(!both, "one of two forms of the same");
        }
    }
}

/// Marathon's REST documentation at v1.4.13, `GET /v2/apps/{appId}/tasks`: an example from 0.x.
#[tokio::test]
async fn tasks_without_state_and_results_are_running_once_they_have_started() {
    let tasks = json!([
        { "host": "agouti.local", "id": "my-app_1-1396592790353", "ports": [31336, 31337],
          "stagedAt": "2014-04-04T06:26:30.355Z", "startedAt": "2014-04-04T06:26:30.860Z",
          "version": "2014-04-04T06:26:23.051Z" },
        { "host": "agouti.local", "id": "my-app_0-1396592784349", "ports": [31382, 31383],
          "stagedAt": "2014-04-04T06:26:24.351Z", "version": "2014-04-04T06:26:23.051Z" }
    ]);

    let seen = observe(
        json!({ "version": "2014-04-04T06:26:23.051Z", "healthChecks": [{}], "tasks": tasks }),
    )
    .await;

    let phases: Vec<Phase> = seen.instances.iter().map(|one| one.phase).collect();
    assert_eq!(phases, [Phase::Running, Phase::Starting]);
    assert!(
        seen.instances
            .iter()
            .all(|one| one.health == Health::Unknown)
    );
    assert_eq!(
        seen.instances[0].addresses.at(1),
        Some(&Address::from("agouti.local:31337"))
    );
}

/// The same task, as versions have told of it.
#[tokio::test]
async fn a_healthy_task_is_the_same_in_the_shapes_of_all_versions() {
    let success = "2020-01-01T00:00:05.000Z";
    let by_0_13 = json!({ "id": "oinker.5c3", "host": "agent-1", "ports": [31001], "startedAt": "2020-01-01T00:00:00.000Z",
        "stagedAt": null, "version": "2020-01-01T00:00:00.000Z", "servicePorts": [10000],
        "healthCheckResults": [{ "taskId": "oinker.5c3", "alive": true, "consecutiveFailures": 0,
                                 "firstSuccess": success, "lastSuccess": success, "lastFailure": null }] });
    let by_1_4 = json!({ "id": "oinker.5c3", "host": "agent-1", "ports": [31001], "state": "TASK_RUNNING",
        "startedAt": "2020-01-01T00:00:00.000Z", "version": "2020-01-01T00:00:00.000Z", "slaveId": "s", "localVolumes": [],
        "ipAddresses": [{ "ipAddress": "10.0.0.1", "protocol": "IPv4" }],
        "healthCheckResults": [{ "instanceId": "oinker.marathon-5c3", "alive": true, "consecutiveFailures": 0,
                                 "firstSuccess": success, "lastSuccess": success, "lastFailure": null,
                                 "lastFailureCause": null }] });
    let by_1_10 = json!({ "id": "oinker.instance-5c3._app.1", "host": "agent-1", "ports": [31001], "state": "TASK_RUNNING",
        "startedAt": "2020-01-01T00:00:00.000Z", "version": "2020-01-01T00:00:00.000Z", "servicePorts": [], "role": "*",
        "ipAddresses": [], "region": "r", "zone": "z", "checkResult": { "http": { "statusCode": 200 } },
        "healthCheckResults": [{ "instanceId": "oinker.instance-5c3", "alive": true, "consecutiveFailures": 0,
                                 "firstSuccess": success, "lastSuccess": success }] });
    let old = json!({ "version": "2020-01-01T00:00:00.000Z", "versionInfo": null, "cpus": 1, "mem": 128, "disk": 0,
                      "deployments": [], "uris": [], "ports": [10000], "ipAddress": null, "container": null });
    let new = json!({ "version": "2020-01-01T00:00:09.000Z", "cpus": 1.0, "mem": 128.0, "disk": 0.0, "gpus": 0,
                      "networks": [{ "mode": "host" }], "portDefinitions": [{ "port": 10000, "labels": {}, "protocol": "tcp" }],
                      "versionInfo": { "lastScalingAt": "2020-01-01T00:00:09.000Z",
                                       "lastConfigChangeAt": "2020-01-01T00:00:00.000Z" } });

    for (app, task) in [
        (&old, by_0_13),
        (&old, by_1_4.clone()),
        (&new, by_1_4),
        (&new, by_1_10),
    ] {
        let mut app = app.clone();
        app["healthChecks"] = json!([{ "protocol": "HTTP" }]);
        app["tasks"] = json!([task]);
        let seen = observe(app).await;
        let InstanceSighting {
            phase,
            current,
            health,
            healthy_since,
            addresses,
            ..
        } = &seen.instances[0];
        assert_eq!(
            (*phase, *current, *health),
            (Phase::Running, true, Health::Healthy),
            "{task}"
        );
        assert_eq!(
            addresses.at(0),
            Some(&Address::from("agent-1:31001")),
            "{task}"
        );
        // The canned server tells no date, so it is not known how its clock stands to ours.
        assert_eq!(*healthy_since, None::<Moment>);
        assert!(!seen.locked);
    }
}

async fn find(listing: &'static str) -> Vec<Found> {
    let server = Canned::start(move |_| reply(200, listing)).await;
    let marathon = Marathon::connect(&server.url).expect("an address");
    marathon.find().await.expect("is read")
}

async fn observe(more: Value) -> RevisionSighting {
    let mut app = json!({ "id": "/oinker", "instances": 1 });
    for (key, value) in more.as_object().expect("an object") {
        app[key] = value.clone();
    }
    let server = Canned::start(move |_| reply(200, &json!({ "app": app }).to_string())).await;
    let marathon = Marathon::connect(&server.url).expect("an address");
    let seen = marathon.observe(&[RevisionId::from("/oinker")]).await;
    seen.expect("is read").remove(0)
}
