//! The Marathon driver against answers that the embedded engine does not give: older versions, refusals, races.

use crate::canned::{Asked, Canned, Reply, json as reply};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use teal_core::action::{InstanceAction, KillReason, Lock, Victim};
use teal_core::name::{InstanceId, RevisionId, Role};
use teal_core::observation::{Health, Pending, Phase};
use teal_drivers::orchestrators::Marathon;
use teal_drivers::{DriverError, Orchestrator};
use tokio::time::timeout;

#[tokio::test]
async fn all_apps_are_found_with_what_can_be_posted_again() {
    let server = Canned::start(|_| {
        let app = app(
            &json!({ "cmd": "run", "version": "2020-01-01T00:00:00.000Z", "tasksRunning": 1,
                               "tasks": [task("t1", "TASK_RUNNING")] }),
        );
        reply(200, &json!({ "apps": [app] }).to_string())
    })
    .await;

    let found = connect(&server).find().await.expect("finds");

    assert_eq!(server.lines(), ["GET /v2/apps?embed=apps.tasks"]);
    assert_eq!(
        Value::Object(found[0].definition.clone()),
        json!({ "id": "/a/oinker", "instances": 2, "cmd": "run" })
    );
    assert_eq!(found[0].sighting.instances.len(), 1);
}

#[tokio::test]
async fn an_app_is_observed_by_its_path_and_a_missing_one_is_left_out() {
    let server = Canned::start(|asked| match asked.line.as_str() {
        "GET /v2/apps/a/oinker" => one_app(&json!({ "tasks": [task("t1", "TASK_KILLING")] })),
        _ => missing(),
    })
    .await;

    let seen = connect(&server)
        .observe(&[RevisionId::from("/gone"), revision()])
        .await
        .expect("observes");

    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].id.as_str(), seen[0].wanted), ("/a/oinker", 2));
    assert_eq!(seen[0].instances[0].phase, Phase::Stopping);
    assert_eq!(seen[0].instances[0].health, Health::Unknown);
}

#[tokio::test]
async fn a_404_that_is_not_marathons_own_does_not_make_an_app_missing() {
    let server = Canned::start(|_| reply(404, "<html>nginx</html>")).await;

    let error = connect(&server)
        .observe(&[revision()])
        .await
        .expect_err("cannot be believed");

    assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn an_app_is_posted_with_no_instances() {
    let server = Canned::start(|_| reply(201, "{}")).await;

    let done = connect(&server).act(&creation("d1")).await;

    assert_eq!(done, Ok(()));
    assert_eq!(server.lines(), ["POST /v2/apps"]);
    let body: Value = serde_json::from_str(&server.asked()[0].body).expect("JSON");
    assert_eq!(body["instances"], 0);
    assert_eq!(body["id"], "/a/oinker");
}

#[tokio::test]
async fn an_app_that_exists_is_taken_only_by_the_deployment_that_created_it() {
    let server = Canned::start(|asked| match asked.line.as_str() {
        "POST /v2/apps" => reply(
            409,
            r#"{"message":"An app with id [/a/oinker] already exists."}"#,
        ),
        _ => one_app(&json!({ "labels": { "TEAL_DEPLOYMENT": "d1" } })),
    })
    .await;
    let marathon = connect(&server);

    assert_eq!(marathon.act(&creation("d1")).await, Ok(()));
    let refused = marathon.act(&creation("d2")).await;
    let Err(DriverError::Refused { message, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(message.contains("deployment d1 created it"), "{message}");
}

#[tokio::test]
async fn a_definition_that_is_refused_says_what_is_wrong_with_it() {
    let server = Canned::start(|_| {
        reply(422, r#"{"message":"Object is not valid","details":[{"path":"/cpus","errors":["must be positive"]}]}"#)
    })
    .await;

    let refused = connect(&server).act(&creation("d1")).await;

    let Err(DriverError::Refused {
        message, details, ..
    }) = refused
    else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (message.as_str(), details),
        (
            "Object is not valid",
            vec!["/cpus: must be positive".to_owned()]
        )
    );
}

#[tokio::test]
async fn a_scale_is_put_only_when_it_changes_something() {
    let server = Canned::start(|asked| match asked.line.split(' ').next() {
        Some("GET") => one_app(&json!({})),
        _ => reply(200, "{}"),
    })
    .await;
    let marathon = connect(&server);

    assert_eq!(marathon.act(&scaling(2, Lock::Respect)).await, Ok(()));
    assert_eq!(marathon.act(&scaling(3, Lock::Respect)).await, Ok(()));
    assert_eq!(marathon.act(&scaling(4, Lock::Override)).await, Ok(()));

    let changes: Vec<_> = changes(&server)
        .into_iter()
        .map(|a| (a.line, a.body))
        .collect();
    assert_eq!(
        changes,
        [
            (
                "PUT /v2/apps/a/oinker".to_owned(),
                r#"{"instances":3}"#.to_owned()
            ),
            (
                "PUT /v2/apps/a/oinker?force=true".to_owned(),
                r#"{"instances":4}"#.to_owned()
            ),
        ]
    );
}

#[tokio::test]
async fn a_locked_app_says_what_locks_it() {
    let server = Canned::start(|asked| match asked.line.split(' ').next() {
        Some("GET") => one_app(&json!({})),
        _ => reply(409, r#"{"message":"App is locked by one or more deployments.","deployments":[{"id":"d7"}]}"#),
    })
    .await;

    let locked = connect(&server).act(&scaling(3, Lock::Respect)).await;

    let expected = DriverError::Locked {
        what: "/a/oinker".to_owned(),
        by: vec!["d7".to_owned()],
    };
    assert_eq!(locked, Err(expected));
}

#[tokio::test]
async fn a_kill_names_only_those_that_are_there_and_not_stopping_in_one_call() {
    let server = tasks_server(&[
        ("t1", "TASK_RUNNING"),
        ("t2", "TASK_KILLING"),
        ("t3", "TASK_FAILED"),
        ("t4", "TASK_RUNNING"),
    ])
    .await;

    let done = connect(&server)
        .act(&killing(&["t1", "t2", "t3", "t4", "t9"], Lock::Respect))
        .await;

    assert_eq!(done, Ok(()));
    let changes = changes(&server);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].line, "POST /v2/tasks/delete?scale=true");
    assert_eq!(changes[0].body, r#"{"ids":["t1","t4"]}"#);
}

#[tokio::test]
async fn a_kill_of_what_is_gone_is_no_call() {
    let server = tasks_server(&[("t1", "TASK_RUNNING"), ("t2", "TASK_KILLING")]).await;

    let done = connect(&server)
        .act(&killing(&["t2", "t9"], Lock::Override))
        .await;

    assert_eq!(done, Ok(()));
    assert_eq!(changes(&server), vec![]);
}

/// Without the feature `task_killing` a task that was told to stop looks like any other, and a kill that is repeated
/// would take the app down by one more.
#[tokio::test]
async fn no_kill_is_sent_while_more_tasks_are_up_than_are_wanted() {
    let server = tasks_server(&[
        ("t1", "TASK_RUNNING"),
        ("t2", "TASK_RUNNING"),
        ("t3", "TASK_RUNNING"),
    ])
    .await;

    let locked = connect(&server)
        .act(&killing(&["t1"], Lock::Override))
        .await;

    assert!(
        matches!(locked, Err(DriverError::Locked { .. })),
        "{locked:?}"
    );
    assert_eq!(changes(&server), vec![]);
}

#[tokio::test]
async fn a_kill_overrides_a_lock_only_when_it_is_told_to() {
    let server = Canned::start(|asked| match asked.line.split(' ').next() {
        Some("GET") => one_app(
            &json!({ "deployments": [{ "id": "d7" }], "tasks": [task("t1", "TASK_RUNNING")] }),
        ),
        _ => reply(200, "{}"),
    })
    .await;
    let marathon = connect(&server);

    let locked = marathon.act(&killing(&["t1"], Lock::Respect)).await;
    assert_eq!(
        locked,
        Err(DriverError::Locked {
            what: "/a/oinker".to_owned(),
            by: vec!["d7".to_owned()]
        })
    );
    assert_eq!(
        marathon.act(&killing(&["t1"], Lock::Override)).await,
        Ok(())
    );
    assert_eq!(
        changes(&server)[0].line,
        "POST /v2/tasks/delete?scale=true&force=true"
    );
}

#[tokio::test]
async fn an_app_with_tasks_is_not_removed_and_one_without_is_and_is_not_forced() {
    let full = tasks_server(&[("t1", "TASK_UNREACHABLE")]).await;
    let empty = tasks_server(&[("t1", "TASK_FINISHED")]).await;
    let gone = Canned::start(|_| missing()).await;

    let refused = connect(&full).act(&removal()).await;
    assert!(
        matches!(refused, Err(DriverError::Busy { .. })),
        "{refused:?}"
    );
    assert_eq!(changes(&full), vec![]);

    assert_eq!(connect(&empty).act(&removal()).await, Ok(()));
    assert_eq!(
        changes(&empty)[0].line,
        "DELETE /v2/apps/a/oinker?force=false"
    );

    assert_eq!(connect(&gone).act(&removal()).await, Ok(()));
}

#[tokio::test]
async fn an_event_of_a_watched_app_is_a_cue_and_one_of_another_is_not() {
    let (send, receive) = tokio::sync::mpsc::unbounded_channel::<&'static str>();
    let server = Stream::start(receive).await;
    let marathon = Arc::new(Marathon::connect(&server).expect("an address"));
    let looked = marathon.observe(&[revision()]).await;
    assert!(looked.is_ok(), "{looked:?}");
    marathon.changed().await;

    send.send("event: status_update_event\r\ndata: {\"appId\":\"/another\"}\r\n\r\n")
        .expect("open");
    send.send("event: status_update_event\r\ndata: {\"appId\":\"/a/oinker\"}\r\n\r\n")
        .expect("open");
    marathon.changed().await;

    let again = timeout(Duration::from_millis(50), marathon.changed()).await;
    assert!(
        again.is_err(),
        "one of two events is about the app that is watched"
    );
}

/// A server of an event stream whose events the test sends, and of an app without tasks.
struct Stream;

impl Stream {
    async fn start(mut events: tokio::sync::mpsc::UnboundedReceiver<&'static str>) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("is bound"));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepts");
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.expect("reads");
                let head = String::from_utf8_lossy(&head[..length]).to_lowercase();
                if head.starts_with("get /v2/events") {
                    assert!(head.contains("accept: text/event-stream\r\n"), "{head}");
                    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
                    stream.write_all(begin.as_bytes()).await.expect("writes");
                    while let Some(event) = events.recv().await {
                        stream.write_all(event.as_bytes()).await.expect("writes");
                    }
                } else {
                    let Reply::Bytes(bytes) = one_app(&json!({})) else {
                        continue;
                    };
                    stream.write_all(bytes.as_bytes()).await.expect("writes");
                }
            }
        });
        url
    }
}

async fn tasks_server(tasks: &[(&str, &str)]) -> Canned {
    let tasks: Vec<Value> = tasks.iter().map(|(id, state)| task(id, state)).collect();
    Canned::start(move |asked| match asked.line.split(' ').next() {
        Some("GET") => one_app(&json!({ "tasks": tasks })),
        _ => reply(
            200,
            r#"{"version":"2020-01-01T00:00:00.000Z","deploymentId":"d"}"#,
        ),
    })
    .await
}

fn changes(server: &Canned) -> Vec<Asked> {
    server
        .asked()
        .into_iter()
        .filter(|asked| !asked.line.starts_with("GET"))
        .collect()
}

fn connect(server: &Canned) -> Marathon {
    Marathon::connect(&server.url).expect("an address")
}

fn one_app(more: &Value) -> Reply {
    reply(200, &json!({ "app": app(more) }).to_string())
}

fn app(more: &Value) -> Value {
    let mut app = json!({ "id": "/a/oinker", "instances": 2 });
    for (key, value) in more.as_object().expect("an object") {
        app[key] = value.clone();
    }
    app
}

fn task(id: &str, state: &str) -> Value {
    json!({ "id": id, "state": state, "host": "agent-1", "ports": [31001] })
}

fn missing() -> Reply {
    reply(
        404,
        r#"{"message":"App '/a/oinker' does not exist","details":[]}"#,
    )
}

fn revision() -> RevisionId {
    RevisionId::from("/a/oinker")
}

fn creation(deployment: &str) -> InstanceAction {
    let definition =
        json!({ "cmd": "run", "instances": 3, "labels": { "TEAL_DEPLOYMENT": deployment } });
    InstanceAction::Create {
        role: Role::Green,
        revision: revision(),
        definition,
    }
}

fn scaling(instances: u32, lock: Lock) -> InstanceAction {
    InstanceAction::Scale {
        role: Role::Green,
        revision: revision(),
        instances,
        lock,
    }
}

fn killing(ids: &[&str], lock: Lock) -> InstanceAction {
    let victim = |id: &&str| Victim {
        instance: InstanceId::from(*id),
        in_flight: Some(0),
        pending: Pending::Count(0),
        idle_samples: 3,
        why: KillReason::Drained,
    };
    let victims = ids.iter().map(victim).collect();
    InstanceAction::Kill {
        role: Role::Blue,
        revision: revision(),
        victims,
        lock,
    }
}

fn removal() -> InstanceAction {
    InstanceAction::Remove {
        role: Role::Blue,
        revision: revision(),
    }
}
