//! `/metrics`: the shape of the RAML type, and numbers that are true.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::Value;

use crate::harness::{Marathon, sleeper};

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_are_those_of_what_there_is() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/shop/web", 2)).await;
    marathon.run(sleeper("/idle", 0)).await;
    marathon.get("/v2/apps/nothing").await;

    let told = marathon.get("/metrics").await.json();

    let gauge = |name: &str| told["gauges"][format!("marathon.{name}.gauge")]["value"].as_f64();
    assert_eq!(gauge("apps.active"), Some(2.0), "{told}");
    assert_eq!(gauge("groups.active"), Some(2.0));
    assert_eq!(gauge("instances.running"), Some(2.0));
    assert_eq!(gauge("instances.staged"), Some(0.0));
    assert_eq!(gauge("deployments.active"), Some(0.0));
    assert_eq!(gauge("http.requests.active"), Some(1.0));
    let counter =
        |name: &str| told["counters"][format!("marathon.{name}.counter")]["count"].as_u64();
    assert_eq!(counter("deployments"), Some(2));
    assert_eq!(counter("tasks.launched"), Some(2));
    assert_eq!(counter("mesos.task-updates.task-running"), Some(2));
    let sent = told["counters"]["marathon.http.requests.size.counter.bytes"]["count"].as_u64();
    assert!(sent > Some(50), "{sent:?}");
    let missed = &told["meters"]["marathon.http.responses.4xx.rate.meter"];
    assert_eq!(
        (missed["count"].as_u64(), missed["units"].as_str()),
        (Some(1), Some("events/second"))
    );
    let posts = &told["timers"]["marathon.http.requests.post.duration.timer.seconds"];
    assert_eq!(posts["count"].as_u64(), Some(2));
    assert!(posts["max"].as_f64() > Some(0.0), "{posts}");
    let uptime = told["gauges"]["marathon.uptime.gauge.seconds"]["value"].as_f64();
    assert!(uptime > Some(0.0), "{uptime:?}");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shape_is_that_of_the_raml_type() {
    let marathon = Marathon::start().await;

    let told = marathon.get("/metrics").await.json();

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
        keys(&told),
        [
            "counters",
            "gauges",
            "histograms",
            "meters",
            "timers",
            "version"
        ]
    );
    let meter = &told["meters"]["marathon.http.responses.2xx.rate.meter"];
    assert_eq!(
        keys(meter),
        [
            "count",
            "m15_rate",
            "m1_rate",
            "m5_rate",
            "mean_rate",
            "units"
        ]
    );
    let timer = &told["timers"]["marathon.http.requests.duration.timer.seconds"];
    assert_eq!(
        keys(timer),
        [
            "count",
            "duration_units",
            "m15_rate",
            "m1_rate",
            "m5_rate",
            "max",
            "mean",
            "mean_rate",
            "min",
            "p50",
            "p75",
            "p95",
            "p98",
            "p99",
            "p999",
            "rate_units",
            "stddev",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_gets_the_same_figures_as_text() {
    let marathon = Marathon::start().await;
    marathon.run(sleeper("/a", 1)).await;
    let request = Request::get("/metrics/prometheus")
        .header("host", "engine")
        .header("accept", "text/plain");
    let request = request
        .body(Full::<Bytes>::default())
        .expect("the request is well formed");

    let answer = marathon.exchange(request).await;

    assert_eq!(answer.headers()["content-type"], "text/plain");
    let bytes = answer
        .into_body()
        .collect()
        .await
        .expect("the answer ends")
        .to_bytes();
    let text = String::from_utf8(bytes.to_vec()).expect("answers are UTF-8");
    for line in [
        "# TYPE marathon_apps_active_gauge gauge\nmarathon_apps_active_gauge 1\n",
        "# TYPE marathon_deployments_counter counter\nmarathon_deployments_counter 1\n",
        "# TYPE marathon_http_requests_duration_timer_seconds summary\n",
        "marathon_http_requests_duration_timer_seconds{quantile=\"0.99\"} ",
        "marathon_http_responses_2xx_rate_meter_count ",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let (_, value) = line.rsplit_once(' ').expect("a name and a value");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    marathon.engine.stop().await;
}
