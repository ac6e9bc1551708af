//! A BLUE that is sick: replacing it is what the hurry is about, and going back to it must not take the service down.

use crate::world::{Oinker, World, eventually, exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

#[test]
fn a_blue_that_became_unhealthy_in_the_pool_is_replaced() {
    let world = World::up().with(&moody(3));

    make_sick(&world);
    world.deploy(&Oinker::new("b"), &[]).exits(exit::DONE);

    world.serves_only("b", 3);
}

#[test]
fn a_blue_that_crashed_and_never_became_healthy_again_is_replaced() {
    let world = World::up().with(&moody(3));
    let before = world.processes();

    make_sick(&world);
    for process in before.values() {
        let process = Pid::from_raw(i32::try_from(*process).expect("process ids are small"));
        kill(process, Signal::SIGKILL).expect("it runs");
    }
    eventually("all were launched again", || {
        let after = world.processes();
        (after.len() == 3 && !after.keys().any(|task| before.contains_key(task))).then_some(())
    });
    world.deploy(&Oinker::new("b"), &[]).exits(exit::DONE);

    world.serves_only("b", 3);
}

#[test]
fn a_blue_that_is_launched_and_killed_again_and_again_is_replaced() {
    let world = World::up().with(&killed_when_sick(3));

    make_sick(&world);
    world.deploy(&Oinker::new("b"), &[]).exits(exit::DONE);

    world.serves_only("b", 3);
}

#[test]
fn a_rollback_to_a_sick_blue_is_stuck_while_green_serves_and_goes_on_once_blue_is_well() {
    let world = World::up().with(&moody(2));
    let flags = ["--gates", "retire", "--healthy-deadline", "1500ms"];
    let deploy = world.begin(&Oinker::new("b"), &flags);
    world.wait_for("gate");
    make_sick(&world);

    let ran = world.teal(&["rollback", "oinker"]).exits(exit::STUCK);

    let ran = ran.says("stuck: 0 of 2 BLUE instances are healthy");
    ran.says("hint: `teal resume oinker` tries on");
    deploy.ends().exits(exit::STUCK);
    assert!(
        world
            .pool()
            .keys()
            .all(|task| task.starts_with("oinker-b.")),
        "GREEN serves"
    );
    assert_eq!(world.pool().len(), 2);
    std::fs::remove_file(world.desk().join("sick")).expect("it was sick");
    world.teal(&["resume", "oinker"]).exits(exit::ROLLED_BACK);
    world.serves_only("a", 2);
}

// ---- helpers -----------------------------------------------------------------------------------

/// A BLUE that is healthy as long as there is no file `sick`, and is never killed for being unhealthy.
fn moody(instances: usize) -> Oinker {
    checked(instances, 1_000_000)
}

/// A BLUE that is killed, and launched again, as long as there is a file `sick`.
fn killed_when_sick(instances: usize) -> Oinker {
    checked(instances, 0)
}

/// For a check by command, 0 failures are as many as 1: it is Mesos that counts there.
fn checked(instances: usize, failures_max: usize) -> Oinker {
    let check = json!([{
        "protocol": "COMMAND", "command": { "value": "test ! -e \"$OINKER_SICK_FILE\"" },
        "gracePeriodSeconds": 1, "intervalSeconds": 1, "timeoutSeconds": 5, "delaySeconds": 0,
        "maxConsecutiveFailures": failures_max,
    }]);
    Oinker::new("a")
        .instances(instances)
        .with("healthChecks", check)
}

fn make_sick(world: &World) {
    world.write_file("sick", "");
    eventually("BLUE is unhealthy", || {
        let shown = world
            .teal(&["app", "show", "/oinker-a"])
            .exits(exit::DONE)
            .json();
        (shown["tasksHealthy"] == 0).then_some(())
    });
}
