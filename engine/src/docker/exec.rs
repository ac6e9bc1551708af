//! A command inside a running container.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use super::DockerError;
use super::connection::Docker;
use super::containers::encoded;

/// How often the daemon is asked for the status of a command whose output has ended.
const STATUS_POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Created {
    id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    #[serde(default)]
    running: bool,
    exit_code: Option<i64>,
    #[serde(default)]
    pid: u32,
    #[serde(default, rename = "ContainerID")]
    container_id: String,
}

impl Docker {
    /// Prepares a program to be run inside a container, and returns the id of the run.
    pub(crate) async fn prepare_exec(
        &self,
        container: &str,
        words: &[String],
    ) -> Result<String, DockerError> {
        let body = json!({
            "AttachStdout": true,
            "AttachStderr": true,
            "Cmd": words,
        });
        let path = format!("/containers/{}/exec", encoded(container));
        let created: Created = self
            .json(Method::POST, &path, Some(&body), "prepare the command")
            .await?;
        Ok(created.id)
    }

    /// Runs what was prepared and returns its exit status; the caller limits the time.
    ///
    /// When the call is given up the command goes on: the API cannot end it.
    pub(crate) async fn run_exec(&self, exec: &str) -> Result<i64, DockerError> {
        let body = json!({ "Detach": false, "Tty": false });
        let path = format!("/exec/{}/start", encoded(exec));
        let answer = self.open(Method::POST, &path, Some(&body)).await?;
        let mut output = answer.into_body();
        // Its output is of no interest, but its end is.
        while let Some(frame) = output.frame().await {
            frame.map_err(|error| DockerError::Garbled(error.to_string()))?;
        }
        loop {
            let status = self.exec_status(exec).await?;
            if let (false, Some(exit_code)) = (status.running, status.exit_code) {
                return Ok(exit_code);
            }
            sleep(STATUS_POLL).await;
        }
    }

    /// Returns the process on this machine that runs the command, and its container's id, while it
    /// does.
    pub(crate) async fn exec_process(
        &self,
        exec: &str,
    ) -> Result<Option<(u32, String)>, DockerError> {
        let status = self.exec_status(exec).await?;
        let runs = status.running && status.pid > 1;
        Ok(runs.then_some((status.pid, status.container_id)))
    }

    async fn exec_status(&self, exec: &str) -> Result<Status, DockerError> {
        let path = format!("/exec/{}/json", encoded(exec));
        self.json(Method::GET, &path, None, "describe the command")
            .await
    }
}
