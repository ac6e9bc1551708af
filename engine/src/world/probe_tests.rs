//! When checks are asked, and at which address.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::tests::Stage;
use super::{ProbeOrder, Subject, Target};
use crate::identity::AppId;
use crate::model::Addresses;
use crate::probe::{Answer, Question, Response};

/// Where the containers of these tests are.
const OWN: Addresses = Addresses {
    v4: Some(Ipv4Addr::new(172, 17, 0, 2)),
    v6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2)),
};

#[test]
fn a_check_asks_a_container_at_its_own_address() {
    // The first host port is 31000 and leads to 80; 81 is not reachable through the machine.
    let mappings = json!([{ "containerPort": 80, "hostPort": 0 }, { "containerPort": 81 }]);
    let bridge = json!([{ "mode": "container/bridge" }]);
    let named = json!([{ "name": "front" }]);
    let cases = [
        (&bridge, "TCP", json!({ "portIndex": 0 }), "172.17.0.2:80"),
        (
            &bridge,
            "MESOS_TCP",
            json!({ "portIndex": 0 }),
            "172.17.0.2:80",
        ),
        (&bridge, "TCP", json!({ "port": 31_000 }), "172.17.0.2:80"),
        (&bridge, "TCP", json!({ "port": 5000 }), "127.0.0.1:5000"),
        (
            &bridge,
            "MESOS_TCP",
            json!({ "port": 5000 }),
            "172.17.0.2:5000",
        ),
        (&named, "TCP", json!({ "portIndex": 1 }), "172.17.0.2:81"),
        (&named, "TCP", json!({ "port": 5000 }), "172.17.0.2:5000"),
        (
            &named,
            "MESOS_TCP",
            json!({ "portIndex": 0, "ipProtocol": "IPv6" }),
            "fd00::2:80",
        ),
    ];
    for (networks, protocol, mut check, expected) in cases {
        check["protocol"] = json!(protocol);
        let mut stage = Stage::new();
        stage.create(json!({
            "id": "a",
            "container": { "docker": { "image": "i" }, "portMappings": mappings },
            "networks": networks,
            "healthChecks": [check],
        }));
        stage.start_all_at(OWN);

        stage.pass(Duration::from_secs(20));

        assert_eq!(asked(&stage.asked), [expected], "{networks} {check}");
    }
}

#[test]
fn a_check_asks_the_machine_where_there_is_no_other_address() {
    let host = json!([{ "mode": "host" }]);
    let bridge = json!([{ "mode": "container/bridge" }]);
    for (networks, expected) in [(&host, "127.0.0.1:31000"), (&bridge, "127.0.0.1:31000")] {
        let mut stage = Stage::new();
        stage.create(json!({
            "id": "a",
            "container": { "docker": { "image": "i" }, "portMappings": [{ "containerPort": 80 }] },
            "networks": networks,
            "healthChecks": [{ "protocol": "TCP" }],
        }));
        stage.start_all();

        stage.pass(Duration::from_secs(20));

        assert_eq!(asked(&stage.asked), [expected], "{networks}");
    }
}

#[test]
fn an_ipv6_check_of_a_container_without_such_an_address_says_so() {
    let mut stage = Stage::new();
    stage.create(json!({
        "id": "a",
        "container": { "docker": { "image": "i" } },
        "networks": [{ "mode": "container/bridge" }],
        "healthChecks": [{ "protocol": "MESOS_TCP", "ipProtocol": "IPv6", "delaySeconds": 0 }],
    }));
    stage.start_all_at(Addresses { v6: None, ..OWN });

    stage.pass(Duration::from_secs(1));

    let expected = Question::Unanswerable("the container has no IPv6 address".to_owned());
    assert_eq!(stage.asked[0].question, expected);
}

#[test]
fn checks_that_mesos_makes_begin_after_their_delay() {
    for (protocol, first) in [("TCP", 1), ("MESOS_TCP", 7), ("COMMAND", 7)] {
        let mut stage = Stage::new();
        let mut check = json!({ "protocol": protocol, "delaySeconds": 7 });
        if protocol == "COMMAND" {
            check["command"] = json!({ "value": "true" });
        }
        stage.create(json!({ "id": "a", "cmd": "sleep 1", "healthChecks": [check] }));
        stage.start_all();

        let seconds = (1..10).find(|_| {
            stage.pass(Duration::from_secs(1));
            !stage.asked.is_empty()
        });

        assert_eq!(seconds, Some(first), "{protocol}");
    }
}

#[test]
fn readiness_is_asked_at_once_and_then_an_interval_after_each_answer() {
    let mut stage = Stage::new();
    stage.create(watched(1));
    let task = stage.start_all().remove(0);
    let at_once = stage.asked.len();

    stage.pass(Duration::from_secs(3));
    stage.change(|world, now| world.probe_done(&task, Subject::Readiness, answer(503), now));
    stage.pass(Duration::from_secs(29));
    let too_early = stage.asked.len();
    stage.pass(Duration::from_secs(1));

    assert_eq!(at_once, 1);
    assert_eq!(too_early, 1);
    assert_eq!(stage.asked.len(), 2);
    let results = &stage.world.deployments_json()[0]["currentActions"][0]["readinessCheckResults"];
    assert_eq!(
        *results,
        json!([{ "name": "readinessCheck", "taskId": task, "ready": false }])
    );

    stage.change(|world, now| world.probe_done(&task, Subject::Readiness, answer(200), now));
    assert_eq!(stage.world.deployments_json(), json!([]));
    assert_eq!(stage.world.next_deadline(stage.now.instant), None);
}

#[test]
fn nobody_is_asked_for_readiness_without_a_deployment() {
    let mut stage = Stage::new();
    stage.create(watched(1));
    let task = stage.start_all().remove(0);
    let deployment = stage.world.deployments_json()[0]["id"].clone();
    let deployment = deployment.as_str().expect("an id");
    stage
        .change(|world, _| world.abandon_deployment(deployment))
        .expect("it runs");

    stage.change(|world, now| world.probe_done(&task, Subject::Readiness, answer(503), now));
    stage.pass(Duration::from_secs(3600));

    assert_eq!(stage.asked.len(), 1);
    assert_eq!(stage.world.next_deadline(stage.now.instant), None);
}

#[test]
fn an_instance_that_was_there_before_is_not_asked_when_the_app_grows() {
    let mut stage = Stage::new();
    stage.create(watched(1));
    let old = stage.start_all().remove(0);
    stage.change(|world, now| world.probe_done(&old, Subject::Readiness, answer(200), now));
    stage.asked.clear();

    let app = AppId::from_text("/a");
    let mut definition = stage
        .world
        .current(&app)
        .expect("it exists")
        .definition
        .clone();
    definition.instances = 2;
    let target = Target::Define(Box::new(definition));
    stage.deploy(&app, target).expect("nothing locks the app");
    let new = stage.start_all().remove(0);

    let asked: Vec<_> = stage.asked.iter().map(|order| order.task.clone()).collect();
    assert_eq!(asked, [new]);
}

/// Returns every address that was asked, in order.
fn asked(orders: &[ProbeOrder]) -> Vec<String> {
    let address = |order: &ProbeOrder| {
        let Question::Tcp { host, port } = &order.question else {
            panic!("not a TCP check: {order:?}");
        };
        format!("{host}:{port}")
    };
    orders.iter().map(address).collect()
}

fn watched(instances: u32) -> Value {
    json!({
        "id": "a", "cmd": "sleep 1", "instances": instances,
        "portDefinitions": [{ "name": "http-api" }], "readinessChecks": [{}],
    })
}

fn answer(status: u16) -> Answer {
    Answer::Http(Response {
        status,
        line: status.to_string(),
        content_type: String::new(),
        body: String::new(),
    })
}
