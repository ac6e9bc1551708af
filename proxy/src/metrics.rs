//! The balancer's counters as Prometheus text, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::Write;
use std::sync::atomic::Ordering;

use crate::pool::{EndpointView, PoolView, Traffic};
use crate::registry::Listed;

/// A family: name, kind, help.
type Family = (&'static str, &'static str, &'static str);

const REQUESTS: Family = (
    "teal_proxy_requests_total",
    "counter",
    "Requests read, or connections of a TCP pool.",
);
const ERRORS: Family = (
    "teal_proxy_errors_total",
    "counter",
    "Answers that the balancer gave by itself or had to cut, by code.",
);
const SERVING: Family = (
    "teal_proxy_serving_endpoints",
    "gauge",
    "Endpoints that get new requests.",
);
const IN_FLIGHT: Family = (
    "teal_proxy_in_flight",
    "gauge",
    "Requests, streams and tunnels that are not finished, by instance.",
);
const ENDPOINT_REQUESTS: Family = (
    "teal_proxy_endpoint_requests_total",
    "counter",
    "Requests that reached a connection to an instance.",
);
const ENDPOINT_FAILURES: Family = (
    "teal_proxy_endpoint_failures_total",
    "counter",
    "Connections that an instance refused and exchanges that it broke.",
);

/// Returns the counters of all pools.
pub(crate) fn render(pools: &[Listed]) -> String {
    let views: Vec<(String, PoolView)> = pools
        .iter()
        .map(|listed| (escape(&listed.pool.name), listed.pool.view()))
        .collect();
    let mut text = String::new();
    family(&mut text, REQUESTS, |text, name| {
        for (listed, (pool, _)) in pools.iter().zip(&views) {
            let count = listed.pool.requests.load(Ordering::Relaxed);
            sample(text, name, &[("pool", pool)], count);
        }
    });
    family(&mut text, ERRORS, |text, name| {
        for (listed, (pool, _)) in pools.iter().zip(&views) {
            for (code, count) in listed.pool.faults.seen() {
                sample(text, name, &[("pool", pool), ("code", code)], count);
            }
        }
    });
    family(&mut text, SERVING, |text, name| {
        for (pool, view) in &views {
            let serving = |endpoint: &&EndpointView| endpoint.state == Traffic::Serving;
            let count = view.endpoints.iter().filter(serving).count() as u64;
            sample(text, name, &[("pool", pool)], count);
        }
    });
    per_endpoint(&mut text, IN_FLIGHT, &views, |endpoint| endpoint.in_flight);
    per_endpoint(&mut text, ENDPOINT_REQUESTS, &views, |endpoint| {
        endpoint.requests
    });
    per_endpoint(&mut text, ENDPOINT_FAILURES, &views, |endpoint| {
        endpoint.failures
    });
    text
}

fn family(text: &mut String, (name, kind, help): Family, samples: impl FnOnce(&mut String, &str)) {
    text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    samples(text, name);
}

/// Writes one sample per instance. An instance that is listed with two addresses is summed up:
/// a series may stand in a scrape only once.
fn per_endpoint(
    text: &mut String,
    which: Family,
    views: &[(String, PoolView)],
    value: impl Fn(&EndpointView) -> u64,
) {
    family(text, which, |text, name| {
        for (pool, view) in views {
            for same in view.endpoints.chunk_by(|a, b| a.instance == b.instance) {
                let instance = escape(&same[0].instance);
                let sum = same.iter().map(&value).sum();
                sample(text, name, &[("pool", pool), ("instance", &instance)], sum);
            }
        }
    });
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    writeln!(text, "{name}{{{}}} {value}", labels.join(","))
        .expect("writing to a string cannot fail");
}

fn escape(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
