//! `teal up` itself is killed: instances go on, the balancer is back with the pools it had, and what was being deployed
//! is completed.

use crate::world::{Kind, Oinker, World, exit};

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
