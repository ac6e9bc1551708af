//! Who answers here: `/ping`, `/v2/info`, `/v2/leader`, `/v2/plugins`.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::Api;
use super::message::{Answer, Call};
use crate::ports::SERVICE_PORTS;

/// The Marathon version whose dialect is spoken; clients choose theirs by it.
const MARATHON_VERSION: &str = "1.10.0";

/// Answers `pong`, in the type that the client likes best: a JSON string to those who want JSON, and
/// nothing to those who want neither that nor text (`SystemResource.ping`).
pub(super) fn ping(call: &Call) -> Answer {
    let types = [("text", "plain"), ("text", "html"), ("application", "json")];
    match call.accept.choose(&types) {
        Some(("application", _)) => Answer::ok(&json!("pong")),
        Some((kind, subtype)) => Answer::text(
            StatusCode::OK,
            &format!("{kind}/{subtype}"),
            "pong".to_owned(),
        ),
        None => Answer::empty(StatusCode::NO_CONTENT),
    }
}

/// Describes the engine as a Marathon that is its own leader (`InfoResource.scala`).
pub(super) fn info(api: &Api) -> Answer {
    let address = api.address;
    Answer::ok(&json!({
        "name": "marathon",
        "version": MARATHON_VERSION,
        "buildref": concat!("teal-engine ", env!("CARGO_PKG_VERSION")),
        "elected": true,
        "leader": address.to_string(),
        "frameworkId": "teal-engine",
        "marathon_config": marathon_config(&address.ip().to_string()),
        "zookeeper_config": zookeeper_config(),
        "http_config": api.ports_json(),
    }))
}

/// The settings of a Marathon that has this engine's limits. Where a field is about Mesos or about a
/// cluster, it has Marathon's default (`MarathonConf.scala`), so that every field of info.raml is
/// there; what no one machine has is null, as an option that was not given.
fn marathon_config(hostname: &str) -> Value {
    json!({
        "access_control_allow_origin": null,
        "checkpoint": false,
        "decline_offer_duration": 120_000,
        "default_network_name": null,
        "env_vars_prefix": null,
        "executor": "//cmd",
        "failover_timeout": 604_800,
        "features": ["task_killing"],
        "framework_name": "marathon",
        "ha": false,
        "hostname": hostname,
        "launch_token": 100,
        "launch_token_refresh_interval": 30_000,
        "leader_proxy_connection_timeout_ms": 5000,
        "leader_proxy_read_timeout_ms": 10_000,
        "local_port_max": SERVICE_PORTS.end(),
        "local_port_min": SERVICE_PORTS.start(),
        "master": "",
        "max_instances_per_offer": 5,
        "mesos_bridge_name": "mesos-bridge",
        "mesos_heartbeat_failure_threshold": 5,
        "mesos_heartbeat_interval": 15_000,
        "mesos_leader_ui_url": null,
        "mesos_role": "*",
        "mesos_user": null,
        "new_group_enforce_role": "off",
        "min_revive_offers_interval": 5000,
        "offer_matching_timeout": 3000,
        "on_elected_prepare_timeout": 180_000,
        "reconciliation_initial_delay": 15_000,
        "reconciliation_interval": 600_000,
        "scale_apps_initial_delay": 15_000,
        "scale_apps_interval": 300_000,
        "store_cache": true,
        "task_launch_confirm_timeout": 300_000,
        "task_launch_timeout": 300_000,
        "task_lost_expunge_initial_delay": 300_000,
        "task_lost_expunge_interval": 30_000,
        "task_reservation_timeout": 20_000,
        "webui_url": null,
        "maintenance_mode": false,
    })
}

/// There is no ZooKeeper: no address, and Marathon's defaults for the rest.
fn zookeeper_config() -> Value {
    json!({
        "zk": "",
        "zk_compression": true,
        "zk_compression_threshold": 65_536,
        "zk_connection_timeout": 10_000,
        "zk_max_node_size": 1_024_000,
        "zk_max_versions": 50,
        "zk_session_timeout": 10_000,
        "zk_timeout": 10_000,
    })
}

/// Names the leader, which is always this engine.
pub(super) fn leader(api: &Api) -> Answer {
    Answer::ok(&json!({ "leader": api.address.to_string() }))
}

/// Lists the plugins: there is no such thing here.
pub(super) fn plugins() -> Answer {
    Answer::ok(&json!({ "plugins": [] }))
}
