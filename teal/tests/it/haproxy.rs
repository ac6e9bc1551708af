//! Whole deployments with a real HAProxy before the service, under load, with HAProxy reloaded, and killed, meanwhile.

mod by_hand;
mod config;
mod machine;

use crate::world::{Journal, World, eventually, exit};
use machine::{Configuration, Haproxy, begin, blue_behind, blue_behind_haproxy, load};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How many requests a scenario is under, and how many a second, unless `TEAL_REQUESTS` and `TEAL_RATE` say otherwise.
const REQUESTS: u32 = 10_000;
const RATE: u32 = 800;
const INSTANCES: usize = 10;
const ROLLING: &[&str] = &["--strategy", "rolling", "--batch", "2"];
const SWITCH: &[&str] = &["--strategy", "switch", "--keep-blue", "300ms"];

fn said(name: &str, otherwise: u32) -> u32 {
    let said = std::env::var(name).ok();
    said.map_or(otherwise, |number| number.parse().expect("a number"))
}

/// Deploys one revision after the other under load until there were enough requests, and tells how many there were.
#[expect(clippy::print_stdout, reason = "./check repeats the figures")]
fn deploy_under_load(test: &str, flags: &[&str], meanwhile: impl Fn(&World, &Haproxy, usize)) {
    let Some((world, haproxy)) = blue_behind_haproxy(test, INSTANCES) else {
        return;
    };
    let (requests, rate) = (said("TEAL_REQUESTS", REQUESTS), said("TEAL_RATE", RATE));
    let (load, began) = (load(&world, &haproxy, rate), Instant::now());
    let mut deployments = 0;
    // It is an open loop: so many are sent in that time, whatever becomes of them.
    let enough = Duration::from_secs(u64::from(requests / rate + 1));
    while deployments == 0 || began.elapsed() < enough {
        deployments += 1;
        let revision = format!("r{deployments}");
        let deploy = begin(&world, &revision, INSTANCES, flags);
        // BLUE's own deployment was the first.
        meanwhile(&world, &haproxy, deployments + 1);
        deploy.ends().exits(exit::DONE).says("completed");
        assert_eq!(haproxy.serving(), INSTANCES);
        assert_eq!(
            world.apps().into_iter().collect::<Vec<_>>(),
            [format!("/oinker-{revision}")]
        );
    }
    let sent = load.lost_nothing().sent();
    assert!(sent >= u64::from(requests), "{sent}");
    println!(
        "\nfigures: {test}: {deployments} deployments of {INSTANCES} instances, {sent} requests, 0 failed"
    );
}

/// Calls whenever one more batch of BLUE has been told to leave the pool, until the deployment has ended.
fn in_every_round(world: &World, count: usize, mut what: impl FnMut()) {
    let leaves = |journal: &Journal| {
        let changes = journal.pool_changes();
        let leaving = |change: &&&Value| {
            change["withdraw"]
                .as_array()
                .is_some_and(|it| !it.is_empty())
        };
        changes.iter().filter(leaving).count()
    };
    let mut rounds = 0;
    loop {
        let journal = world.until_journal(count, "another round, or the end", |journal| {
            leaves(journal) > rounds || !journal.outcome().is_null()
        });
        if leaves(&journal) == rounds {
            break;
        }
        rounds += 1;
        what();
    }
    assert!(rounds > 0, "there was no round");
}

#[test]
fn rolling_deployments_through_haproxy_lose_nothing() {
    deploy_under_load("rolling", ROLLING, |_, _, _| {});
}

#[test]
fn switch_deployments_through_haproxy_lose_nothing() {
    deploy_under_load("switch", SWITCH, |_, _, _| {});
}

#[test]
fn rolling_deployments_with_a_reload_of_haproxy_in_every_round_lose_nothing() {
    deploy_under_load(
        "rolling, reloaded in every round",
        ROLLING,
        |world, haproxy, count| {
            in_every_round(world, count, || haproxy.reload());
        },
    );
}

#[test]
fn switch_deployments_with_a_reload_of_haproxy_in_every_round_lose_nothing() {
    deploy_under_load(
        "switch, reloaded in every round",
        SWITCH,
        |world, haproxy, count| {
            in_every_round(world, count, || haproxy.reload());
        },
    );
}

#[test]
fn a_rollback_through_haproxy_loses_nothing_and_ends_with_blue() {
    let Some((world, haproxy)) = blue_behind_haproxy("rollback", 3) else {
        return;
    };
    let load = load(&world, &haproxy, 200);
    let deploy = begin(&world, "b", 3, &["--batch", "1"]);
    world.until_journal(2, "one BLUE was told to stop", |journal| {
        journal
            .instance_actions()
            .iter()
            .any(|it| it == "kill blue")
    });

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    deploy.ends().exits(exit::ROLLED_BACK);
    assert_eq!(world.apps().into_iter().collect::<Vec<_>>(), ["/oinker-a"]);
    assert_eq!(haproxy.serving(), 3);
    load.lost_nothing();
}

#[test]
fn a_haproxy_that_is_killed_in_the_middle_comes_back_with_its_pool_and_the_deployment_completes() {
    let Some((world, mut haproxy)) = blue_behind_haproxy("killed", 3) else {
        return;
    };
    let deploy = begin(&world, "b", 3, &["--batch", "1"]);
    world.until_journal(2, "one BLUE was told to stop", |journal| {
        journal
            .instance_actions()
            .iter()
            .any(|it| it == "kill blue")
    });

    haproxy.kill_and_start_again();

    assert!(haproxy.serving() > 0, "its state file has kept the pool");
    deploy.ends().exits(exit::DONE);
    assert_eq!(haproxy.serving(), 3);
    // From here on nothing is lost any more.
    let load = load(&world, &haproxy, 200);
    eventually("it is used", || (haproxy.answered() > 200).then_some(()));
    load.lost_nothing().was_answered_by(&["b"]);
}

#[test]
fn a_reload_that_forgets_the_pool_is_noticed_and_the_pool_put_back_before_anything_else() {
    let Some((world, haproxy)) = blue_behind("forgetful", 3, Configuration::Forgetful) else {
        return;
    };
    let deploy = begin(&world, "b", 3, &["--batch", "1"]);
    let before = world.until_journal(2, "one BLUE was told to stop", |journal| {
        journal
            .instance_actions()
            .iter()
            .any(|it| it == "kill blue")
    });

    haproxy.reload();

    deploy.ends().exits(exit::DONE).says("completed");
    let journal = world.journal();
    let later = journal
        .of("intended")
        .filter(|entry| entry["seq"].as_u64() > before.last_seq());
    let actions: Vec<_> = later.map(|entry| &entry["action"]).collect();
    let admitted =
        |action: &serde_json::Value| action["pool"]["admit"].as_array().map_or(0, Vec::len);
    // What was decided before the reload may have been written down after it.
    let back = actions.iter().position(|action| admitted(action) > 1);
    assert!(back.is_some_and(|at| at <= 1), "{actions:#?}");
    assert_eq!(haproxy.serving(), 3);
}
