//! The engine goes and comes back: containers run on, are taken over as they are, and what they said and how they ended
//! meanwhile is known afterwards.

use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use teal_engine::Engine;

use crate::dockerd::{BUSYBOX, Dockerd};
use crate::harness::{Folder, Marathon, config, eventually, text};

/// Counts, a line for each number, until it is told to stop, and then says so.
const COUNTER: &str = "trap 'echo bye; exit 7' TERM; n=0; \
                       while true; do n=$((n+1)); echo $n; [ -e $MESOS_SANDBOX/end ] && exit 3; sleep 0.05; done";

#[tokio::test]
async fn running_containers_are_taken_over_as_they_are() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = counter("/a", 2);
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": "true" }, "intervalSeconds": 1,
        "gracePeriodSeconds": 600, "maxConsecutiveFailures": 2, "delaySeconds": 0,
    }]);
    marathon.run(app).await;
    let before = marathon.tasks("/a").await;
    let containers = docker.docker(&["ps", "--all", "--quiet", "--no-trunc"]);

    let marathon = restarted(marathon, &docker, async |_| ()).await;

    let after = marathon.tasks("/a").await;
    for (after, before) in after.iter().zip(&before) {
        for key in [
            "id",
            "ports",
            "state",
            "startedAt",
            "ipAddresses",
            "version",
        ] {
            assert_eq!(after[key], before[key], "{key}");
        }
        assert_eq!(after["healthCheckResults"][0]["alive"], true);
    }
    assert_eq!(
        docker.docker(&["ps", "--all", "--quiet", "--no-trunc"]),
        containers
    );
    marathon.engine.stop().await;
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test]
async fn output_is_neither_lost_nor_repeated_while_engines_come_and_go() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let mut marathon = start(&docker).await;
    marathon.run(counter("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let mut seen = 0;
    for _ in 0..3 {
        seen = until_it_has_counted_beyond(&marathon.folder, &task, seen).await;
        marathon = restarted(marathon, &docker, async |_| {
            // It goes on counting while nobody listens.
            let begin = docker.docker(&["logs", "--tail", "1", &name_of(&task)]);
            eventually("it has counted on", || async {
                let end = docker.docker(&["logs", "--tail", "1", &name_of(&task)]);
                (end.parse::<u32>().ok()? > begin.parse::<u32>().ok()? + 2).then_some(())
            })
            .await;
        })
        .await;
    }
    until_it_has_counted_beyond(&marathon.folder, &task, seen).await;

    marathon.delete("/v2/apps/a").await;
    marathon.wait_for_deployments().await;

    let said = std::fs::read_to_string(output(&marathon.folder, &task)).expect("its output");
    let lines: Vec<&str> = said.lines().collect();
    let (last, counted) = lines.split_last().expect("lines");
    let expected: Vec<String> = (1..=counted.len())
        .map(|number| number.to_string())
        .collect();
    assert_eq!(counted, expected, "every number, once, in order");
    assert_eq!(*last, "bye");
}

#[tokio::test]
async fn what_a_container_said_last_and_its_status_are_known_although_nobody_watched() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    marathon.run(counter("/a", 1)).await;
    let task = marathon.task_ids("/a").await.remove(0);

    let marathon = restarted(marathon, &docker, async |folder| {
        let sandbox = folder.path().join("sandboxes").join(&task);
        std::fs::write(sandbox.join("end"), "").expect("a file");
        eventually("it has ended", || async {
            docker.docker(&["ps", "--quiet"]).is_empty().then_some(())
        })
        .await;
    })
    .await;

    let failure = marathon.app("/a").await["lastTaskFailure"].clone();
    assert_eq!(failure["message"], "Container exited with status 3");
    assert_eq!(text(&failure["taskId"]), task);
    let said = std::fs::read_to_string(output(&marathon.folder, &task)).expect("its output");
    let count = said.lines().count();
    assert_eq!(
        said.lines().next_back(),
        Some(count.to_string().as_str()),
        "{said}"
    );
    eventually("another one runs", || async {
        let tasks = marathon.tasks("/a").await;
        (tasks.first()?["state"] == "TASK_RUNNING").then_some(())
    })
    .await;
    assert_eq!(
        docker.docker(&["ps", "--all", "--quiet"]).lines().count(),
        1
    );
}

#[tokio::test]
async fn containers_that_nobody_knows_of_are_removed_and_those_of_others_are_left_alone() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let identity = std::fs::read_to_string(marathon.folder.path().join("identity"));
    let identity = identity.expect("the folder has an identity");
    let run = |name: &str, engine: &str| {
        let label = format!("teal.engine={engine}");
        docker.docker(&[
            "run",
            "--detach",
            "--name",
            name,
            "--label",
            &label,
            "--label",
            "teal.task=a.b",
            BUSYBOX,
            "/bin/sleep",
            "1000",
        ]);
    };

    let marathon = restarted(marathon, &docker, async |_| {
        run("stray", identity.trim());
        run("foreign", "another-engine");
    })
    .await;

    eventually("the stray is gone", || async {
        let left = docker.docker(&["ps", "--all", "--format", "{{.Names}}"]);
        (left == "foreign").then_some(())
    })
    .await;
    drop(marathon);
}

#[tokio::test]
async fn a_container_that_was_told_to_end_ends_in_time_although_the_engine_is_gone() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = counter("/deaf", 1);
    app["cmd"] = json!("trap 'echo told' TERM; while true; do sleep 0.05; done");
    app["taskKillGracePeriodSeconds"] = json!(2);
    marathon.run(app).await;
    let task = marathon.task_ids("/deaf").await.remove(0);
    marathon.delete("/v2/apps/deaf").await;
    eventually("it was told", || async {
        let said = docker.docker(&["logs", &name_of(&task)]);
        said.contains("told").then_some(())
    })
    .await;

    let marathon = restarted(marathon, &docker, async |_| {
        eventually("it has ended", || async {
            docker.docker(&["ps", "--quiet"]).is_empty().then_some(())
        })
        .await;
    })
    .await;

    marathon.wait_for_deployments().await;
    assert_eq!(marathon.all_tasks().await, Vec::<Value>::new());
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test]
async fn a_daemon_that_goes_away_is_told_of_and_its_containers_are_replaced_when_it_is_back() {
    let Some(mut docker) = Dockerd::start() else {
        return;
    };
    let said = Arc::new(Mutex::new(String::new()));
    let notices = Arc::clone(&said);
    let marathon = Marathon::start_with(|config| {
        config.docker_socket = Some(docker.socket());
        config.on_notice = Box::new(move |notice| {
            let mut said = notices.lock().expect("nobody panicked");
            said.push_str(&format!("{notice}\n"));
        });
    })
    .await;
    marathon.run(counter("/a", 1)).await;
    let before = marathon.task_ids("/a").await;
    let heard = |what: &str| said.lock().expect("nobody panicked").contains(what);

    docker.stop();
    eventually("a person is told", || async {
        heard("containers run on, unwatched: ").then_some(())
    })
    .await;
    let meanwhile = marathon.task_ids("/a").await;
    docker.start_again();
    eventually("another one runs", || async {
        let task = marathon.tasks("/a").await.into_iter().next()?;
        (text(&task["id"]) != before[0] && task["state"] == "TASK_RUNNING").then_some(())
    })
    .await;

    assert_eq!(meanwhile, before, "what cannot be seen is not given up");
    assert!(heard("containers are watched again"));
}

// ---- what the tests share ----------------------------------------------------------------------

async fn start(docker: &Dockerd) -> Marathon {
    Marathon::start_with(|config| config.docker_socket = Some(docker.socket())).await
}

/// Lets go of the engine, does something, and starts another one on the same folder.
async fn restarted(
    marathon: Marathon,
    docker: &Dockerd,
    meanwhile: impl AsyncFnOnce(&Folder),
) -> Marathon {
    let Marathon { engine, folder } = marathon;
    drop(engine);
    meanwhile(&folder).await;
    let mut config = config(&folder);
    config.docker_socket = Some(docker.socket());
    let engine = Engine::start(config).await.expect("the next engine starts");
    Marathon { engine, folder }
}

fn counter(id: &str, instances: u32) -> Value {
    json!({
        "id": id, "cmd": COUNTER, "instances": instances, "cpus": 0.5, "mem": 32,
        "container": { "type": "DOCKER", "docker": { "image": BUSYBOX, "network": "BRIDGE" } },
    })
}

fn name_of(task: &str) -> String {
    format!("teal-{task}")
}

fn output(folder: &Folder, task: &str) -> std::path::PathBuf {
    Path::new(folder.path())
        .join("sandboxes")
        .join(task)
        .join("stdout")
}

/// Waits until the sandbox shows a higher number, and returns it.
async fn until_it_has_counted_beyond(folder: &Folder, task: &str, number: usize) -> usize {
    eventually("it counts", || async {
        let said = std::fs::read_to_string(output(folder, task)).ok()?;
        let count = said.lines().count();
        (count > number + 3).then_some(count)
    })
    .await
}
