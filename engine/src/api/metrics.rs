//! `/metrics` and `/metrics/prometheus`: the engine's figures under Marathon's names.
//!
//! The names are those of Marathon's metrics.md that mean something on one machine; the JSON is
//! `NewMetrics` in newMetrics.raml, the text is that of `PrometheusReporter.scala`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Api;
use super::message::Answer;
use crate::metrics::{Distribution, Meter, Rates, Timer};
use crate::world::Census;

/// The version of the shape (`MetricsConversion.scala`).
const SHAPE: &str = "4.0.0";

/// The methods that are timed by themselves.
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PUT, Method::DELETE];

/// What the HTTP side has seen since the engine started.
#[derive(Debug)]
pub(super) struct Traffic(Mutex<Seen>);

#[derive(Debug)]
struct Seen {
    began: Instant,
    active: u64,
    request_bytes: u64,
    response_bytes: u64,
    all: Timer,
    by_method: Vec<Timer>,
    /// By the first digit of the status, from 1 on.
    by_status: Vec<Meter>,
}

impl Traffic {
    /// Returns the figures of an engine that has seen nothing.
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Seen {
            began: now,
            active: 0,
            request_bytes: 0,
            response_bytes: 0,
            all: Timer::new(now),
            by_method: vec![Timer::new(now); METHODS.len()],
            by_status: vec![Meter::new(now); 5],
        }))
    }

    /// Notes that a request has come.
    pub(super) fn begins(&self) {
        self.lock().active += 1;
    }

    /// Notes that a request is answered, but for the bytes of a body that comes bit by bit.
    pub(super) fn ends(&self, done: Exchange<'_>) {
        let now = Instant::now();
        let mut seen = self.lock();
        seen.active = seen.active.saturating_sub(1);
        seen.request_bytes += done.request_bytes;
        seen.response_bytes += done.response_bytes;
        seen.all.record(done.took, now);
        let at = METHODS.iter().position(|method| method == done.method);
        if let Some(timer) = at.and_then(|at| seen.by_method.get_mut(at)) {
            timer.record(done.took, now);
        }
        let class = usize::from(done.status.as_u16() / 100).saturating_sub(1);
        if let Some(meter) = seen.by_status.get_mut(class) {
            meter.mark(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request and its answer.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    pub(super) method: &'a Method,
    pub(super) status: StatusCode,
    pub(super) took: Duration,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
}

/// Everything at one moment, under Marathon's names.
#[derive(Debug, Default)]
struct Figures {
    counters: BTreeMap<String, u64>,
    gauges: BTreeMap<String, f64>,
    meters: BTreeMap<String, Rates>,
    timers: BTreeMap<String, (Rates, Distribution)>,
}

/// Answers `/metrics`.
pub(super) fn json(api: &Api) -> Answer {
    let figures = gather(api);
    let timers = figures.timers.iter().map(|(name, (rates, distribution))| {
        let mut timer = distribution_json(distribution);
        timer.extend(rates_json(rates));
        timer.insert("duration_units".to_owned(), json!("seconds"));
        timer.insert("rate_units".to_owned(), json!("calls/second"));
        (name.clone(), Value::Object(timer))
    });
    let meters = figures.meters.iter().map(|(name, rates)| {
        let mut meter = rates_json(rates);
        meter.insert("units".to_owned(), json!("events/second"));
        (name.clone(), Value::Object(meter))
    });
    let counters = figures.counters.iter();
    let gauges = figures.gauges.iter();
    Answer::ok(&json!({
        "version": SHAPE,
        "counters": counters.map(|(name, count)| (name.clone(), json!({ "count": count }))).collect::<Map<_, _>>(),
        "gauges": gauges.map(|(name, value)| (name.clone(), json!({ "value": value }))).collect::<Map<_, _>>(),
        "histograms": {},
        "meters": meters.collect::<Map<_, _>>(),
        "timers": timers.collect::<Map<_, _>>(),
    }))
}

/// Answers `/metrics/prometheus`.
pub(super) fn prometheus(api: &Api) -> Answer {
    let figures = gather(api);
    let mut page = Page(String::new());
    for (name, value) in &figures.gauges {
        page.value(&plain(name), "gauge", *value);
        page.end();
    }
    for (name, count) in &figures.counters {
        page.value(&plain(name), "counter", count);
        page.end();
    }
    for (name, rates) in &figures.meters {
        let name = plain(name);
        page.value(&format!("{name}_count"), "gauge", rates.count);
        page.rates(&name, rates);
        page.end();
    }
    for (name, (rates, distribution)) in &figures.timers {
        let name = plain(name);
        page.summary(&name, rates.count, distribution);
        page.rates(&name, rates);
        page.end();
    }
    Answer::text(StatusCode::OK, "text/plain", page.0)
}

fn gather(api: &Api) -> Figures {
    let census = api.shell.read(|world, _| world.census());
    let mut figures = Figures::default();
    gather_world(&mut figures, &census);
    for (state, count) in api.shell.bus.task_updates() {
        let state = state.to_ascii_lowercase().replace('_', "-");
        figures.count(&format!("mesos.task-updates.{state}"), count);
    }
    figures.count("tasks.launched", api.shell.bus.tasks_launched());
    figures.gauge(
        "http.event-streams.active",
        api.shell.bus.listeners() as u64,
    );
    let bytes = api.shell.bus.bytes_sent();
    figures.bytes("http.responses.event-stream.size", bytes);

    let now = Instant::now();
    let mut seen = api.traffic.lock();
    let lived = now.duration_since(seen.began).as_secs_f64();
    for name in ["uptime", "leadership.duration"] {
        let name = format!("marathon.{name}.gauge.seconds");
        figures.gauges.insert(name, lived);
    }
    figures.gauge("http.requests.active", seen.active);
    figures.bytes("http.requests.size", seen.request_bytes);
    figures.bytes("http.responses.size", seen.response_bytes);
    figures.bytes("http.responses.size.gzipped", 0);
    for (at, meter) in seen.by_status.iter_mut().enumerate() {
        let name = format!("marathon.http.responses.{}xx.rate.meter", at + 1);
        figures.meters.insert(name, meter.rates(now));
    }
    figures.time("http.requests", &mut seen.all, now);
    for (method, timer) in METHODS.iter().zip(&mut seen.by_method) {
        let name = format!("http.requests.{}", method.as_str().to_ascii_lowercase());
        figures.time(&name, timer, now);
    }
    figures
}

fn gather_world(figures: &mut Figures, census: &Census) {
    figures.gauge("apps.active", census.apps);
    figures.gauge("groups.active", census.groups);
    figures.gauge("pods.active", 0);
    figures.gauge("deployments.active", census.deployments);
    figures.gauge("instances.staged", census.staged);
    figures.gauge("instances.running", census.running);
    figures.gauge("instances.inflight-kills", census.killing);
    figures.count("deployments", census.counters.deployments);
    figures.count("deployments.dismissed", census.counters.dismissed);
}

impl Figures {
    fn count(&mut self, name: &str, count: u64) {
        self.counters
            .insert(format!("marathon.{name}.counter"), count);
    }

    fn bytes(&mut self, name: &str, count: u64) {
        self.counters
            .insert(format!("marathon.{name}.counter.bytes"), count);
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "what is counted here stays far below 2^53"
    )]
    fn gauge(&mut self, name: &str, value: u64) {
        self.gauges
            .insert(format!("marathon.{name}.gauge"), value as f64);
    }

    fn time(&mut self, name: &str, timer: &mut Timer, now: Instant) {
        let name = format!("marathon.{name}.duration.timer.seconds");
        let told = (timer.rates(now), timer.distribution());
        self.timers.insert(name, told);
    }
}

fn rates_json(rates: &Rates) -> Map<String, Value> {
    Map::from_iter([
        ("count".to_owned(), json!(rates.count)),
        ("m1_rate".to_owned(), json!(rates.one_minute)),
        ("m5_rate".to_owned(), json!(rates.five_minutes)),
        ("m15_rate".to_owned(), json!(rates.fifteen_minutes)),
        ("mean_rate".to_owned(), json!(rates.mean)),
    ])
}

fn distribution_json(told: &Distribution) -> Map<String, Value> {
    let parts = quantiles(told)
        .into_iter()
        .map(|(_, name, value)| (name, value));
    let rest = extremes(told);
    let all = parts.chain(rest);
    all.map(|(name, value)| (name.to_owned(), json!(value)))
        .collect()
}

/// Returns share, name and value of each quantile that is told.
fn quantiles(told: &Distribution) -> [(&'static str, &'static str, f64); 6] {
    [
        ("0.5", "p50", told.p50),
        ("0.75", "p75", told.p75),
        ("0.95", "p95", told.p95),
        ("0.98", "p98", told.p98),
        ("0.99", "p99", told.p99),
        ("0.999", "p999", told.p999),
    ]
}

fn extremes(told: &Distribution) -> [(&'static str, f64); 4] {
    [
        ("min", told.min),
        ("mean", told.mean),
        ("max", told.max),
        ("stddev", told.stddev),
    ]
}

/// Returns a name as Prometheus takes it: letters, digits and underscores.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    name.chars().map(allowed).collect()
}

/// A page of Prometheus's text format. Writing to a `String` cannot fail.
struct Page(String);

impl Page {
    fn value(&mut self, name: &str, kind: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "# TYPE {name} {kind}\n{name} {value}").ok();
    }

    fn summary(&mut self, name: &str, count: u64, told: &Distribution) {
        writeln!(self.0, "# TYPE {name} summary").ok();
        for (share, _, value) in quantiles(told) {
            writeln!(self.0, "{name}{{quantile=\"{share}\"}} {value}").ok();
        }
        writeln!(self.0, "{name}_count {count}").ok();
        for (part, value) in extremes(told) {
            self.value(&format!("{name}_{part}"), "gauge", value);
        }
    }

    fn rates(&mut self, name: &str, rates: &Rates) {
        let parts = [
            ("mean_rate", rates.mean),
            ("m1_rate", rates.one_minute),
            ("m5_rate", rates.five_minutes),
            ("m15_rate", rates.fifteen_minutes),
        ];
        for (part, value) in parts {
            self.value(&format!("{name}_{part}"), "gauge", value);
        }
    }

    fn end(&mut self) {
        self.0.push('\n');
    }
}
