//! What the program tells: of what runs, of what is going on, and of what was.

use crate::world::{Oinker, World, exit};

#[test]
fn status_tells_what_runs_and_what_is_going_on() {
    let world = World::up();
    world
        .teal(&["status"])
        .exits(exit::DONE)
        .says("no service runs");
    let world = world.with_blue("a", 2);
    let listen = world.listen();

    let calm = world.teal(&["status"]).exits(exit::DONE);
    calm.prints("SERVICE")
        .prints("/oinker-a")
        .prints("2 of 2")
        .prints(&listen);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");
    let busy = world.teal(&["status", "oinker"]).exits(exit::DONE);

    let busy = busy
        .prints("[launch]")
        .prints("BLUE")
        .prints("GREEN")
        .prints("healthy");
    busy.prints("gate `shift`: a person promotes before GREEN gets its first traffic");
    let rows = world
        .teal(&["status", "-o", "json"])
        .exits(exit::DONE)
        .json();
    assert_eq!(rows[0]["serving"], 2);
    assert_eq!(rows[0]["deployment"], world.journal().id());
    world.teal(&["rollback", "oinker"]).exits(exit::DONE);
    deploy.ends().exits(exit::ROLLED_BACK);
}

#[test]
fn watching_shows_a_deployment_to_its_end_and_ends_as_it_does() {
    let world = World::up().with_blue("a", 1);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");
    let mut watch = world.start(&["watch", "oinker"]);
    watch.until_it_says("gate `shift`");
    let lines = world.start(&["watch", "oinker", "-o", "json"]);

    world.teal(&["rollback", "oinker"]).exits(exit::DONE);

    watch
        .ends()
        .exits(exit::ROLLED_BACK)
        .says("rolled back: the operator asked for it");
    let entries = lines.ends().exits(exit::ROLLED_BACK).json_lines();
    assert_eq!(entries, world.journal().entries);
    deploy.ends().exits(exit::ROLLED_BACK);
}

#[test]
fn an_interrupted_watch_leaves_the_deployment_alone() {
    let world = World::up().with_blue("a", 1);
    let deploy = world.begin(&Oinker::new("b"), &["--gates", "shift"]);
    world.wait_for("gate");
    let mut watch = world.start(&["watch", "oinker"]);
    watch.until_it_says("gate `shift`");

    watch.signal(nix::sys::signal::Signal::SIGINT);

    watch.ends().exits(exit::INTERRUPTED);
    world.teal(&["promote", "oinker"]).exits(exit::DONE);
    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 1);
}

#[test]
fn history_and_reports_tell_what_every_deployment_did() {
    let world = World::up().with_blue("a", 1);
    let sick = Oinker::new("b").sick("health");
    world
        .deploy(&sick, &["--healthy-deadline", "500ms"])
        .exits(exit::ROLLED_BACK);
    world.deploy(&Oinker::new("c"), &[]).exits(exit::DONE);

    let history = world.teal(&["history", "oinker"]).exits(exit::DONE);
    let history = history
        .prints("/oinker-a  /oinker-b")
        .prints("/oinker-a  /oinker-c");
    let history = history.prints("rolled back: 0 of 1 GREEN instances are healthy");
    assert_eq!(history.stdout.lines().count(), 4, "{history}");
    let told = world
        .teal(&["history", "-o", "json"])
        .exits(exit::DONE)
        .json();
    let outcomes: Vec<_> = told
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["outcome"]["outcome"])
        .collect();
    assert_eq!(outcomes, ["completed", "rolled_back", "completed"]);
    let failed = told[1]["deployment"].as_str().expect("an id");
    world
        .teal(&["report", failed])
        .exits(exit::DONE)
        .prints("rolled back: ")
        .prints("turn back: ");
    let report = world.teal(&["report", "oinker"]).exits(exit::DONE);
    let report = report
        .prints("oinker: /oinker-a → /oinker-c")
        .prints("completed, after ");
    let report = report.prints("healthy and serving: never fewer than 1 seen, floor 1");
    report
        .prints("how instances left the pool:")
        .prints("timeline:")
        .prints("remove BLUE /oinker-a");
    let page = world
        .teal(&["report", "oinker", "--html"])
        .exits(exit::DONE);
    let page = page.prints("<!doctype html>").prints("/oinker-c");
    assert!(
        !page.stdout.contains("src=\"http"),
        "a page that needs nothing else: {page}"
    );
}

#[test]
fn the_report_of_a_deployment_stands_beside_its_journal() {
    let world = World::up().with_blue("a", 1);

    let path = world.journal().path.with_extension("report.json");

    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("JSON");
    assert_eq!(report["outcome"]["outcome"], "completed");
    assert_eq!(
        report,
        world.teal(&["report", "oinker", "-o", "json"]).json()
    );
}

#[test]
fn doctor_finds_everything_there_and_says_what_is_not() {
    let world = World::up();

    let well = world.teal(&["doctor"]).exits(exit::DONE);
    let well = well
        .prints("state folder")
        .prints("orchestrator")
        .prints("balancer");
    assert!(!well.stdout.contains("FAIL"), "{well}");
    let sick = world.teal(&["doctor", "--marathon", "http://127.0.0.1:1", "-o", "json"]);
    let checks = sick.exits(exit::ORCHESTRATOR).json();

    let checks = checks.as_array().expect("a list");
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{checks:#?}");
    assert!(failed[0]["hint"].is_string(), "{checks:#?}");
}

#[test]
fn completion_scripts_name_the_commands() {
    let world = World::up();

    for shell in ["bash", "zsh", "fish"] {
        let script = world.teal(&["completion", shell]).exits(exit::DONE);
        script
            .prints("deploy")
            .prints("rollback")
            .prints("detailed-exitcode");
    }

    world
        .teal(&["completion", "tcsh"])
        .exits(exit::INVALID)
        .says("bash");
}

#[test]
fn help_lists_every_command_and_every_exit_code() {
    let world = World::up();

    let help = world.teal(&["--help"]).exits(exit::DONE);
    let help = ["demo", "up", "plan", "deploy", "rollback", "abort"]
        .iter()
        .fold(help, |it, word| it.prints(word));
    help.prints("3 rolled back").prints("130 interrupted");
    world
        .teal(&["deploy", "--help"])
        .exits(exit::DONE)
        .prints("--on-drain-deadline");
    world
        .teal(&["--version"])
        .exits(exit::DONE)
        .prints(env!("CARGO_PKG_VERSION"));
    world.teal(&[]).exits(exit::INVALID).says("Usage: teal");
}

#[test]
fn a_reader_that_goes_away_is_no_reason_to_panic() {
    let world = World::up().with_blue("a", 1);

    let ran = world.sh("teal report oinker | head -n 1", &[]);

    ran.exits(exit::DONE).prints("oinker-");
}
