//! What is fetched into a sandbox before a task starts.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Marathon, eventually, text};

#[tokio::test(flavor = "multi_thread")]
async fn files_and_downloads_are_there_when_a_task_starts() {
    let marathon = Marathon::start().await;
    let files = TempDir::new().expect("a folder");
    std::fs::write(files.path().join("plain"), "from a file\n").expect("a file");
    let server = serve(b"from the web\n".to_vec()).await;

    marathon
        .run(fetching(
            "{ cat plain dir/named moved; echo; } > all; mv all seen; test -x dir/named && exec sleep 1000",
            json!([
                { "uri": format!("file://{}/plain", files.path().display()) },
                { "uri": format!("{server}/page.gz"), "destPath": "dir/named", "executable": true },
                { "uri": format!("{server}/moved") },
            ]),
        ))
        .await;

    let task = marathon.task_ids("/a").await.remove(0);
    assert_eq!(
        marathon.sandbox_file(&task, "seen").await,
        "from a file\nfrom the web\nfrom the web\n\n"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_are_unpacked_unless_that_is_not_wanted() {
    let marathon = Marathon::start().await;
    let files = TempDir::new().expect("a folder");
    std::fs::write(files.path().join("inner"), "packed\n").expect("a file");
    pack(files.path());
    let uri = |name: &str| format!("file://{}/{name}", files.path().display());

    marathon
        .run(fetching(
            "{ cat inner other; ls; } > all; mv all seen; exec sleep 1000",
            json!([
                { "uri": uri("one.tar.gz") },
                { "uri": uri("other.gz") },
                { "uri": uri("two.tgz"), "extract": false },
            ]),
        ))
        .await;

    let task = marathon.task_ids("/a").await.remove(0);
    let seen = marathon.sandbox_file(&task, "seen").await;
    assert!(seen.starts_with("packed\npacked\n"), "{seen}");
    assert!(seen.contains("\ntwo.tgz\n"), "{seen}");
    assert!(!seen.contains("\nunwanted\n"), "{seen}");
    let sandbox = marathon.folder.path().join("sandboxes").join(&task);
    let owner = |path: &Path| path.metadata().expect("it is there").uid();
    assert_eq!(
        owner(&sandbox.join("inner")),
        owner(&sandbox),
        "the archive's owner counts for nothing"
    );
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_artifact_is_missing_fails_and_says_so() {
    let marathon = Marathon::start().await;
    let server = serve(Vec::new()).await;

    for (uri, problem) in [
        (format!("{server}/missing"), "404 Not Found"),
        ("file:///nowhere/at/all".to_owned(), "No such file"),
    ] {
        let app = fetching("exec sleep 1000", json!([{ "uri": uri }]));
        marathon.post("/v2/apps", app).await;

        let failure = eventually("the task failed", || async {
            marathon.app("/a").await.get("lastTaskFailure").cloned()
        })
        .await;

        let message = text(&failure["message"]);
        let expected = format!("Failed to fetch '{uri}': ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains(problem), "{message}");
        assert_eq!(failure["state"], "TASK_FAILED");
        marathon.delete("/v2/apps/a").await;
        marathon.wait_for_deployments().await;
    }
    marathon.engine.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_still_fetching_can_be_killed() {
    let marathon = Marathon::start().await;
    // Nobody accepts: the connection is made by the kernel and no answer ever comes.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = silent.local_addr().expect("an address");
    let uri = format!("http://{address}/x");
    let app = fetching("exec sleep 1000", json!([{ "uri": uri }]));
    marathon.post("/v2/apps", app).await;
    eventually("the task is staging", || async {
        let tasks = marathon.all_tasks().await;
        (tasks.first()?["state"] == "TASK_STAGING").then_some(())
    })
    .await;

    marathon.delete("/v2/apps/a").await;

    eventually("no task is left", || async {
        marathon.all_tasks().await.is_empty().then_some(())
    })
    .await;
    drop(silent);
    marathon.engine.stop().await;
}

fn fetching(line: &str, fetch: Value) -> Value {
    json!({ "id": "/a", "cmd": line, "cpus": 0.1, "mem": 16, "fetch": fetch, "backoffSeconds": 600 })
}

/// Leaves `one.tar.gz` and `other.gz` with the inner file, and `two.tgz` with an unwanted one.
fn pack(folder: &Path) {
    std::fs::write(folder.join("unwanted"), "").expect("a file");
    let commands = "tar --owner=12345 --group=12345 -czf one.tar.gz inner && gzip -c inner > other.gz && tar -czf two.tgz unwanted";
    let status = Command::new("sh")
        .args(["-c", commands])
        .current_dir(folder)
        .status()
        .expect("a shell");
    assert!(status.success());
}

/// Serves a body under any name but `missing`; `moved` points to another one.
async fn serve(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = if request.starts_with(b"GET /missing ") {
                "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else if request.starts_with(b"GET /moved ") {
                "HTTP/1.1 302 Found\r\nlocation: page\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())
            };
            stream.write_all(head.as_bytes()).await.ok();
            if head.contains("200 OK") {
                stream.write_all(&body).await.ok();
            }
        }
    });
    format!("http://{address}")
}
