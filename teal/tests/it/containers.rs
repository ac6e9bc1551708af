//! The runbook's own definition, word for word, with real containers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::dockerd::Dockerd;
use crate::world::{Running, World, exit};

/// The definition as the runbook's page has it.
const SEED: &str = include_str!("green-oinker.json");

/// The name of the image in it.
const IMAGE: &str = "mesosphere/oinker:shakespeare";

/// Plays `rake cassandra:setup`: the database is not there yet when it is asked for the first time.
const RAKE: &str = "#!/bin/sh
if [ -e /tmp/asked ]; then exit 0; fi
touch /tmp/asked
echo 'rake: no Cassandra yet' >&2
exit 1
";

/// Plays `rails server`: the sample service, on Rails' port.
const RAILS: &str = "#!/bin/sh
export OINKER_ADDRESS=0.0.0.0 PORT0=3000 OINKER_DATABASE=/tmp/oinks.sqlite
export OINKER_REVISION=\"${MARATHON_APP_ID##*-}\"
exec /bin/teal oinker
";

#[test]
fn the_runbooks_definition_runs_word_for_word_and_is_replaced_under_load() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    make_image(&docker);
    let socket = docker.socket().display().to_string();
    let world = World::up_with(&["--docker-socket", &socket]);
    let file = world.write_file("green-oinker.json", &labelled_seed());

    world
        .teal(&["deploy", &file, "--revision", "1a2b3c"])
        .exits(exit::DONE);
    world.serves("/green-oinker-1a2b3c", 3);
    let load = begin_load(&world);
    world
        .teal(&["deploy", &file, "--revision", "4d5e6f"])
        .exits(exit::DONE)
        .says("/green-oinker-1a2b3c → /green-oinker-4d5e6f");
    world.serves("/green-oinker-4d5e6f", 3);

    let totals = totals_of(load);
    assert_eq!(totals["failed"], 0, "{totals:#}");
    let revisions = totals["revisions"].as_object().expect("an object");
    let revisions: Vec<&str> = revisions.keys().map(String::as_str).collect();
    assert_eq!(revisions, ["1a2b3c", "4d5e6f"], "{totals:#}");
    let running = docker.docker(&["ps", "--all", "--format", "{{.Image}}"]);
    assert_eq!(running.lines().collect::<Vec<_>>(), [IMAGE; 3]);
    world
        .teal(&["app", "remove", "/green-oinker-4d5e6f"])
        .exits(exit::DONE);
}

#[test]
fn without_a_container_daemon_the_runbooks_definition_is_refused_with_what_to_do() {
    let world = World::up_with(&["--docker-socket", "/nowhere/docker.sock"]);
    let file = world.write_file("green-oinker.json", &labelled_seed());

    let refused = world.teal(&["deploy", &file, "--revision", "1a2b3c"]);

    refused
        .exits(exit::ORCHESTRATOR)
        .says("there is no socket /nowhere/docker.sock")
        .says("install and start docker.io or podman");
    world.is_empty();
}

/// Returns the runbook's definition with the labels that it lacks: where its gauge is, for one.
fn labelled_seed() -> String {
    let mut seed: Value = serde_json::from_str(SEED).expect("JSON");
    seed["labels"] = json!({
        "TEAL_LISTEN": "127.0.0.1:0",
        "TEAL_PENDING_PATH": "/metrics",
        "TEAL_PENDING_GAUGE": "oinker_pending_operations",
        "TEAL_MIN_HEALTHY_TIME": "200ms",
        "TEAL_DRAIN_INTERVAL": "100ms",
    });
    seed.to_string()
}

/// Makes the image of the runbook: the usual programs, the sample service with its libraries, and
/// two programs that play Rails'.
fn make_image(docker: &Dockerd) {
    let root = docker.busybox();
    let program = Path::new(env!("CARGO_BIN_EXE_teal"));
    fs::copy(program, root.join("bin/teal")).expect("the program");
    let libraries = Command::new("ldd").arg(program).output().expect("ldd runs");
    let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
    let paths = libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in paths {
        let inside = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().expect("a folder")).expect("a folder");
        fs::copy(path, inside).expect("a library");
    }
    for (name, script) in [("rake", RAKE), ("rails", RAILS)] {
        let path = root.join("bin").join(name);
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    docker.import(IMAGE, &root);
}

fn begin_load(world: &World) -> Running {
    let listen = world.listen();
    world.start(&[
        "load",
        &listen,
        "--connections",
        "4",
        "--rate",
        "40",
        "--posts",
        "0.3",
        "-o",
        "json",
    ])
}

fn totals_of(load: Running) -> Value {
    load.signal(Signal::SIGINT);
    load.ends().json()["totals"].clone()
}
