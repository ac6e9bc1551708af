//! The event stream.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::harness::{Marathon, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_begins_with_its_own_attachment_and_is_framed_in_two_lines() {
    let marathon = Marathon::start().await;

    let mut stream = Stream::open(&marathon, "/v2/events").await;
    let first = stream.next_raw().await;

    assert!(
        first.starts_with("event: event_stream_attached\r\ndata: {\"remoteAddress\":"),
        "{first}"
    );
    assert!(first.ends_with("}\r\n\r\n"), "{first}");
    assert_eq!(first.matches("\r\n").count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_told_in_order() {
    let marathon = Marathon::start().await;
    let mut stream = Stream::open(&marathon, "/v2/events").await;

    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("touch ok; exec sleep 1000");
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": "test -f ok" }, "intervalSeconds": 1,
        "delaySeconds": 0,
    }]);
    marathon.post("/v2/apps", app).await;
    let told = stream.until("deployment_success").await;
    let kinds: Vec<String> = told.iter().map(|event| text(&event["eventType"])).collect();

    assert_eq!(
        kinds,
        [
            "event_stream_attached",
            "api_post_event",
            "group_change_success",
            "deployment_info",
            "add_health_check_event",
            "deployment_step_success",
            "deployment_info",
            "instance_changed_event",
            "instance_changed_event",
            "status_update_event",
            "status_update_event",
            "instance_changed_event",
            "health_status_changed_event",
            "instance_health_changed_event",
            "deployment_step_success",
            "deployment_success",
        ]
    );
    assert_eq!(told[1]["appDefinition"]["id"], "/a");
    assert_eq!(
        told[3]["currentStep"]["actions"][0]["action"],
        "StartApplication"
    );
    assert_eq!(told[10]["taskStatus"], "TASK_RUNNING");
    assert_eq!(told[12]["alive"], true);
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_is_told_down_to_the_last_task() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let path = "/v2/events?event_type=status_update_event&event_type=app_terminated_event\
                &event_type=deployment_success";
    let mut stream = Stream::open(&marathon, path).await;

    marathon.delete("/v2/apps/a").await;
    let told = stream.until("deployment_success").await;
    let brief: Vec<String> = told
        .iter()
        .map(|event| text(event.get("taskStatus").unwrap_or(&event["eventType"])))
        .collect();

    assert_eq!(
        brief,
        [
            "TASK_KILLING",
            "TASK_KILLED",
            "app_terminated_event",
            "deployment_success"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_deployment_is_told_as_failed() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["healthChecks"] = json!([{ "protocol": "COMMAND", "command": { "value": "false" } }]);
    let created = marathon.post("/v2/apps", app).await;
    let mut stream = Stream::open(&marathon, "/v2/events?event_type=deployment_failed").await;

    marathon.delete("/v2/apps/a").await;
    let told = stream.next().await;

    assert_eq!(told["id"], created.deployment());
    assert_eq!(told["reason"], "The upgrade has been cancelled");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_shows_signs_of_life() {
    let marathon =
        Marathon::start_with(|config| config.heartbeat = Duration::from_millis(50)).await;
    let mut stream = Stream::open(&marathon, "/v2/events?event_type=none").await;

    assert_eq!(stream.chunk().await, "\r\n");
    assert_eq!(stream.chunk().await, "\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_ask_for_events_is_refused() {
    let marathon = Marathon::start().await;

    let answer = marathon.get("/v2/events").await;

    assert_eq!(answer.status, 405);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_read_is_cut_off_and_no_other_is() {
    let marathon = Marathon::start().await;
    let mut watcher = Stream::open(&marathon, "/v2/events?event_type=event_stream_detached").await;
    let mut slow = Stream::open(&marathon, "/v2/events").await;
    let mut big = sleeper("/a", 0);
    big["labels"] = json!({ "text": "x".repeat(100_000) });
    marathon.run(big).await;

    // More events than are buffered, each too large for the connection's own buffers to hide.
    for round in 0..500 {
        let answer = marathon
            .put("/v2/apps/a?force=true", json!({ "cpus": 1 + round % 2 }))
            .await;
        assert_eq!(answer.status, 200);
    }

    // Nothing was read from the slow one yet.
    assert_eq!(watcher.next().await["eventType"], "event_stream_detached");
    while let Some(chunk) = slow.try_chunk().await {
        assert!(!chunk.is_empty());
    }
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_nobody_asked_for_does_not_count_against_a_listener() {
    let marathon = Marathon::start().await;
    let mut picky = Stream::open(&marathon, "/v2/events?event_type=app_terminated_event").await;
    marathon.run(sleeper("/a", 0)).await;

    for round in 0..600 {
        marathon
            .put("/v2/apps/a?force=true", json!({ "cpus": 1 + round % 2 }))
            .await;
    }
    marathon.delete("/v2/apps/a").await;

    assert_eq!(picky.next().await["eventType"], "app_terminated_event");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_change_is_told_with_its_reason() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/web", 0)).await;
    let mut stream = Stream::open(&marathon, "/v2/events?event_type=group_change_failed").await;

    marathon.post("/v2/apps", sleeper("/shop/web", 0)).await;
    let told = stream.next().await;

    assert_eq!(told["groupId"], "/shop");
    assert_eq!(told["reason"], "An app with id [/shop/web] already exists.");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_has_exactly_marathons_fields() {
    let marathon = Marathon::start().await;
    let mut stream = Stream::open(&marathon, "/v2/events").await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("touch ok; exec sleep 1000");
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": "test -f ok" }, "intervalSeconds": 1,
        "gracePeriodSeconds": 0, "maxConsecutiveFailures": 1,
    }]);

    marathon.run(app.clone()).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let mark = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(&task)
        .join("ok");
    std::fs::remove_file(mark).expect("the task made it");
    let mut told = stream.until("unhealthy_instance_kill_event").await;
    marathon.post("/v2/apps", app.clone()).await;
    marathon.delete("/v2/apps/a").await;
    told.extend(stream.until("app_terminated_event").await);
    app["healthChecks"][0]["command"]["value"] = json!("false");
    marathon.post("/v2/apps", app).await;
    marathon.delete("/v2/apps/a").await;
    told.extend(stream.until("deployment_failed").await);
    told.extend(stream.until("app_terminated_event").await);

    for (kind, fields) in FIELDS {
        let event = told.iter().find(|event| event["eventType"] == kind);
        let event = event.unwrap_or_else(|| panic!("no {kind}"));
        let keys = event
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str());
        let mut keys: Vec<&str> = keys
            .filter(|key| !["eventType", "timestamp"].contains(key))
            .collect();
        keys.sort_unstable();
        assert_eq!(keys, fields, "{kind}");
    }
    let plan = &told
        .iter()
        .find(|event| event["eventType"] == "deployment_info")
        .expect("it was told")["plan"];
    let keys: Vec<&String> = plan
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, ["id", "steps", "version"]);
    marathon.engine.stop().await;
}

/// The fields of each event besides its type and time (`core/event/Events.scala`, Marathon 1.10).
const FIELDS: [(&str, &[&str]); 17] = [
    ("event_stream_attached", &["remoteAddress"]),
    ("api_post_event", &["appDefinition", "clientIp", "uri"]),
    ("group_change_success", &["groupId", "version"]),
    ("group_change_failed", &["groupId", "reason", "version"]),
    ("deployment_info", &["currentStep", "plan"]),
    ("deployment_step_success", &["currentStep", "plan"]),
    ("deployment_step_failure", &["currentStep", "plan"]),
    ("deployment_success", &["id", "plan"]),
    ("deployment_failed", &["id", "plan", "reason"]),
    (
        "add_health_check_event",
        &["appId", "healthCheck", "version"],
    ),
    ("remove_health_check_event", &["appId"]),
    (
        "health_status_changed_event",
        &["alive", "appId", "instanceId", "version"],
    ),
    (
        "failed_health_check_event",
        &["appId", "healthCheck", "taskId"],
    ),
    (
        "instance_changed_event",
        &[
            "agentId",
            "condition",
            "host",
            "instanceId",
            "runSpecId",
            "runSpecVersion",
        ],
    ),
    (
        "instance_health_changed_event",
        &["healthy", "instanceId", "runSpecId", "runSpecVersion"],
    ),
    (
        "status_update_event",
        &[
            "appId",
            "host",
            "ipAddresses",
            "message",
            "ports",
            "slaveId",
            "taskId",
            "taskStatus",
            "version",
        ],
    ),
    (
        "unhealthy_instance_kill_event",
        &[
            "appId",
            "host",
            "instanceId",
            "reason",
            "slaveId",
            "taskId",
            "version",
        ],
    ),
];

struct Stream {
    body: Incoming,
    seen: String,
}

impl Stream {
    async fn open(marathon: &Marathon, path: &str) -> Self {
        let request = Request::get(path)
            .header("host", "engine")
            .header("accept", "text/event-stream")
            .body(Full::<Bytes>::default())
            .expect("the request is well formed");
        let response = marathon.exchange(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "text/event-stream;charset=utf-8"
        );
        Self {
            body: response.into_body(),
            seen: String::new(),
        }
    }

    async fn try_chunk(&mut self) -> Option<String> {
        let frame = self.body.frame();
        let frame = tokio::time::timeout(Duration::from_secs(30), frame).await;
        let frame = frame.expect("something comes in time")?;
        let bytes = frame.ok()?.into_data().ok()?;
        Some(String::from_utf8(bytes.to_vec()).expect("events are UTF-8"))
    }

    async fn chunk(&mut self) -> String {
        self.try_chunk().await.expect("the stream goes on")
    }

    async fn next_raw(&mut self) -> String {
        loop {
            // A sign of life is an empty line of its own.
            while self.seen.starts_with("\r\n") {
                self.seen.drain(..2);
            }
            if let Some(end) = self.seen.find("\r\n\r\n") {
                return self.seen.drain(..end + 4).collect();
            }
            let chunk = self.chunk().await;
            self.seen.push_str(&chunk);
        }
    }

    async fn next(&mut self) -> Value {
        let raw = self.next_raw().await;
        let (_, data) = raw.split_once("data: ").expect("an event has data");
        serde_json::from_str(data).expect("the data is JSON")
    }

    async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events
            .last()
            .is_none_or(|event: &Value| event["eventType"] != kind)
        {
            events.push(self.next().await);
        }
        events
    }
}
