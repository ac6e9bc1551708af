//! `teal logs`: what the instances of an app print.
//!
//! It asks the endpoints of a Mesos agent (`/files/browse`, `/files/read`: `src/files/files.cpp` of Mesos), which the
//! embedded engine answers too.

use super::app::{get, path};
use crate::failure::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::printer;
use crate::settings::Places;
use crate::systems;
use anyhow::Context;
use clap::Args;
use serde_json::Value;
use std::time::Duration;
use teal_drivers::DriverError;
use teal_drivers::http::{Client, Method, segment};

/// How often files are looked at while following.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// How far back `--lines` looks at most.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;

/// Show what an app's instances print
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// A task's id, or an app's: then of all its tasks, or of the last that failed
    #[arg(value_name = "TASK|APP")]
    id: String,
    /// What they print to standard error instead of standard output
    #[arg(long)]
    stderr: bool,
    /// How many lines of each to begin with
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Go on until Ctrl-C
    #[arg(short, long)]
    follow: bool,
}

/// One file that is read bit by bit.
struct Tail {
    task: String,
    path: String,
    /// How far it has been read.
    offset: u64,
    /// What tells an old file from the one before: its size and time of change.
    rotated: Option<(u64, String)>,
    /// The begin of a line whose end is not there yet.
    begun: String,
}

/// Runs `teal logs`.
pub(crate) async fn run(places: &Places, args: LogsArgs) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen().context("cannot listen for signals")?;
    let marathon = systems::marathon(places)?;
    let client = marathon.client();
    let tasks = tasks(client, &args.id).await?;
    let stream = if args.stderr { "stderr" } else { "stdout" };
    let named = tasks.len() > 1;
    let mut tails = Vec::new();
    for task in tasks {
        let mut tail = Tail::open(client, task, stream).await?;
        tail.last_lines(client, args.lines, named).await?;
        tails.push(tail);
    }
    if args.follow {
        follow(client, &mut tails, &interrupt).await?;
    }
    for tail in &mut tails {
        tail.end(named);
    }
    Ok(Exit::Done)
}

/// Prints what is written from here on, until a person has seen enough.
async fn follow(client: &Client, tails: &mut [Tail], interrupt: &Interrupt) -> Result<(), Failure> {
    let named = tails.len() > 1;
    loop {
        tokio::select! {
            () = interrupt.wanted() => return Ok(()),
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        for tail in tails.iter_mut() {
            tail.go_on(client, named).await?;
        }
    }
}

/// Returns the ids of the tasks that are meant.
async fn tasks(client: &Client, id: &str) -> Result<Vec<String>, Failure> {
    let answer = client.call(Method::GET, &path(id), None).await;
    let answer = answer.map_err(|error| Failure::orchestrator(&error))?;
    if answer.is_missing() {
        // A task that has ended is in no list any more; its files may still be there.
        return Ok(vec![id.trim_matches('/').to_owned()]);
    }
    let app = answer.accept();
    let app = app.map_err(|error| Failure::orchestrator(&error))?;
    let running = app.pointer("/app/tasks").and_then(Value::as_array);
    let ids = running
        .into_iter()
        .flatten()
        .filter_map(|task| task.get("id")?.as_str());
    let ids: Vec<String> = ids.map(str::to_owned).collect();
    if !ids.is_empty() {
        return Ok(ids);
    }
    let failed = app
        .pointer("/app/lastTaskFailure/taskId")
        .and_then(Value::as_str);
    match failed {
        Some(failed) => {
            printer::talk(format_args!(
                "no task of {id} runs; this is {failed}, the last that failed"
            ));
            Ok(vec![failed.to_owned()])
        }
        None => Err(Failure::new(
            Exit::Invalid,
            format!("{id} has no task, and none has failed"),
        )
        .hint("`teal app show` tells what the app waits for")),
    }
}

impl Tail {
    async fn open(client: &Client, task: String, stream: &str) -> Result<Self, Failure> {
        let path = format!("/{task}/{stream}");
        let mut tail = Self {
            task,
            path,
            offset: 0,
            rotated: None,
            begun: String::new(),
        };
        tail.offset = match tail.size(client).await {
            Ok(size) => size,
            Err(error) => return Err(tail.unreadable(&error)),
        };
        tail.rotated = tail.old(client).await?;
        Ok(tail)
    }

    fn unreadable(&self, error: &DriverError) -> Failure {
        let hint = if matches!(error, DriverError::NotFound { .. }) {
            "`teal task list` shows the tasks; of ended ones the last 100 are kept"
        } else {
            "on a cluster the agents have the files, not Marathon: `dcos task log` or the Mesos page shows them"
        };
        Failure::new(
            Exit::Orchestrator,
            format!("cannot read what {} prints: {error}", self.task),
        )
        .hint(hint)
    }

    async fn size(&self, client: &Client) -> Result<u64, DriverError> {
        let read = client
            .get(&format!(
                "/files/read?path={}&offset=-1",
                segment(&self.path)
            ))
            .await?;
        Ok(read
            .get("offset")
            .and_then(Value::as_u64)
            .unwrap_or_default())
    }

    /// Returns what identifies the newest of the old files, if there is one.
    async fn old(&self, client: &Client) -> Result<Option<(u64, String)>, Failure> {
        let files = get(
            client,
            &format!("/files/browse?path=/{}", segment(&self.task)),
        )
        .await?;
        let name = format!("{}.1", self.path);
        let mut files = files.as_array().into_iter().flatten();
        let old = files.find(|file| file.get("path").and_then(Value::as_str) == Some(&name));
        Ok(old.map(|old| {
            let size = old.get("size").and_then(Value::as_u64).unwrap_or_default();
            (
                size,
                old.get("mtime").map(Value::to_string).unwrap_or_default(),
            )
        }))
    }

    /// Reads a file from an offset to its end, and returns where that is.
    async fn read(
        &self,
        client: &Client,
        path: &str,
        from: u64,
        into: &mut String,
    ) -> Result<u64, Failure> {
        let mut offset = from;
        loop {
            let path = format!("/files/read?path={}&offset={offset}", segment(path));
            let read = get(client, &path).await?;
            let data = read.get("data").and_then(Value::as_str).unwrap_or_default();
            if data.is_empty() {
                return Ok(offset);
            }
            into.push_str(data);
            offset += data.len() as u64;
        }
    }

    async fn last_lines(
        &mut self,
        client: &Client,
        lines: usize,
        named: bool,
    ) -> Result<(), Failure> {
        let from = self.offset.saturating_sub(TAIL_BYTES_MAX);
        let mut text = String::new();
        self.offset = self.read(client, &self.path, from, &mut text).await?;
        let whole = text.strip_suffix('\n').unwrap_or(&text);
        let begin = whole
            .rmatch_indices('\n')
            .nth(lines.saturating_sub(1))
            .map_or(0, |(at, _)| at + 1);
        let begin = if lines == 0 { text.len() } else { begin };
        self.print(&text[begin..], named);
        Ok(())
    }

    /// Prints what has been written since.
    async fn go_on(&mut self, client: &Client, named: bool) -> Result<(), Failure> {
        let mut text = String::new();
        let old = self.old(client).await?;
        if old != self.rotated
            && let Some((cut, _)) = &old
        {
            // Rotation has moved so many bytes of the begin into the old file.
            let old_path = format!("{}.1", self.path);
            if self.offset < *cut {
                self.read(client, &old_path, self.offset, &mut text).await?;
            }
            self.offset = self.offset.saturating_sub(*cut);
            self.rotated = old;
        }
        self.offset = self
            .read(client, &self.path, self.offset, &mut text)
            .await?;
        self.print(&text, named);
        Ok(())
    }

    /// Prints whole lines and keeps the rest. With several tasks each line says whose it is.
    fn print(&mut self, text: &str, named: bool) {
        self.begun.push_str(text);
        let Some(end) = self.begun.rfind('\n') else {
            return;
        };
        let rest = self.begun.split_off(end + 1);
        let whole = std::mem::replace(&mut self.begun, rest);
        for line in whole.lines() {
            self.line(line, named);
        }
    }

    /// Prints a last line that has no end.
    fn end(&mut self, named: bool) {
        let line = std::mem::take(&mut self.begun);
        if !line.is_empty() {
            self.line(&line, named);
        }
    }

    fn line(&self, line: &str, named: bool) {
        if named {
            printer::data(format_args!("{} {line}", printer::style::dim(&self.task)));
        } else {
            printer::data(line);
        }
    }
}
