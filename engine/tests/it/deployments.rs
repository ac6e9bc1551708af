//! Deployments: steps, locks, cancelling, undoing, rolling restarts.

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_lasts_until_every_task_is_healthy() {
    let marathon = Marathon::start().await;

    let created = marathon.post("/v2/apps", gated("/a", 2)).await;
    let tasks = both_running(&marathon).await;
    let listed = marathon.get("/v2/deployments").await.json();

    assert_eq!(listed[0]["id"], created.deployment());
    assert_eq!(listed[0]["affectedApps"], json!(["/a"]));
    assert_eq!(listed[0]["currentStep"], 2);
    assert_eq!(listed[0]["totalSteps"], 2);
    assert_eq!(
        listed[0]["steps"],
        json!([
            { "actions": [{ "action": "StartApplication", "app": "/a" }] },
            { "actions": [{ "action": "ScaleApplication", "app": "/a" }] },
        ])
    );
    assert_eq!(listed[0]["currentActions"][0]["action"], "ScaleApplication");
    for task in &tasks {
        open_gate(&marathon, task);
    }
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.app("/a").await["tasksHealthy"], 2);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_app_refuses_changes_and_force_cancels_the_lock() {
    let marathon = Marathon::start().await;
    let created = marathon.post("/v2/apps", gated("/a", 2)).await;
    let tasks = both_running(&marathon).await;
    let kill = json!({ "ids": [tasks[0]] });

    let refused = marathon.put("/v2/apps/a", json!({ "instances": 1 })).await;
    let kill_refused = marathon
        .post("/v2/tasks/delete?scale=true", kill.clone())
        .await;
    let forced = marathon
        .post("/v2/tasks/delete?scale=true&force=true", kill)
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(refused.status, 409);
    assert_eq!(
        refused.json(),
        json!({
            "message": "App is locked by one or more deployments. Override with the option \
                        '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'.",
            "deployments": [{ "id": created.deployment() }],
        })
    );
    assert_eq!(kill_refused.status, 409);
    assert_eq!(forced.status, 200);
    assert_eq!(marathon.task_ids("/a").await, [tasks[1].clone()]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_an_app_cancels_its_deployment_without_being_told_to_force() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/apps", gated("/a", 1)).await;

    let kept = marathon.delete("/v2/apps/a?force=false").await;
    let removed = marathon.delete("/v2/apps/a").await;
    marathon.wait_for_deployments().await;

    assert_eq!(kept.status, 409);
    assert_eq!(removed.status, 200);
    assert!(marathon.all_tasks().await.is_empty());
    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_a_failed_creation_removes_the_app() {
    let marathon = Marathon::start().await;
    let created = marathon.post("/v2/apps", gated("/a", 1)).await;

    let undone = marathon
        .delete(&format!("/v2/deployments/{}", created.deployment()))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(undone.status, 200);
    assert_ne!(undone.deployment(), created.deployment());
    assert_eq!(marathon.get("/v2/apps/a").await.status, 404);
    assert!(marathon.all_tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_end_of_a_deployment_leaves_everything_as_it_stands() {
    let marathon = Marathon::start().await;
    let created = marathon.post("/v2/apps", gated("/a", 2)).await;
    let tasks = both_running(&marathon).await;

    let path = format!("/v2/deployments/{}?force=true", created.deployment());
    let ended = marathon.delete(&path).await;

    assert_eq!((ended.status.as_u16(), ended.text.as_str()), (202, ""));
    assert_eq!(marathon.get("/v2/deployments").await.json(), json!([]));
    assert_eq!(marathon.task_ids("/a").await, tasks);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_a_change_keeps_the_tasks_that_still_run_the_old_configuration() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 2)).await;
    let before = marathon.task_ids("/a").await;

    let sick = json!({
        "healthChecks": [{ "protocol": "COMMAND", "command": { "value": "false" } }],
    });
    let changed = marathon.put("/v2/apps/a", sick).await;
    eventually("new tasks are there", || async {
        (marathon.tasks("/a").await.len() == 4).then_some(())
    })
    .await;
    marathon
        .delete(&format!("/v2/deployments/{}", changed.deployment()))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(marathon.task_ids("/a").await, before);
    assert!(marathon.app("/a").await.get("healthChecks").is_none());
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_replaces_every_task_and_never_has_too_few() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 3);
    app["upgradeStrategy"] = json!({ "minimumHealthCapacity": 1, "maximumOverCapacity": 0 });
    marathon.run(app).await;
    let before = marathon.task_ids("/a").await;

    let restarted = marathon.post("/v2/apps/a/restart", json!({})).await;
    let action = marathon.get("/v2/deployments").await.json()[0]["currentActions"][0].clone();
    let mut fewest = usize::MAX;
    while marathon.get("/v2/deployments").await.json() != json!([]) {
        let tasks = marathon.tasks("/a").await;
        assert!(tasks.len() <= 4, "{tasks:?}");
        let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING");
        fewest = fewest.min(running.count());
    }
    let after = marathon.task_ids("/a").await;

    assert_eq!(restarted.status, 200);
    assert!(action.is_null() || action["action"] == "RestartApplication");
    assert!(fewest >= 3, "{fewest} were running");
    assert_eq!(after.len(), 3);
    assert!(after.iter().all(|task| !before.contains(task)));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_down_kills_the_youngest_first_unless_told_otherwise() {
    let marathon = Marathon::start().await;
    for (id, selection) in [("/young", "YOUNGEST_FIRST"), ("/old", "OLDEST_FIRST")] {
        let mut app = sleeper(id, 1);
        app["killSelection"] = json!(selection);
        marathon.run(app).await;
        let first = marathon.task_ids(id).await.remove(0);
        marathon
            .put(&format!("/v2/apps{id}"), json!({ "instances": 2 }))
            .await;
        marathon.wait_for_deployments().await;

        marathon
            .put(&format!("/v2/apps{id}"), json!({ "instances": 1 }))
            .await;
        marathon.wait_for_deployments().await;

        let left = marathon.task_ids(id).await;
        assert_eq!(left.len(), 1);
        assert_eq!(
            left[0] == first,
            selection == "YOUNGEST_FIRST",
            "{selection}"
        );
    }
    marathon.engine.stop().await;
}

async fn both_running(marathon: &Marathon) -> Vec<String> {
    eventually("both tasks run", || async {
        let tasks = marathon.tasks("/a").await;
        let running = tasks.iter().filter(|task| task["state"] == "TASK_RUNNING");
        let ids: Vec<String> = running.map(|task| text(&task["id"])).collect();
        (ids.len() == 2).then_some(ids)
    })
    .await
}

/// Returns an app whose tasks are healthy once the test opens their gate.
fn gated(id: &str, instances: u32) -> Value {
    let mut app = sleeper(id, instances);
    app["healthChecks"] = json!([{
        "protocol": "COMMAND",
        "delaySeconds": 0,
        "command": { "value": "test -f gate" },
        "gracePeriodSeconds": 600,
        "intervalSeconds": 1,
    }]);
    app
}

fn open_gate(marathon: &Marathon, task: &str) {
    let gate = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(task)
        .join("gate");
    std::fs::write(gate, "").expect("the sandbox is there");
}
