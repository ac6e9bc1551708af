//! The way back: from every stage it ends with BLUE at its full count in the pool and GREEN gone, and nothing is dropped.

use crate::world::{Barrier, Kind, Oinker, Running, World, exit};

#[test]
fn a_rollback_at_launch_removes_green_and_never_touches_blue() {
    let world = World::up().with_blue("a", 3);
    let blue = world.processes();
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b").slow_to_start(), &[]);
    world.until_journal(2, "GREEN is launched", |it| {
        has(&it.instance_actions(), "scale green")
    });

    world
        .teal(&["rollback", "oinker", "--reason", "second thoughts"])
        .exits(exit::DONE);

    is_rolled_back(&world, deploy, "second thoughts");
    assert_eq!(world.processes(), blue);
    load.lost_nothing().was_answered_by(&["a"]);
}

#[test]
fn a_rollback_in_the_midst_of_the_shift_launches_the_missing_blue_first() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Everything);
    let deploy = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "a BLUE is stopped", |it| {
        has(&it.instance_actions(), "kill blue")
    });

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    is_rolled_back(&world, deploy, "the operator asked for it");
    load.lost_nothing()
        .was_answered_by(&["a", "b"])
        .was_of_every_kind();
}

#[test]
fn a_rollback_while_blue_is_warm_is_one_change_of_the_pool() {
    let world = World::up().with_blue("a", 3);
    let blue = world.processes();
    let load = world.load(Kind::Everything);
    let flags = ["--strategy", "switch", "--keep-blue", "1h"];
    let deploy = world.begin(&Oinker::new("b"), &flags);
    world.wait_for("shifted");

    world.teal(&["abort", "oinker"]).exits(exit::DONE);

    is_rolled_back(&world, deploy, "the operator asked for it");
    assert_eq!(world.processes(), blue, "not one BLUE was restarted");
    let back = world.journal().after_asked();
    let changes = back.pool_changes();
    let admitted = |change: &&&serde_json::Value| change["admit"] != serde_json::json!([]);
    assert_eq!(changes.iter().filter(admitted).count(), 1, "{changes:#?}");
    assert!(
        !back
            .instance_actions()
            .iter()
            .any(|it| it.ends_with("blue")),
        "{back:#?}"
    );
    load.lost_nothing().was_of_every_kind();
}

#[test]
fn a_rollback_at_the_gate_before_the_first_traffic_leaves_blue_as_it_was() {
    let world = World::up().with_blue("a", 2);
    let blue = world.processes();
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    is_rolled_back(&world, deploy, "the operator asked for it");
    assert_eq!(world.processes(), blue);
    load.lost_nothing().was_answered_by(&["a"]);
}

#[test]
fn a_rollback_at_the_gate_before_blue_goes_brings_blue_back() {
    let world = World::up().with_blue("a", 2);
    let load = world.load(Kind::Requests);
    let flags = [
        "--gates",
        "retire",
        "--strategy",
        "switch",
        "--keep-blue",
        "0s",
    ];
    let deploy = world.begin(&Oinker::new("b"), &flags);
    world.wait_for("gate");

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    is_rolled_back(&world, deploy, "the operator asked for it");
    load.lost_nothing().was_answered_by(&["a", "b"]);
}

#[test]
fn a_rollback_at_any_moment_of_a_rolling_deployment_ends_with_blue_complete() {
    is_rolled_back_at_any_moment(&[]);
}

#[test]
fn a_rollback_at_any_moment_of_a_switch_ends_with_blue_complete() {
    is_rolled_back_at_any_moment(&["--strategy", "switch", "--keep-blue", "300ms"]);
}

#[test]
fn a_rollback_of_a_paused_deployment_needs_no_resume() {
    let world = World::up().with_blue("a", 2);
    let deploy = world.begin(&Oinker::new("b").slow_to_start(), &[]);
    world.until_journal(2, "GREEN is launched", |it| {
        has(&it.instance_actions(), "scale green")
    });
    world.teal(&["pause", "oinker"]).exits(exit::DONE);

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    is_rolled_back(&world, deploy, "the operator asked for it");
}

#[test]
fn a_rollback_of_a_first_deployment_leaves_nothing() {
    let world = World::up();
    let deploy = world.begin(&Oinker::new("a").slow_to_start(), &[]);
    world.until_journal(1, "GREEN is launched", |it| {
        has(&it.instance_actions(), "scale green")
    });

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    deploy.ends().exits(exit::ROLLED_BACK);
    world.is_empty();
}

#[test]
fn a_rollback_after_the_end_deploys_what_ran_before() {
    let world = World::up()
        .with_blue("a", 2)
        .with(&Oinker::new("b").instances(2));
    let load = world.load(Kind::Requests);

    let ran = world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    ran.says("/oinker-a is deployed again from history");
    world.serves_only("a", 2);
    load.lost_nothing().was_answered_by(&["a", "b"]);
}

#[test]
fn with_nothing_to_go_back_to_a_rollback_is_refused() {
    let world = World::up();
    world
        .teal(&["rollback", "oinker"])
        .exits(exit::INVALID)
        .says("nothing to roll `oinker` back to");
    let world = world.with_blue("a", 1);
    let before = world.everything();

    let ran = world.teal(&["rollback", "oinker"]).exits(exit::INVALID);

    ran.says("nothing to roll `oinker` back to; nothing was changed")
        .says("hint: ");
    assert_eq!(world.everything(), before);
}

// ---- teal turns back by itself -----------------------------------------------------------------

#[test]
fn a_green_that_never_becomes_healthy_is_rolled_back() {
    let world = World::up().with_blue("a", 2);
    let blue = world.processes();
    let load = world.load(Kind::Requests);

    let deploy = world.begin(
        &Oinker::new("b").sick("health"),
        &["--healthy-deadline", "1500ms"],
    );

    is_rolled_back(&world, deploy, "0 of 1 GREEN instances are healthy");
    assert_eq!(world.processes(), blue);
    load.lost_nothing().was_answered_by(&["a"]);
}

#[test]
fn a_green_that_crashes_at_its_start_is_rolled_back() {
    let world = World::up().with_blue("a", 2);
    let blue = world.processes();
    let load = world.load(Kind::Requests);

    let crashing = Oinker::new("b").with("cmd", "exit 1");
    let deploy = world.begin(&crashing, &["--healthy-deadline", "1500ms"]);

    is_rolled_back(&world, deploy, "0 of 1 GREEN instances are healthy");
    assert_eq!(world.processes(), blue);
    load.lost_nothing().was_answered_by(&["a"]);
}

#[test]
fn a_first_deployment_that_never_becomes_healthy_leaves_nothing() {
    let world = World::up();

    let ran = world.deploy(
        &Oinker::new("a").sick("health"),
        &["--healthy-deadline", "1s"],
    );

    ran.exits(exit::ROLLED_BACK)
        .says("0 of 3 GREEN instances are healthy");
    world.is_empty();
}

// ---- pause, resume, promote, wait --------------------------------------------------------------

#[test]
fn a_paused_deployment_decides_nothing_until_it_is_resumed() {
    let world = World::up().with_blue("a", 1);
    let deploy = world.begin(&Oinker::new("b").env("OINKER_START_DELAY_MS", "1000"), &[]);
    world.until_journal(2, "GREEN is launched", |it| {
        has(&it.instance_actions(), "scale green")
    });
    world
        .teal(&["pause", "oinker"])
        .exits(exit::DONE)
        .says("`teal resume oinker` goes on");
    world.wait_for("paused");
    let intents = world.journal().of("intended").count();

    world.until_journal(2, "GREEN is healthy", |it| {
        let mut pictures = it.of("seen").map(|entry| &entry["picture"]["instances"]);
        pictures.any(|instances| {
            let mut all = instances.as_object().expect("instances").values();
            all.any(|one| one["role"] == "green" && one["health"] == "healthy")
        })
    });
    assert_eq!(world.journal().of("intended").count(), intents);
    world.teal(&["resume", "oinker"]).exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 1);
}

#[test]
fn a_deployment_waits_at_every_gate_for_a_promotion() {
    let world = World::up().with_blue("a", 2);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift,retire"]);

    world.wait_for("gate");
    assert!(
        world
            .pool()
            .keys()
            .all(|task| task.starts_with("oinker-a.")),
        "GREEN has no traffic"
    );
    world.teal(&["promote", "oinker"]).exits(exit::DONE);
    world.until_journal(2, "the second gate", |it| {
        it.of("intended").filter(is_gate).count() == 2
    });
    assert!(
        world
            .pool()
            .keys()
            .all(|task| task.starts_with("oinker-b.")),
        "BLUE has none"
    );
    assert!(world.apps().contains("/oinker-a"), "BLUE is still there");
    world.teal(&["promote", "oinker"]).exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
}

#[test]
fn a_full_promotion_opens_every_gate_and_ends_the_bake() {
    let world = World::up().with_blue("a", 1);
    let flags = [
        "--gates",
        "shift,retire",
        "--strategy",
        "switch",
        "--keep-blue",
        "1h",
    ];
    let deploy = world.begin(&Oinker::new("b"), &flags);
    world.wait_for("gate");

    world
        .teal(&["promote", "oinker", "--full"])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 1);
}

#[test]
fn a_promotion_ends_the_bake() {
    let world = World::up().with_blue("a", 1);
    let deploy = world.begin(
        &Oinker::new("b"),
        &["--strategy", "switch", "--keep-blue", "1h"],
    );
    world.wait_for("shifted");

    world
        .teal(&["promote"])
        .exits(exit::DONE)
        .says("oinker is promoted");

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 1);
}

#[test]
fn waiting_tells_by_its_exit_code_what_became_of_the_deployment() {
    let world = World::up().with_blue("a", 1);
    let wait = |what, timeout| world.teal(&["wait", "oinker", "--for", what, "--timeout", timeout]);
    let deploy = world.begin(&Oinker::new("b").slow_to_start(), &[]);
    world.until_journal(2, "GREEN is launched", |it| {
        has(&it.instance_actions(), "scale green")
    });

    wait("completed", "100ms")
        .exits(exit::WAIT_OVER)
        .says("did not get there within 100ms");
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    wait("rolled-back", "1s").exits(exit::DONE);
    wait("completed", "1s").exits(exit::ROLLED_BACK);
    wait("ended", "1s").exits(exit::ROLLED_BACK);
    deploy.ends().exits(exit::ROLLED_BACK);
}

#[test]
fn words_to_a_deployment_that_is_not_there_are_refused() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();

    for words in [
        &["pause", "oinker"][..],
        &["resume", "oinker"],
        &["promote", "oinker"],
        &["force", "oinker", "--reason", "haste"],
        &["pause"],
        &["resume", "oinkr"],
    ] {
        world
            .teal(words)
            .exits(exit::INVALID)
            .says("under way")
            .says("hint: ");
    }

    assert_eq!(world.everything(), before);
}

// ---- helpers -----------------------------------------------------------------------------------

/// Checks how the deployment ended, that it says why, and that only BLUE is there, at its full count.
fn is_rolled_back(world: &World, deploy: Running, why: &str) {
    let ran = deploy.ends().exits(exit::ROLLED_BACK);
    ran.says("rolled back: ").says(why);
    assert_eq!(world.journal().outcome(), "rolled_back");
    let count = world.journal().entries[0]["plan"]["blue"]["instances"].as_u64();
    world.serves_only(
        "a",
        usize::try_from(count.expect("a count")).expect("a small one"),
    );
}

/// Begins a deployment for each of several moments, and turns it back while that change is on its way.
fn is_rolled_back_at_any_moment(flags: &[&str]) {
    let world = World::up().with_blue("first", 3);
    let moments = world.moments(flags);
    let load = world.load(Kind::Requests);
    for (index, moment) in moments.iter().enumerate() {
        let barrier = Barrier::at(*moment);
        let green = Oinker::new(&format!("g{index}"));
        let deploy = world.begin_behind(&barrier, &green, flags);
        barrier.holds();
        let rollback = world.start(&["rollback", "oinker"]);
        world.until_letter();

        barrier.let_go();

        rollback.ends().exits(exit::DONE);
        deploy.ends().exits(exit::ROLLED_BACK);
        world.serves_only("calm", 3);
    }
    load.lost_nothing();
}

fn has(actions: &[String], wanted: &str) -> bool {
    actions.iter().any(|action| action == wanted)
}

fn is_gate(entry: &&serde_json::Value) -> bool {
    entry["action"]["mark"].get("gate_reached").is_some()
}
