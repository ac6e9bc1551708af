//! `teal up` itself is killed, or goes and comes back: instances go on, the balancer is back with the pools it had, and what was being deployed
//! is completed.

use crate::world::{Kind, Oinker, World, eventually, exit};
use nix::sys::signal::Signal;

#[test]
fn a_killed_up_that_is_started_again_serves_with_the_same_processes() {
    let mut world = World::up().with_blue("a", 3);
    let before = (world.processes(), world.pool(), world.listen());
    let load = world.load(Kind::Requests);

    let (killed, ready) = world.kill_and_start_again();

    assert_eq!(
        (world.processes(), world.pool(), world.listen()),
        before,
        "processes, pool and address are as before"
    );
    world.serves_only("a", 3);
    load.lost_nothing_but_between(killed, ready);
}

#[test]
fn a_deployment_during_which_up_is_killed_is_completed_by_resume() {
    for (count, moment) in [4, 9, 14, 19].into_iter().enumerate() {
        let mut world = World::up().with_blue("a", 3);
        let load = world.load(Kind::Requests);
        let deployer = world.begin(&Oinker::new("b"), &[]);
        world.until_journal(2, "so many steps", |it| it.steps() >= moment);
        if count % 2 == 0 {
            // As when the machine takes both: otherwise the deployer waits for the others to come back.
            deployer.kill();
            let (killed, ready) = world.kill_and_start_again();
            world.teal(&["resume", "oinker"]).exits(exit::DONE);
            world.serves_only("b", 3);
            load.lost_nothing_but_between(killed, ready);
        } else {
            let (killed, ready) = world.kill_and_start_again();
            deployer.ends().exits(exit::DONE);
            world.serves_only("b", 3);
            load.lost_nothing_but_between(killed, ready);
        }
    }
}

#[test]
fn a_rollback_is_possible_after_up_was_killed() {
    let mut world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    let deployer = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "a BLUE is stopped", |it| {
        it.instance_actions().contains(&"kill blue".to_owned())
    });
    deployer.kill();

    let (killed, ready) = world.kill_and_start_again();
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    world.serves_only("a", 3);
    load.lost_nothing_but_between(killed, ready);
}

#[test]
fn tasks_are_left_running_at_the_end_unless_they_are_to_be_stopped() {
    let mut world = World::up_with(&["--on-exit", "leave"]).with_blue("a", 2);
    let processes = world.processes();

    let up = world.take_up();
    up.signal(Signal::SIGTERM);
    let left = up.ends().exits(exit::DONE);

    left.says("left running: 2 tasks").says("hint: ");
    world.up_again();
    assert_eq!(world.processes(), processes);
    world.serves_only("a", 2);
}

#[test]
fn a_task_that_dies_while_nobody_watches_is_replaced() {
    let mut world = World::up().with_blue("a", 2);
    let processes = world.processes();
    let (_, victim) = processes.first_key_value().expect("there are two");
    let victim = nix::unistd::Pid::from_raw(i32::try_from(*victim).expect("a process id"));

    world.take_up().kill();
    nix::sys::signal::kill(victim, Signal::SIGKILL).expect("it runs");
    world.up_again();

    eventually("there are two again, and both get traffic", || {
        let tasks = world.tasks("/oinker-a");
        let is_whole = tasks.len() == 2 && !processes.keys().all(|task| tasks.contains_key(task));
        (is_whole && world.pool() == tasks).then_some(())
    });
    world.serves_only("a", 2);
}

#[test]
fn a_task_sees_nothing_of_what_teal_up_was_started_with() {
    let world = World::up();
    // No pipe: the shell that is looked at would hold an end of it.
    let line = "ls /proc/$$/fd; echo fds; env; echo done; exec sleep 1000";
    let file = world.write_file(
        "nosy.json",
        &format!(
            r#"{{ "id": "/nosy", "cmd": "{}", "cpus": 0.5, "mem": 32 }}"#,
            line.replace('\\', "\\\\")
        ),
    );
    world.teal(&["app", "add", &file]).exits(exit::DONE);

    let seen = eventually("it has told", || {
        let ran = world.teal(&["logs", "nosy", "--lines", "100"]);
        ran.stdout.contains("done").then_some(ran.stdout)
    });

    assert!(seen.starts_with("0\n1\n2\nfds\n"), "{seen}");
    assert!(!seen.contains("secret-of-the-operator"), "{seen}");
    assert!(!seen.contains("TEAL_") && !seen.contains("HOME"), "{seen}");
}
