//! What others do meanwhile: instances that die, systems that are away, people who change things by hand.

use crate::world::{Journal, Kind, Oinker, Relay, World, eventually, exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

// ---- instances that die ------------------------------------------------------------------------

#[test]
fn a_blue_that_dies_by_itself_does_not_stop_the_deployment() {
    let world = World::up().with_blue("a", 3);
    let green = Oinker::new("b").env("OINKER_START_DELAY_MS", "700");
    let deploy = world.begin(&green, &[]);
    world.until_journal(2, "GREEN is launched", is_launched);

    kill_one(&world, "oinker-a.");

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 3);
}

#[test]
fn a_green_that_dies_in_the_pool_is_replaced() {
    let world = World::up().with_blue("a", 3);
    let deploy = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "GREEN has traffic", has_traffic);

    kill_one(&world, "oinker-b.");

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 3);
}

#[test]
fn an_instance_that_dies_while_nothing_is_deployed_comes_back_into_the_pool() {
    let world = World::up().with_blue("a", 2);

    let dead = kill_one(&world, "oinker-a.");

    eventually("another one serves in its place", || {
        let pool = world.pool();
        (pool.len() == 2 && !pool.contains_key(&dead)).then_some(())
    });
    world.serves_only("a", 2);
}

#[test]
fn a_task_that_is_killed_without_scaling_is_launched_again_and_serves_again() {
    let world = World::up().with_blue("a", 2);
    let tasks = world.tasks("/oinker-a");
    let first = tasks.keys().next().expect("there are two").as_str();

    world
        .teal(&["task", "kill", first])
        .exits(exit::DONE)
        .prints("Killed tasks: ");

    eventually("another one serves in its place", || {
        let pool = world.pool();
        (pool.len() == 2 && !pool.contains_key(first)).then_some(())
    });
    world.serves_only("a", 2);
}

// ---- systems that are away ---------------------------------------------------------------------

#[test]
fn an_orchestrator_that_is_away_for_a_while_is_waited_for() {
    is_waited_for(
        |world| &world.marathon,
        "TEAL_MARATHON",
        "the orchestrator cannot be seen",
    );
}

#[test]
fn a_balancer_that_is_away_for_a_while_is_waited_for() {
    is_waited_for(
        |world| &world.balancer,
        "TEAL_BALANCER",
        "the balancer cannot be seen",
    );
}

// ---- people who change things by hand ----------------------------------------------------------

#[test]
fn a_blue_that_is_scaled_up_meanwhile_is_replaced_all_the_same() {
    let world = World::up().with_blue("a", 2);
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b").env("OINKER_START_DELAY_MS", "700"), &[]);
    world.until_journal(2, "GREEN is launched", is_launched);

    world
        .teal(&["app", "update", "/oinker-a", "instances=4"])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
    load.lost_nothing();
}

#[test]
fn a_green_that_is_taken_out_of_the_pool_meanwhile_is_put_back() {
    let world = World::up().with_blue("a", 3);
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b"), &[]);
    world.until_journal(2, "GREEN has traffic", has_traffic);

    let pool = world.pool();
    let green = pool
        .keys()
        .find(|task| task.starts_with("oinker-b."))
        .expect("GREEN has traffic");
    world
        .teal(&["pool", "withdraw", "oinker", green])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 3);
    load.lost_nothing();
}

#[test]
fn a_green_that_is_removed_before_it_has_traffic_is_created_again() {
    let world = World::up().with_blue("a", 2);
    let load = world.load(Kind::Requests);
    let deploy = world.begin(&Oinker::new("b").env("OINKER_START_DELAY_MS", "700"), &[]);
    world.until_journal(2, "GREEN is launched", is_launched);

    world
        .teal(&["app", "remove", "/oinker-b"])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
    load.lost_nothing().was_answered_by(&["a", "b"]);
}

// ---- helpers -----------------------------------------------------------------------------------

fn is_launched(journal: &Journal) -> bool {
    journal
        .instance_actions()
        .iter()
        .any(|action| action == "scale green")
}

fn has_traffic(journal: &Journal) -> bool {
    let mut performed = journal.of("performed").map(|entry| &entry["intent"]);
    let changes = |entry: &&serde_json::Value| entry["action"]["pool"]["do"] == "change";
    let first = journal.of("intended").find(changes);
    first.is_some_and(|first| performed.any(|intent| *intent == first["seq"]))
}

fn is_waited_for(place: impl Fn(&World) -> &String, variable: &str, told: &str) {
    let world = World::up().with_blue("a", 2);
    let load = world.load(Kind::Requests);
    let relay = Relay::to(place(&world));
    let (file, url) = (
        world.write(&Oinker::new("b")),
        format!("http://{}", relay.address),
    );
    let mut deploy = world.start_with(variable, &url, &["deploy", &file, "--revision", "b"]);
    world.until_journal(2, "GREEN has traffic", has_traffic);

    relay.cut();
    deploy.until_it_says(told);
    relay.mend();

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
    load.lost_nothing();
}

/// Kills one process of a revision, as a crash of it would, and returns its task.
fn kill_one(world: &World, prefix: &str) -> String {
    let processes = world.processes();
    let mut of_revision = processes
        .into_iter()
        .filter(|(task, _)| task.starts_with(prefix));
    let (task, process) = of_revision.next().expect("one runs");
    let process = Pid::from_raw(i32::try_from(process).expect("process ids are small"));
    kill(process, Signal::SIGKILL).expect("it runs");
    task
}
