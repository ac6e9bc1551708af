//! Readiness checks: asked while a deployment waits, and what they hold up.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_waits_until_a_task_that_runs_is_ready() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/apps", server("/a", 1)).await;

    let deployment = first_answer(&marathon).await;

    let results = &deployment["currentActions"][0]["readinessCheckResults"];
    let task = marathon.task_ids("/a").await.remove(0);
    assert_eq!(results[0]["name"], "page");
    assert_eq!(results[0]["taskId"], task);
    assert_eq!(results[0]["ready"], false);
    let app = marathon.app("/a").await;
    assert_eq!(app["tasksRunning"], 1);
    assert_eq!(app["deployments"], json!([{ "id": deployment["id"] }]));

    make_ready(&marathon, &task);
    marathon.wait_for_deployments().await;
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_answer_is_shown_where_it_is_to_be_kept() {
    let marathon = Marathon::start().await;
    let mut app = server("/a", 1);
    app["readinessChecks"][0]["preserveLastResponse"] = json!(true);
    marathon.post("/v2/apps", app).await;

    // Python's server says 404 with a page of its own once it listens.
    let response = eventually("the server has answered", || async {
        let deployments = marathon.get("/v2/deployments").await.json();
        let results = &deployments[0]["currentActions"][0]["readinessCheckResults"];
        let response = results[0]["lastResponse"].clone();
        (response["status"] == 404).then_some(response)
    })
    .await;

    assert_eq!(response["contentType"], "text/html");
    assert!(text(&response["body"]).contains("File not found"));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_keeps_the_old_task_until_the_new_one_is_ready() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/apps", server("/a", 1)).await;
    first_answer(&marathon).await;
    let old = marathon.task_ids("/a").await.remove(0);
    make_ready(&marathon, &old);
    marathon.wait_for_deployments().await;

    let changed = marathon
        .put("/v2/apps/a", json!({ "env": { "A": "b" } }))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    first_answer(&marathon).await;
    let both = marathon.task_ids("/a").await;
    assert!(both.contains(&old), "{both:?}");
    let new = both
        .into_iter()
        .find(|task| *task != old)
        .expect("a new one runs");

    make_ready(&marathon, &new);
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.task_ids("/a").await, [new]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_informative_check_is_shown_and_changes_nothing() {
    let marathon = Marathon::start().await;
    let cases = [
        (
            json!({ "exec": { "command": { "shell": "exit 3" } } }),
            json!({ "command": { "exitCode": 3 } }),
        ),
        (
            json!({ "exec": { "command": { "argv": ["test", "-d", "/"] } } }),
            json!({ "command": { "exitCode": 0 } }),
        ),
        (
            json!({ "tcp": { "port": 1 } }),
            json!({ "tcp": { "succeeded": false } }),
        ),
        (
            json!({ "http": { "port": marathon.engine.address().port(), "path": "ping" } }),
            json!({ "http": { "statusCode": 200 } }),
        ),
    ];
    for (at, (mut check, expected)) in cases.into_iter().enumerate() {
        check["delaySeconds"] = json!(0);
        let id = format!("/a{at}");
        let app = json!({ "id": id, "cmd": "exec sleep 1000", "check": check, "mem": 16 });
        marathon.run(app).await;

        let result = eventually("the check has a result", || async {
            let task = marathon.tasks(&id).await.remove(0);
            task.get("checkResult").cloned()
        })
        .await;

        assert_eq!(result, expected);
        assert_eq!(marathon.app(&id).await["tasksHealthy"], 0);
    }
    marathon.engine.stop().await;
}

/// Returns an app that runs at once, serves a little later, and is ready once its page is there.
fn server(id: &str, instances: u32) -> Value {
    json!({
        "id": id,
        "cmd": "exec python3 -m http.server --bind 127.0.0.1 $PORT_API",
        "instances": instances,
        "cpus": 0.1,
        "mem": 32,
        "portDefinitions": [{ "port": 0, "name": "other" }, { "port": 0, "name": "api" }],
        "readinessChecks": [{
            "name": "page", "portName": "api", "path": "/page", "intervalSeconds": 2, "timeoutSeconds": 1,
        }],
    })
}

/// Waits until the running deployment shows that a task is not ready.
async fn first_answer(marathon: &Marathon) -> Value {
    eventually("a task said that it is not ready", || async {
        let deployment = marathon.get("/v2/deployments").await.json()[0].clone();
        let results = &deployment["currentActions"][0]["readinessCheckResults"];
        (results[0]["ready"] == false).then_some(deployment)
    })
    .await
}

fn make_ready(marathon: &Marathon, task: &str) {
    let sandbox: PathBuf = marathon.folder.path().join("sandboxes").join(task);
    std::fs::write(sandbox.join("page"), "here").expect("the sandbox is there");
}
