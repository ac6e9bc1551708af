//! What tasks may use, and who they are: limits that the kernel enforces, and the user that an app names.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, is_alive, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_gets_no_more_processor_time_than_it_asked_for() {
    let marathon = enforcing().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("while :; do :; done");
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let statistics = folder_with(&marathon, &task, "cpu.stat").join("cpu.stat");

    let throttled = eventually("it has been throttled", || async {
        let text = fs::read_to_string(&statistics).expect("the group is there");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "));
        line.and_then(|count| count.parse::<u64>().ok())
            .filter(|count| *count > 3)
    })
    .await;

    assert!(throttled > 3);
    let of_engine = statistics.ancestors().nth(2).expect("the engine's group");
    assert!(of_engine.exists());
    marathon.engine.stop().await;
    assert!(!statistics.exists(), "the groups of a task go with it");
    assert!(!of_engine.exists(), "those of an engine without tasks too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_needs_more_memory_than_it_asked_for_is_ended_and_told_why() {
    let marathon = enforcing().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("head -c 200000000 /dev/zero | tail -c 200000000 > /dev/null");
    app["mem"] = json!(40);
    app["backoffSeconds"] = json!(3600);
    app["maxLaunchDelaySeconds"] = json!(3600);
    marathon.post("/v2/apps", app).await;

    let failure = failure(&marathon).await;

    let message = text(&failure["message"]);
    assert!(
        message.starts_with("Memory limit exceeded: Requested: 40MB"),
        "{message}"
    );
    assert!(
        message.ends_with("Command exited with status 137"),
        "{message}"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_left_the_process_group_is_ended_with_the_task_all_the_same() {
    let marathon = enforcing().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("setsid sleep 1000 & echo $!; sleep 0.2; exit 3");
    app["backoffSeconds"] = json!(3600);
    app["maxLaunchDelaySeconds"] = json!(3600);
    marathon.post("/v2/apps", app).await;

    let failure = failure(&marathon).await;

    let child = marathon
        .sandbox_file(&text(&failure["taskId"]), "stdout")
        .await;
    assert!(!is_alive(&child));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_outlive_the_engine() {
    let marathon = enforcing().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("setsid sleep 1000 & echo $!; exec sleep 1000");
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let child = marathon.sandbox_file(&task, "stdout").await;
    let group = folder_with(&marathon, &task, "cpu.stat");

    let marathon = marathon.restarted(async |_| ()).await;

    let members = fs::read_to_string(group.join("cgroup.procs")).expect("the group is there");
    assert!(members.lines().any(|pid| pid == child.trim()), "{members}");
    marathon.delete("/v2/apps/a").await;
    marathon.wait_for_deployments().await;
    assert!(!is_alive(&child));
    assert!(!group.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_runs_as_the_user_that_its_app_names_and_owns_its_sandbox() {
    let marathon = enforcing().await;
    // A temporary folder is its maker's alone.
    let passable = fs::Permissions::from_mode(0o711);
    fs::set_permissions(marathon.folder.path(), passable).expect("it is ours");
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("touch mine; id -u; id -g; id -G; echo end; exec sleep 1000");
    app["user"] = json!("nobody");
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let told = eventually("it has told", || async {
        let told = marathon.sandbox_file(&task, "stdout").await;
        told.ends_with("end\n").then_some(told)
    })
    .await;

    let nobody = nix::unistd::User::from_name("nobody").expect("users can be looked up");
    let nobody = nobody.expect("there is nobody");
    let (uid, gid) = (nobody.uid.as_raw(), nobody.gid.as_raw());
    assert_eq!(told, format!("{uid}\n{gid}\n{gid}\nend\n"));
    let sandbox = marathon.folder.path().join("sandboxes").join(&task);
    assert_eq!(
        fs::metadata(sandbox.join("mine"))
            .expect("it is there")
            .uid(),
        uid
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_user_cannot_read_what_other_apps_are_told() {
    let marathon = enforcing().await;
    let passable = fs::Permissions::from_mode(0o711);
    fs::set_permissions(marathon.folder.path(), passable).expect("it is ours");
    let mut other = sleeper("/other", 0);
    other["env"] = json!({ "PASSWORD": "precious" });
    marathon.run(other).await;
    let mut app = sleeper("/a", 1);
    let definitions = marathon.folder.path().join("revisions").join("*");
    app["cmd"] = json!(format!(
        "cat {} || echo refused; exec sleep 1000",
        definitions.display()
    ));
    app["user"] = json!("nobody");
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let told = marathon.sandbox_file(&task, "stdout").await;

    assert_eq!(told, "refused\n");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_is_not_there_is_named() {
    let marathon = enforcing().await;
    let mut app = sleeper("/a", 1);
    app["user"] = json!("no-such-user");
    marathon.post("/v2/apps", app).await;

    let failure = failure(&marathon).await;

    assert_eq!(
        failure["message"],
        "Command could not be started: there is no user 'no-such-user' on this machine"
    );
    marathon.engine.stop().await;
}

/// Starts an engine that must have no complaint about this machine: these tests need root and control groups.
async fn enforcing() -> Marathon {
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    let marathon = Marathon::start_with(|config| {
        config.on_notice = Box::new(move |notice| {
            listener
                .lock()
                .expect("nobody panics here")
                .push(notice.to_string());
        });
    })
    .await;
    assert_eq!(
        *told.lock().expect("nobody panics here"),
        Vec::<String>::new()
    );
    marathon
}

async fn failure(marathon: &Marathon) -> Value {
    eventually("it has failed", || async {
        marathon.app("/a").await.get("lastTaskFailure").cloned()
    })
    .await
}

/// Returns the one control group of a task that has such a file.
fn folder_with(marathon: &Marathon, task: &str, file: &str) -> PathBuf {
    let note = marathon
        .folder
        .path()
        .join("processes")
        .join(format!("{task}.json"));
    let note = fs::read(note).expect("a running task has a note");
    let note: Value = serde_json::from_slice(&note).expect("a note is JSON");
    let folders = note["cell"]["folders"]
        .as_array()
        .expect("it has control groups");
    let folders = folders.iter().map(|folder| PathBuf::from(text(folder)));
    let mut found = folders.filter(|folder| {
        folder.join("cpu.cfs_quota_us").exists() || folder.join("cpu.max").exists()
    });
    found
        .next()
        .filter(|folder| folder.join(file).exists())
        .expect("one of them has it")
}
