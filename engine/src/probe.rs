//! Asks one health question and says what came back. What it means is decided in `crate::health`.
//!
//! Follows `HealthCheckWorkerActor.scala`: HTTP is healthy from 200 to 399 and redirects are not
//! followed, TCP is healthy when it connects, a command is healthy when it exits with 0.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::ProbeResult;
use crate::identity::TaskId;
use crate::run::{Runners, kill_group};

/// The most of a status line that is looked at.
const STATUS_LINE_BYTES_MAX: usize = 1024;

/// How much of an answer is read so that the task can finish writing it, and for how long.
const BODY_BYTES_DRAINED: u64 = 64 * 1024;
const BODY_DRAIN_TIME: Duration = Duration::from_secs(1);

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    Http {
        host: String,
        port: u16,
        path: String,
        ignore_1xx: bool,
    },
    Tcp {
        host: String,
        port: u16,
    },
    /// A line of a shell on this machine.
    Command {
        line: String,
        environment: BTreeMap<String, String>,
        folder: PathBuf,
    },
    /// A line of a shell in the container of a task.
    Inside {
        task: TaskId,
        line: String,
    },
}

/// Asks, and takes silence for a failure after `limit`.
pub(crate) async fn ask(question: Question, limit: Duration, runners: &Runners) -> ProbeResult {
    match question {
        Question::Inside { task, line } => runners.probe_inside(&task, &line, limit).await,
        Question::Command {
            line,
            environment,
            folder,
        } => ask_command(&line, &environment, folder, limit).await,
        Question::Tcp { host, port } => {
            match timeout(limit, TcpStream::connect((host.as_str(), port))).await {
                Ok(Ok(_)) => ProbeResult::Success,
                Ok(Err(error)) => ProbeResult::Failure(error.to_string()),
                Err(_) => timed_out(limit),
            }
        }
        Question::Http {
            host,
            port,
            path,
            ignore_1xx,
        } => match timeout(limit, status_line(&host, port, &path)).await {
            Ok(Ok(line)) => judge(&line, ignore_1xx),
            Ok(Err(error)) => ProbeResult::Failure(error.to_string()),
            Err(_) => timed_out(limit),
        },
    }
}

fn timed_out(limit: Duration) -> ProbeResult {
    ProbeResult::Failure(format!("no answer within {} s", limit.as_secs()))
}

/// Sends a GET and returns the status line of the answer.
async fn status_line(host: &str, port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: teal-engine\r\n\
         Accept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut seen = Vec::new();
    loop {
        if let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") {
            tokio::spawn(drain(stream));
            return Ok(String::from_utf8_lossy(&seen[..end]).into_owned());
        }
        if seen.len() > STATUS_LINE_BYTES_MAX {
            return Err(io::Error::other("the answer has no status line"));
        }
        if stream.read_buf(&mut seen).await? == 0 {
            return Err(io::Error::other(
                "the connection was closed without an answer",
            ));
        }
    }
}

/// Reads what is left of an answer, within limits: a task need not see its probe hang up.
async fn drain(stream: TcpStream) {
    let mut rest = stream.take(BODY_BYTES_DRAINED);
    let mut sink = tokio::io::sink();
    timeout(BODY_DRAIN_TIME, tokio::io::copy(&mut rest, &mut sink))
        .await
        .ok();
}

/// Says what a status line such as `HTTP/1.1 200 OK` means.
fn judge(line: &str, ignore_1xx: bool) -> ProbeResult {
    let (protocol, rest) = line.split_once(' ').unwrap_or((line, ""));
    let digits = rest.get(..3).unwrap_or_default();
    match digits.parse::<u16>() {
        Ok(_) | Err(_) if !protocol.starts_with("HTTP/") => {
            ProbeResult::Failure("the answer is not HTTP".to_owned())
        }
        Ok(200..=399) => ProbeResult::Success,
        Ok(100..=199) if ignore_1xx => ProbeResult::Ignored,
        Ok(_) => ProbeResult::Failure(rest.to_owned()),
        Err(_) => ProbeResult::Failure(format!("the answer has no status: {line}")),
    }
}

/// Ends a probe's process group when the probe is over, whether it was answered, took too long, or
/// was given up because its task is gone.
struct GroupEnd(Option<u32>);

impl Drop for GroupEnd {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            kill_group(group);
        }
    }
}

async fn ask_command(
    line: &str,
    environment: &BTreeMap<String, String>,
    folder: PathBuf,
    limit: Duration,
) -> ProbeResult {
    let child = tokio::process::Command::new("/bin/sh")
        .args(["-c", line])
        .env_clear()
        .envs(environment)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return ProbeResult::Failure(error.to_string()),
    };
    let _end = GroupEnd(child.id());
    let outcome = timeout(limit, child.wait()).await;
    match outcome {
        Ok(Ok(status)) if status.success() => ProbeResult::Success,
        Ok(Ok(status)) => ProbeResult::Failure(format!("the command ended with {status}")),
        Ok(Err(error)) => ProbeResult::Failure(error.to_string()),
        Err(_) => timed_out(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_from_200_to_399_are_healthy() {
        for (line, healthy) in [
            ("HTTP/1.1 200 OK", true),
            ("HTTP/1.0 302 Found", true),
            ("HTTP/1.1 399", true),
            ("HTTP/1.1 400 Bad Request", false),
            ("HTTP/1.1 503 Service Unavailable", false),
            ("HTTP/1.1 100 Continue", false),
            ("SSH-2.0-OpenSSH_9.2p1 200", false),
            ("HTTP/1.1", false),
            ("", false),
        ] {
            assert_eq!(
                judge(line, false) == ProbeResult::Success,
                healthy,
                "{line}"
            );
        }
    }

    #[test]
    fn informational_answers_are_ignored_only_on_request() {
        assert_eq!(judge("HTTP/1.1 100 Continue", true), ProbeResult::Ignored);
        assert_ne!(judge("HTTP/1.1 100 Continue", false), ProbeResult::Ignored);
    }
}
