//! Refused requests: status and body of each kind.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};

use crate::harness::{Marathon, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn unknown_things_are_404_with_marathons_words() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 0)).await;
    let version = "2014-03-01T23:29:30.158Z";
    let app = json!({ "message": "App '/x' does not exist", "details": [] });
    let cases: [(&str, String, Value); 10] = [
        ("GET", "/v2/apps/x".into(), app.clone()),
        ("DELETE", "/v2/apps/x".into(), app.clone()),
        ("POST", "/v2/apps/x/restart".into(), app.clone()),
        ("GET", "/v2/apps/x/tasks".into(), app.clone()),
        ("GET", "/v2/apps/x/versions".into(), app),
        (
            "GET",
            format!("/v2/apps/a/versions/{version}"),
            json!({ "message": format!("App '/a' does not exist in version {version}"), "details": [] }),
        ),
        (
            "DELETE",
            "/v2/apps/x/tasks".into(),
            json!({ "message": "Path '/x' does not exist", "details": [] }),
        ),
        (
            "DELETE",
            "/v2/apps/a/tasks/a.b".into(),
            json!({ "message": "Task 'a.b' does not exist" }),
        ),
        (
            "DELETE",
            "/v2/deployments/none".into(),
            json!({ "message": "DeploymentPlan none does not exist" }),
        ),
        (
            "DELETE",
            "/v2/queue/x/delay".into(),
            json!({ "message": "Application /x not found in tasks queue." }),
        ),
    ];
    for (method, path, body) in cases {
        let answer = marathon.send(method, &path, "").await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()),
            (404, body),
            "{method} {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_route_is_answered_as_marathon_1_10_does() {
    let marathon = Marathon::start().await;

    let answer = marathon.get("/v2/nothing").await;

    assert_eq!(answer.status, 500);
    assert_eq!(answer.json(), json!({ "message": "URI not found" }));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_exists_is_a_409_without_deployments() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 0)).await;

    let answer = marathon.post("/v2/apps", sleeper("/a", 0)).await;

    assert_eq!(answer.status, 409);
    assert_eq!(
        answer.json(),
        json!({ "message": "An app with id [/a] already exists." })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_of_a_body_are_reported_at_once() {
    let marathon = Marathon::start().await;

    let answer = marathon
        .post(
            "/v2/apps",
            json!({
                "id": "/A",
                "cmd": "sleep 1",
                "args": ["sleep", "1"],
                "upgradeStrategy": { "minimumHealthCapacity": 1.5, "maximumOverCapacity": 1 },
                "healthChecks": [{ "portIndex": 1 }],
                "container": { "type": "MESOS", "volumes": [
                    { "containerPath": "data", "mode": "RW", "persistent": { "size": 1 } },
                ] },
                "gpus": 1,
                "secrets": { "a": { "source": "b" } },
                "constraints": [["rack", "UNIQUE"]],
            }),
        )
        .await;

    assert_eq!(answer.status, 422);
    let body = answer.json();
    assert_eq!(body["message"], "Object is not valid");
    let details = body["details"].as_array().cloned().unwrap_or_default();
    let paths: Vec<&str> = details
        .iter()
        .filter_map(|detail| detail["path"].as_str())
        .collect();
    for path in [
        "/id",
        "/",
        "/upgradeStrategy/minimumHealthCapacity",
        "/healthChecks(0)/portIndex",
        "/container/volumes(0)/persistent",
        "/gpus",
        "/secrets",
        "/constraints(0)",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_out_yet_is_refused_and_changes_nothing() {
    let marathon = Marathon::start().await;

    let answer = marathon
        .post(
            "/v2/apps",
            json!({ "id": "/a", "container": { "docker": { "image": "nginx" } } }),
        )
        .await;

    assert_eq!(answer.status, 422);
    assert_eq!(answer.json()["details"][0]["path"], "/container/docker");
    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_instances_than_one_machine_can_hold_are_refused_however_they_are_asked_for() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/g/a", 0)).await;
    let most = i32::MAX;

    for answer in [
        marathon
            .post("/v2/apps", sleeper("/b", 2_147_483_647))
            .await,
        marathon
            .put("/v2/apps/g/a", json!({ "instances": most }))
            .await,
        marathon
            .put("/v2/apps", json!([{ "id": "/g/a", "instances": most }]))
            .await,
    ] {
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert_eq!(answer.json()["details"][0]["path"], "/instances");
    }
    assert_eq!(marathon.app("/g/a").await["instances"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_types_and_broken_json_are_told_apart() {
    let marathon = Marathon::start().await;

    let wrong = marathon
        .post("/v2/apps", json!({ "id": 1, "cmd": "sleep 1" }))
        .await;
    let broken = marathon.send("POST", "/v2/apps", "{\"id\":").await;

    assert_eq!(wrong.status, 422);
    assert_eq!(
        wrong.json(),
        json!({
            "message": "Invalid JSON",
            "details": [{ "path": "/id", "errors": ["error.expected.jsstring"] }],
        })
    );
    assert_eq!(broken.status, 400);
    assert_eq!(broken.json()["message"], "Invalid JSON");
    assert!(broken.json()["details"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_refuses_contradictions_and_malformed_ids_as_a_whole() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let both = marathon
        .post(
            "/v2/tasks/delete?scale=true&wipe=true",
            json!({ "ids": [] }),
        )
        .await;
    let wiped = marathon
        .post("/v2/tasks/delete?wipe=true", json!({ "ids": [task] }))
        .await;
    let bad = marathon
        .post("/v2/tasks/delete", json!({ "ids": [task, "malformed"] }))
        .await;
    let none = marathon
        .post("/v2/tasks/delete", json!({ "ids": ["a.unknown"] }))
        .await;

    assert_eq!(both.status, 400);
    assert_eq!(
        both.json(),
        json!({ "message": "You cannot use scale and wipe at the same time." })
    );
    assert_eq!(wiped.status, 400);
    let reason = wiped.json()["message"].clone();
    assert!(
        reason
            .as_str()
            .is_some_and(|reason| reason.starts_with("There is nothing to wipe")),
        "{reason}"
    );
    assert_eq!(bad.status, 400);
    assert_eq!(
        (none.status.as_u16(), none.json()),
        (200, json!({ "tasks": [] }))
    );
    assert_eq!(marathon.task_ids("/a").await, [task]);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_must_be_a_time_and_stand_alone() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 0)).await;

    let bad = marathon.get("/v2/apps/a/versions/yesterday").await;
    let mixed = json!({ "version": "2014-03-01T23:29:30.158Z", "instances": 2 });
    let mixed = marathon.put("/v2/apps/a", mixed).await;

    assert_eq!(bad.status, 422);
    assert_eq!(
        bad.json()["message"],
        "Invalid timestamp provided 'yesterday'. Expecting ISO-8601 datetime string."
    );
    assert_eq!(mixed.status, 422);
    assert_eq!(mixed.json()["details"][0]["path"], "/");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_beyond_the_limit_is_refused() {
    let marathon = Marathon::start().await;
    let body = format!(
        "{{\"id\":\"a\",\"cmd\":\"{}\"}}",
        "x".repeat(5 * 1024 * 1024)
    );

    let answer = marathon.send("POST", "/v2/apps", &body).await;

    assert_eq!(answer.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_web_page_from_elsewhere_may_not_start_anything() {
    let marathon = Marathon::start().await;
    let request = Request::post("/v2/apps")
        .header("host", "engine")
        .header("origin", "http://evil.example")
        .body(Full::<Bytes>::from(sleeper("/a", 0).to_string()))
        .expect("the request is well formed");

    let response = marathon.exchange(request).await;

    assert_eq!(response.status(), 403);
    assert_eq!(marathon.get("/v2/apps").await.json(), json!({ "apps": [] }));
}
