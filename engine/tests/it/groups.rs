//! Groups: their tree, changes of whole subtrees, versions, and the order that dependencies give.

use serde_json::{Value, json};

use crate::harness::{Marathon, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_always_there() {
    let marathon = Marathon::start().await;

    let root = marathon.get("/v2/groups").await;

    assert_eq!(root.status, 200);
    assert_eq!(
        root.json(),
        json!({
            "id": "/", "apps": [], "pods": [], "groups": [], "dependencies": [],
            "version": "1970-01-01T00:00:00.000Z",
        })
    );
    assert_eq!(marathon.get("/v2/groups/x").await.status, 404);
    assert_eq!(marathon.get("/v2/groups/x/apps").await.json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_created_with_relative_ids_and_shown_as_a_tree() {
    let marathon = Marathon::start().await;

    let created = marathon.post("/v2/groups", shop()).await;
    marathon.wait_for_deployments().await;

    assert_eq!(created.status, 201);
    assert_eq!(
        created.json()["deploymentId"],
        created.deployment().as_str()
    );
    let group = marathon.get("/v2/groups/shop").await.json();
    assert_eq!(group["id"], "/shop");
    assert_eq!(group["version"], created.json()["version"]);
    assert_eq!(group["apps"][0]["id"], "/shop/web");
    assert_eq!(group["groups"][0]["id"], "/shop/data");
    assert_eq!(group["groups"][0]["apps"][0]["id"], "/shop/data/db");
    assert!(group["apps"][0].get("tasks").is_none(), "{group}");
    assert!(group["apps"][0].get("deployments").is_none(), "{group}");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_embedded_is_what_is_asked_for() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/groups", shop()).await;
    marathon.wait_for_deployments().await;
    let get = async |query: &str| {
        marathon
            .get(&format!("/v2/groups/shop?{query}"))
            .await
            .json()
    };

    let groups = get("embed=group.groups").await;
    let apps = get("embed=group.apps").await;
    let tasks = get("embed=group.apps&embed=group.apps.tasks&embed=group.apps.counts").await;

    assert_eq!(
        (&groups["apps"], &groups["groups"][0]["id"]),
        (&json!([]), &json!("/shop/data"))
    );
    assert_eq!(
        (&apps["apps"][0]["id"], &apps["groups"]),
        (&json!("/shop/web"), &json!([]))
    );
    assert_eq!(tasks["apps"][0]["tasksRunning"], 1);
    assert_eq!(tasks["apps"][0]["tasks"][0]["state"], "TASK_RUNNING");
    assert_eq!(tasks["apps"][0]["deployments"], json!([]));
    let everything = marathon.get("/v2/groups/shop/apps").await.json();
    let ids: Vec<&Value> = everything
        .as_array()
        .into_iter()
        .flatten()
        .map(|app| &app["id"])
        .collect();
    assert_eq!(ids, ["/shop/data/db", "/shop/web"]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_depended_on_is_there_first() {
    let marathon = Marathon::start().await;
    let mut shop = shop();
    shop["apps"][0]["dependencies"] = json!(["data"]);
    shop["groups"][0]["apps"][0]["healthChecks"] = json!([{ "protocol": "COMMAND", "command": { "value": "test -f gate" }, "gracePeriodSeconds": 600, "intervalSeconds": 1 }]);

    marathon.post("/v2/groups", shop).await;
    let listed = marathon.get("/v2/deployments").await.json();
    let running = crate::harness::eventually("the database runs", async || {
        let tasks = marathon.tasks("/shop/data/db").await;
        tasks
            .first()
            .filter(|task| task["state"] == "TASK_RUNNING")
            .cloned()
    })
    .await;

    assert_eq!(
        listed[0]["steps"],
        json!([
            { "actions": [
                { "action": "StartApplication", "app": "/shop/data/db" },
                { "action": "StartApplication", "app": "/shop/web" },
            ] },
            { "actions": [{ "action": "ScaleApplication", "app": "/shop/data/db" }] },
            { "actions": [{ "action": "ScaleApplication", "app": "/shop/web" }] },
        ])
    );
    assert!(marathon.tasks("/shop/web").await.is_empty());
    let task = running["id"].as_str().expect("an id");
    let gate = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(task)
        .join("gate");
    std::fs::write(gate, "").expect("the sandbox is there");
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.tasks("/shop/web").await.len(), 1);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circle_of_dependencies_is_refused_and_leaves_nothing() {
    let marathon = Marathon::start().await;
    let mut shop = shop();
    shop["apps"][0]["dependencies"] = json!(["data"]);
    shop["groups"][0]["apps"][0]["dependencies"] = json!(["/shop/web", "/nothing"]);

    let refused = marathon.post("/v2/groups", shop).await;

    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["details"],
        json!([{ "path": "/", "errors": ["Dependency graph has cyclic dependencies."] }])
    );
    assert_eq!(marathon.get("/v2/groups").await.json()["groups"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_listed_in_an_update_goes_and_what_is_not_given_stays() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/groups", shop()).await;
    marathon.wait_for_deployments().await;

    let update = json!({ "id": "/shop", "apps": [sleeper("cart", 1)] });
    let updated = marathon.put("/v2/groups/shop", update).await;
    marathon.wait_for_deployments().await;

    assert_eq!(updated.status, 200);
    let ids = async || {
        let listed = marathon.get("/v2/apps").await.json();
        let apps = listed["apps"].as_array().cloned().unwrap_or_default();
        apps.iter()
            .map(|app| app["id"].as_str().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids().await, ["/shop/cart", "/shop/data/db"]);
    marathon
        .put("/v2/groups/shop", json!({ "groups": [] }))
        .await;
    marathon.wait_for_deployments().await;
    assert_eq!(ids().await, ["/shop/cart"]);
    assert_eq!(
        marathon.get("/v2/groups/shop").await.json()["groups"],
        json!([])
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_tells_the_steps_and_does_nothing() {
    let marathon = Marathon::start().await;

    let told = marathon
        .put(
            "/v2/groups/shop?dryRun=True",
            json!({ "apps": [sleeper("cart", 1)] }),
        )
        .await;

    assert_eq!(
        told.json(),
        json!({ "steps": [
            { "actions": [{ "action": "StartApplication", "app": "/shop/cart" }] },
            { "actions": [{ "action": "ScaleApplication", "app": "/shop/cart" }] },
        ] })
    );
    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
    assert_eq!(marathon.get("/v2/groups/shop").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_scaled_by_a_factor_rounded_up() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/web", 3)).await;
    marathon.run(sleeper("/shop/data/db", 1)).await;

    let scaled = marathon
        .put("/v2/groups/shop", json!({ "scaleBy": 0.5 }))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(scaled.status, 200);
    assert_eq!(marathon.app("/shop/web").await["instances"], 2);
    assert_eq!(marathon.app("/shop/data/db").await["instances"], 1);
    for wrong in [
        json!({ "scaleBy": -1 }),
        json!({ "scaleBy": 2, "apps": [] }),
        json!({ "scaleBy": 1e12 }),
    ] {
        let refused = marathon.put("/v2/groups/shop", wrong.clone()).await;
        assert_eq!(
            (
                refused.status.as_u16(),
                &refused.json()["details"][0]["path"]
            ),
            (422, &json!("/scaleBy")),
            "{wrong}"
        );
    }
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_back_to_a_version_with_the_apps_it_had() {
    let marathon = Marathon::start().await;
    marathon.post("/v2/groups", shop()).await;
    marathon.wait_for_deployments().await;
    let version = marathon.get("/v2/groups/shop").await.json()["version"].clone();
    let version = version.as_str().expect("a time");
    marathon
        .put(
            "/v2/groups/shop",
            json!({ "apps": [sleeper("cart", 1)], "groups": [] }),
        )
        .await;
    marathon.wait_for_deployments().await;

    let versions = marathon.get("/v2/groups/shop/versions").await.json();
    assert_eq!(versions.as_array().map(Vec::len), Some(2));
    assert_eq!(versions[1], version);
    let former = marathon
        .get(&format!("/v2/groups/shop/versions/{version}"))
        .await
        .json();
    assert_eq!(former["groups"][0]["apps"][0]["id"], "/shop/data/db");
    let back = marathon
        .put("/v2/groups/shop", json!({ "version": version }))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(back.status, 200);
    assert_eq!(marathon.get("/v2/apps/shop/cart").await.status, 404);
    assert_eq!(marathon.app("/shop/web").await["tasksRunning"], 1);
    assert_eq!(marathon.app("/shop/data/db").await["tasksRunning"], 1);
    let unknown = marathon
        .put(
            "/v2/groups/shop",
            json!({ "version": "2014-03-01T23:29:30.158Z" }),
        )
        .await;
    assert_eq!(unknown.status, 422);
    assert_eq!(
        unknown.json()["message"],
        "Group /shop not available in version 2014-03-01T23:29:30.158Z"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_removed_with_everything_in_it_unless_a_deployment_locks_it() {
    let marathon = Marathon::start().await;
    let mut gated = sleeper("web", 1);
    gated["healthChecks"] = json!([{ "protocol": "COMMAND", "command": { "value": "false" } }]);
    marathon
        .post("/v2/groups", json!({ "id": "shop", "apps": [gated] }))
        .await;

    let refused = marathon.delete("/v2/groups/shop").await;
    let forced = marathon.delete("/v2/groups/shop?force=true").await;
    marathon.wait_for_deployments().await;

    assert_eq!(refused.status, 409);
    assert!(
        refused.json()["deployments"][0]["id"].is_string(),
        "{}",
        refused.text
    );
    assert_eq!(forced.status, 200);
    assert_eq!(marathon.get("/v2/groups/shop").await.status, 404);
    assert!(marathon.all_tasks().await.is_empty());
    let unknown = marathon.delete("/v2/groups/shop").await;
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()["message"].clone()),
        (404, json!("Group '/shop' does not exist"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_already_is_a_409_and_what_cannot_be_is_a_422() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/web", 0)).await;
    let post = async |body: Value| {
        let answer = marathon.post("/v2/groups", body).await;
        (
            answer.status.as_u16(),
            answer.json()["message"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };

    assert_eq!(
        post(json!({})).await,
        (
            409,
            "Group / is already created. Use PUT to change this group.".into()
        )
    );
    assert_eq!(post(json!({ "id": "shop" })).await.0, 409);
    assert_eq!(
        post(json!({ "id": "/shop/web" })).await,
        (409, "An app with the path /shop/web already exists.".into())
    );
    let clash = marathon.post("/v2/apps", sleeper("/shop", 0)).await;
    assert_eq!(clash.status, 422);
    assert_eq!(
        clash.json()["details"][0]["errors"][0],
        "Groups and Applications may not have the same identifier."
    );
    let elsewhere = json!({ "id": "bar", "apps": [sleeper("/shop/cart", 0)] });
    let elsewhere = marathon.post("/v2/groups", elsewhere).await;
    assert_eq!(elsewhere.status, 422);
    assert_eq!(
        elsewhere.json()["details"],
        json!([{ "path": "/apps(0)/id", "errors": ["Identifier is not child of '/bar'"] }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn undoing_a_created_group_removes_its_apps_and_itself() {
    let marathon = Marathon::start().await;
    let mut gated = sleeper("web", 1);
    gated["healthChecks"] = json!([{ "protocol": "COMMAND", "command": { "value": "false" } }]);
    let created = marathon
        .post("/v2/groups", json!({ "id": "shop/eu", "apps": [gated] }))
        .await;

    marathon
        .delete(&format!("/v2/deployments/{}", created.deployment()))
        .await;
    marathon.wait_for_deployments().await;

    assert_eq!(marathon.get("/v2/groups").await.json()["groups"], json!([]));
    assert!(marathon.all_tasks().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_apps_and_tasks_of_a_group_are_listed_by_a_star() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/web", 1)).await;
    marathon.run(sleeper("/shop/data/db", 1)).await;
    marathon.run(sleeper("/other", 1)).await;

    let apps = marathon.get("/v2/apps//shop/*").await.json();
    let tasks = marathon.get("/v2/apps/shop/*/tasks").await.json();

    let ids: Vec<&Value> = apps["*"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|app| &app["id"])
        .collect();
    assert_eq!(ids, ["/shop/data/db", "/shop/web"]);
    assert_eq!(apps["*"][0]["tasks"].as_array().map(Vec::len), Some(1));
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        marathon.get("/v2/apps/nothing/*").await.json()["message"],
        "Group '/nothing' does not exist"
    );
    marathon.engine.stop().await;
}

fn shop() -> Value {
    json!({
        "id": "shop",
        "apps": [sleeper("web", 1)],
        "groups": [{ "id": "data", "apps": [sleeper("db", 1)] }],
    })
}
