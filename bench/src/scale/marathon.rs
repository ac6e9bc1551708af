//! A simulated Marathon: the calls that teal makes, over tasks that start, become healthy and stop at a given rate.
//!
//! Nothing goes wrong in it, and what it does costs as much for each task however many there are, so that what grows
//! faster than the instances is teal's. Answers and events are in the shapes of Marathon 1.10 and as long as its own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use super::wire::{Reply, Request, Server};

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From the launch to running, at the least.
    pub(super) start: Duration,
    /// From running to the first result of a check.
    pub(super) check: Duration,
    /// From being told to stop to being gone, at the least.
    pub(super) stop: Duration,
    /// Between two tasks that run, and between two that are gone: Mesos offers no more at once.
    pub(super) gap: Duration,
}

/// A Marathon.
#[derive(Debug)]
pub(super) struct Marathon {
    state: Mutex<State>,
    /// There is more to come about than before.
    more: Notify,
}

#[derive(Debug)]
struct State {
    pace: Pace,
    /// The port that all tasks have, each at an address of its own.
    port: u16,
    apps: BTreeMap<String, App>,
    streams: Vec<UnboundedSender<String>>,
    coming: BinaryHeap<Reverse<Coming>>,
    /// When the last one of those under way runs, or is gone.
    last: Instant,
    numbers: u32,
}

#[derive(Debug)]
struct App {
    definition: Map<String, Value>,
    instances: usize,
    configured_at: String,
    version: String,
    tasks: BTreeMap<String, Task>,
    healthy: usize,
    stopping: usize,
}

#[derive(Debug)]
struct Task {
    number: u32,
    started_at: Option<String>,
    healthy_since: Option<String>,
    stopping: bool,
    /// As it is shown: written when it changes, not when somebody looks.
    shown: String,
}

/// What comes about with a task, and when.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Coming {
    at: Instant,
    app: String,
    task: String,
    what: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Runs,
    Healthy,
    Gone,
}

impl Marathon {
    /// Returns one with nothing in it.
    pub(super) fn new(pace: Pace, port: u16) -> Self {
        Self {
            state: Mutex::new(State {
                pace,
                port,
                apps: BTreeMap::new(),
                streams: Vec::new(),
                coming: BinaryHeap::new(),
                last: Instant::now(),
                numbers: 0,
            }),
            more: Notify::new(),
        }
    }

    /// Makes an app whose tasks run and are healthy, and returns them with their addresses.
    pub(super) fn grow(&self, definition: &Value, count: usize) -> Vec<(String, String)> {
        let mut state = self.state();
        let id = state.create(definition);
        state.scale(&id, count);
        while let Some(Reverse(coming)) = state.coming.pop() {
            state.happen(&coming);
        }
        state.last = Instant::now();
        let port = state.port;
        let tasks = state.apps.get(&id).into_iter().flat_map(|app| &app.tasks);
        tasks
            .map(|(id, task)| (id.clone(), format!("{}:{port}", host(task.number))))
            .collect()
    }

    /// Lets come about what is to come about, for ever.
    pub(super) async fn live(&self) {
        loop {
            let next = self.state().coming.peek().map(|Reverse(coming)| coming.at);
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.more.notified() => {}
            }
            let mut state = self.state();
            let now = Instant::now();
            while state
                .coming
                .peek()
                .is_some_and(|Reverse(coming)| coming.at <= now)
            {
                if let Some(Reverse(coming)) = state.coming.pop() {
                    state.happen(&coming);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server for Marathon {
    async fn answer(&self, request: Request) -> (Option<&'static str>, Reply) {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let body = serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        let mut state = self.state();
        let answered = match (request.method.as_str(), path) {
            ("GET", "/v2/events") => {
                let (sender, receiver) = unbounded_channel();
                state.streams.push(sender);
                (Some("events"), Reply::Events(receiver))
            }
            ("GET", "/v2/apps") => (Some("list"), Reply::Whole(200, state.list())),
            ("POST", "/v2/apps") => {
                state.create(&body);
                (Some("create"), Reply::Whole(201, request.body))
            }
            ("POST", "/v2/tasks/delete") => (Some("kill"), state.kill(&body)),
            (method, path) => match (method, path.strip_prefix("/v2/apps")) {
                ("GET", Some(id)) => (Some("look"), state.show(id)),
                ("PUT", Some(id)) => {
                    let count = body["instances"].as_u64().unwrap_or(0);
                    state.scale(id, usize::try_from(count).unwrap_or(usize::MAX));
                    (Some("scale"), accepted())
                }
                ("DELETE", Some(id)) => {
                    state.apps.remove(id);
                    (Some("remove"), accepted())
                }
                _ => {
                    let said = format!("{method} {path}?{query} is not simulated");
                    (Some("other"), refusal(500, &said))
                }
            },
        };
        drop(state);
        self.more.notify_one();
        answered
    }
}

impl State {
    fn create(&mut self, definition: &Value) -> String {
        let mut definition = definition.as_object().cloned().unwrap_or_default();
        definition.remove("instances");
        let id = definition
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or("/")
            .to_owned();
        let now = stamp();
        let app = App {
            definition,
            instances: 0,
            configured_at: now.clone(),
            version: now,
            tasks: BTreeMap::new(),
            healthy: 0,
            stopping: 0,
        };
        self.apps.insert(id.clone(), app);
        id
    }

    fn scale(&mut self, id: &str, count: usize) {
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        app.instances = count;
        app.version = stamp();
        let missing = count.saturating_sub(app.tasks.len() - app.stopping);
        let launches = self.times(self.pace.start, missing);
        for at in launches {
            self.numbers += 1;
            let number = self.numbers;
            let Some(app) = self.apps.get_mut(id) else {
                return;
            };
            let task = task_id(id, number);
            let mut launched = Task {
                number,
                started_at: None,
                healthy_since: None,
                stopping: false,
                shown: String::new(),
            };
            launched.shown = launched.show(&task, id, &app.version, self.port);
            app.tasks.insert(task.clone(), launched);
            self.coming(at, id, &task, Step::Runs);
            self.coming(at + self.pace.check, id, &task, Step::Healthy);
        }
    }

    fn kill(&mut self, body: &Value) -> Reply {
        let ids: Vec<&str> = body["ids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let Some(id) = ids.first().and_then(|task| app_of(task)) else {
            return accepted();
        };
        let ends = self.times(self.pace.stop, ids.len());
        let Some(app) = self.apps.get_mut(&id) else {
            return accepted();
        };
        let mut told = Vec::new();
        for (task, at) in ids.into_iter().zip(ends) {
            let Some(known) = app.tasks.get_mut(task).filter(|known| !known.stopping) else {
                continue;
            };
            known.stopping = true;
            known.shown = known.show(task, &id, &app.configured_at, self.port);
            app.instances = app.instances.saturating_sub(1);
            app.stopping += 1;
            app.healthy -= usize::from(known.healthy_since.is_some());
            told.push((task.to_owned(), at));
        }
        for (task, at) in told {
            self.emit(&id, &task, "TASK_KILLING");
            self.coming(at, &id, &task, Step::Gone);
        }
        accepted()
    }

    fn coming(&mut self, at: Instant, app: &str, task: &str, what: Step) {
        let (app, task) = (app.to_owned(), task.to_owned());
        self.coming.push(Reverse(Coming {
            at,
            app,
            task,
            what,
        }));
    }

    /// Returns when each of this many is done, one after the other.
    fn times(&mut self, least: Duration, count: usize) -> Vec<Instant> {
        let first = (Instant::now() + least).max(self.last);
        let times: Vec<_> = std::iter::successors(Some(first), |at| Some(*at + self.pace.gap))
            .take(count)
            .collect();
        self.last = times.last().copied().unwrap_or(self.last);
        times
    }

    fn happen(&mut self, coming: &Coming) {
        let (id, port) = (&coming.app, self.port);
        let Some(app) = self.apps.get_mut(id) else {
            return;
        };
        let Some(task) = app.tasks.get_mut(&coming.task) else {
            return;
        };
        let told = match coming.what {
            Step::Gone => {
                app.tasks.remove(&coming.task);
                app.stopping -= 1;
                return self.emit(id, &coming.task, "TASK_KILLED");
            }
            _ if task.stopping => return,
            Step::Runs => {
                task.started_at = Some(stamp());
                "TASK_RUNNING"
            }
            Step::Healthy => {
                task.healthy_since = Some(stamp());
                app.healthy += 1;
                ""
            }
        };
        task.shown = task.show(&coming.task, id, &app.configured_at, port);
        self.emit(id, &coming.task, told);
    }

    /// Tells of a task's state, or without one that it is healthy.
    fn emit(&mut self, app: &str, task: &str, state: &str) {
        if self.streams.is_empty() {
            return;
        }
        let (now, host) = (stamp(), "127.0.0.1");
        let mut events = vec![json!({
            "eventType": "instance_changed_event", "timestamp": now, "instanceId": task, "runSpecId": app,
            "condition": state, "runSpecVersion": now, "agentId": "agent-1-S0", "host": host,
        })];
        events.push(if state.is_empty() {
            json!({
                "eventType": "instance_health_changed_event", "timestamp": now, "instanceId": task,
                "runSpecId": app, "runSpecVersion": now, "healthy": true,
            })
        } else {
            json!({
                "eventType": "status_update_event", "timestamp": now, "slaveId": "agent-1-S0", "taskId": task,
                "taskStatus": state, "message": "", "appId": app, "host": host, "ports": [self.port],
                "ipAddresses": [{ "ipAddress": host, "protocol": "IPv4" }], "version": now,
            })
        });
        for event in events {
            let kind = event["eventType"].as_str().unwrap_or_default();
            let text = format!("event: {kind}\r\ndata: {event}\r\n\r\n");
            self.streams
                .retain(|stream| stream.send(text.clone()).is_ok());
        }
    }

    fn list(&self) -> Vec<u8> {
        let mut body = b"{\"apps\":[".to_vec();
        for (index, app) in self.apps.values().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            app.show(&mut body);
        }
        body.extend(b"]}");
        body
    }

    fn show(&self, id: &str) -> Reply {
        let Some(app) = self.apps.get(id) else {
            return refusal(404, &format!("App '{id}' does not exist"));
        };
        let mut body = b"{\"app\":".to_vec();
        app.show(&mut body);
        body.push(b'}');
        Reply::Whole(200, body)
    }
}

impl App {
    fn show(&self, body: &mut Vec<u8>) {
        let settled = self.stopping == 0 && self.healthy == self.instances;
        let deployments = if settled {
            json!([])
        } else {
            json!([{ "id": "5ed4c0c5-9ff8-4a6f-a0cd-f57f59a34b43" }])
        };
        let mut shown = self.definition.clone();
        shown.insert("instances".to_owned(), json!(self.instances));
        shown.insert("version".to_owned(), json!(self.version));
        shown.insert(
            "versionInfo".to_owned(),
            json!({ "lastScalingAt": self.version, "lastConfigChangeAt": self.configured_at }),
        );
        shown.insert("tasksRunning".to_owned(), json!(self.tasks.len()));
        shown.insert("tasksHealthy".to_owned(), json!(self.healthy));
        shown.insert("deployments".to_owned(), deployments);
        let text = Value::Object(shown).to_string();
        body.extend(text.strip_suffix('}').unwrap_or(&text).as_bytes());
        body.extend(b",\"tasks\":[");
        for (index, task) in self.tasks.values().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            body.extend(task.shown.as_bytes());
        }
        body.extend(b"]}");
    }
}

impl Task {
    fn show(&self, id: &str, app: &str, version: &str, port: u16) -> String {
        let host = host(self.number).to_string();
        let state = match (&self.started_at, self.stopping) {
            (_, true) => "TASK_KILLING",
            (Some(_), false) => "TASK_RUNNING",
            (None, false) => "TASK_STAGING",
        };
        let check = |since: &String| {
            json!({
                "alive": true, "consecutiveFailures": 0, "firstSuccess": since, "lastSuccess": since,
                "lastFailure": null, "lastFailureCause": null, "instanceId": id,
            })
        };
        json!({
            "id": id, "appId": app, "host": host, "ports": [port], "servicePorts": [],
            "ipAddresses": [{ "ipAddress": host, "protocol": "IPv4" }],
            "slaveId": "0c1d6b0c-2f0e-4a8e-9f0e-0d7a4f6c1b2a-S0", "state": state,
            "stagedAt": version, "startedAt": self.started_at, "version": version, "localVolumes": [],
            "healthCheckResults": self.healthy_since.iter().map(check).collect::<Vec<_>>(), "role": "*",
        })
        .to_string()
    }
}

/// Every task has an address of its own: all of 127.0.0.0/8 is this machine (RFC 1122, 3.2.1.3).
fn host(number: u32) -> Ipv4Addr {
    let [_, a, b, c] = number.to_be_bytes();
    Ipv4Addr::new(127, a + 1, b, c)
}

/// As Marathon's own, in the form of a UUID that need not be one.
fn task_id(app: &str, number: u32) -> String {
    let mixed = number.wrapping_mul(0x9E37_79B1);
    let app = app.trim_start_matches('/');
    format!("{app}.instance-{mixed:08x}-2f0e-11f0-8000-{number:012x}._app.1")
}

fn app_of(task: &str) -> Option<String> {
    task.split_once(".instance-")
        .map(|(app, _)| format!("/{app}"))
}

fn stamp() -> String {
    Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}

fn accepted() -> Reply {
    let said =
        json!({ "version": stamp(), "deploymentId": "5ed4c0c5-9ff8-4a6f-a0cd-f57f59a34b43" });
    Reply::Whole(200, said.to_string().into_bytes())
}

fn refusal(status: u16, message: &str) -> Reply {
    Reply::Whole(
        status,
        json!({ "message": message, "details": [] })
            .to_string()
            .into_bytes(),
    )
}
