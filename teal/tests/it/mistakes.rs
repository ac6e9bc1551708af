//! Mistakes: all of them told at once, each with what to do about it, the exit code of whose mistake it is, and nothing
//! changed.

use crate::world::{Oinker, World, exit};
use serde_json::json;
use std::net::TcpListener;

#[test]
fn a_key_with_a_mistake_is_refused_with_its_place_and_a_hint() {
    let good = || Oinker::new("b").instances(1);
    let bad_check = json!([{ "protocol": "HTTP", "paht": "/health" }]);
    are_refused(&[
        (
            good().with("instnces", 3),
            &[
                "instnces: there is no key",
                "hint: did you mean `instances`?",
            ],
        ),
        (
            good().with("instances", "three"),
            &["instances: must be a whole number", "the text \"three\""],
        ),
        (
            good().with("healthChecks", bad_check),
            &["healthChecks[0].paht: ", "hint: did you mean `path`?"],
        ),
        (
            good().without("healthChecks"),
            &["no health check is declared", "--without-health-checks"],
        ),
        (
            good().without("id"),
            &["the definition has no `id`", "\"id\": \"/oinker\""],
        ),
        (
            good().with("id", "/Oinker!"),
            &["`/Oinker!` is not an app id", "hint: "],
        ),
        (
            good().without("cmd"),
            &["nothing says what to run", "hint: "],
        ),
    ]);
}

#[test]
fn a_label_with_a_mistake_is_refused_with_its_name_and_a_hint() {
    let good = || Oinker::new("b").instances(1);
    let page_only = good().without_label("TEAL_PENDING_GAUGE");
    let no_gauge = page_only.clone().without_label("TEAL_PENDING_PATH");
    are_refused(&[
        (
            no_gauge,
            &[
                "nothing says where pending operations are read",
                "say TEAL_PENDING=none",
            ],
        ),
        (
            page_only,
            &[
                "the page is named, and not what to read on it",
                "hint: add TEAL_PENDING_GAUGE",
            ],
        ),
        (
            good().label("TEAL_DRAIN_DEADLIN", "5s"),
            &["hint: did you mean `TEAL_DRAIN_DEADLINE`?"],
        ),
        (
            good().label("TEAL_PATIENCE", "soon"),
            &["labels.TEAL_PATIENCE: `soon` is not a length of time"],
        ),
        (
            good().label("TEAL_LISTEN", "8090"),
            &["`8090` is not host:port", "like 127.0.0.1:8090"],
        ),
    ]);
}

#[test]
fn all_mistakes_of_a_definition_are_told_at_once() {
    let bad = Oinker::new("b")
        .with("instnces", 3)
        .without("id")
        .without("healthChecks");
    are_refused(&[(
        bad.label("TEAL_BATCH", "x"),
        &[
            "instnces",
            "no `id`",
            "labels.TEAL_BATCH: `x` is not",
            "no health check",
        ],
    )]);
}

#[test]
fn a_file_that_is_no_definition_is_refused_with_the_place_of_the_mistake() {
    let world = World::up().with_blue("a", 1);
    let cases = [
        (
            "comma.json",
            "{\n  \"id\": \"/oinker\"\n  \"cmd\": \"x\"\n}",
            "line 3, column 3: this is not JSON",
        ),
        ("cut.json", "{ \"id\": \"/oin", "line 1, column"),
        ("empty.json", "", "line 1, column 0: this is not JSON"),
        ("list.json", "[{}]", "an app definition is one JSON object"),
        (
            "bytes.json",
            "\u{0}\u{1}",
            "line 1, column 1: this is not JSON",
        ),
    ];
    let before = world.everything();

    for (name, text, told) in cases {
        let file = world.write_file(name, text);
        let ran = world.teal(&["deploy", &file]).exits(exit::INVALID);
        ran.says(name)
            .says("nothing was changed")
            .says(told)
            .says("hint: ");
    }
    let ran = world.teal(&["deploy", "nowhere.json"]).exits(exit::INVALID);
    ran.says("cannot read nowhere.json").says("hint: ");

    assert_eq!(world.everything(), before);
}

#[test]
fn a_flag_with_a_mistake_is_refused_under_its_own_name() {
    let world = World::up().with_blue("a", 1);
    let file = world.write(&Oinker::new("b"));
    let cases: [(&[&str], &[&str]); 9] = [
        (
            &["--batch", "lots"],
            &["--batch: `lots` is not a number of instances"],
        ),
        (
            &["--drain-deadline", "0s"],
            &["--drain-deadline: must be longer than zero"],
        ),
        (
            &["--strategy", "big-bang"],
            &["--strategy: `big-bang` is none of rolling, switch"],
        ),
        (
            &["--on-drain-deadline", "force"],
            &["no reason is given", "hint: add --force-reason"],
        ),
        (
            &["--gates", "lunch"],
            &["--gates: `lunch` is none of shift, retire"],
        ),
        (
            &["--floor", "4"],
            &[
                "the floor of 4 can never be kept by 1 GREEN",
                "hint: lower --floor",
            ],
        ),
        (
            &["--size", "0"],
            &["there would be no GREEN instance in the end", "hint: "],
        ),
        (
            &["--replace", "/nothing"],
            &["--replace: there is no `/nothing`", "hint: "],
        ),
        (
            &["--batch", "x", "--gates", "y", "--floor", "z"],
            &["--batch", "--gates", "--floor"],
        ),
    ];
    let before = world.everything();

    for (flags, told) in cases {
        let arguments = [&["deploy", &file, "--revision", "b"], flags].concat();
        let ran = world.teal(&arguments).exits(exit::INVALID);
        told.iter()
            .fold(ran.says("nothing was changed"), |ran, text| ran.says(text));
    }

    assert_eq!(world.everything(), before);
}

#[test]
fn a_word_that_the_command_line_does_not_know_is_refused_with_the_near_one() {
    let world = World::up().with_blue("a", 1);
    let file = world.write(&Oinker::new("b"));
    let before = world.everything();

    for (arguments, told) in [
        (
            &["deploy", &file, "--revision", "Not Good"][..],
            "--revision",
        ),
        (&["deploy", &file, "--bach", "2"], "'--batch'"),
        (&["deplyo", &file], "'deploy'"),
        (&["force", "oinker"], "--reason"),
        (&["wait", "oinker", "--for", "godot"], "rolled-back"),
    ] {
        world.teal(arguments).exits(exit::INVALID).says(told);
    }

    assert_eq!(world.everything(), before);
}

#[test]
fn a_projects_file_with_mistakes_is_refused_with_every_one_of_them() {
    let world = World::up().with_blue("a", 1);
    let file = world.write(&Oinker::new("b"));
    let before = world.everything();

    world.write_file("teal.toml", "batsh = 2\nkeep_blue = \"soon\"\n[gates]\n");
    let ran = world
        .teal(&["deploy", &file, "--revision", "b"])
        .exits(exit::INVALID);
    let ran = ran
        .says("teal.toml cannot be used")
        .says("batsh: there is no such key");
    ran.says("hint: did you mean `batch`?")
        .says("keep_blue: `soon` is not")
        .says("gates: ");
    world.write_file("teal.toml", "batch = = 2\n");
    world
        .teal(&["status"])
        .exits(exit::INVALID)
        .says("teal.toml cannot be used")
        .says("line 1");

    assert_eq!(world.everything(), before);
}

#[test]
fn a_projects_file_gives_defaults_that_labels_environment_and_flags_override() {
    let world = World::up().with_blue("a", 1);
    world.write_file(
        "teal.toml",
        "batch = 1\npatience = \"7h\"\nmin_healthy_time = \"9s\"\n",
    );
    let file = world.write(&Oinker::new("b"));

    let arguments = [
        "plan",
        &file,
        "--revision",
        "b",
        "--batch",
        "all",
        "-o",
        "json",
    ];
    let plan = world.start_with("TEAL_SURGE", "3", &arguments).ends();

    let settings = &plan.exits(exit::DONE).json()["plan"]["settings"];
    assert_eq!(settings["patience"], "7h", "from the file");
    assert_eq!(settings["min_healthy_time"], "200ms", "from the label");
    assert_eq!(
        settings["batch"],
        json!({ "percent": 100 }),
        "from the flag"
    );
    assert_eq!(
        settings["surge"],
        json!({ "count": 3 }),
        "from the environment"
    );
}

#[test]
fn an_orchestrator_that_cannot_be_reached_has_an_exit_code_of_its_own() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();

    for arguments in told_to_systems(&world.write(&Oinker::new("b"))) {
        let nowhere = format!("http://{}", nobody());
        let ran = world
            .start_with("TEAL_MARATHON", &nowhere, &arguments)
            .ends();
        let ran = ran.exits(exit::ORCHESTRATOR);
        ran.says("error: ").says("hint: ");
    }

    assert_eq!(world.everything(), before);
}

#[test]
fn a_balancer_that_cannot_be_reached_has_an_exit_code_of_its_own() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();

    for arguments in told_to_systems(&world.write(&Oinker::new("b"))) {
        let nowhere = format!("http://{}", nobody());
        let ran = world
            .start_with("TEAL_BALANCER", &nowhere, &arguments)
            .ends();
        let ran = ran.exits(exit::BALANCER);
        ran.says("error: ").says("hint: ");
    }

    assert_eq!(world.everything(), before);
}

#[test]
fn an_address_that_is_no_url_is_the_operators_mistake() {
    let world = World::up();
    let file = world.write(&Oinker::new("a"));

    for flag in ["--marathon", "--balancer"] {
        let ran = world
            .teal(&["deploy", &file, flag, "not a url"])
            .exits(exit::INVALID);
        ran.says("not a url").says("hint: ");
    }

    world.is_empty();
}

#[test]
fn a_port_to_listen_on_that_somebody_has_ends_the_deployment_and_leaves_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let world = World::up();

    let ran = world.deploy(&Oinker::new("a").label("TEAL_LISTEN", &address), &[]);

    ran.says(&address)
        .says("in use")
        .exits(exit::BALANCER)
        .says("hint: ");
    world.is_empty();
}

#[test]
fn a_pool_is_not_moved_to_another_port_in_silence() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();
    let address = nobody();

    let ran = world.deploy(&Oinker::new("b").label("TEAL_LISTEN", &address), &[]);

    let ran = ran
        .exits(exit::INVALID)
        .says("nothing was changed")
        .says("hint: ");
    ran.says(&world.listen()).says(&address);
    assert_eq!(world.everything(), before);
}

#[test]
fn a_second_up_on_the_same_folder_or_port_is_refused() {
    let world = World::up();

    let any = [
        "up",
        "--listen",
        "127.0.0.1:0",
        "--balancer-listen",
        "127.0.0.1:0",
    ];
    world.teal(&any).exits(exit::ORCHESTRATOR).says("hint: ");
    let same_port = [
        "up",
        "--listen",
        &world.marathon,
        "--balancer-listen",
        "127.0.0.1:0",
    ];
    world
        .teal(&same_port)
        .exits(exit::ORCHESTRATOR)
        .says("--listen");
    let same_admin = [
        "up",
        "--listen",
        "127.0.0.1:0",
        "--balancer-listen",
        &world.balancer,
    ];
    world
        .teal(&same_admin)
        .exits(exit::BALANCER)
        .says("--balancer-listen");
    let public = [
        "up",
        "--listen",
        "0.0.0.0:0",
        "--balancer-listen",
        "127.0.0.1:0",
    ];
    world
        .teal(&public)
        .exits(exit::INVALID)
        .says("can be reached from other machines")
        .says("hint: ");

    let world = world.with_blue("a", 1);
    world.serves_only("a", 1);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_said_to_be_so() {
    let world = World::up();
    let file = world.write_file("a-file", "");
    let definition = world.write(&Oinker::new("a"));

    let ran = world.teal(&[
        "deploy",
        &definition,
        "--state-dir",
        &format!("{file}/below"),
    ]);

    ran.says("error: ").says("a-file/below").exits(1);
    world.is_empty();
}

#[test]
fn what_a_person_named_wrongly_is_that_persons_mistake() {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();

    for (arguments, told) in [
        (&["report", "oinkr"][..], "there is no deployment `oinkr`"),
        (
            &["watch", "oinkr"],
            "`oinkr` was never deployed from this machine",
        ),
        (
            &["wait", "oinkr"],
            "`oinkr` was never deployed from this machine",
        ),
        (
            &["pool", "list", "oinkr"],
            "the balancer has no pool `oinkr`",
        ),
        (&["pool", "admit", "oinker", "no-such-task"], "no-such-task"),
        (
            &["pool", "withdraw", "oinker", "no-such-task"],
            "no-such-task",
        ),
        (
            &["task", "kill", "no-such-task"],
            "there is no task no-such-task",
        ),
        (
            &["task", "show", "no-such-task"],
            "there is no task no-such-task",
        ),
        (&["app", "show", "/oinkr"], "/oinkr"),
        (&["app", "remove", "/oinkr"], "/oinkr"),
        (
            &["app", "update", "/oinker-a", "instances"],
            "`instances` is not NAME=VALUE",
        ),
        (&["app", "update", "/oinker-a", "instancs=1"], "`instancs`"),
        (
            &["pool", "forget", "oinker", "no-such-task"],
            "no-such-task",
        ),
        (&["pool", "open", "shop", "--listen", "1"], "--listen 1: "),
        (&["force", "oinker", "--reason", " "], "needs a reason"),
    ] {
        let ran = world.teal(arguments).exits(exit::INVALID);
        ran.says("error: ").says(told).says("hint: ");
    }

    assert_eq!(world.everything(), before);
}

// ---- helpers -----------------------------------------------------------------------------------

/// Checks that each of these is refused by `deploy` and by `plan`, with all that is to be told, and changes nothing.
fn are_refused(cases: &[(Oinker, &[&str])]) {
    let world = World::up().with_blue("a", 1);
    let before = world.everything();
    for (definition, told) in cases {
        let file = world.write(definition);
        for command in ["deploy", "plan"] {
            let ran = world
                .teal(&[command, &file, "--revision", "b"])
                .exits(exit::INVALID);
            let ran = ran.says("cannot be deployed; nothing was changed");
            told.iter().fold(ran, |ran, text| ran.says(text));
        }
    }
    assert_eq!(world.everything(), before);
}

/// Returns an address that nobody listens on.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").to_string()
}

/// Returns commands that need both systems.
fn told_to_systems(file: &str) -> [Vec<&str>; 3] {
    [
        vec!["deploy", file, "--revision", "b"],
        vec!["plan", file, "--revision", "b"],
        vec!["status"],
    ]
}
