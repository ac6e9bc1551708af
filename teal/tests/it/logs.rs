//! `teal logs`: what instances print, of all of them or of one, running or failed.

use crate::world::{World, eventually, exit};
use nix::sys::signal::Signal;
use serde_json::json;

impl World {
    /// Runs an app that prints with this shell line, and returns the ids of its tasks once they have all said `ready`.
    fn printing(&self, line: &str, instances: usize) -> Vec<String> {
        let app = json!({ "id": "/printer", "cmd": line, "instances": instances, "cpus": 0.1, "mem": 32 });
        let file = self.write_file("printer.json", &app.to_string());
        self.teal(&["app", "add", &file]).exits(exit::DONE);
        eventually("all are ready", || {
            let tasks = self
                .teal(&["task", "list", "/printer", "-o", "json"])
                .json();
            let ids = tasks
                .as_array()?
                .iter()
                .map(|task| task["id"].as_str().map(str::to_owned));
            let ids: Option<Vec<String>> = ids.collect();
            let ids = ids.filter(|ids| ids.len() == instances)?;
            let ready = |id: &String| self.teal(&["logs", id]).stdout.contains("ready\n");
            ids.iter().all(ready).then_some(ids)
        })
    }
}

#[test]
fn the_last_lines_of_a_task_are_shown() {
    let world = World::up();
    let line = "seq 1 20; echo Grüße; echo oops >&2; echo ready; exec sleep 1000";
    let tasks = world.printing(line, 1);

    let ten = world.teal(&["logs", &tasks[0]]).exits(exit::DONE);
    assert!(ten.stdout.starts_with("13\n14\n"), "{ten}");
    assert!(ten.stdout.ends_with("20\nGrüße\nready\n"), "{ten}");
    let two = world
        .teal(&["logs", "/printer", "-n", "2"])
        .exits(exit::DONE);
    assert_eq!(two.stdout, "Grüße\nready\n");
    let none = world
        .teal(&["logs", "/printer", "-n", "0"])
        .exits(exit::DONE);
    assert_eq!(none.stdout, "");
    let errors = world
        .teal(&["logs", "printer", "--stderr"])
        .exits(exit::DONE);
    assert_eq!(errors.stdout, "oops\n");
}

#[test]
fn the_lines_of_several_tasks_say_whose_they_are() {
    let world = World::up();
    let tasks = world.printing("echo ready; exec sleep 1000", 2);

    let both = world.teal(&["logs", "/printer"]).exits(exit::DONE);

    for task in &tasks {
        assert!(both.stdout.contains(&format!("{task} ready\n")), "{both}");
    }
}

#[test]
fn following_shows_what_is_written_until_ctrl_c() {
    let world = World::up();
    let go = world.desk().join("go");
    let line = format!(
        "echo ready; until [ -e {} ]; do sleep 0.05; done; echo later; exec sleep 1000",
        go.display()
    );
    world.printing(&line, 1);

    let mut following = world.start(&["logs", "-f", "/printer"]);
    following.until_it_prints("ready");
    std::fs::write(&go, "").expect("it can be written");
    following.until_it_prints("later");
    following.signal(Signal::SIGINT);

    let ended = following.ends().exits(exit::DONE);
    assert_eq!(ended.stdout, "ready\nlater\n");
}

#[test]
fn the_last_words_of_an_app_that_cannot_start_are_found() {
    let world = World::up();
    let app =
        json!({ "id": "/broken", "cmd": "echo no database >&2; exit 3", "backoffSeconds": 60 });
    let file = world.write_file("broken.json", &app.to_string());
    world.teal(&["app", "add", &file]).exits(exit::DONE);

    let words = eventually("it has failed", || {
        let ran = world.teal(&["logs", "/broken", "--stderr"]);
        // It may have spoken and not be known to have ended yet.
        (ran.code() == Some(exit::DONE) && ran.stderr.contains("runs; this is")).then_some(ran)
    });

    assert_eq!(words.stdout, "no database\n");
    words.says("no task of /broken runs; this is broken.instance-");
}

#[test]
fn a_name_that_nobody_has_is_told_with_what_to_do() {
    let world = World::up();

    world
        .teal(&["logs", "nobody"])
        .exits(exit::ORCHESTRATOR)
        .says("cannot read what nobody prints")
        .says("`teal task list` shows the tasks");
}
