//! The runbook by hand: its steps by the program's commands, and by the very lines of its pages.

use crate::world::{Kind, Oinker, World, eventually, exit};
use serde_json::{Value, json};

/// The pages' words, with the program's name for the CLI's.
const APP_SHOW_UNHEALTHY: &str = r#"teal app show /green-oinker | jq '.tasks[].healthCheckResults[] | select (.alive == false)'"#;

#[test]
fn the_runbook_can_be_followed_by_hand_and_nothing_is_dropped() {
    let world = World::up();
    let (blue, green) = (
        world.write(&by_hand("blue", 2)),
        world.write(&by_hand("green", 0)),
    );
    world
        .teal(&["app", "add", &blue])
        .exits(exit::DONE)
        .prints("Created deployment ");
    let mut blues = until_healthy(&world, "/blue-oinker", 2);
    world.teal(&["pool", "open", "oinker"]).exits(exit::DONE);
    let both: Vec<&str> = blues.iter().map(String::as_str).collect();
    world
        .teal(&[&["pool", "admit", "oinker"], &both[..]].concat())
        .exits(exit::DONE);
    let load = world.load(Kind::Requests);

    world.teal(&["app", "add", &green]).exits(exit::DONE);
    for step in 1..=2 {
        let size = format!("instances={step}");
        world
            .teal(&["app", "update", "/green-oinker", &size])
            .exits(exit::DONE);
        let greens = until_healthy(&world, "/green-oinker", step);
        let unhealthy = world.sh(APP_SHOW_UNHEALTHY, &[]);
        assert_eq!(unhealthy.exits(exit::DONE).stdout, "");
        let new = greens
            .iter()
            .find(|task| !world.pool().contains_key(*task))
            .expect("a new one");
        world
            .teal(&["pool", "admit", "oinker", new])
            .exits(exit::DONE);
        let picked = blues.pop().expect("a BLUE is left");
        world
            .teal(&["task", "list", "/blue-oinker"])
            .exits(exit::DONE)
            .prints(&picked);
        world
            .teal(&["pool", "withdraw", "oinker", &picked])
            .exits(exit::DONE);
        until_idle(&world, &picked);
        world
            .teal(&["task", "kill", "--scale", &picked])
            .exits(exit::DONE);
        eventually("it is gone", || {
            (!world.processes().contains_key(&picked)).then_some(())
        });
        world
            .teal(&["pool", "forget", "oinker", &picked])
            .exits(exit::DONE);
    }
    world
        .teal(&["app", "remove", "/blue-oinker"])
        .exits(exit::DONE);

    eventually("BLUE is gone", || {
        (!world.apps().contains("/blue-oinker")).then_some(())
    });
    world.serves("/green-oinker", 2);
    load.lost_nothing().was_answered_by(&["blue", "green"]);
}

#[test]
fn the_pages_own_lines_work_with_and_without_the_clusters_prefix() {
    for prefix in ["", "/marathon", "/service/marathon"] {
        let world = World::up();
        world.write(&by_hand("green", 2));
        let host = format!("http://{}{prefix}", world.marathon);

        let add = r#"curl -fsS -H "Content-Type: application/json" -X POST -d @green-oinker.json "$1"/v2/apps"#;
        let created = world.sh(add, &[&host]).exits(exit::DONE).json();
        assert_eq!(created["id"], "/green-oinker");
        let tasks = until_healthy(&world, "/green-oinker", 2);
        let kill = r#"echo "{\"ids\":[\"$2\"]}" | curl -fsS -H "Content-Type: application/json" -X POST -d @- "$1"/v2/tasks/delete?scale=true"#;
        let killed = world.sh(kill, &[&host, &tasks[0]]).exits(exit::DONE).json();
        assert!(killed["deploymentId"].is_string(), "{killed}");

        eventually("it is gone", || {
            let left = world.processes();
            (left.keys().eq([&tasks[1]])).then_some(())
        });
        let show =
            r#"curl -fsS "$1"/v2/apps/green-oinker | jq '.app.instances, .app.tasksRunning'"#;
        eventually("it is scaled", || {
            let shown = world.sh(show, &[&host]).exits(exit::DONE).stdout;
            (shown == "1\n1\n").then_some(())
        });
    }
}

#[test]
fn a_check_that_fails_is_shown_by_the_pages_line() {
    let world = World::up();
    let checks = json!([{
        "protocol": "HTTP", "path": "/health", "portIndex": 0, "gracePeriodSeconds": 0,
        "intervalSeconds": 1, "timeoutSeconds": 5, "maxConsecutiveFailures": 0,
    }]);
    let sick = by_hand("green", 1)
        .with("healthChecks", checks)
        .sick("health");
    let file = world.write(&sick);
    world.teal(&["app", "add", &file]).exits(exit::DONE);

    eventually("it is shown", || {
        let shown = world
            .sh(APP_SHOW_UNHEALTHY, &[env!("CARGO_BIN_EXE_teal")])
            .exits(exit::DONE);
        shown.stdout.contains("\"alive\": false").then_some(())
    });

    eventually("it is listed", || {
        let listed = world
            .teal(&["task", "list", "/green-oinker"])
            .exits(exit::DONE)
            .stdout;
        listed.contains("no").then_some(())
    });
}

#[test]
fn the_seeds_definition_is_planned_once_its_gauge_is_named() {
    let world = World::up();
    let seed = |labels: &Value| {
        json!({
            "id": "/green-oinker",
            "instances": 3,
            "container": {
                "type": "DOCKER",
                "docker": {
                    "image": "mesosphere/oinker:shakespeare",
                    "network": "BRIDGE",
                    "portMappings": [{ "containerPort": 3000, "hostPort": 0, "protocol": "tcp" }],
                },
            },
            "healthChecks": [{
                "protocol": "TCP", "gracePeriodSeconds": 600, "intervalSeconds": 30,
                "portIndex": 0, "timeoutSeconds": 10, "maxConsecutiveFailures": 2,
            }],
            "cmd": "until rake cassandra:setup; do sleep 5; done && rails server",
            "ports": [0],
            "cpus": 0.25,
            "mem": 256.0,
            "labels": labels,
        })
        .to_string()
    };

    let without = world.write_file("green-oinker.json", &seed(&json!({})));
    let refused = world.teal(&["plan", &without]).exits(exit::INVALID);
    refused
        .says("labels: nothing says where pending operations are read")
        .says("hint: ");
    let labels = json!({ "TEAL_PENDING_PATH": "/metrics", "TEAL_PENDING_GAUGE": "queued" });
    let with = world.write_file("green-oinker.json", &seed(&labels));
    let planned = world
        .teal(&["plan", &with, "--detailed-exitcode"])
        .exits(exit::CHANGES);

    planned
        .prints("oinker: nothing → /green-oinker")
        .prints("launch 3 GREEN");
    world.is_empty();
}

#[test]
fn an_app_that_was_added_by_hand_can_be_replaced_by_a_deployment() {
    let world = World::up();
    let blue = world.write(&by_hand("blue", 2));
    world.teal(&["app", "add", &blue]).exits(exit::DONE);
    let tasks = until_healthy(&world, "/blue-oinker", 2);
    world.teal(&["pool", "open", "oinker"]).exits(exit::DONE);
    world
        .teal(&["pool", "admit", "oinker", &tasks[0], &tasks[1]])
        .exits(exit::DONE);
    let load = world.load(Kind::Requests);

    let file = world.write(&by_hand("green", 2));
    world
        .teal(&["deploy", &file])
        .exits(exit::DONE)
        .says("/blue-oinker → /green-oinker");

    world.serves("/green-oinker", 2);
    load.lost_nothing().was_answered_by(&["blue", "green"]);
}

#[test]
fn commands_by_hand_tell_programs_as_well_as_people() {
    let world = World::up().with_blue("a", 1);

    let apps = world
        .teal(&["app", "list", "-o", "json"])
        .exits(exit::DONE)
        .json();
    assert_eq!(apps[0]["id"], "/oinker-a");
    let tasks = world
        .teal(&["task", "list", "/oinker-a", "-o", "json"])
        .exits(exit::DONE)
        .json();
    let id = tasks[0]["id"].as_str().expect("an id");
    let task = world.teal(&["task", "show", id]).exits(exit::DONE).json();
    assert_eq!(task["appId"], "/oinker-a");
    let pool = world
        .teal(&["pool", "list", "oinker", "-o", "json"])
        .exits(exit::DONE)
        .json();
    assert_eq!(pool["endpoints"][0]["instance"], id);
    assert_eq!(pool["endpoints"][0]["state"], "serving");
    world
        .teal(&["app", "list"])
        .exits(exit::DONE)
        .prints("/oinker-a  1 of 1");
    world
        .teal(&["task", "list"])
        .exits(exit::DONE)
        .prints("yes")
        .prints(id);
    let patch = r#"{ "mem": 48 }"#;
    world
        .teal_reading(patch, &["app", "update", "/oinker-a"])
        .exits(exit::DONE);
    let app = world
        .teal(&["app", "show", "/oinker-a"])
        .exits(exit::DONE)
        .json();
    assert_eq!(app["mem"], 48.0);
}

// ---- helpers -----------------------------------------------------------------------------------

/// A definition whose id names its colour, as the runbook's do.
fn by_hand(colour: &str, instances: usize) -> Oinker {
    Oinker::new(colour)
        .instances(instances)
        .with("id", format!("/{colour}-oinker"))
}

/// Waits as the runbook does, and returns the tasks of an app once so many are there and all are healthy.
fn until_healthy(world: &World, app: &str, count: usize) -> Vec<String> {
    eventually("all tasks are healthy", || {
        let shown = world.teal(&["app", "show", app]).exits(exit::DONE).json();
        let tasks = shown["tasks"].as_array().expect("a list").clone();
        let is_alive = |task: &Value| {
            let results = task["healthCheckResults"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            !results.is_empty() && results.iter().all(|result| result["alive"] == true)
        };
        let id = |task: &Value| task["id"].as_str().expect("an id").to_owned();
        let is_ready = tasks.len() == count && tasks.iter().all(is_alive);
        is_ready.then(|| tasks.iter().map(id).collect())
    })
}

/// Waits until nothing is in flight to a task and its gauge reads zero.
fn until_idle(world: &World, task: &str) {
    let listed = world
        .teal(&["pool", "list", "oinker", "-o", "json"])
        .exits(exit::DONE)
        .json();
    let endpoints = listed["endpoints"].as_array().expect("a list");
    let endpoint = endpoints
        .iter()
        .find(|one| one["instance"] == task)
        .expect("it is listed");
    assert_eq!(endpoint["state"], "draining");
    let address = endpoint["address"].as_str().expect("an address");
    let gauge = r#"curl -fsS http://"$1"/status | jq .pending.operations"#;
    eventually("nothing is in flight", || {
        let listed = world
            .teal(&["pool", "list", "oinker", "-o", "json"])
            .exits(exit::DONE)
            .json();
        let endpoints = listed["endpoints"].as_array().expect("a list");
        let busy = endpoints
            .iter()
            .any(|one| one["instance"] == task && one["in_flight"] != 0);
        (!busy).then_some(())
    });
    eventually("nothing is pending", || {
        let pending = world.sh(gauge, &[address]).exits(exit::DONE).stdout;
        (pending.trim() == "0").then_some(())
    });
}

#[test]
fn an_instance_is_taken_out_by_hand_while_the_orchestrator_does_not_answer() {
    let world = World::up().with_blue("a", 2);
    let tasks: Vec<String> = world.pool().into_keys().collect();
    let nowhere = ["--marathon", "http://127.0.0.1:1"];

    let withdraw = ["pool", "withdraw", "oinker", &tasks[0]];
    let ran = world.teal(&[&withdraw[..], &nowhere].concat());

    ran.exits(exit::DONE)
        .says("going on without the orchestrator");
    assert_eq!(world.pool().into_keys().collect::<Vec<_>>(), tasks[1..]);
    let admit = ["pool", "admit", "oinker", &tasks[0]];
    world
        .teal(&[&admit[..], &nowhere].concat())
        .exits(exit::ORCHESTRATOR);
}
