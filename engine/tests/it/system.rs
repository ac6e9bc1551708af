//! What the engine says of itself, what it has not, and how it says that a request is of the wrong kind.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::{Value, json};

use crate::harness::{Marathon, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn a_ping_is_answered_in_the_type_that_is_asked_for() {
    let marathon = Marathon::start().await;
    let cases = [
        (None, 200, "text/plain", "pong"),
        (Some("*/*"), 200, "text/plain", "pong"),
        (Some("text/html,*/*;q=0.8"), 200, "text/html", "pong"),
        (
            Some("application/json"),
            200,
            "application/json",
            "\"pong\"",
        ),
        (Some("image/png"), 204, "", ""),
    ];
    for (accept, status, media_type, body) in cases {
        let told = ask(&marathon, "GET", "/ping", accept).await;
        assert_eq!(
            told,
            (status, media_type.to_owned(), body.to_owned()),
            "{accept:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_of_the_infos_raml_type_is_there() {
    let marathon = Marathon::start().await;

    let info = marathon.get("/v2/info").await.json();

    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect();
        keys.sort();
        keys
    };
    assert_eq!(
        keys(&info),
        [
            "buildref",
            "elected",
            "frameworkId",
            "http_config",
            "leader",
            "marathon_config",
            "name",
            "version",
            "zookeeper_config"
        ]
    );
    assert_eq!(keys(&info["zookeeper_config"]).len(), 8);
    assert_eq!(keys(&info["marathon_config"]).len(), 41);
    assert_eq!(
        info["http_config"]["http_port"],
        marathon.engine.address().port()
    );
    assert_eq!(
        marathon.get("/v2/leader").await.json(),
        json!({ "leader": info["leader"] })
    );
    assert_eq!(
        marathon.get("/v2/plugins").await.json(),
        json!({ "plugins": [] })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_names_the_leader_and_may_not_be_kept() {
    let marathon = Marathon::start().await;

    for path in ["/ping", "/v2/apps", "/v2/apps/nothing"] {
        let headers = marathon.get(path).await.headers;
        let leader = format!("http://{}", marathon.engine.address());
        assert_eq!(headers["x-marathon-leader"], leader, "{path}");
        assert_eq!(
            headers["cache-control"], "no-cache, no-store, must-revalidate",
            "{path}"
        );
        assert_eq!(headers["x-frame-options"], "DENY", "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_engine_does_not_abdicate_and_says_why() {
    let marathon = Marathon::start().await;

    let refused = marathon.delete("/v2/leader").await;

    assert_eq!(refused.status, 405);
    let message = refused.json()["message"].clone();
    assert!(
        message
            .as_str()
            .is_some_and(|text| text.contains("the only one of its machine")),
        "{message}"
    );
    assert_eq!(marathon.get("/ping").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_pods_and_none_can_be_made() {
    let marathon = Marathon::start().await;

    assert_eq!(ask(&marathon, "HEAD", "/v2/pods", None).await.0, 200);
    assert_eq!(marathon.get("/v2/pods").await.json(), json!([]));
    assert_eq!(marathon.get("/v2/pods/::status").await.json(), json!([]));
    let unknown = marathon.get("/v2/pods/shop/web::status").await;
    assert_eq!(
        (unknown.status.as_u16(), &unknown.json()["message"]),
        (404, &json!("Pod '/shop/web' does not exist"))
    );
    let refused = marathon.post("/v2/pods", json!({ "id": "/web" })).await;
    assert_eq!(refused.status, 422);
    assert_eq!(
        refused.json()["details"],
        json!([{ "path": "/", "errors": ["pods are not supported: this engine runs apps"] }])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_405_with_the_right_ones() {
    let marathon = Marathon::start().await;
    let cases = [
        ("DELETE", "/v2/apps", "GET, POST, PUT, PATCH"),
        ("POST", "/v2/apps/a", "GET, PUT, PATCH, DELETE"),
        ("GET", "/v2/apps/a/restart", "POST"),
        ("PUT", "/v2/deployments", "GET"),
        ("GET", "/v2/tasks/delete", "POST"),
        ("POST", "/v2/info", "GET"),
        ("POST", "/v2/events", "GET"),
    ];
    for (method, path, allowed) in cases {
        let answer = marathon.send(method, path, "{}").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_json_is_refused_with_406() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 0)).await;

    for (accept, status) in [
        ("text/plain", 406),
        ("text/plain, */*;q=0.1", 200),
        ("application/*", 200),
    ] {
        let told = ask(&marathon, "GET", "/v2/apps/a/tasks", Some(accept)).await;
        assert_eq!(told.0, status, "{accept}");
    }
}

async fn ask(
    marathon: &Marathon,
    method: &str,
    path: &str,
    accept: Option<&str>,
) -> (u16, String, String) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "engine");
    let request = accept
        .into_iter()
        .fold(request, |request, accept| request.header("accept", accept));
    let request = request
        .body(Full::<Bytes>::default())
        .expect("the request is well formed");
    let response = marathon.exchange(request).await;
    let (parts, body) = response.into_parts();
    let media_type = parts
        .headers
        .get("content-type")
        .and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_owned();
    let bytes = body.collect().await.expect("the answer ends").to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
    (parts.status.as_u16(), media_type, text)
}
