//! The client against servers that behave badly.

use crate::canned::{Canned, Reply, answer, json};
use serde_json::{Value, json};
use std::time::Duration;
use teal_drivers::DriverError;
use teal_drivers::http::{Client, Method};

#[tokio::test]
async fn a_path_before_every_path_and_a_query_are_sent_as_they_are() {
    let server = Canned::start(|_| json(200, "{}")).await;
    let client = Client::new(&format!("{}/service/marathon/", server.url)).expect("an address");

    client
        .get("/v2/apps?embed=apps.tasks")
        .await
        .expect("answers");

    assert_eq!(
        server.lines(),
        ["GET /service/marathon/v2/apps?embed=apps.tasks"]
    );
    assert!(server.asked()[0].head.contains("accept: application/json"));
}

#[tokio::test]
async fn a_body_is_sent_as_json_and_the_status_comes_back() {
    let server = Canned::start(|_| json(201, r#"{"id":"/x"}"#)).await;
    let client = Client::new(&server.url).expect("an address");

    let (status, body) = client
        .send(Method::POST, "/v2/apps", Some(&json!({ "id": "/x" })))
        .await
        .expect("answers");

    assert_eq!((status, body), (201, json!({ "id": "/x" })));
    assert_eq!(server.asked()[0].body, r#"{"id":"/x"}"#);
    assert!(
        server.asked()[0]
            .head
            .contains("content-type: application/json")
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let server = Canned::start(|_| Reply::Silence).await;
    let url = server.url.clone();
    drop(server);
    tokio::task::yield_now().await;

    let error = Client::new(&url)
        .expect("an address")
        .get("/ping")
        .await
        .expect_err("no server");

    assert!(matches!(&error, DriverError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_server_that_is_silent_is_unreachable_after_the_timeout() {
    let server = Canned::start(|_| Reply::Silence).await;
    let client = Client::new(&server.url)
        .expect("an address")
        .with_timeout(Duration::from_millis(50));

    let error = client.get("/ping").await.expect_err("no answer");

    assert!(
        error.to_string().contains("none came within 50ms"),
        "{error}"
    );
}

#[tokio::test]
async fn a_change_is_sent_once_though_its_answer_is_cut() {
    let server = Canned::start(|_| Reply::Bytes(String::new())).await;
    let client = Client::new(&server.url).expect("an address");

    let error = client
        .send(Method::PUT, "/v2/apps/x", None)
        .await
        .expect_err("no answer");

    assert!(matches!(error, DriverError::Unreachable { .. }), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn a_body_that_is_cut_is_no_answer() {
    let server = Canned::start(|_| {
        Reply::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}".to_owned())
    })
    .await;

    let error = Client::new(&server.url)
        .expect("an address")
        .get("/")
        .await
        .expect_err("cut");

    assert!(error.to_string().contains("cut short"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_followed_on_the_same_host_only() {
    let elsewhere = Canned::start(|_| json(200, r#""elsewhere""#)).await;
    let away = elsewhere.url.clone();
    let server = Canned::start(move |asked| match asked.line.as_str() {
        "GET /old" => answer(302, "Location: /new\r\n", ""),
        "GET /new" => json(200, r#""here""#),
        _ => answer(302, &format!("Location: {away}/v2/info\r\n"), ""),
    })
    .await;
    let client = Client::new(&server.url).expect("an address");

    assert_eq!(client.get("/old").await, Ok(Value::from("here")));
    let error = client.get("/away").await.expect_err("is not followed");
    assert!(matches!(error, DriverError::Refused { .. }), "{error}");
    assert!(error.to_string().contains(&elsewhere.url), "{error}");
    assert!(elsewhere.lines().is_empty());
}

#[tokio::test]
async fn a_redirect_of_a_change_is_not_followed() {
    let server = Canned::start(|_| answer(307, "Location: /elsewhere\r\n", "")).await;
    let client = Client::new(&server.url).expect("an address");

    let error = client
        .send(Method::DELETE, "/v2/apps/x", None)
        .await
        .expect_err("refused");

    assert!(matches!(error, DriverError::Refused { .. }), "{error}");
    assert_eq!(server.lines(), ["DELETE /v2/apps/x"]);
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let server = Canned::start(|_| answer(302, "Location: /again\r\n", "")).await;

    let error = Client::new(&server.url)
        .expect("an address")
        .get("/again")
        .await;

    assert!(
        matches!(error, Err(DriverError::Refused { .. })),
        "{error:?}"
    );
    assert_eq!(server.lines().len(), 4);
}
