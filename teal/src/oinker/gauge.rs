//! What the service says about itself: the gauge of pending operations, in both forms that teal
//! can read, and the ways in which a gauge can be sick.

use std::sync::atomic::Ordering;

use hyper::{Response, StatusCode};

use super::queue::Counts;
use super::reply::{Body, Refusal, json, whole};
use super::server::Oinker;
use super::settings::Sickness;

const STUCK_AT: u64 = 3;

/// What the gauge reads.
enum Reading {
    Number(u64),
    Garbage,
}

/// `GET /metrics`: the Prometheus text format,
/// <https://prometheus.io/docs/instrumenting/exposition_formats/>.
pub(super) async fn metrics(oinker: &Oinker) -> Result<Response<Body>, Refusal> {
    let counts = oinker.writer.counts();
    let pending = match read(oinker, counts).await? {
        Reading::Number(number) => number.to_string(),
        Reading::Garbage => "NaN".to_owned(),
    };
    let Counts {
        pending: _,
        acknowledged,
        committed,
    } = counts;
    let requests = oinker.requests.load(Ordering::Relaxed);
    let revision = label(&oinker.settings.revision);
    let instance = label(&oinker.settings.instance);
    let text = format!(
        "\
# HELP oinker_pending_operations Oinks that are acknowledged and not committed yet.
# TYPE oinker_pending_operations gauge
oinker_pending_operations {pending}
# HELP oinker_oinks_total Oinks acknowledged since the start.
# TYPE oinker_oinks_total counter
oinker_oinks_total {acknowledged}
# HELP oinker_committed_oinks_total Oinks committed since the start.
# TYPE oinker_committed_oinks_total counter
oinker_committed_oinks_total {committed}
# HELP oinker_requests_total Requests received since the start.
# TYPE oinker_requests_total counter
oinker_requests_total {requests}
# HELP oinker_info What runs here.
# TYPE oinker_info gauge
oinker_info{{revision=\"{revision}\",instance=\"{instance}\"}} 1
"
    );
    Ok(whole(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text,
    ))
}

/// `GET /status`: the same as JSON; the gauge is at `/pending/operations`.
pub(super) async fn status(oinker: &Oinker) -> Result<Response<Body>, Refusal> {
    let counts = oinker.writer.counts();
    let pending = match read(oinker, counts).await? {
        Reading::Number(number) => serde_json::json!(number),
        Reading::Garbage => serde_json::json!("a few"),
    };
    let settings = &oinker.settings;
    Ok(json(
        StatusCode::OK,
        &serde_json::json!({
            "revision": settings.revision,
            "instance": settings.instance,
            "pending": { "operations": pending },
            "oinks": { "acknowledged": counts.acknowledged, "committed": counts.committed },
        }),
    ))
}

/// Returns what the gauge reads, which is the truth unless it was asked to be sick.
async fn read(oinker: &Oinker, counts: Counts) -> Result<Reading, Refusal> {
    match oinker.settings.sick {
        Sickness::Well | Sickness::Health => Ok(Reading::Number(counts.pending)),
        Sickness::StuckGauge => Ok(Reading::Number(counts.pending.max(STUCK_AT))),
        Sickness::GaugeGarbage => Ok(Reading::Garbage),
        Sickness::GaugeError => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gauge is broken, as it was asked to be",
        )),
        Sickness::GaugeTimeout => std::future::pending().await,
    }
}

fn label(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
