//! Processes: their environment, their ends, what follows them.

use serde_json::json;
use teal_engine::Engine;

use crate::harness::{Marathon, config, eventually, is_alive, sleeper, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_task_sees_marathons_environment_and_nothing_of_the_engines() {
    let marathon = Marathon::start().await;
    marathon
        .run(json!({
            "id": "/shop/cart",
            "cmd": "env > env.txt; echo done >> env.txt; exec sleep 1000",
            "env": { "COLOUR": "green" },
            "labels": { "tier": "front" },
            "portDefinitions": [{ "port": 12000, "name": "web" }, { "port": 0 }],
        }))
        .await;
    let task = marathon.tasks("/shop/cart").await.remove(0);
    let id = text(&task["id"]);

    let environment = eventually("the environment is written", || async {
        let text = marathon.sandbox_file(&id, "env.txt").await;
        text.ends_with("done\n").then_some(text)
    })
    .await;

    let lines: Vec<&str> = environment.lines().collect();
    let sandbox = marathon
        .folder
        .path()
        .canonicalize()
        .expect("the folder is there");
    let sandbox = sandbox.join("sandboxes").join(&id);
    for expected in [
        format!("MESOS_TASK_ID={id}"),
        format!("MESOS_SANDBOX={}", sandbox.display()),
        "MARATHON_APP_ID=/shop/cart".to_owned(),
        format!("MARATHON_APP_VERSION={}", text(&task["version"])),
        "MARATHON_APP_RESOURCE_CPUS=1.0".to_owned(),
        "MARATHON_APP_LABEL_TIER=front".to_owned(),
        "HOST=127.0.0.1".to_owned(),
        format!("PORT={}", task["ports"][0]),
        format!("PORT0={}", task["ports"][0]),
        format!("PORT1={}", task["ports"][1]),
        format!("PORTS={},{}", task["ports"][0], task["ports"][1]),
        format!("PORT_12000={}", task["ports"][0]),
        format!("PORT_WEB={}", task["ports"][0]),
        "COLOUR=green".to_owned(),
    ] {
        assert!(
            lines.contains(&expected.as_str()),
            "{expected} in {lines:?}"
        );
    }
    assert!(
        !lines.iter().any(|line| line.starts_with("CARGO")),
        "{lines:?}"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_are_started_without_a_shell() {
    let marathon = Marathon::start().await;
    marathon
        .run(json!({ "id": "a", "args": ["sh", "-c", "echo \"$0\" '$HOME'; exec sleep 1000", "a b"] }))
        .await;
    let task = marathon.task_ids("/a").await.remove(0);

    let output = marathon.sandbox_file(&task, "stdout").await;

    assert_eq!(output, "a b $HOME\n");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crashed_task_comes_back_as_the_next_incarnation_after_its_backoff() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("echo began; exec sleep 1000");
    app["backoffSeconds"] = json!(1);
    marathon.run(app).await;
    let first = marathon.task_ids("/a").await.remove(0);

    marathon.folder.crash(&first);
    let queued = eventually("the relaunch waits", || async {
        let queue = marathon.get("/v2/queue").await.json();
        (queue["queue"][0]["app"]["id"] == "/a").then(|| queue["queue"][0].clone())
    })
    .await;
    let second = eventually("the next incarnation runs", || async {
        marathon
            .task_ids("/a")
            .await
            .into_iter()
            .find(|task| *task != first)
    })
    .await;

    assert_eq!(
        queued["delay"],
        json!({ "timeLeftSeconds": 1, "overdue": false })
    );
    assert_eq!(queued["count"], 1);
    assert_eq!(second, first.replace("._app.1", "._app.2"));
    let failure = marathon.app("/a").await["lastTaskFailure"].clone();
    assert_eq!(failure["taskId"], first);
    assert_eq!(failure["state"], "TASK_FAILED");
    assert_eq!(failure["message"], "Command terminated with signal SIGKILL");
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backoff_can_be_cut_short() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["backoffSeconds"] = json!(3600);
    app["maxLaunchDelaySeconds"] = json!(3600);
    marathon.run(app).await;
    let first = marathon.task_ids("/a").await.remove(0);
    marathon.folder.crash(&first);
    eventually("the relaunch waits", || async {
        let queue = marathon.get("/v2/queue").await.json();
        (queue["queue"] != json!([])).then_some(())
    })
    .await;

    let answer = marathon.delete("/v2/queue/a/delay").await;

    assert_eq!(answer.status, 204);
    eventually("the next incarnation runs", || async {
        (marathon.app("/a").await["tasksRunning"] == 1).then_some(())
    })
    .await;
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_fails_with_a_reason() {
    let marathon = Marathon::start().await;
    marathon
        .post(
            "/v2/apps",
            json!({ "id": "a", "args": ["/no/such/program"] }),
        )
        .await;

    let failure = eventually("the failure is shown", || async {
        let app = marathon.app("/a").await;
        app.get("lastTaskFailure").cloned()
    })
    .await;

    assert_eq!(failure["state"], "TASK_FAILED");
    assert!(
        text(&failure["message"]).contains("No such file"),
        "{failure}"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_leader_leaves_behind_is_killed_with_it() {
    let marathon = Marathon::start().await;
    let mut app = sleeper("/a", 1);
    app["cmd"] = json!("sleep 1000 & echo $! ; sleep 0.2; exit 3");
    app["backoffSeconds"] = json!(3600);
    app["maxLaunchDelaySeconds"] = json!(3600);
    marathon.post("/v2/apps", app).await;

    let failure = eventually("the task has failed", || async {
        marathon.app("/a").await.get("lastTaskFailure").cloned()
    })
    .await;

    assert_eq!(failure["message"], "Command exited with status 3");
    let child = marathon
        .sandbox_file(&text(&failure["taskId"]), "stdout")
        .await;
    assert!(!is_alive(&child));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_port_is_used_as_it_is() {
    let marathon = Marathon::start().await;
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let mut app = sleeper("/a", 1);
    app["portDefinitions"] = json!([{ "port": port }]);
    app["requirePorts"] = json!(true);
    marathon.post("/v2/apps", app).await;

    let queue = marathon.get("/v2/queue").await.json();
    drop(listener);
    marathon.wait_for_deployments().await;

    assert_eq!(queue["queue"][0]["delay"]["overdue"], true);
    assert_eq!(marathon.tasks("/a").await[0]["ports"], json!([port]));
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_folder_serves_one_engine_at_a_time() {
    let marathon = Marathon::start().await;

    let second = Engine::start(config(&marathon.folder)).await;

    assert!(
        matches!(second, Err(teal_engine::StartError::StateDirInUse { .. })),
        "{second:?}"
    );
}
