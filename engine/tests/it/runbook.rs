//! The Blue-Green page, step by step, with the requests that `curl` and the DC/OS CLI send.

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_replaces_blue_by_green() {
    let marathon = Marathon::start().await;
    marathon.run(checked("/blue-myapp", 2)).await;

    // 1, 2: launch green with no instance, then scale it.
    let created = marathon
        .send("POST", "/v2/apps/", &checked("/green-myapp", 0).to_string())
        .await;
    assert_eq!(created.status, 201);
    assert_eq!(created.json()["deployments"][0]["id"], created.deployment());
    marathon.wait_for_deployments().await;
    let scaled = marathon
        .put(
            "/v2/apps//green-myapp?force=False",
            json!({ "instances": 2 }),
        )
        .await;
    assert_eq!(scaled.status, 200);

    // 3, 4: wait until every task has a result and all are alive.
    eventually("green is healthy", || async {
        let app = marathon.app("/green-myapp").await;
        (app["tasksHealthy"] == 2 && app["deployments"] == json!([])).then_some(())
    })
    .await;
    for task in marathon.tasks("/green-myapp").await {
        let results = task["healthCheckResults"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        assert_eq!(results.len(), 1);
        assert_eq!(results[0]["alive"], true);
    }

    // 6 to 10: kill and scale blue, one task after the other, under the page's old prefix.
    for left in [1, 0] {
        let victim = marathon.task_ids("/blue-myapp").await.remove(0);
        let body = json!({ "ids": [victim] });
        let killed = marathon
            .post("/marathon/v2/tasks/delete?scale=True", body)
            .await;
        assert_eq!(killed.status, 200, "{}", killed.text);
        assert_eq!(text(&killed.json()["deploymentId"]), killed.deployment());
        assert_eq!(marathon.app("/blue-myapp").await["instances"], left);
        marathon.wait_for_deployments().await;
        let remaining = marathon.task_ids("/blue-myapp").await;
        assert_eq!(remaining.len(), left);
        assert!(!remaining.contains(&victim));
    }

    // 11: remove blue.
    assert_eq!(marathon.delete("/v2/apps/blue-myapp").await.status, 200);
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.get("/v2/apps/blue-myapp").await.status, 404);
    assert_eq!(marathon.app("/green-myapp").await["tasksHealthy"], 2);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_with_scale_keeps_exactly_the_tasks_that_were_not_named() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 3)).await;
    marathon.run(sleeper("/b", 2)).await;
    let (a, b) = (marathon.task_ids("/a").await, marathon.task_ids("/b").await);

    let ids = json!({ "ids": [a[1], b[0], "a.instance-unknown._app.1"] });
    marathon.post("/v2/tasks/delete?scale=true", ids).await;
    marathon.wait_for_deployments().await;

    assert_eq!(marathon.task_ids("/a").await, [a[0].clone(), a[2].clone()]);
    assert_eq!(marathon.task_ids("/b").await, [b[1].clone()]);
    assert_eq!(marathon.app("/a").await["instances"], 2);
    assert_eq!(marathon.app("/b").await["instances"], 1);
    marathon.engine.stop().await;
}

fn checked(id: &str, instances: u32) -> Value {
    json!({
        "id": id,
        "cmd": "touch ok; exec sleep 1000",
        "instances": instances,
        "cpus": 0.1,
        "mem": 16,
        "healthChecks": [{
            "protocol": "COMMAND",
            "delaySeconds": 0,
            "command": { "value": "test -f ok" },
            "gracePeriodSeconds": 600,
            "intervalSeconds": 1,
        }],
    })
}
