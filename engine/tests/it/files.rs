//! The output of tasks: read over the API, kept small on the disk.

use serde_json::{Value, json};

use crate::harness::{Marathon, eventually};

impl Marathon {
    async fn read_file(&self, path: &str, query: &str) -> Value {
        let answer = self.get(&format!("/files/read?path={path}{query}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

fn printer(id: &str, line: &str) -> Value {
    json!({ "id": id, "cmd": format!("{line}; exec sleep 1000"), "cpus": 0.1, "mem": 32 })
}

#[tokio::test]
async fn the_output_of_a_task_is_listed_and_read_from_any_offset() {
    let marathon = Marathon::start().await;
    marathon
        .run(printer("/a", "echo hello; echo oops >&2"))
        .await;
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.sandbox_file(&task, "stderr").await;

    let files = marathon.get(&format!("/files/browse?path=/{task}")).await;
    let names: Vec<&str> = files
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|file| file["path"].as_str()?.rsplit('/').next())
        .map(|name| if name == "stdout" { "stdout" } else { "stderr" })
        .collect();
    assert!(
        names.contains(&"stdout") && names.contains(&"stderr"),
        "{}",
        files.text
    );

    let path = format!("/{task}/stdout");
    assert_eq!(
        marathon.read_file(&path, "&offset=0").await,
        json!({ "data": "hello\n", "offset": 0 })
    );
    assert_eq!(
        marathon.read_file(&path, "&offset=2&length=3").await,
        json!({ "data": "llo", "offset": 2 })
    );
    for size in ["", "&offset=-1"] {
        assert_eq!(
            marathon.read_file(&path, size).await,
            json!({ "data": "", "offset": 6 })
        );
    }
    marathon.engine.stop().await;
}

#[tokio::test]
async fn nothing_outside_a_sandbox_is_read() {
    let marathon = Marathon::start().await;
    let line = "ln -s /etc leak; ln -s /etc/hostname stdout2; mkfifo pipe; echo done";
    marathon.run(printer("/a", line)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    marathon.sandbox_file(&task, "stdout").await;

    for path in [
        "/../lock".to_owned(),
        "/".to_owned(),
        "/nobody/stdout".to_owned(),
        format!("/{task}/leak/passwd"),
        format!("/{task}/stdout2"),
        format!("/{task}/pipe"),
        format!("/{task}/../../lock"),
        format!("/{task}/stdout/x"),
    ] {
        for call in ["read", "browse"] {
            let answer = marathon
                .get(&format!("/files/{call}?path={path}&offset=0"))
                .await;
            assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        }
    }
    let without = marathon.get("/files/read").await;
    assert_eq!(without.status, 400);
    marathon.engine.stop().await;
}

#[tokio::test]
async fn output_that_grows_too_large_is_rotated_under_the_task() {
    let marathon = Marathon::start_with(|config| config.log_bytes_max = 200_000).await;
    let line = "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done; echo end";
    marathon.run(printer("/a", line)).await;
    let task = marathon.task_ids("/a").await.remove(0);
    let sandbox = marathon.folder.path().join("sandboxes").join(&task);

    eventually("the output is rotated", || async {
        let live = std::fs::metadata(sandbox.join("stdout")).ok()?.len();
        (live <= 200_000 && sandbox.join("stdout.1").exists()).then_some(())
    })
    .await;

    marathon.sandbox_file(&task, "stdout").await;
    let old = std::fs::read_to_string(sandbox.join("stdout.1")).expect("it is there");
    assert!(old.starts_with("line 0\nline 1\n"), "{}", &old[..20]);
    marathon.engine.stop().await;
}
