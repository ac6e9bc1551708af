//! Envoy: one worker thread.

use serde_json::{Value, json};
use std::net::SocketAddr;

use super::{Kind, Program, Site, nothing_to_steer, write};

pub(super) const KIND: Kind = Kind {
    name: "envoy",
    program: Program::InPath("envoy"),
    version: &["--version"],
    traceable: false,
    configure,
    steer: nothing_to_steer,
};

fn configure(site: &Site) -> anyhow::Result<Vec<String>> {
    let endpoint = |backend| json!({ "endpoint": { "address": address(backend) } });
    let endpoints: Vec<Value> = site.backends.into_iter().map(endpoint).collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "use_remote_address": true,
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "back" } }],
        }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    let config = json!({ "static_resources": {
        "listeners": [{
            "name": "front",
            "address": address(site.listen),
            "filter_chains": [{ "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": manager,
            }] }],
        }],
        "clusters": [{
            "name": "back",
            "type": "STATIC",
            "connect_timeout": "1s",
            "lb_policy": "LEAST_REQUEST",
            "load_assignment": { "cluster_name": "back", "endpoints": [{ "lb_endpoints": endpoints }] },
        }],
    } });
    let file = write(&site.folder, "envoy.json", &config.to_string())?;
    let arguments = [
        "-c",
        &file,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "error",
    ];
    Ok(arguments.map(str::to_owned).to_vec())
}

fn address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip(), "port_value": address.port() } })
}
