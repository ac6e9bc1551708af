//! The deployer may be killed or interrupted at any instant: the next one ends the deployment as if nothing had been.

use crate::world::{Barrier, Journal, Kind, Oinker, Ran, Relay, World, eventually, exit};
use nix::sys::signal::Signal;
use std::io::Write;
use std::time::{Duration, Instant};

// ---- killed ------------------------------------------------------------------------------------

#[test]
fn a_rolling_deployment_killed_at_any_moment_is_completed_by_resume() {
    let world = World::up().with_blue("start", 3);

    let moments = world.moments(&[]);

    survives_kills(&world, &[], &moments);
}

#[test]
fn a_switch_killed_at_any_moment_is_completed_by_resume() {
    let world = World::up().with_blue("start", 3);
    let flags = ["--strategy", "switch", "--keep-blue", "300ms"];

    let moments = world.moments(&flags);

    survives_kills(&world, &flags, &moments);
}

#[test]
fn a_resume_may_be_killed_as_well() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    let mut deployer = world.begin(&Oinker::new("b"), &[]);

    for moment in [4, 9, 14, 19] {
        world.until_journal(2, "so many steps", |it| it.steps() >= moment);
        deployer.kill();
        deployer = world.start(&["resume", "oinker"]);
    }

    deployer.ends().exits(exit::DONE);
    world.serves_only("b", 3);
    load.lost_nothing();
}

#[test]
fn a_killed_deployment_can_be_rolled_back() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    killed(&world, "a BLUE is stopped", |it| {
        it.instance_actions().contains(&"kill blue".to_owned())
    });

    world
        .teal(&["rollback", "oinker"])
        .exits(exit::DONE)
        .says("rolled back: ");

    world.serves_only("a", 3);
    load.lost_nothing();
}

#[test]
fn a_line_that_was_cut_off_in_the_journal_is_no_hindrance() {
    let world = World::up().with_blue("a", 2);
    let journal = killed(&world, "GREEN has traffic", |it| {
        !it.pool_changes().is_empty()
    });
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&journal.path)
        .expect("it is there");
    file.write_all(b"0badcafe {\"seq\":99,\"at\":1")
        .expect("it can be written to");

    world.teal(&["resume", "oinker"]).exits(exit::DONE);

    world.serves_only("b", 2);
    assert_eq!(world.journal().outcome(), "completed");
}

#[test]
fn a_journal_damaged_in_its_middle_is_refused_and_doctor_names_the_line() {
    let world = World::up().with_blue("a", 2);
    let journal = killed(&world, "GREEN has traffic", |it| {
        !it.pool_changes().is_empty()
    });
    let text = std::fs::read_to_string(&journal.path).expect("it is text");
    let second = text.find('\n').expect("it has lines") + 20;
    let damaged = [&text[..second], "?", &text[second + 1..]].concat();
    std::fs::write(&journal.path, &damaged).expect("it can be written to");

    let doctor = world.teal(&["doctor"]);
    world
        .teal(&["history"])
        .exits(exit::DONE)
        .says("is damaged at line 2");

    doctor.prints("is damaged at line 2").prints("hint: ");
    std::fs::write(&journal.path, text).expect("it can be written to");
    world.teal(&["resume", "oinker"]).exits(exit::DONE);
    world.serves_only("b", 2);
}

#[test]
fn nothing_else_is_deployed_before_a_killed_deployment_has_ended() {
    let world = World::up().with_blue("a", 2);
    let journal = killed(&world, "GREEN has traffic", |it| {
        !it.pool_changes().is_empty()
    });

    let ran = world.deploy(&Oinker::new("c"), &[]).exits(exit::LOCKED);

    ran.says(journal.id())
        .says("`teal resume oinker` goes on with it")
        .says("hint: ");
    world.teal(&["resume"]).exits(exit::DONE);
    world.serves_only("b", 2);
}

// ---- from another machine ----------------------------------------------------------------------

#[test]
fn another_machine_completes_what_a_dead_one_began() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    killed(&world, "a BLUE is stopped", |it| {
        it.instance_actions().contains(&"kill blue".to_owned())
    });

    let ran = elsewhere(&world, &["resume", "oinker"]).exits(exit::DONE);

    ran.says("was begun elsewhere; going on from what GREEN carries");
    world.serves_only("b", 3);
    load.lost_nothing();
    // The first machine comes back and finds its deployment done.
    world.teal(&["resume", "oinker"]).exits(exit::DONE);
    world.serves_only("b", 3);
}

#[test]
fn another_machine_rolls_back_what_a_dead_one_began() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    killed(&world, "a BLUE is stopped", |it| {
        it.instance_actions().contains(&"kill blue".to_owned())
    });

    elsewhere(&world, &["rollback", "oinker"]).exits(exit::DONE);

    world.serves_only("a", 3);
    load.lost_nothing();
}

#[test]
fn two_machines_that_go_on_with_the_same_deployment_do_no_harm() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    let first = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "GREEN has traffic", |it| !it.pool_changes().is_empty());

    let second = elsewhere(&world, &["resume", "oinker"]);

    assert_eq!(first.ends().code(), Some(exit::DONE));
    second.exits(exit::DONE);
    world.serves_only("b", 3);
    load.lost_nothing();
}

#[test]
fn another_machine_deploys_nothing_else_meanwhile() {
    let world = World::up().with_blue("a", 2);
    let first = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");
    let before = world.everything();

    let file = world.write(&Oinker::new("c"));
    let second = elsewhere(&world, &["deploy", &file, "--revision", "c"]);

    let second = second
        .exits(exit::LOCKED)
        .says("hint: `teal resume oinker` goes on with it");
    second.says("an unfinished deployment replaces /oinker-a by /oinker-b");
    assert_eq!(world.everything(), before);
    world.teal(&["promote", "oinker"]).exits(exit::DONE);
    first.ends().exits(exit::DONE);
    world.serves_only("b", 2);
}

// ---- two at once -------------------------------------------------------------------------------

#[test]
fn a_second_deployer_is_told_who_holds_the_service() {
    let world = World::up().with_blue("a", 1);
    let first = world.begin(&Oinker::new("b").slow_to_start(), &[]);
    let journal = world.until_journal(2, "it has begun", |it| !it.entries.is_empty());

    let second = world.deploy(&Oinker::new("c"), &[]).exits(exit::LOCKED);

    let process = format!("process {}", first.id());
    second
        .says("nothing was changed")
        .says(journal.id())
        .says(&process)
        .says("hint: ");
    assert!(!world.apps().contains("/oinker-c"));
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);
    first.ends().exits(exit::ROLLED_BACK);
}

// ---- Ctrl-C ------------------------------------------------------------------------------------

#[test]
fn an_interrupted_deployment_leaves_a_safe_state_and_says_how_to_go_on() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "GREEN has traffic", |it| !it.pool_changes().is_empty());

    deploy.signal(Signal::SIGINT);
    let ran = deploy.ends().exits(exit::INTERRUPTED);

    ran.says("`teal resume oinker` goes on")
        .says("`teal rollback oinker` undoes it");
    world
        .teal(&["resume", "oinker"])
        .exits(exit::DONE)
        .says("completed");
    world.serves_only("b", 3);
    load.lost_nothing();
}

#[test]
fn an_interrupted_deployment_can_be_told_before_anybody_goes_on_with_it() {
    let world = World::up().with_blue("a", 1);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");
    deploy.signal(Signal::SIGTERM);
    deploy.ends().exits(exit::INTERRUPTED);

    world.teal(&["pause", "oinker"]).exits(exit::DONE);
    world.wait_for("paused");
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    world.serves_only("a", 1);
}

#[test]
fn a_second_interrupt_does_not_wait_for_an_answer() {
    let world = World::up().with_blue("a", 1);
    let relay = Relay::losing(&world.balancer, "POST /v1/pools/oinker/change");
    let file = world.write(&Oinker::new("b"));
    let url = format!("http://{}", relay.address);
    let arguments = ["deploy", &file, "--revision", "b"];
    let mut deploy = world.start_with("TEAL_BALANCER", &url, &arguments);
    eventually("a request is lost", || (relay.lost() > 0).then_some(()));

    let began = Instant::now();
    eventually("it leaves", || {
        let is_running = deploy.is_running();
        if is_running {
            deploy.signal(Signal::SIGINT);
        }
        (!is_running).then_some(())
    });

    assert!(
        began.elapsed() < Duration::from_secs(15),
        "far less than a call may take"
    );
    deploy.ends().exits(exit::INTERRUPTED);
    world.teal(&["resume", "oinker"]).exits(exit::DONE);
    world.serves_only("b", 1);
}

// ---- helpers -----------------------------------------------------------------------------------

/// Begins a deployment for each moment, kills the deployer while that change is on its way, and has another process go
/// on. The change itself is lost.
fn survives_kills(world: &World, flags: &[&str], moments: &[usize]) {
    let load = world.load(Kind::Everything);
    for (index, moment) in moments.iter().enumerate() {
        let green = Oinker::new(&format!("g{index}"));
        let barrier = Barrier::at(*moment);
        let deployer = world.begin_behind(&barrier, &green, flags);
        barrier.holds();
        let said = deployer.kill();
        barrier.lose();
        assert!(world.journal().outcome().is_null(), "it has not ended");

        let resumed = world.teal(&["resume", "oinker"]);

        let told = format!("killed at change {moment}: {said}\n{resumed}");
        assert_eq!(resumed.code(), Some(exit::DONE), "{told}");
        world.serves_only(&green.revision, 3);
    }
    load.lost_nothing().was_of_every_kind();
}

/// Begins to replace what runs by `b`, and kills the deployer when it is so far.
fn killed(world: &World, what: &str, so_far: impl Fn(&Journal) -> bool) -> Journal {
    let deployer = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, what, so_far);
    deployer.kill();
    assert!(
        world.journal().outcome().is_null(),
        "it was killed before its end"
    );
    world.journal()
}

/// Runs a command as another machine would: with a state folder of its own.
fn elsewhere(world: &World, arguments: &[&str]) -> Ran {
    let folder = world.other_state().display().to_string();
    world
        .start_with("TEAL_STATE_DIR", &folder, arguments)
        .ends()
}
