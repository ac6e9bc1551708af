//! Who answers here: `/ping`, `/v2/info`, `/v2/leader`.

use hyper::StatusCode;
use serde_json::json;

use super::Api;
use super::message::{Answer, Call};
use crate::ports::SERVICE_PORTS;

/// The Marathon version whose dialect is spoken; clients choose theirs by it.
const MARATHON_VERSION: &str = "1.10.0";

/// Answers `pong`: as text, or as a JSON string to those who ask for JSON.
pub(super) fn ping(call: &Call) -> Answer {
    if call.accepts("application/json") {
        Answer::ok(&json!("pong"))
    } else if call.accepts("text/") || call.accepts("*/*") || !call.headers.contains_key("accept") {
        Answer::text(StatusCode::OK, "text/plain", "pong".to_owned())
    } else {
        Answer::empty(StatusCode::NO_CONTENT)
    }
}

/// Describes the engine as a Marathon that is its own leader.
pub(super) fn info(api: &Api) -> Answer {
    let leader = api.address.to_string();
    Answer::ok(&json!({
        "name": "marathon",
        "version": MARATHON_VERSION,
        "buildref": concat!("teal-engine ", env!("CARGO_PKG_VERSION")),
        "elected": true,
        "leader": leader,
        "frameworkId": "teal-engine",
        "marathon_config": {
            "checkpoint": false,
            "executor": "//cmd",
            "features": ["task_killing"],
            "framework_name": "marathon",
            "ha": false,
            "hostname": api.address.ip().to_string(),
            "local_port_max": SERVICE_PORTS.end(),
            "local_port_min": SERVICE_PORTS.start(),
            "master": "",
            "mesos_role": "*",
            "webui_url": null,
        },
        "zookeeper_config": {},
        "http_config": { "http_port": api.address.port(), "https_port": null },
    }))
}

/// Names the leader, which is always this engine.
pub(super) fn leader(api: &Api) -> Answer {
    Answer::ok(&json!({ "leader": api.address.to_string() }))
}
