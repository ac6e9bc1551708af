//! What the driver does when it cannot know: answers that get lost, kills that take their time, streams that die without
//! a sign. A change is sent once; the next look tells what became of it.

use crate::canned::{Asked, Canned, Reply, answer, json as reply};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use teal_core::action::{InstanceAction, KillReason, Lock, Victim};
use teal_core::journal::Effect;
use teal_core::name::{InstanceId, RevisionId, Role};
use teal_core::observation::Pending;
use teal_drivers::orchestrators::Marathon;
use teal_drivers::{DriverError, Orchestrator};
use tokio::time::timeout;

const KILL: &str = "POST /v2/tasks/delete?scale=true";

#[tokio::test]
async fn a_change_of_size_without_an_answer_is_looked_at_and_not_sent_again() {
    let world = World::of(&["t1"]);
    let server = world.serve().await;
    world.lose_answers();

    let lost = act(&server, &scaling(3)).await;

    let Err(error @ DriverError::Unreachable { .. }) = lost else {
        panic!("{lost:?}")
    };
    assert_eq!(error.effect(), Effect::Unknown);
    assert_eq!(act(&server, &scaling(3)).await, Ok(()), "it is so already");
    assert_eq!(changes(&server).len(), 1);
}

#[tokio::test]
async fn a_kill_without_an_answer_is_not_sent_again_while_its_victims_are_on_their_way() {
    let world = World::of(&["t1", "t2", "t3"]);
    let server = world.serve().await;
    world.lose_answers();

    let lost = act(&server, &killing(&["t1", "t2"])).await;
    assert!(
        matches!(lost, Err(DriverError::Unreachable { .. })),
        "{lost:?}"
    );

    // Marathon has lowered the size; the tasks run on until Mesos has stopped them, and look like any other.
    let waits = act(&server, &killing(&["t1", "t2"])).await;
    assert!(
        matches!(waits, Err(DriverError::Locked { .. })),
        "{waits:?}"
    );
    world.let_go(&["t1", "t2"]);
    assert_eq!(act(&server, &killing(&["t1", "t2"])).await, Ok(()));

    assert_eq!(
        changes(&server),
        [(KILL.to_owned(), r#"{"ids":["t1","t2"]}"#.to_owned())]
    );
    assert_eq!(world.size(), 1);
}

#[tokio::test]
async fn all_that_is_drained_is_killed_in_one_call() {
    let names: Vec<String> = (0..100).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::of(&names);
    let server = world.serve().await;

    assert_eq!(act(&server, &killing(&names[..60])).await, Ok(()));

    assert_eq!(changes(&server).len(), 1);
    assert_eq!(world.size(), 40);
}

/// Before 1.8 a change may be accepted and its deployment not be listed yet (MARATHON-8566).
#[tokio::test]
async fn an_app_that_shows_no_deployment_yet_is_not_taken_to_be_done() {
    let world = World::of(&["t1", "t2"]);
    let server = world.serve().await;

    assert_eq!(act(&server, &killing(&["t1"])).await, Ok(()));
    let marathon = connect(&server);
    let seen = marathon.observe(&[revision()]).await.expect("is seen");

    assert!(!seen[0].locked, "nothing is listed");
    assert_eq!(
        (seen[0].wanted, seen[0].instances.len()),
        (1, 2),
        "and it is not done"
    );
}

#[tokio::test]
async fn an_app_that_somebody_else_deploys_is_waited_for_and_not_overridden() {
    let world = World::of(&["t1"]);
    let server = world.serve().await;
    world.lock("theirs");

    for action in [scaling(2), killing(&["t1"])] {
        let locked = act(&server, &action).await;
        let expected = DriverError::Locked {
            what: "/oinker".to_owned(),
            by: vec!["theirs".to_owned()],
        };
        assert_eq!(locked, Err(expected));
    }
    assert!(
        !server
            .lines()
            .iter()
            .any(|line| line.contains("force=true"))
    );
    assert_eq!(world.size(), 1);
}

#[tokio::test]
async fn a_stream_that_is_silent_for_longer_than_a_heartbeat_takes_is_opened_again() {
    let (server, streams) = stream_server(StreamEnd::Silent).await;
    let marathon = Marathon::connect(&server.url)
        .expect("an address")
        .with_silence_limit(Duration::from_millis(50));

    // Each stream that begins or ends is a cue: what happened in between was missed.
    for _ in 0..4 {
        marathon.changed().await;
    }

    assert!(*streams.lock().expect("not poisoned") >= 2);
}

#[tokio::test]
async fn a_stream_that_ends_is_opened_again_and_not_without_a_pause() {
    let (server, streams) = stream_server(StreamEnd::Closed).await;
    let marathon = connect(&server);

    let begun = tokio::time::Instant::now();
    while *streams.lock().expect("not poisoned") < 3 {
        marathon.changed().await;
    }

    // 100 ms, then 200 ms.
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn without_a_stream_there_are_looks_all_the_same() {
    for status in [401, 404, 405, 500] {
        let server = Canned::start(move |asked| match asked.line.as_str() {
            "GET /v2/events" => answer(status, "", "<html>no</html>"),
            _ => reply(
                200,
                &json!({ "app": { "id": "/oinker", "instances": 1 } }).to_string(),
            ),
        })
        .await;
        let marathon = connect(&server);

        let cue = timeout(Duration::from_millis(20), marathon.changed()).await;
        let seen = marathon.observe(&[revision()]).await;

        assert!(cue.is_err(), "there is nothing to wake up for");
        assert_eq!(seen.expect("is seen").len(), 1, "{status}");
    }
}

#[derive(Clone, Copy)]
enum StreamEnd {
    Silent,
    Closed,
}

async fn stream_server(end: StreamEnd) -> (Canned, Arc<Mutex<u32>>) {
    let streams = Arc::new(Mutex::new(0));
    let count = Arc::clone(&streams);
    let server = Canned::start(move |asked| {
        assert_eq!(asked.line, "GET /v2/events");
        *count.lock().expect("not poisoned") += 1;
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        match end {
            StreamEnd::Silent => Reply::Open(head.to_owned()),
            StreamEnd::Closed => Reply::Bytes(head.to_owned()),
        }
    })
    .await;
    (server, streams)
}

/// One app, without the feature `task_killing`: what was told to stop looks like any other until it is gone.
#[derive(Clone)]
struct World(Arc<Mutex<State>>);

struct State {
    size: usize,
    tasks: Vec<String>,
    locked_by: Option<&'static str>,
    loses_answers: bool,
}

impl World {
    fn of(tasks: &[&str]) -> Self {
        Self(Arc::new(Mutex::new(State {
            size: tasks.len(),
            tasks: tasks.iter().map(|&task| task.to_owned()).collect(),
            locked_by: None,
            loses_answers: false,
        })))
    }

    async fn serve(&self) -> Canned {
        let state = Arc::clone(&self.0);
        Canned::start(move |asked| state.lock().expect("not poisoned").answer(asked)).await
    }

    fn lose_answers(&self) {
        self.0.lock().expect("not poisoned").loses_answers = true;
    }

    fn lock(&self, by: &'static str) {
        self.0.lock().expect("not poisoned").locked_by = Some(by);
    }

    fn let_go(&self, gone: &[&str]) {
        let mut state = self.0.lock().expect("not poisoned");
        state.tasks.retain(|task| !gone.contains(&task.as_str()));
    }

    fn size(&self) -> usize {
        self.0.lock().expect("not poisoned").size
    }
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let body: Value = serde_json::from_str(&asked.body).unwrap_or_default();
        if asked.line == "GET /v2/apps/oinker" {
            let task = |id: &String| json!({ "id": id, "state": "TASK_RUNNING", "host": "agent-1", "ports": [31001] });
            let tasks: Vec<Value> = self.tasks.iter().map(task).collect();
            let locks: Vec<Value> = self
                .locked_by
                .iter()
                .map(|id| json!({ "id": id }))
                .collect();
            let app = json!({ "id": "/oinker", "instances": self.size, "tasks": tasks, "deployments": locks });
            return reply(200, &json!({ "app": app }).to_string());
        }
        if let Some(id) = self.locked_by {
            let body = json!({ "message": "App is locked by one or more deployments.", "deployments": [{ "id": id }] });
            return reply(409, &body.to_string());
        }
        match asked.line.as_str() {
            "PUT /v2/apps/oinker" => {
                self.size =
                    usize::try_from(body["instances"].as_u64().expect("a size")).expect("small");
            }
            KILL => self.size -= body["ids"].as_array().expect("ids").len(),
            other => panic!("{other}"),
        }
        if self.loses_answers {
            return Reply::Bytes(String::new());
        }
        reply(
            200,
            r#"{"version":"2020-01-01T00:00:00.000Z","deploymentId":"d"}"#,
        )
    }
}

/// A driver of its own each time: nothing is remembered.
async fn act(server: &Canned, action: &InstanceAction) -> Result<(), DriverError> {
    connect(server).act(action).await
}

fn connect(server: &Canned) -> Marathon {
    Marathon::connect(&server.url).expect("an address")
}

fn changes(server: &Canned) -> Vec<(String, String)> {
    let asked = server.asked().into_iter();
    asked
        .filter(|asked| !asked.line.starts_with("GET"))
        .map(|asked| (asked.line, asked.body))
        .collect()
}

fn revision() -> RevisionId {
    RevisionId::from("/oinker")
}

fn scaling(instances: u32) -> InstanceAction {
    InstanceAction::Scale {
        role: Role::Green,
        revision: revision(),
        instances,
        lock: Lock::Respect,
    }
}

fn killing(ids: &[&str]) -> InstanceAction {
    let victim = |id: &&str| Victim {
        instance: InstanceId::from(*id),
        in_flight: Some(0),
        pending: Pending::Count(0),
        idle_samples: 3,
        why: KillReason::Drained,
    };
    InstanceAction::Kill {
        role: Role::Blue,
        revision: revision(),
        victims: ids.iter().map(victim).collect(),
        lock: Lock::Respect,
    }
}
