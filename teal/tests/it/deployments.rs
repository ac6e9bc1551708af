//! Deployments that go well: nothing is dropped on the way and nothing is left afterwards.

use crate::world::{Kind, Oinker, World, eventually, exit};
use std::net::TcpStream;

#[test]
fn a_first_deployment_serves_with_every_instance() {
    let world = World::up();

    world
        .deploy(&Oinker::new("a"), &[])
        .exits(exit::DONE)
        .says("completed");

    world.serves_only("a", 3);
}

#[test]
fn a_deployment_replaces_blue_by_green_and_leaves_nothing_of_blue() {
    let world = World::up().with_blue("a", 3);
    let listen = world.listen();

    let ran = world.deploy(&Oinker::new("b"), &[]).exits(exit::DONE);

    ran.says("/oinker-a → /oinker-b").says("completed");
    world.serves_only("b", 3);
    assert_eq!(
        world.listen(),
        listen,
        "clients go on using the same address"
    );
}

#[test]
fn rolling_deployments_in_a_row_lose_no_request_and_no_write() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Everything);

    for revision in ["b", "c"] {
        world
            .deploy(&Oinker::new(revision), &["--strategy", "rolling"])
            .exits(exit::DONE);
        world.serves_only(revision, 3);
    }

    load.lost_nothing()
        .was_answered_by(&["a", "b", "c"])
        .was_of_every_kind();
}

#[test]
fn switch_deployments_in_a_row_lose_no_request_and_no_write() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Everything);

    for revision in ["b", "c"] {
        let flags = ["--strategy", "switch", "--keep-blue", "300ms"];
        world
            .deploy(&Oinker::new(revision), &flags)
            .exits(exit::DONE);
        world.serves_only(revision, 3);
    }

    load.lost_nothing()
        .was_answered_by(&["a", "b", "c"])
        .was_of_every_kind();
}

#[test]
fn green_has_as_many_instances_as_blue_has_at_that_moment() {
    let world = World::up().with_blue("a", 2);

    world
        .deploy(&Oinker::new("b").instances(3), &[])
        .exits(exit::DONE);
    world.serves_only("b", 2);

    world
        .deploy(&Oinker::new("c").instances(3), &["--size", "definition"])
        .exits(exit::DONE);
    world.serves_only("c", 3);
}

#[test]
fn the_same_revision_again_is_nothing_to_do() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();

    world
        .deploy(&Oinker::new("a").instances(1), &[])
        .exits(exit::DONE)
        .says("nothing to do");

    assert_eq!(world.everything(), before);
}

#[test]
fn another_definition_under_the_same_revision_is_refused() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();
    let other = Oinker::new("a")
        .instances(1)
        .env("OINKER_COMMIT_DELAY_MS", "90");

    let ran = world.deploy(&other, &[]).exits(exit::INVALID);

    ran.says("`/oinker-a` runs already, and a revision never changes")
        .says("hint: ");
    assert_eq!(world.everything(), before);
}

#[test]
fn a_plan_changes_nothing_and_its_exit_code_tells_whether_a_deployment_would() {
    let world = World::up();
    let (old, new) = (
        world.write(&Oinker::new("a")),
        world.write(&Oinker::new("b")),
    );
    let plan = |file: &str, revision: &str| {
        world.teal(&["plan", file, "--revision", revision, "--detailed-exitcode"])
    };

    plan(&old, "a")
        .exits(exit::CHANGES)
        .prints("oinker: nothing → /oinker-a");
    world.is_empty();
    world.deploy(&Oinker::new("a"), &[]).exits(exit::DONE);
    let before = world.everything();
    plan(&old, "a").exits(exit::DONE).prints("nothing to do");
    plan(&new, "b")
        .exits(exit::CHANGES)
        .prints("going back from here: ");
    world
        .teal(&["plan", &new, "--revision", "b"])
        .exits(exit::DONE);
    let document = world
        .teal(&["plan", &new, "--revision", "b", "-o", "json"])
        .json();

    assert_eq!(document["changes"], true);
    assert_eq!(document["plan"]["floor"], 3);
    assert_eq!(world.everything(), before);
}

#[test]
fn with_json_output_every_line_is_a_journal_entry() {
    let world = World::up().with_blue("a", 1);

    let ran = world
        .deploy(&Oinker::new("b"), &["-o", "json"])
        .exits(exit::DONE);

    let lines = ran.json_lines();
    assert_eq!(lines, world.journal().entries);
    assert_eq!(lines[0]["event"], "begun");
    assert_eq!(lines[lines.len() - 1]["outcome"]["outcome"], "completed");
}

#[test]
fn a_gauge_in_a_json_document_is_waited_for_as_well() {
    let oinker = |revision| {
        let plain = Oinker::new(revision).without_label("TEAL_PENDING_GAUGE");
        let pointer = plain.label("TEAL_PENDING_POINTER", "/pending/operations");
        pointer
            .label("TEAL_PENDING_PATH", "/status")
            .env("OINKER_COMMIT_DELAY_MS", "700")
    };
    let world = World::up().with(&oinker("a"));
    let load = world.load(Kind::Requests);

    world.deploy(&oinker("b"), &[]).exits(exit::DONE);

    load.lost_nothing();
    let report = world.teal(&["report", "oinker", "-o", "json"]).json();
    let drains = report["drains"].as_array().expect("a list");
    assert!(
        drains
            .iter()
            .any(|one| one["most_pending"].as_u64() > Some(0)),
        "{report:#}"
    );
}

#[test]
fn healthy_capacity_never_falls_below_what_blue_had() {
    let world = World::up().with_blue("a", 3);

    world
        .deploy(&Oinker::new("b"), &["--batch", "2"])
        .exits(exit::DONE);

    let report = world
        .teal(&["report", "oinker", "-o", "json"])
        .exits(exit::DONE)
        .json();
    assert_eq!(report["floor"], 3);
    assert_eq!(report["least_capacity"], 3, "{report:#}");
}

#[test]
fn a_held_tcp_connection_keeps_its_blue_until_it_is_closed() {
    let tcp = |revision| {
        Oinker::new(revision)
            .instances(1)
            .label("TEAL_PROTOCOL", "tcp")
    };
    let world = World::up().with(&tcp("a"));
    let blue = world.processes();
    let held = TcpStream::connect(world.listen()).expect("the service listens");
    eventually("it is in flight", || (world.in_flight() == 1).then_some(()));

    let mut deploy = world.begin(&tcp("b"), &[]);
    deploy.until_it_says("1 BLUE instance drain: oinker-a.");
    assert!(
        blue.keys().all(|task| world.processes().contains_key(task)),
        "BLUE still runs"
    );
    drop(held);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 1);
}

#[test]
fn a_file_can_be_read_from_standard_input() {
    let world = World::up();
    let text = world.definition(&Oinker::new("a"));

    world
        .teal_reading(&text, &["deploy", "-", "--revision", "a"])
        .exits(exit::DONE);

    world.serves_only("a", 3);
}
