//! What a person does and sees with HAProxy as the balancer, without a deployment.

use super::machine::{
    Configuration, Haproxy, blue_behind, blue_behind_haproxy, free_port, is_installed, oinker,
};
use crate::world::{Running, World, eventually, exit};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Returns the state of every endpoint, by task, as `teal pool list` tells.
fn listed(world: &World) -> Vec<(String, String)> {
    let ran = world.teal(&["pool", "list", "oinker", "-o", "json"]);
    let pool = ran.exits(exit::DONE).json();
    let endpoints = pool["endpoints"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let endpoint = |one: &Value| (text(&one["instance"]), text(&one["state"]));
    endpoints.iter().map(endpoint).collect()
}

#[test]
fn a_pool_in_haproxy_is_changed_by_hand_and_its_slots_are_told_by_task() {
    let Some((world, haproxy)) = blue_behind_haproxy("pool by hand", 2) else {
        return;
    };
    let tasks: Vec<String> = world.tasks("/oinker-a").into_keys().collect();
    let serving = |task: &String| (task.clone(), "serving".to_owned());
    assert_eq!(
        listed(&world),
        tasks.iter().map(serving).collect::<Vec<_>>()
    );

    world
        .teal(&["pool", "withdraw", "oinker", &tasks[0]])
        .exits(exit::DONE)
        .prints("draining");
    assert_eq!(listed(&world)[0], (tasks[0].clone(), "draining".to_owned()));
    assert_eq!(haproxy.serving(), 1);

    world
        .teal(&["pool", "admit", "oinker", &tasks[0]])
        .exits(exit::DONE);
    assert_eq!(haproxy.serving(), 2);
}

#[test]
fn a_reload_by_hand_keeps_the_pool_and_needs_a_haproxy_with_a_master() {
    let Some((world, haproxy)) = blue_behind("reload by hand", 2, Configuration::Forgetful) else {
        return;
    };
    let before = listed(&world);

    world
        .teal(&["haproxy-reload"])
        .exits(exit::DONE)
        .says("the pools are as they were");

    assert_eq!(listed(&world), before);
    assert_eq!(haproxy.serving(), 2);
    let address = haproxy.address();
    let without_master = address.split('?').next().expect("its socket");
    world
        .teal(&["haproxy-reload", "--balancer", without_master])
        .exits(exit::BALANCER)
        .says("master's socket is not known");
    world
        .teal(&["haproxy-reload", "--balancer", "http://127.0.0.1:1"])
        .exits(exit::INVALID)
        .says("names no HAProxy");
}

#[test]
fn a_slot_whose_instance_nobody_remembers_is_free_again_when_it_is_forgotten() {
    let Some((world, _haproxy)) = blue_behind_haproxy("forgotten slot", 2) else {
        return;
    };
    let tasks: Vec<String> = world.tasks("/oinker-a").into_keys().collect();
    world.teal(&["task", "kill", &tasks[0]]).exits(exit::DONE);
    eventually("it is gone", || {
        (!world.tasks("/oinker-a").contains_key(&tasks[0])).then_some(())
    });
    let strangers: Vec<String> = listed(&world)
        .into_iter()
        .map(|(task, _)| task)
        .filter(|task| !tasks.contains(task))
        .collect();
    assert_eq!(strangers.len(), 1, "{strangers:?}");

    world
        .teal(&["pool", "forget", "oinker", &strangers[0]])
        .exits(exit::DONE);

    world
        .teal(&["doctor"])
        .prints("oinker: 1 serving, 0 draining, 23 slots are free");
}

#[test]
fn a_pool_that_haproxy_does_not_have_is_made_in_its_configuration_and_not_by_hand() {
    let Some((world, _haproxy)) = blue_behind_haproxy("no pool by hand", 1) else {
        return;
    };

    for arguments in [["pool", "open", "shop"], ["pool", "list", "shop"]] {
        let ran = world.teal(&arguments).exits(exit::INVALID);
        ran.says("hint: ").says("`teal haproxy-config shop`");
    }
}

#[test]
fn status_tells_what_serves_behind_haproxy() {
    let Some((world, _haproxy)) = blue_behind_haproxy("status", 2) else {
        return;
    };

    let rows = world
        .teal(&["status", "-o", "json"])
        .exits(exit::DONE)
        .json();

    assert_eq!(rows[0]["service"], "oinker");
    assert_eq!(
        (&rows[0]["healthy"], &rows[0]["serving"]),
        (&2.into(), &2.into())
    );
}

#[test]
fn a_backend_that_a_label_names_is_found_by_every_command() {
    let test = "backend by label";
    let before = Haproxy::before_a_world(test, "shop_10001", Configuration::Printed);
    let Some((mut world, haproxy)) = before else {
        return;
    };
    world.stand_behind(&haproxy.address());
    let labelled = oinker("a", 1).label("TEAL_HAPROXY_BACKEND", "shop_10001");

    world.deploy(&labelled, &[]).exits(exit::DONE);

    assert_eq!(listed(&world).len(), 1);
    let rows = world
        .teal(&["status", "-o", "json"])
        .exits(exit::DONE)
        .json();
    assert_eq!(rows[0]["serving"], 1);
}

#[test]
fn doctor_tells_of_haproxy_and_of_what_is_missing() {
    let Some((world, haproxy)) = blue_behind_haproxy("doctor", 2) else {
        return;
    };

    let well = world.teal(&["doctor"]).exits(exit::DONE);
    well.prints("HAProxy 2.")
        .prints("level admin")
        .prints("oinker: 2 serving, 0 draining, 22 slots are free")
        .prints("answers; no process from before a reload is left")
        .prints("state file: ")
        .prints("can be written");

    let socket = format!("haproxy+unix:{}", haproxy.socket().display());
    let bare = world.teal(&["doctor", "--balancer", &socket]);
    bare.exits(exit::DONE)
        .prints("?master=")
        .prints("&state_file=");

    let wrong = format!("{socket}?master=/nowhere.sock&state_file=/nowhere/state");
    let wrong = world.teal(&["doctor", "--balancer", &wrong]);
    wrong
        .exits(exit::BALANCER)
        .prints("FAIL master socket")
        .prints("FAIL state file");

    let absent = world.teal(&["doctor", "--balancer", "haproxy+unix:/nowhere.sock"]);
    absent
        .exits(exit::BALANCER)
        .prints("FAIL balancer")
        .prints("hint: is HAProxy running");
}

#[test]
fn teal_up_without_a_balancer_of_its_own_keeps_the_pool_of_haproxy() {
    let before = Haproxy::before_a_world("keeper", "shop_10001", Configuration::Printed);
    let Some((mut world, haproxy)) = before else {
        return;
    };
    world.stand_behind(&haproxy.address());
    let labelled = oinker("a", 2).label("TEAL_HAPROXY_BACKEND", "shop_10001");
    world.deploy(&labelled, &[]).exits(exit::DONE);
    world.up_behind_that_balancer();
    another_serves_in_the_place_of_a_victim(&world);
}

#[test]
fn teal_keep_puts_what_came_back_elsewhere_into_haproxy() {
    let Some((world, haproxy)) = blue_behind_haproxy("keep", 2) else {
        return;
    };
    let mut keep = world.start(&["keep"]);
    keep.until_it_says("keeping the pools of 1 revision");

    another_serves_in_the_place_of_a_victim(&world);

    assert_eq!(haproxy.serving(), 2);
    keep.signal(Signal::SIGINT);
    keep.ends().exits(exit::DONE);
}

/// Stops a task by hand, and waits until the one that its orchestrator starts for it is in the pool.
fn another_serves_in_the_place_of_a_victim(world: &World) {
    let tasks = world.tasks("/oinker-a");
    let victim = tasks.keys().next().expect("a task").clone();

    world.teal(&["task", "kill", &victim]).exits(exit::DONE);

    eventually("another one serves in its place", || {
        let tasks: Vec<String> = world.tasks("/oinker-a").into_keys().collect();
        let serving = |task: &String| (task.clone(), "serving".to_owned());
        let all = tasks.len() == 2 && !tasks.contains(&victim);
        (all && listed(world) == tasks.iter().map(serving).collect::<Vec<_>>()).then_some(())
    });
}

/// It is a person's first sight of it, and has its own traffic.
#[test]
fn the_example_runs_to_its_end_and_its_traffic_loses_nothing() {
    if !is_installed("the example") {
        return;
    }
    let teal = Path::new(env!("CARGO_BIN_EXE_teal")).parent();
    let path = std::env::var("PATH").expect("a path");
    let path = format!("{}:{path}", teal.expect("it is in a folder").display());
    // In time it is told to clean up after itself.
    let mut example = Command::new("timeout");
    example.args([
        "--kill-after=5",
        "50",
        "../examples/haproxy/run",
        "--reload",
    ]);
    example.env("PATH", path).env("NO_COLOR", "1");
    for name in ["MARATHON", "LISTEN"] {
        example.env(name, format!("127.0.0.1:{}", free_port()));
    }

    let ran = Running::start(example, None).ends().exits(exit::DONE);

    ran.prints(", failed 0\n")
        .prints("not in the database: 0\n")
        .prints("of HAProxy meanwhile");
}
