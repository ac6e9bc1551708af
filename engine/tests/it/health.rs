//! Health checks against real tasks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, is_alive, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_without_a_result_is_neither_healthy_nor_unhealthy() {
    let marathon = Marathon::start().await;
    // A check that has not answered yet: the first probe hangs.
    marathon
        .post("/v2/apps", checked(&json!({ "value": "sleep 20" }), 300, 3))
        .await;

    let app = eventually("the task runs", || async {
        let app = marathon.app("/a").await;
        (app["tasksRunning"] == 1).then_some(app)
    })
    .await;

    assert_eq!(app["tasks"][0]["healthCheckResults"], json!([]));
    assert_eq!(app["tasksHealthy"], 0);
    assert_eq!(app["tasksUnhealthy"], 0);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_in_the_grace_period_show_an_empty_dead_result() {
    let marathon = Marathon::start().await;
    marathon
        .post("/v2/apps", checked(&json!({ "value": "false" }), 300, 1))
        .await;

    let result = eventually("a result is there", || async {
        let tasks = marathon.tasks("/a").await;
        tasks
            .first()
            .and_then(|task| task["healthCheckResults"].get(0).cloned())
    })
    .await;

    assert_eq!(result["alive"], false);
    assert_eq!(result["consecutiveFailures"], 0);
    assert!(result.get("lastFailure").is_none());
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_tcp_checks_ask_the_tasks_host_port() {
    let marathon = Marathon::start().await;
    let began = Instant::now();
    marathon
        .run(json!({
            "id": "/web",
            "args": ["python3", "-m", "http.server", "--bind", "127.0.0.1", "$PORT0"],
            "instances": 0,
        }))
        .await;
    let change = json!({
        "cmd": "exec python3 -m http.server --bind 127.0.0.1 $PORT0",
        "instances": 1,
        "healthChecks": [
            { "protocol": "HTTP", "path": "stdout", "intervalSeconds": 10 },
            { "protocol": "TCP", "intervalSeconds": 10 },
        ],
    });
    let changed = marathon.put("/v2/apps/web", change).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    marathon.wait_for_deployments().await;

    let task = marathon.tasks("/web").await.remove(0);

    assert_eq!(task["healthCheckResults"].as_array().map(Vec::len), Some(2));
    assert_eq!(marathon.app("/web").await["tasksHealthy"], 1);
    assert!(text(&task["healthCheckResults"][0]["firstSuccess"]).ends_with('Z'));
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "start-up is noticed before an interval"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_fails_its_http_check_is_killed_on_the_failure_after_the_last_allowed_one() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["healthChecks"] = json!([{
        "protocol": "HTTP",
        "gracePeriodSeconds": 0,
        "intervalSeconds": 1,
        "timeoutSeconds": 1,
        "maxConsecutiveFailures": 2,
    }]);
    let began = Instant::now();
    marathon.post("/v2/apps", app).await;
    let first = eventually("the task is there", || async {
        marathon.task_ids("/a").await.into_iter().next()
    })
    .await;

    let next = eventually("the task was replaced", || async {
        marathon
            .task_ids("/a")
            .await
            .into_iter()
            .find(|task| *task != first)
    })
    .await;

    // Three counted failures lie two intervals apart; two would take only one.
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(next, first.replace("._app.1", "._app.2"));
    let failure = marathon.app("/a").await["lastTaskFailure"].clone();
    assert!(text(&failure["message"]).starts_with("Task was killed since health check failed."));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_task_that_turns_sick_is_shown_as_such() {
    let marathon = Marathon::start().await;
    let mut app = checked(&json!({ "value": "test ! -f sick" }), 300, 1000);
    app["cmd"] = json!("exec sleep 1000");
    marathon.run(app).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let sick = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(&task)
        .join("sick");
    std::fs::write(sick, "").expect("the sandbox is there");
    let result = eventually("the check fails", || async {
        let result = marathon.tasks("/a").await[0]["healthCheckResults"][0].clone();
        (result["alive"] == false).then_some(result)
    })
    .await;

    assert!(result["consecutiveFailures"].as_u64() >= Some(1));
    assert!(result["lastFailure"].is_string() && result["lastSuccess"].is_string());
    assert!(result["lastFailureCause"].is_string());
    assert_eq!(marathon.app("/a").await["tasksUnhealthy"], 1);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_hangs_is_a_failure_after_its_timeout() {
    let marathon = Marathon::start().await;
    let mut app = checked(&json!({ "value": "sleep 1000" }), 0, 1000);
    app["healthChecks"][0]["timeoutSeconds"] = json!(1);
    marathon.post("/v2/apps", app).await;

    let cause = eventually("the failure is counted", || async {
        let tasks = marathon.tasks("/a").await;
        let cause = tasks.first()?["healthCheckResults"]
            .get(0)?
            .get("lastFailureCause")?
            .clone();
        Some(cause)
    })
    .await;

    assert_eq!(cause, "no answer within 1 s");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_check_does_not_outlive_its_task() {
    let marathon = Marathon::start().await;
    let command = json!({ "value": "sleep 1000 & echo $! > probe; wait" });
    marathon.post("/v2/apps", checked(&command, 300, 3)).await;
    let task = eventually("the task is there", || async {
        marathon.task_ids("/a").await.into_iter().next()
    })
    .await;
    let probe = marathon.sandbox_file(&task, "probe").await;
    assert!(is_alive(&probe));

    marathon.engine.stop().await;

    eventually("the probe is gone", || async {
        (!is_alive(&probe)).then_some(())
    })
    .await;
}

fn checked(command: &Value, grace: u32, max: u32) -> Value {
    let mut app = sleeper("/a", 1);
    app["healthChecks"] = json!([{
        "protocol": "COMMAND",
        "delaySeconds": 0,
        "command": command,
        "gracePeriodSeconds": grace,
        "intervalSeconds": 1,
        "maxConsecutiveFailures": max,
    }]);
    app
}
