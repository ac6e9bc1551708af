//! Containers: real ones, of a Docker daemon that each test has for itself.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::dockerd::{BUSYBOX, Dockerd};
use crate::harness::{Marathon, eventually, text};

/// Serves a file with one word, on port 3000.
const SERVER: &str =
    "mkdir -p /www && echo oink > /www/index.html && exec httpd -f -p 3000 -h /www";

#[tokio::test]
async fn a_bridged_container_answers_at_its_host_port_and_shows_its_own_address() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged("/web", SERVER);
    app["healthChecks"] = json!([check("HTTP")]);

    marathon.run(app).await;

    let task = marathon.tasks("/web").await.remove(0);
    let port = port_of(&task);
    assert!(ask(port).await.expect("an answer").ends_with("oink\n"));
    let address = text(&task["ipAddresses"][0]["ipAddress"]);
    assert!(address.starts_with("172."), "{address}");
    let container = inspect(&docker, &task);
    assert_eq!(
        container["NetworkSettings"]["Ports"]["3000/tcp"],
        json!([{ "HostIp": "127.0.0.1", "HostPort": port.to_string() }])
    );
}

#[tokio::test]
async fn a_container_gets_everything_that_its_definition_says() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("read"), "from outside\n").expect("a file");
    let said = "env; cat /ro/read; echo x 2>/dev/null > /ro/read || echo read-only; \
                echo inside > /rw/written; echo of-the-sandbox > in-sandbox; hostname; id -u; \
                cat /etc/hosts; echo done; exec sleep 1000";
    let mut app = bridged("/full", &format!("cd $MESOS_SANDBOX; ({said})"));
    app["env"] = json!({ "MINE": "a b" });
    app["container"]["volumes"] = json!([
        { "hostPath": outside.path(), "containerPath": "/ro", "mode": "RO" },
        { "hostPath": outside.path(), "containerPath": "/rw", "mode": "RW" },
    ]);
    app["container"]["docker"]["parameters"] = json!([
        { "key": "hostname", "value": "pen" },
        { "key": "add-host", "value": "database:10.1.2.3" },
        { "key": "user", "value": "1234" },
        { "key": "label", "value": "team=pigs" },
        { "key": "cap-drop", "value": "NET_RAW" },
        { "key": "tmpfs", "value": "/scratch:size=1m" },
    ]);
    make_open(outside.path());

    marathon.run(app).await;

    let task = marathon.tasks("/full").await.remove(0);
    let id = text(&task["id"]);
    let path = marathon.folder.path().join("sandboxes").join(&id);
    let output = eventually("all is said", || async {
        let output = std::fs::read_to_string(path.join("stdout")).ok()?;
        output.contains("done\n").then_some(output)
    })
    .await;
    let port = port_of(&task);
    for line in [
        "MINE=a b".to_owned(),
        "MARATHON_APP_ID=/full".to_owned(),
        format!("MARATHON_APP_DOCKER_IMAGE={BUSYBOX}"),
        format!("MESOS_TASK_ID={id}"),
        "MESOS_SANDBOX=/mnt/mesos/sandbox".to_owned(),
        format!("PORT0={port}"),
        format!("PORT_3000={port}"),
        "from outside".to_owned(),
        "read-only".to_owned(),
        "pen".to_owned(),
        "1234".to_owned(),
        "10.1.2.3\tdatabase".to_owned(),
    ] {
        assert!(output.lines().any(|seen| seen == line), "{line}: {output}");
    }
    let written = std::fs::read_to_string(outside.path().join("written"));
    assert_eq!(written.expect("it was written"), "inside\n");
    let container = inspect(&docker, &task);
    assert_eq!(container["Config"]["Labels"]["team"], "pigs");
    assert_eq!(container["Config"]["Labels"]["teal.app"], "/full");
    assert_eq!(container["HostConfig"]["CapDrop"], json!(["NET_RAW"]));
    assert_eq!(container["HostConfig"]["CpuQuota"], 25_000);
    assert_eq!(container["HostConfig"]["CpuShares"], 256);
    assert_eq!(container["HostConfig"]["Memory"], 67_108_864);
}

#[tokio::test]
async fn arguments_follow_the_images_entry_point_and_its_own_command_is_the_default() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let root = docker.busybox();
    docker.import("teal-test/plain:1", &root);
    docker.docker(&["create", "--name", "made", "teal-test/plain:1", "x"]);
    let changes = [
        "--change",
        "ENTRYPOINT [\"/bin/echo\", \"entry\"]",
        "--change",
        "CMD [\"default\"]",
    ];
    docker.docker(&[&["commit"][..], &changes, &["made", "teal-test/echo:1"]].concat());
    docker.docker(&["rm", "made"]);
    let marathon = start(&docker).await;
    for (id, arguments, said) in [
        (
            "/with",
            json!(["one", "two words"]),
            "entry one two words\n",
        ),
        ("/without", Value::Null, "entry default\n"),
    ] {
        let app = json!({
            "id": id, "args": arguments, "instances": 1, "cpus": 0.1, "mem": 32,
            "container": { "type": "DOCKER", "docker": { "image": "teal-test/echo:1" } },
        });

        let created = marathon.post("/v2/apps", app).await;

        assert_eq!(created.status, 201, "{}", created.text);
        let output = eventually("it is said", || async {
            first_output(&marathon, "stdout").filter(|output| output == said)
        })
        .await;
        assert_eq!(output, said);
        marathon.delete(&format!("/v2/apps{id}")).await;
        marathon.wait_for_deployments().await;
        forget_sandboxes(&marathon);
    }
}

#[tokio::test]
async fn what_a_container_says_and_how_it_ended_are_kept() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;

    let created = marathon
        .post(
            "/v2/apps",
            bridged("/short", "echo out; echo err >&2; exit 3"),
        )
        .await;

    assert_eq!(created.status, 201, "{}", created.text);
    let failure = last_failure(&marathon, "/short").await;
    assert_eq!(failure["message"], "Container exited with status 3");
    assert_eq!(failure["state"], "TASK_FAILED");
    let task = text(&failure["taskId"]);
    assert_eq!(marathon.sandbox_file(&task, "stdout").await, "out\n");
    assert_eq!(marathon.sandbox_file(&task, "stderr").await, "err\n");
    let delay = marathon.get("/v2/queue").await.json()["queue"][0]["delay"].clone();
    assert!(delay.is_object(), "it is launched again, later: {delay}");
}

#[tokio::test]
async fn a_check_is_not_fooled_by_dockers_proxy() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged(
        "/slow",
        &format!("until [ -e $MESOS_SANDBOX/go ]; do sleep 0.1; done; {SERVER}"),
    );
    app["healthChecks"] = json!([check("TCP")]);

    marathon.post("/v2/apps", app).await;

    let task = eventually("a probe has come back", || async {
        let task = marathon.tasks("/slow").await.into_iter().next()?;
        let reported = task["healthCheckResults"].as_array()?.len() == 1;
        reported.then_some(task)
    })
    .await;
    let accepted = TcpStream::connect(("127.0.0.1", port_of(&task))).await;
    assert!(
        accepted.is_ok(),
        "the proxy accepts before anything listens"
    );
    assert_eq!(task["healthCheckResults"][0]["alive"], false);
    let sandbox = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(text(&task["id"]));
    std::fs::write(sandbox.join("go"), "").expect("a file");
    marathon.wait_for_deployments().await;
    assert_eq!(marathon.app("/slow").await["tasksHealthy"], 1);
}

#[tokio::test]
async fn a_command_check_runs_inside_the_container_and_leaves_nothing_when_it_takes_too_long() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged("/inside", "exec sleep 1000");
    let line = "[ -e $MESOS_SANDBOX/go ] || exec sleep 999";
    app["healthChecks"] = json!([{
        "protocol": "COMMAND", "command": { "value": line },
        "intervalSeconds": 1, "timeoutSeconds": 1, "gracePeriodSeconds": 600,
        "maxConsecutiveFailures": 0, "delaySeconds": 0,
    }]);

    marathon.post("/v2/apps", app).await;

    let task = eventually("the probe took too long", || async {
        let task = marathon.tasks("/inside").await.into_iter().next()?;
        let reported = task["healthCheckResults"].as_array()?.len() == 1;
        reported.then_some(task)
    })
    .await;
    let sandbox = marathon
        .folder
        .path()
        .join("sandboxes")
        .join(text(&task["id"]));
    std::fs::write(sandbox.join("go"), "").expect("a file");
    marathon.wait_for_deployments().await;
    let name = format!("teal-{}", text(&task["id"]));
    eventually("nothing hangs in there", || async {
        let processes = docker.docker(&["top", &name]);
        (!processes.contains("sleep 999")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_container_on_the_hosts_network_binds_the_port_it_is_given() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged("/host", &SERVER.replace("3000", "$PORT0"));
    app["container"]["docker"] = json!({ "image": BUSYBOX, "network": "HOST" });
    app["ports"] = json!([0]);
    app["healthChecks"] = json!([check("TCP")]);

    marathon.run(app).await;

    let task = marathon.tasks("/host").await.remove(0);
    let answer = ask(port_of(&task)).await.expect("an answer");
    assert!(answer.ends_with("oink\n"), "{answer}");
    assert_eq!(inspect(&docker, &task)["HostConfig"]["NetworkMode"], "host");
}

#[tokio::test]
async fn a_container_joins_a_network_by_its_name() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    docker.docker(&["network", "create", "--subnet", "10.77.0.0/24", "sty"]);
    let marathon = start(&docker).await;
    let mut app = bridged("/named", SERVER);
    app["container"]["docker"] = json!({ "image": BUSYBOX });
    app["container"]["portMappings"] = json!([{ "containerPort": 3000 }]);
    app["networks"] = json!([{ "mode": "container", "name": "sty" }]);
    app["healthChecks"] = json!([check("TCP")]);

    marathon.run(app).await;

    let task = marathon.tasks("/named").await.remove(0);
    let address = text(&task["ipAddresses"][0]["ipAddress"]);
    assert!(address.starts_with("10.77.0."), "{address}");
    assert_eq!(task["ports"], json!([]), "it is not published");
}

#[tokio::test]
async fn a_killed_container_has_its_grace_period_and_no_more() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let polite = "trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; \
                  while true; do sleep 0.1; done";
    let deaf = "trap '' TERM; echo up; while true; do sleep 0.1; done";
    for (id, line, last) in [("/polite", polite, "bye\n"), ("/deaf", deaf, "up\n")] {
        let mut app = bridged(id, line);
        app["taskKillGracePeriodSeconds"] = json!(2);
        marathon.run(app).await;
        let task = marathon.task_ids(id).await.remove(0);
        let path = marathon
            .folder
            .path()
            .join("sandboxes")
            .join(&task)
            .join("stdout");
        eventually("it is up", || async {
            std::fs::read_to_string(&path)
                .ok()
                .filter(|said| said == "up\n")
        })
        .await;

        marathon.delete(&format!("/v2/apps{id}")).await;
        marathon.wait_for_deployments().await;

        let said = std::fs::read_to_string(&path).expect("its output");
        assert!(said.ends_with(last), "{id}: {said}");
    }
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test]
async fn an_image_that_cannot_be_had_fails_the_task_in_dockers_words() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged("/none", "true");
    app["container"]["docker"]["image"] = json!("127.0.0.1:1/no/such:image");

    marathon.post("/v2/apps", app).await;

    let failure = last_failure(&marathon, "/none").await;
    let message = text(&failure["message"]);
    assert!(
        message.starts_with("Image 127.0.0.1:1/no/such:image could not be had: "),
        "{message}"
    );
    assert!(message.contains("connection refused"), "{message}");
}

#[tokio::test]
async fn a_container_that_needs_too_much_memory_is_killed_and_the_message_says_so() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;

    let greedy = bridged("/greedy", "exec tail /dev/zero");
    marathon.post("/v2/apps", greedy).await;

    let failure = last_failure(&marathon, "/greedy").await;
    let message = text(&failure["message"]);
    assert!(message.contains("ran out of memory"), "{message}");
    assert!(message.contains("64 MiB"), "{message}");
}

#[tokio::test]
async fn a_busy_container_is_throttled() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    marathon
        .run(bridged("/busy", "while true; do :; done"))
        .await;
    let task = marathon.task_ids("/busy").await.remove(0);
    let name = format!("teal-{task}");

    eventually("it was throttled", || async {
        // Version 1 of cgroups has the file one level deeper.
        let figures = docker.docker(&[
            "exec",
            &name,
            "/bin/sh",
            "-c",
            "cat /sys/fs/cgroup/cpu/cpu.stat 2>/dev/null || cat /sys/fs/cgroup/cpu.stat",
        ]);
        let throttled = figures
            .lines()
            .find_map(|line| line.strip_prefix("nr_throttled "))?;
        (throttled != "0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_removed_app_leaves_no_container_and_no_anonymous_volume() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    let mut app = bridged("/gone", "echo x > /data/file; exec sleep 1000");
    app["instances"] = json!(2);
    app["container"]["docker"]["parameters"] = json!([{ "key": "volume", "value": "/data" }]);
    marathon.run(app).await;
    let before = docker.docker(&["volume", "ls", "--quiet"]);

    marathon.delete("/v2/apps/gone").await;
    marathon.wait_for_deployments().await;

    assert_eq!(before.lines().count(), 2);
    assert_eq!(docker.docker(&["ps", "--all", "--quiet"]), "");
    assert_eq!(docker.docker(&["volume", "ls", "--quiet"]), "");
}

#[tokio::test]
async fn a_container_that_somebody_else_removes_is_replaced() {
    let Some(docker) = Dockerd::start() else {
        return;
    };
    let marathon = start(&docker).await;
    marathon.run(bridged("/loss", "exec sleep 1000")).await;
    let lost = marathon.task_ids("/loss").await.remove(0);

    docker.docker(&["rm", "--force", &format!("teal-{lost}")]);

    eventually("another one runs", || async {
        let tasks = marathon.tasks("/loss").await;
        let task = tasks.first()?;
        (text(&task["id"]) != lost && task["state"] == "TASK_RUNNING").then_some(())
    })
    .await;
    assert_eq!(
        docker.docker(&["ps", "--all", "--quiet"]).lines().count(),
        1
    );
}

#[tokio::test]
async fn without_a_daemon_an_image_is_refused_with_what_to_do() {
    let marathon = Marathon::start_with(|config| {
        config.docker_socket = Some("/nowhere/docker.sock".into());
    })
    .await;

    let refused = marathon.post("/v2/apps", bridged("/a", "true")).await;
    let process = marathon
        .post(
            "/v2/apps",
            json!({ "id": "/b", "cmd": "sleep 1000", "instances": 0 }),
        )
        .await;

    assert_eq!(refused.status, 422);
    let detail = refused.json()["details"][0].clone();
    assert_eq!(detail["path"], "/container/docker");
    let said = text(&detail["errors"][0]);
    assert!(said.contains("/nowhere/docker.sock"), "{said}");
    assert!(
        said.contains("install and start docker.io or podman"),
        "{said}"
    );
    assert_eq!(process.status, 201, "processes need no daemon");
}

#[tokio::test]
async fn every_parameter_that_cannot_be_used_is_named() {
    let marathon = Marathon::start().await;
    let mut app = bridged("/a", "true");
    app["container"]["docker"]["parameters"] = json!([
        { "key": "hostname", "value": "fine" },
        { "key": "frobnicate", "value": "1" },
        { "key": "memory", "value": "lots" },
    ]);

    let refused = marathon.post("/v2/apps", app).await;

    assert_eq!(refused.status, 422);
    let details = refused.json()["details"].clone();
    assert_eq!(details[0]["path"], "/container/docker/parameters(1)");
    assert!(text(&details[0]["errors"][0]).contains("`frobnicate`"));
    assert_eq!(details[1]["path"], "/container/docker/parameters(2)");
}

// ---- what the tests share ----------------------------------------------------------------------

async fn start(docker: &Dockerd) -> Marathon {
    Marathon::start_with(|config| config.docker_socket = Some(docker.socket())).await
}

/// Returns an app of one container behind the bridge that listens, if it does, on port 3000.
fn bridged(id: &str, line: &str) -> Value {
    json!({
        "id": id, "cmd": line, "instances": 1, "cpus": 0.25, "mem": 64,
        "container": {
            "type": "DOCKER",
            "docker": {
                "image": BUSYBOX,
                "network": "BRIDGE",
                "portMappings": [{ "containerPort": 3000, "hostPort": 0 }],
            },
        },
    })
}

fn check(protocol: &str) -> Value {
    json!({
        "protocol": protocol, "portIndex": 0, "intervalSeconds": 1, "timeoutSeconds": 5,
        "gracePeriodSeconds": 600, "maxConsecutiveFailures": 2,
    })
}

fn port_of(task: &Value) -> u16 {
    let port = task["ports"][0].as_u64().expect("a port");
    u16::try_from(port).expect("a port")
}

fn inspect(docker: &Dockerd, task: &Value) -> Value {
    let text = docker.docker(&["inspect", &format!("teal-{}", text(&task["id"]))]);
    let containers: Value = serde_json::from_str(&text).expect("JSON");
    containers[0].clone()
}

/// Sends a GET and returns the whole answer.
async fn ask(port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

async fn last_failure(marathon: &Marathon, id: &str) -> Value {
    eventually("a task has failed", || async {
        let failure = marathon.app(id).await["lastTaskFailure"].clone();
        failure.is_object().then_some(failure)
    })
    .await
}

/// Returns an output of any task that has one.
fn first_output(marathon: &Marathon, name: &str) -> Option<String> {
    let sandboxes = std::fs::read_dir(marathon.folder.path().join("sandboxes")).ok()?;
    let mut outputs = sandboxes
        .flatten()
        .filter_map(|sandbox| std::fs::read_to_string(sandbox.path().join(name)).ok());
    outputs.find(|output| !output.is_empty())
}

fn forget_sandboxes(marathon: &Marathon) {
    let sandboxes = std::fs::read_dir(marathon.folder.path().join("sandboxes"));
    for sandbox in sandboxes.expect("the folder").flatten() {
        std::fs::remove_dir_all(sandbox.path()).expect("it can be removed");
    }
}

/// Lets any user write into a folder.
fn make_open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("a folder");
}
