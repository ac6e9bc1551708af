//! Killing: grace, the whole group, and what follows.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, is_alive, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_handles_sigterm_ends_by_itself_within_its_grace_period() {
    let marathon = Marathon::start().await;
    let line = "trap 'echo drained; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    marathon.run(stubborn(line, 60)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.sandbox_file(&task, "stdout").await;

    let began = Instant::now();
    marathon
        .post("/v2/tasks/delete?scale=true", json!({ "ids": [task] }))
        .await;
    marathon.wait_for_deployments().await;

    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(
        marathon.sandbox_file(&task, "stdout").await,
        "up\ndrained\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_ignores_sigterm_is_killed_with_its_whole_group_after_the_grace_period() {
    let marathon = Marathon::start().await;
    let line = "trap '' TERM; sleep 1000 & echo $$ > pids; echo $! >> pids; \
                cat pids; while :; do sleep 0.05; done";
    marathon.run(stubborn(line, 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let pids = eventually("both are there", || async {
        let pids = marathon.sandbox_file(&task, "stdout").await;
        (pids.lines().count() == 2).then_some(pids)
    })
    .await;

    let began = Instant::now();
    marathon
        .post("/v2/tasks/delete?scale=true", json!({ "ids": [task] }))
        .await;
    let dying = marathon.tasks("/a").await;
    let alive_in_grace = pids.lines().all(is_alive);
    marathon.wait_for_deployments().await;

    assert_eq!(dying[0]["state"], "TASK_KILLING");
    assert!(alive_in_grace);
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(!pids.lines().any(is_alive), "{pids}");
    assert!(marathon.tasks("/a").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_group_keeps_the_grace_period_of_its_leader() {
    let marathon = Marathon::start().await;
    let worker = "sh -c 'trap \"sleep 0.3; echo drained; exit\" TERM; echo up; \
                  while :; do sleep 0.05; done' & wait";
    marathon.run(stubborn(worker, 60)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.sandbox_file(&task, "stdout").await;

    marathon
        .post("/v2/tasks/delete?scale=true", json!({ "ids": [task] }))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(
        marathon.sandbox_file(&task, "stdout").await,
        "up\ndrained\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_task_without_scale_is_followed_by_its_next_incarnation_at_once() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let killed = marathon
        .delete(&format!("/v2/apps/a/tasks/{task}?scale=false"))
        .await;
    let next = eventually("the next incarnation is there", || async {
        marathon
            .task_ids("/a")
            .await
            .into_iter()
            .find(|id| *id != task)
    })
    .await;

    assert_eq!(text(&killed.json()["task"]["id"]), task);
    assert_eq!(next, task.replace("._app.1", "._app.2"));
    assert_eq!(marathon.app("/a").await["instances"], 1);
    assert!(marathon.app("/a").await.get("lastTaskFailure").is_none());
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_all_tasks_of_an_app_with_scale_leaves_an_app_without_instances() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 2)).await;

    let elsewhere = marathon.delete("/v2/apps/a/tasks?host=elsewhere").await;
    let killed = marathon.delete("/v2/apps/a/tasks?scale=True&host=*").await;
    marathon.wait_for_deployments().await;

    assert_eq!(elsewhere.json(), json!({ "tasks": [] }));
    assert_eq!(killed.status, 200);
    assert_eq!(marathon.app("/a").await["instances"], 0);
    assert!(marathon.all_tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn naming_a_task_twice_lowers_the_count_once() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 3)).await;
    let task = marathon.task_ids("/a").await.remove(0);

    marathon
        .post(
            "/v2/tasks/delete?scale=true",
            json!({ "ids": [task, task] }),
        )
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(marathon.app("/a").await["instances"], 2);
    assert_eq!(marathon.tasks("/a").await.len(), 2);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_engine_ends_every_task() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 2);
    app["cmd"] = json!("echo $$; exec sleep 1000");
    marathon.run(app).await;
    let mut pids = Vec::new();
    for task in marathon.task_ids("/a").await {
        pids.push(marathon.sandbox_file(&task, "stdout").await);
    }

    marathon.engine.stop().await;

    assert!(!pids.iter().any(|pid| is_alive(pid)));
}

fn stubborn(line: &str, grace: u32) -> Value {
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!(line);
    app["taskKillGracePeriodSeconds"] = json!(grace);
    app
}
