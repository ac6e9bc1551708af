//! Pending operations: as long as they are not known to be zero nothing is stopped, unless a person says so and why.

use crate::world::{Journal, Kind, Oinker, World, exit};
use serde_json::Value;

#[test]
fn a_blue_that_does_not_drain_in_time_goes_back_into_the_pool() {
    let world = World::up().with(&stuck(2));
    let blue = world.processes();
    let load = world.load(Kind::Requests);

    let flags = ["--drain-deadline", "1s", "--on-drain-deadline", "rollback"];
    let ran = world
        .deploy(&Oinker::new("b"), &flags)
        .exits(exit::ROLLED_BACK);

    ran.says("pending 3");
    assert_eq!(world.processes(), blue, "not one BLUE was stopped");
    world.serves_only("a", 2);
    load.lost_nothing().was_answered_by(&["a", "b"]);
}

#[test]
fn a_deployment_that_is_to_wait_waits_past_the_drain_deadline_and_says_so() {
    let world = World::up().with(&stuck(2));
    let blue = world.processes();
    let mut deploy = world.begin(
        &Oinker::new("b"),
        &["--drain-deadline", "500ms", "--on-drain-deadline", "wait"],
    );

    world.until_journal(2, "the deadline passes", |it| it.has_mark("drain_overdue"));
    deploy.until_it_says("past the drain deadline, still waiting for oinker-a.");
    world.until_journal(2, "it is looked at again", goes_on_after_overdue);
    assert!(deploy.is_running());
    let report = world.teal(&["report", "oinker"]).exits(exit::DONE);
    report
        .prints("under way")
        .prints("past the drain deadline, still waiting for");
    world
        .teal(&["status", "oinker"])
        .exits(exit::DONE)
        .prints("overdue since");
    assert!(
        blue.keys().all(|task| world.processes().contains_key(task)),
        "no BLUE was stopped"
    );
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    deploy.ends().exits(exit::ROLLED_BACK);
    assert_eq!(world.processes(), blue);
    world.serves_only("a", 2);
}

#[test]
fn a_forced_deployment_completes_and_its_report_says_what_was_dropped_and_why() {
    let world = World::up().with(&stuck(2));
    let flags = [
        "--drain-deadline",
        "500ms",
        "--on-drain-deadline",
        "force",
        "--reason",
        "bug 7: stuck",
    ];

    world
        .deploy(&Oinker::new("b"), &flags)
        .exits(exit::DONE)
        .says("FORCED with in-flight 0, pending 3: bug 7: stuck");

    world.serves_only("b", 2);
    assert_eq!(
        forced(&world),
        [
            ("bug 7: stuck".to_owned(), 3),
            ("bug 7: stuck".to_owned(), 3)
        ]
    );
    world
        .teal(&["report", "oinker"])
        .exits(exit::DONE)
        .prints("FORCED")
        .prints("bug 7: stuck");
}

#[test]
fn a_person_can_force_what_does_not_drain_from_another_process() {
    let world = World::up().with(&stuck(2));
    let flags = ["--strategy", "switch", "--keep-blue", "0s"];
    let deploy = world.begin(&Oinker::new("b"), &flags);
    world.until_journal(2, "BLUE is out", |it| !it.pool_changes().is_empty());

    world
        .teal(&["force", "oinker", "--reason", "bug 7: stuck"])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
    assert_eq!(
        forced(&world),
        [
            ("bug 7: stuck".to_owned(), 3),
            ("bug 7: stuck".to_owned(), 3)
        ]
    );
}

#[test]
fn a_word_to_force_covers_what_drains_at_that_moment_and_nothing_later() {
    let world = World::up().with(&stuck(2));
    let deploy = world.begin(&Oinker::new("b"), &[]);
    let out =
        |it: &Journal, count| it.pool_changes().iter().filter(|it| withdraws(it)).count() == count;

    world.until_journal(2, "one BLUE is out", |it| out(it, 1));
    world
        .teal(&["force", "oinker", "--reason", "the first"])
        .exits(exit::DONE);
    world.until_journal(2, "the other BLUE is out", |it| out(it, 2));
    world.until_journal(2, "it is looked at again", |it| {
        let after = it
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry["event"] == "seen");
        after.count() >= 1
    });
    assert_eq!(
        world.tasks("/oinker-a").len(),
        1,
        "the other BLUE is still there"
    );
    world
        .teal(&["force", "oinker", "--reason", "the second"])
        .exits(exit::DONE);

    deploy.ends().exits(exit::DONE);
    assert_eq!(
        forced(&world),
        [("the first".to_owned(), 3), ("the second".to_owned(), 3)]
    );
}

#[test]
fn a_gauge_that_answers_an_error_is_never_taken_for_zero() {
    is_never_taken_for_zero("gauge-error");
}

#[test]
fn a_gauge_that_is_no_number_is_never_taken_for_zero() {
    is_never_taken_for_zero("gauge-garbage");
}

#[test]
fn a_gauge_that_does_not_answer_is_never_taken_for_zero() {
    is_never_taken_for_zero("gauge-timeout");
}

#[test]
fn a_service_without_a_gauge_says_so_and_only_its_requests_are_waited_for() {
    let plain = |revision| {
        let oinker = Oinker::new(revision)
            .instances(2)
            .label("TEAL_PENDING", "none");
        oinker
            .without_label("TEAL_PENDING_PATH")
            .without_label("TEAL_PENDING_GAUGE")
    };
    let world = World::up().with(&plain("a").sick("gauge-error"));

    let ran = world.deploy(&plain("b"), &[]).exits(exit::DONE);

    ran.says("note: pending: none. Only in-flight requests are watched");
    world.serves_only("b", 2);
}

// ---- helpers -----------------------------------------------------------------------------------

fn stuck(instances: usize) -> Oinker {
    Oinker::new("a").instances(instances).sick("stuck-gauge")
}

fn is_never_taken_for_zero(sickness: &str) {
    let world = World::up().with(&Oinker::new("a").instances(2).sick(sickness));
    let blue = world.processes();
    let load = world.load(Kind::Requests);

    let ran = world
        .deploy(&Oinker::new("b"), &["--drain-deadline", "2500ms"])
        .exits(exit::ROLLED_BACK);

    ran.says("pending unknown");
    assert_eq!(world.processes(), blue, "not one BLUE was stopped");
    assert!(
        !world
            .journal()
            .instance_actions()
            .contains(&"kill blue".to_owned())
    );
    world.serves_only("a", 2);
    load.lost_nothing();
}

/// Returns why, and with how many pending operations, instances were stopped that had not drained.
fn forced(world: &World) -> Vec<(String, u64)> {
    let report = world
        .teal(&["report", "oinker", "-o", "json"])
        .exits(exit::DONE)
        .json();
    let victims = report["forced"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["victim"]);
    let told = |victim: &Value| {
        let reason = victim["why"]["forced"].as_str().expect("a reason");
        (
            reason.to_owned(),
            victim["pending"]["count"].as_u64().expect("a count"),
        )
    };
    victims.map(told).collect()
}

fn withdraws(change: &Value) -> bool {
    change["withdraw"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
}

/// Tells whether it has looked, and decided to go on waiting, since the deadline was announced as passed.
fn goes_on_after_overdue(journal: &Journal) -> bool {
    let overdue = |entry: &Value| entry["action"]["mark"].get("drain_overdue").is_some();
    let after = journal
        .entries
        .iter()
        .skip_while(|entry| !overdue(entry))
        .count();
    after >= 2 && journal.outcome().is_null()
}
