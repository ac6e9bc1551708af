//! Apps: their canonical form, versions, ports and listing.

use serde_json::json;

use crate::harness::{Marathon, eventually, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_created_app_is_answered_as_asked_and_shown_with_its_ports() {
    let marathon = Marathon::start().await;

    let created = marathon
        .post(
            "/v2/apps",
            json!({ "id": "shop/cart", "cmd": "sleep 1000" }),
        )
        .await;
    let shown = marathon.app("/shop/cart").await;

    assert_eq!(created.status, 201);
    assert_eq!(created.json()["portDefinitions"][0]["port"], 0);
    assert_eq!(created.json()["tasksRunning"], 0);
    assert!(created.json().get("versionInfo").is_none());
    let location = created.headers["location"].to_str().unwrap_or_default();
    assert!(location.ends_with("/shop/cart"), "{location}");
    assert_eq!(created.headers["x-frame-options"], "DENY");
    assert_eq!(shown["id"], "/shop/cart");
    assert_eq!(
        shown["portDefinitions"],
        json!([{ "port": 10000, "protocol": "tcp", "name": "default", "labels": {} }])
    );
    assert_eq!(shown["networks"], json!([{ "mode": "host" }]));
    assert_eq!(shown["versionInfo"]["lastScalingAt"], shown["version"]);
    assert!(shown.get("ports").is_none());
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_posts_port_zero_keeps_the_service_port() {
    let marathon = Marathon::start().await;
    marathon
        .run(json!({ "id": "a", "cmd": "sleep 1000", "ports": [0], "instances": 0 }))
        .await;
    marathon
        .run(json!({ "id": "b", "cmd": "sleep 1000", "ports": [0], "instances": 0 }))
        .await;

    marathon
        .put(
            "/v2/apps/b",
            json!({ "ports": [0, 0], "cmd": "sleep 2000" }),
        )
        .await;
    let shown = marathon.app("/b").await;

    let ports: Vec<u64> = (0..2)
        .filter_map(|at| shown["portDefinitions"][at]["port"].as_u64())
        .collect();
    assert_eq!(ports, [10_001, 10_002]);
    assert_eq!(shown["cmd"], "sleep 2000");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_makes_a_version_and_any_can_be_taken_again() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 0)).await;
    let first = text(&marathon.app("/a").await["version"]);
    marathon
        .put("/v2/apps/a", json!({ "env": { "A": "1" } }))
        .await;
    marathon.wait_for_deployments().await;

    let versions = marathon.get("/v2/apps/a/versions").await.json()["versions"].clone();
    let old = marathon.get(&format!("/v2/apps/a/versions/{first}")).await;
    let back = marathon
        .put("/v2/apps/a", json!({ "version": first }))
        .await;
    let now = marathon.app("/a").await;

    assert_eq!(versions.as_array().map(Vec::len), Some(2));
    assert_eq!(versions[1], first);
    assert_eq!(old.json()["id"], "/a");
    assert!(old.json().get("env").is_none());
    assert_eq!(back.status, 200);
    assert!(now.get("env").is_none());
    assert_ne!(text(&now["version"]), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_change_leaves_the_tasks_and_the_config_version_alone() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let before = marathon.app("/a").await;

    marathon.put("/v2/apps/a", json!({ "instances": 2 })).await;
    marathon.wait_for_deployments().await;
    let after = marathon.app("/a").await;

    assert_eq!(
        after["versionInfo"]["lastConfigChangeAt"],
        before["version"]
    );
    assert_eq!(after["versionInfo"]["lastScalingAt"], after["version"]);
    assert_eq!(after["tasks"][0]["id"], before["tasks"][0]["id"]);
    assert_eq!(after["tasks"][0]["version"], before["version"]);
    assert_eq!(after["tasks"][1]["version"], after["version"]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_nothing_is_a_deployment_that_is_over_at_once() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;

    let answer = marathon.put("/v2/apps/a", json!({ "instances": 1 })).await;

    assert_eq!(answer.status, 200);
    assert!(!answer.deployment().is_empty());
    assert_eq!(marathon.get("/v2/deployments").await.json(), json!([]));
    assert_eq!(
        marathon.get("/v2/apps/a/versions").await.json()["versions"][1],
        json!(null)
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_sets_what_it_leaves_out_to_defaults() {
    let marathon = Marathon::start().await;
    marathon
        .run(json!({ "id": "a", "cmd": "sleep 1000", "instances": 0, "mem": 64 }))
        .await;

    marathon.put("/v2/apps/a", json!({ "cpus": 0.5 })).await;
    let merged = marathon.app("/a").await;
    let path = "/v2/apps/a?partialUpdate=false&force=true";
    marathon
        .put(path, json!({ "cmd": "sleep 1000", "instances": 0 }))
        .await;
    let replaced = marathon.app("/a").await;

    assert_eq!((&merged["mem"], &merged["cpus"]), (&json!(64), &json!(0.5)));
    assert_eq!(
        (&replaced["mem"], &replaced["cpus"]),
        (&json!(128), &json!(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn put_creates_what_is_missing_and_patch_does_not() {
    let marathon = Marathon::start().await;

    let patched = marathon
        .send("PATCH", "/v2/apps/a", &sleeper("/a", 0).to_string())
        .await;
    let put = marathon.put("/v2/apps/a", sleeper("/a", 0)).await;

    assert_eq!(patched.status, 404);
    assert_eq!(put.status, 201);
    assert_eq!(marathon.app("/a").await["id"], "/a");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_apps_change_in_one_deployment() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 2)).await;
    marathon.run(sleeper("/b", 0)).await;

    let body = json!([{ "id": "/a", "instances": 1 }, { "id": "/b", "instances": 1 }]);
    let answer = marathon.put("/v2/apps", body).await;
    marathon.wait_for_deployments().await;

    assert_eq!(answer.status, 200);
    assert_eq!(marathon.tasks("/a").await.len(), 1);
    assert_eq!(marathon.tasks("/b").await.len(), 1);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_filtered_and_carries_tasks_only_on_request() {
    let marathon = Marathon::start().await;
    let mut front = sleeper("/shop/front", 1);
    front["labels"] = json!({ "tier": "front" });
    marathon.run(front).await;
    marathon.run(sleeper("/shop/back", 0)).await;

    let all = marathon.get("/v2/apps?id=SHOP").await.json();
    let one = marathon
        .get("/v2/apps?label=tier%3D%3Dfront&embed=apps.tasks")
        .await
        .json();
    let bad = marathon.get("/v2/apps?label=a%20b").await;

    assert_eq!(all["apps"].as_array().map(Vec::len), Some(2));
    assert!(all["apps"][0].get("tasks").is_none());
    assert_eq!(one["apps"].as_array().map(Vec::len), Some(1));
    assert_eq!(one["apps"][0]["tasks"][0]["appId"], "/shop/front");
    assert_eq!(bad.status, 422);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_shows_its_ports_and_v2_tasks_adds_service_ports() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;

    let task = marathon.tasks("/a").await.remove(0);
    let listed = marathon.all_tasks().await.remove(0);

    assert_eq!(task["state"], "TASK_RUNNING");
    assert_eq!(task["host"], "127.0.0.1");
    assert_eq!(task["ports"].as_array().map(Vec::len), Some(1));
    assert_eq!(task["servicePorts"], json!([]));
    assert_eq!(task["healthCheckResults"], json!([]));
    assert!(task["startedAt"].is_string() && task["stagedAt"].is_string());
    assert_eq!(listed["servicePorts"], json!([10000]));
    assert!(text(&task["id"]).starts_with("a.instance-"));
    assert!(text(&task["id"]).ends_with("._app.1"));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engine_presents_itself_as_a_leading_marathon() {
    let marathon = Marathon::start().await;
    let address = marathon.engine.address().to_string();

    let info = marathon.get("/service/marathon/v2/info").await;
    let leader = marathon.get("/v2/leader").await;
    let ping = marathon.get("/ping").await;

    assert_eq!(info.json()["version"], "1.10.0");
    assert_eq!(info.json()["elected"], true);
    assert_eq!(leader.json()["leader"], address);
    assert_eq!(
        info.headers["x-marathon-leader"],
        format!("http://{address}")
    );
    assert_eq!(ping.json(), "pong");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_apps_tasks_are_listed_until_they_are_gone() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done");
    app["taskKillGracePeriodSeconds"] = json!(1);
    marathon.run(app).await;
    // It cannot be ended gently once the trap is set.
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.sandbox_file(&task, "pid").await;

    marathon.delete("/v2/apps/a").await;
    let dying = marathon.all_tasks().await;

    assert_eq!(dying[0]["state"], "TASK_KILLING");
    assert_eq!(marathon.get("/v2/apps/a").await.status, 404);
    eventually("no task is left", || async {
        marathon.all_tasks().await.is_empty().then_some(())
    })
    .await;
    marathon.wait_for_deployments().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_found_however_its_id_is_written_in_the_path() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/cart", 0)).await;

    for path in ["shop/cart", "/shop//cart/", "%2Fshop%2Fcart"] {
        let answer = marathon.get(&format!("/v2/apps/{path}")).await;
        assert_eq!(answer.json()["app"]["id"], "/shop/cart", "{path}");
    }
    let group = marathon.get("/v2/apps/shop/*").await.json();
    assert_eq!(group["*"][0]["id"], "/shop/cart");
}
