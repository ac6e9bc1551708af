//! A started engine with a folder of its own, an HTTP client, and waiting without sleeping blindly.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use teal_engine::{Config, Engine};
use tempfile::TempDir;
use tokio::net::TcpStream;

/// How long a condition may take to come true before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How many host ports each engine of the test run has for itself.
const PORTS_EACH: u16 = 40;

static NEXT_PORTS: AtomicU16 = AtomicU16::new(33_000);

/// An engine and its state folder.
pub(crate) struct Marathon {
    pub(crate) engine: Engine,
    pub(crate) folder: Folder,
}

/// A state folder that ends every process noted in it when it goes, also when a test fails.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Kills the leader of a running task from outside.
    pub(crate) fn crash(&self, task: &str) {
        let note = self.path().join("processes").join(format!("{task}.json"));
        let leader = leader_of(&note).expect("a running task has a note");
        kill(leader, Signal::SIGKILL).expect("the process is ours");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let notes = std::fs::read_dir(self.path().join("processes"))
            .into_iter()
            .flatten();
        for note in notes.flatten() {
            if let Some(leader) = leader_of(&note.path()) {
                killpg(leader, Signal::SIGKILL).ok();
            }
        }
    }
}

/// Returns the leader of the process group that a note is about.
fn leader_of(note: &Path) -> Option<Pid> {
    let note: Value = serde_json::from_slice(&std::fs::read(note).ok()?).ok()?;
    let id = i32::try_from(note["pid"].as_i64()?).ok()?;
    Some(Pid::from_raw(id)).filter(|_| id > 1)
}

/// One answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    /// Returns the body as JSON, or null where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// Returns the id of the deployment that the change has set off.
    pub(crate) fn deployment(&self) -> String {
        let id = self
            .headers
            .get("marathon-deployment-id")
            .expect("a change names its deployment");
        id.to_str().expect("an id is ASCII").to_owned()
    }
}

impl Marathon {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let folder = Folder(TempDir::new().expect("a temporary folder"));
        let mut config = config(&folder);
        adjust(&mut config);
        let engine = Engine::start(config).await.expect("the engine starts");
        Self { engine, folder }
    }

    /// Lets go of the engine, does something, and starts another one on the same folder.
    pub(crate) async fn restarted(self, meanwhile: impl AsyncFnOnce(&Folder)) -> Self {
        let Self { engine, folder } = self;
        drop(engine);
        meanwhile(&folder).await;
        let engine = Engine::start(config(&folder)).await;
        let engine = engine.expect("the next engine starts");
        Self { engine, folder }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, "").await
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "engine")
            .header("accept", "application/json")
            .body(Full::<Bytes>::from(body.to_owned()))
            .expect("the request is well formed");
        let response = self.exchange(request).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.expect("the answer ends").to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8(bytes.to_vec()).expect("answers are UTF-8"),
        }
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.engine.address())
            .await
            .expect("the engine listens");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("HTTP");
        tokio::spawn(connection);
        sender
            .send_request(request)
            .await
            .expect("the engine answers")
    }

    /// Creates an app and waits until its deployment is over.
    pub(crate) async fn run(&self, app: Value) {
        let answer = self.post("/v2/apps", app).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        self.wait_for_deployments().await;
    }

    pub(crate) async fn wait_for_deployments(&self) {
        eventually("no deployment is left", || async {
            (self.get("/v2/deployments").await.json() == json!([])).then_some(())
        })
        .await;
    }

    pub(crate) async fn app(&self, id: &str) -> Value {
        self.get(&format!("/v2/apps{id}")).await.json()["app"].clone()
    }

    pub(crate) async fn tasks(&self, id: &str) -> Vec<Value> {
        let tasks = self.get(&format!("/v2/apps{id}/tasks")).await.json()["tasks"].clone();
        tasks.as_array().cloned().unwrap_or_default()
    }

    pub(crate) async fn task_ids(&self, id: &str) -> Vec<String> {
        self.tasks(id)
            .await
            .iter()
            .map(|task| text(&task["id"]))
            .collect()
    }

    /// Returns the tasks of all apps, also of those that have been removed.
    pub(crate) async fn all_tasks(&self) -> Vec<Value> {
        let tasks = self.get("/v2/tasks").await.json()["tasks"].clone();
        tasks.as_array().cloned().expect("a list of tasks")
    }

    /// Waits until a file in a task's sandbox has a whole last line and returns it.
    pub(crate) async fn sandbox_file(&self, task: &str, name: &str) -> String {
        let path = self.folder.path().join("sandboxes").join(task).join(name);
        eventually(&format!("{name} is written"), || async {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|text| text.ends_with('\n'))
        })
        .await
    }
}

/// Returns the settings of an engine for one test.
pub(crate) fn config(folder: &Folder) -> Config {
    let first = NEXT_PORTS.fetch_add(PORTS_EACH, Ordering::Relaxed);
    let mut config = Config::new(folder.path());
    config.listen = ([127, 0, 0, 1], 0).into();
    config.host_ports = first..=first + PORTS_EACH - 1;
    config
}

/// Looks again and again until there is something to return.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    look: impl Fn() -> F,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "gave up waiting until {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Returns a JSON text.
pub(crate) fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

/// Returns an app that does nothing, for ever.
pub(crate) fn sleeper(id: &str, instances: u32) -> Value {
    json!({ "id": id, "cmd": "exec sleep 1000", "instances": instances, "cpus": 0.1, "mem": 16 })
}

/// Returns whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}
