//! The engine goes and another one comes on the same folder: what ran keeps running, what was wanted stays wanted.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use teal_engine::{Engine, StartError};

use crate::harness::{Folder, Marathon, config, eventually, is_alive, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn running_tasks_are_taken_over_as_they_are() {
    let marathon = Marathon::start().await;
    let mut app = told("/a", 2);
    app["healthChecks"] = json!([check("true", 1)]);
    marathon.run(app).await;
    let before = marathon.app("/a").await;
    let pids = pids(&marathon).await;

    let marathon = marathon.restarted(async |_| ()).await;

    let after = marathon.app("/a").await;
    for key in [
        "instances",
        "version",
        "versionInfo",
        "tasksRunning",
        "tasksHealthy",
    ] {
        assert_eq!(after[key], before[key], "{key}");
    }
    for (after, before) in both(&after, &before) {
        for key in [
            "id",
            "ports",
            "state",
            "stagedAt",
            "startedAt",
            "version",
            "host",
        ] {
            assert_eq!(after[key], before[key], "{key}");
        }
        let (after, before) = (
            &after["healthCheckResults"][0],
            &before["healthCheckResults"][0],
        );
        for key in ["alive", "firstSuccess", "instanceId"] {
            assert_eq!(after[key], before[key], "{key}");
        }
    }
    assert!(pids.iter().all(|pid| is_alive(pid)));
    assert_eq!(
        marathon.get("/v2/queue").await.json(),
        json!({ "queue": [] })
    );
    marathon.engine.stop().await;
    assert!(!pids.iter().any(|pid| is_alive(pid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_taken_over_is_watched_and_killed_like_any_other() {
    let marathon = Marathon::start().await;
    let mut app = told("/a", 1);
    app["backoffSeconds"] = json!(1);
    marathon.run(app).await;
    let first = marathon.task_ids("/a").await.remove(0);
    let marathon = marathon.restarted(async |_| ()).await;

    marathon.folder.crash(&first);
    let second = next_incarnation(&marathon, &first).await;
    let failure = marathon.app("/a").await["lastTaskFailure"].clone();
    let pid = marathon.sandbox_file(&second, "stdout").await;
    let marathon = marathon.restarted(async |_| ()).await;
    marathon
        .post("/v2/tasks/delete?scale=true", json!({ "ids": [second] }))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(failure["taskId"], first);
    assert_eq!(failure["message"], "Command terminated with signal SIGKILL");
    assert!(!is_alive(&pid));
    assert_eq!(marathon.app("/a").await["instances"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_while_no_engine_watched_is_replaced_after_its_backoff() {
    let marathon = Marathon::start().await;
    let mut app = told("/a", 1);
    app["cmd"] = json!("sleep 1000 & echo $!; wait");
    app["backoffSeconds"] = json!(1);
    marathon.run(app).await;
    let first = marathon.task_ids("/a").await.remove(0);
    let left_behind = marathon.sandbox_file(&first, "stdout").await;

    let marathon = marathon
        .restarted(async |folder| {
            folder.crash(&first);
            eventually("it is gone", || async {
                leader_is_gone(folder, &first).then_some(())
            })
            .await;
        })
        .await;

    let queued = marathon.get("/v2/queue").await.json()["queue"][0].clone();
    assert_eq!(
        queued["delay"],
        json!({ "timeLeftSeconds": 1, "overdue": false })
    );
    assert!(!is_alive(&left_behind));
    next_incarnation(&marathon, &first).await;
    let failure = marathon.app("/a").await["lastTaskFailure"].clone();
    assert_eq!(failure["taskId"], first);
    assert_eq!(failure["state"], "TASK_FAILED");
    assert!(
        text(&failure["message"]).contains("its exit status is unknown"),
        "{failure}"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_goes_on_where_it_was() {
    let marathon = Marathon::start().await;
    let gate = json!([check("test -e open", 1)]);
    let mut app = told("/a", 2);
    app["healthChecks"] = gate;
    let created = marathon.post("/v2/apps", app).await;
    open_all(&marathon, 2).await;
    marathon.wait_for_deployments().await;
    let old = marathon.task_ids("/a").await;
    let changed = marathon
        .put("/v2/apps/a", json!({ "env": { "COLOUR": "green" } }))
        .await;
    eventually("the new ones run", || async {
        (marathon.task_ids("/a").await.len() == 4).then_some(())
    })
    .await;
    let listed = marathon.get("/v2/deployments").await.json();

    let marathon = marathon.restarted(async |_| ()).await;

    assert_eq!(marathon.get("/v2/deployments").await.json(), listed);
    assert_eq!(listed[0]["id"], changed.deployment());
    assert_ne!(listed[0]["id"], created.deployment());
    let locked = marathon.put("/v2/apps/a", json!({ "instances": 1 })).await;
    assert_eq!(locked.status, 409);
    open_all(&marathon, 4).await;
    marathon.wait_for_deployments().await;
    let new = marathon.task_ids("/a").await;
    assert_eq!(new.len(), 2);
    assert!(
        !new.iter().any(|task| old.contains(task)),
        "{new:?} {old:?}"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_can_go_back_to_a_version_from_before_the_restart() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let first = text(&marathon.app("/a").await["version"]);
    marathon
        .put("/v2/apps/a", json!({ "env": { "COLOUR": "green" } }))
        .await;
    marathon.wait_for_deployments().await;
    let versions = marathon.get("/v2/apps/a/versions").await.json();

    let marathon = marathon.restarted(async |_| ()).await;

    assert_eq!(marathon.get("/v2/apps/a/versions").await.json(), versions);
    assert_eq!(
        marathon.app("/a").await["env"],
        json!({ "COLOUR": "green" })
    );
    let back = marathon
        .put("/v2/apps/a", json!({ "version": first }))
        .await;
    assert_eq!(back.status, 200, "{}", back.text);
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.app("/a").await["env"], Value::Null);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backoff_and_the_last_failure_are_kept() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["backoffSeconds"] = json!(3600);
    app["maxLaunchDelaySeconds"] = json!(3600);
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.folder.crash(&task);
    let failure = eventually("it has failed", || async {
        marathon.app("/a").await.get("lastTaskFailure").cloned()
    })
    .await;

    let marathon = marathon.restarted(async |_| ()).await;

    let queued = marathon.get("/v2/queue").await.json()["queue"][0].clone();
    let left = queued["delay"]["timeLeftSeconds"]
        .as_u64()
        .expect("a number");
    assert!((3000..=3600).contains(&left), "{queued}");
    assert_eq!(marathon.app("/a").await["lastTaskFailure"], failure);
    assert_eq!(marathon.app("/a").await["tasksRunning"], 0);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_was_told_to_end_keeps_what_is_left_of_its_grace_period() {
    let marathon = Marathon::start().await;
    let mut app = told("/a", 1);
    app["cmd"] = json!("trap 'echo told' TERM; echo $$; while :; do sleep 0.05; done");
    app["taskKillGracePeriodSeconds"] = json!(3);
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let pid = marathon.sandbox_file(&task, "stdout").await;
    marathon.delete("/v2/apps/a").await;
    let told = std::time::Instant::now();

    let marathon = marathon
        .restarted(async |folder| {
            let output = folder.path().join("sandboxes").join(&task).join("stdout");
            eventually("it has been told", || async {
                let text = fs::read_to_string(&output).unwrap_or_default();
                text.contains("told").then_some(())
            })
            .await;
        })
        .await;

    assert_eq!(marathon.all_tasks().await[0]["state"], "TASK_KILLING");
    marathon.wait_for_deployments().await;
    assert!(!is_alive(&pid));
    let took = told.elapsed();
    assert!(took >= Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_read_is_an_error_and_leaves_everything_as_it_is() {
    let marathon = Marathon::start().await;
    marathon.run(told("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let pid = marathon.sandbox_file(&task, "stdout").await;
    let Marathon { engine, folder } = marathon;
    drop(engine);
    let state = folder.path().join("state.json");
    let revision = only_file(folder.path().join("revisions"));
    let (whole, definition) = (read(&state), read(&revision));

    let damages = [
        (&state, whole[..whole.len() / 2].to_owned(), "EOF"),
        (
            &state,
            whole.replace("\"format\":1", "\"format\":7"),
            "format 7",
        ),
        (
            &revision,
            definition.replace("sleep", "\u{0}"),
            "control character",
        ),
        (
            &revision,
            definition.replace("\"cpus\": 0.1", "\"cpus\": -1"),
            "/cpus",
        ),
    ];
    for (file, damaged, problem) in damages {
        let before = read(file);
        assert_ne!(damaged, before, "{problem}");
        fs::write(file, &damaged).expect("it can be written");

        let error = Engine::start(config(&folder)).await.expect_err(problem);

        let told = error.to_string();
        assert!(matches!(error, StartError::State { .. }), "{told}");
        assert!(
            told.contains(problem) && told.contains(&file.display().to_string()),
            "{told}"
        );
        assert_eq!(read(file), damaged);
        assert!(is_alive(&pid));
        fs::write(file, &before).expect("it can be written");
    }
    fs::write(state.with_extension("new"), "{").expect("it can be written");
    let engine = Engine::start(config(&folder)).await.expect("it is mended");
    let marathon = Marathon { engine, folder };
    assert_eq!(marathon.task_ids("/a").await, [task]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_remembers_is_ended() {
    let marathon = Marathon::start().await;
    marathon.run(told("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let pid = marathon.sandbox_file(&task, "stdout").await;

    let marathon = marathon
        .restarted(async |folder| {
            fs::remove_file(folder.path().join("state.json")).expect("it is there");
        })
        .await;

    eventually("it is ended", || async { (!is_alive(&pid)).then_some(()) }).await;
    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_started_before_it_is_written_down() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let in_the_way = marathon.folder.path().join("state.new");
    fs::create_dir(&in_the_way).expect("a folder where the file should be");

    let first = marathon.post("/v2/apps", sleeper("/b", 1)).await;
    let second = marathon.post("/v2/apps", sleeper("/c", 1)).await;
    let sandboxes = || {
        fs::read_dir(marathon.folder.path().join("sandboxes"))
            .expect("it is there")
            .count()
    };
    let before = sandboxes();
    fs::remove_dir(&in_the_way).expect("it is empty");
    marathon.wait_for_deployments().await;

    for refused in [first, second] {
        assert_eq!(refused.status, 503, "{}", refused.text);
        assert!(
            refused.text.contains("cannot write its state down"),
            "{}",
            refused.text
        );
    }
    assert_eq!(before, 1);
    assert_eq!(marathon.app("/b").await["tasksRunning"], 1);
    assert_eq!(marathon.get("/v2/apps/c").await.status, 404);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apps_of_a_stopped_engine_start_again() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 2)).await;
    let version = marathon.app("/a").await["version"].clone();
    let Marathon { engine, folder } = marathon;
    engine.stop().await;

    let engine = Engine::start(config(&folder))
        .await
        .expect("the next engine starts");
    let marathon = Marathon { engine, folder };

    eventually("both run", || async {
        (marathon.app("/a").await["tasksRunning"] == 2).then_some(())
    })
    .await;
    assert_eq!(marathon.app("/a").await["version"], version);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_was_removed_stays_removed_and_leaves_no_file() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    marathon.delete("/v2/apps/a").await;
    marathon.wait_for_deployments().await;

    let marathon = marathon.restarted(async |_| ()).await;

    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
    for folder in ["revisions", "processes"] {
        let left = fs::read_dir(marathon.folder.path().join(folder)).expect("it is there");
        assert_eq!(left.count(), 0, "{folder}");
    }
}

/// An app whose tasks tell their process id.
fn told(id: &str, instances: u32) -> Value {
    let mut app = sleeper(id, instances);
    app["cmd"] = json!("echo $$; exec sleep 1000");
    app["healthChecks"] = json!([]);
    app
}

fn check(line: &str, interval: u32) -> Value {
    json!({
        "protocol": "COMMAND",
        "command": { "value": line },
        "gracePeriodSeconds": 300,
        "intervalSeconds": interval,
    })
}

async fn pids(marathon: &Marathon) -> Vec<String> {
    let mut pids = Vec::new();
    for task in marathon.task_ids("/a").await {
        pids.push(marathon.sandbox_file(&task, "stdout").await);
    }
    pids
}

/// Lets every task of the app be healthy, once there are so many.
async fn open_all(marathon: &Marathon, count: usize) {
    let tasks = eventually("all run", || async {
        let tasks = marathon.tasks("/a").await;
        let running = tasks
            .iter()
            .filter(|task| task["state"] == "TASK_RUNNING")
            .count();
        (running == count).then_some(tasks)
    })
    .await;
    for task in tasks {
        let sandbox = marathon
            .folder
            .path()
            .join("sandboxes")
            .join(text(&task["id"]));
        fs::write(sandbox.join("open"), "").expect("the sandbox is there");
    }
}

async fn next_incarnation(marathon: &Marathon, task: &str) -> String {
    eventually("the next incarnation runs", || async {
        let tasks = marathon.tasks("/a").await;
        let next = tasks
            .iter()
            .find(|it| it["id"] != task && it["state"] == "TASK_RUNNING");
        next.map(|task| text(&task["id"]))
    })
    .await
}

fn leader_is_gone(folder: &Folder, task: &str) -> bool {
    let note = folder.path().join("processes").join(format!("{task}.json"));
    let note: Value = serde_json::from_str(&read(&note)).expect("a note is JSON");
    !is_alive(&note["pid"].to_string())
}

fn both<'a>(one: &'a Value, other: &'a Value) -> Vec<(&'a Value, &'a Value)> {
    let tasks = |app: &'a Value| app["tasks"].as_array().expect("a list of tasks");
    assert_eq!(tasks(one).len(), tasks(other).len());
    tasks(one).iter().zip(tasks(other)).collect()
}

fn only_file(folder: PathBuf) -> PathBuf {
    let mut entries = fs::read_dir(folder).expect("the folder is there");
    entries
        .next()
        .expect("it has a file")
        .expect("it can be read")
        .path()
}

fn read(file: &std::path::Path) -> String {
    fs::read_to_string(file).expect("it is there")
}
