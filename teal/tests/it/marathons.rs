//! Which Marathon teal goes to, as whom, and what becomes of secrets: several masters, the settings of the DC/OS command
//! line, credentials that must stand nowhere.

use crate::world::{Kind, Oinker, Relay, World, exit};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SECRET: &str = "s3cr3t-0f-the-cluster";

#[test]
fn a_deployment_goes_on_by_the_next_master_when_one_goes_away() {
    let world = World::up().with_blue("a", 2);
    let load = world.load(Kind::Requests);
    let (first, second) = (Relay::to(&world.marathon), Relay::to(&world.marathon));
    let masters = format!("http://{},http://{}", first.address, second.address);
    let deploy = world.begin(&Oinker::new("b"), &["--marathon", &masters]);
    world.until_journal(2, "GREEN is created", |journal| journal.steps() > 1);

    first.cut();

    deploy.ends().exits(exit::DONE);
    world.serves_only("b", 2);
    load.lost_nothing();
}

#[test]
fn doctor_tells_of_every_master_who_leads_and_as_whom_teal_comes() {
    let world = World::up();
    let masters = format!("http://127.0.0.1:1,http://{}", world.marathon);

    let ran = world.teal(&["doctor", "--marathon", &masters]);

    ran.exits(exit::DONE)
        .prints("http://127.0.0.1:1 does not")
        .prints(&format!("http://{} answers", world.marathon))
        .prints("leader ")
        .prints("credentials: none")
        .prints("clock: as Marathon's");
}

#[test]
fn credentials_in_an_address_are_refused_and_not_repeated() {
    let world = World::up();
    let url = format!("http://bob:{SECRET}@{}", world.marathon);

    for flag in ["--marathon", "--balancer"] {
        let ran = world.teal(&["doctor", flag, &url]);
        assert!(!ran.to_string().replace(&url, "").contains(SECRET), "{ran}");
        ran.prints("hint: give the name with --marathon-user");
    }
}

#[test]
fn a_secret_stands_in_no_journal_no_report_and_no_message() {
    let world = World::up().with_blue("a", 1);
    let file = world.write(&Oinker::new("b"));
    let arguments = ["deploy", &file, "--revision", "b"];

    let deploy = world.start_with("TEAL_MARATHON_TOKEN", SECRET, &arguments);
    let ran = deploy.ends().exits(exit::DONE);
    let report = world.teal(&["report", "oinker"]).exits(exit::DONE);
    let token = world.write_file("token", SECRET);
    let flags = ["doctor", "--marathon-token-file", &token];
    let doctor = world.teal(&flags).exits(exit::DONE);

    for ran in [ran, report, doctor] {
        assert!(!ran.to_string().contains(SECRET), "{ran}");
    }
    assert_eq!(files_with(SECRET, &world.state()), Vec::<String>::new());
}

#[test]
fn a_secret_may_come_in_by_standard_input() {
    let world = World::up();

    let flags = ["app", "list", "--marathon-token-file", "-"];
    world.teal_reading(SECRET, &flags).exits(exit::DONE);

    let flags = ["app", "list", "--marathon-token-file", "-"];
    let ran = world.teal_reading("", &flags).exits(exit::INVALID);
    ran.says("there is nothing in it");
}

#[test]
fn the_cluster_of_the_dcos_command_line_is_used_when_it_is_asked_for_and_only_then() {
    let world = World::up().with_blue("a", 1);
    let file = attach(&world, &world.marathon);

    let ran = world.teal(&["app", "list", "--marathon", "dcos"]);
    ran.exits(exit::DONE).prints("/oinker-a");
    let unasked = world.sh("unset TEAL_MARATHON; teal doctor", &[]);
    assert!(
        !unasked.to_string().contains(&world.marathon),
        "nobody asked for it: {unasked}"
    );

    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("ours");
    let ran = world.teal(&["app", "list", "--marathon", "dcos"]);
    ran.exits(exit::INVALID)
        .says("others on this machine")
        .says("hint: chmod 600");
}

#[test]
fn dcos_without_a_cluster_says_how_to_name_one() {
    let world = World::up();

    let ran = world.teal(&[
        "deploy",
        &world.write(&Oinker::new("a")),
        "--marathon",
        "dcos",
    ]);

    ran.exits(exit::INVALID)
        .says("no cluster is set up")
        .says("dcos+https://");
    world.is_empty();
}

/// Leaves settings as the DC/OS command line does, and returns their file.
fn attach(world: &World, marathon: &str) -> std::path::PathBuf {
    let folder = world.desk().join("../.dcos/clusters/local");
    std::fs::create_dir_all(&folder).expect("is made");
    let file = folder.join("dcos.toml");
    let text = format!(
        "[core]\ndcos_url = \"http://{marathon}\"\n[marathon]\nurl = \"http://{marathon}\"\n"
    );
    std::fs::write(&file, text).expect("is written");
    std::fs::write(folder.join("attached"), "").expect("is written");
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("ours");
    file
}

fn files_with(text: &str, folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(text, &path));
        } else if let Ok(bytes) = std::fs::read(&path)
            && String::from_utf8_lossy(&bytes).contains(text)
        {
            found.push(path.display().to_string());
        }
    }
    found
}
