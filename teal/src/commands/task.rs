//! `teal task`: the runbook's `dcos marathon task …` and its `curl … /v2/tasks/delete` by hand.

use super::app::{deployment, get, send};
use crate::failure::{Exit, Failure};
use crate::printer::{self, Format};
use crate::settings::Places;
use crate::systems;
use clap::Subcommand;
use serde_json::{Value, json};

/// Tasks by hand: the runbook's steps 8 and 11
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// List the tasks, of all apps or of one
    List {
        /// The app's id
        app: Option<String>,
    },
    /// Show a task as JSON
    Show {
        /// The task's id
        id: String,
    },
    /// Stop tasks; they are launched again unless --scale is given
    Kill {
        /// The tasks' ids
        #[arg(required = true)]
        ids: Vec<String>,
        /// Scale the app down by as many
        #[arg(long)]
        scale: bool,
    },
}

/// Runs `teal task …`.
pub(crate) async fn run(places: &Places, command: TaskCommand) -> Result<Exit, Failure> {
    let marathon = systems::marathon(places)?;
    let client = marathon.client();
    match command {
        TaskCommand::List { app } => {
            let app = app.map(|app| format!("/{}", app.trim_matches('/')));
            list(
                places,
                &tasks(&get(client, "/v2/tasks").await?, app.as_deref()),
            );
        }
        TaskCommand::Show { id } => {
            let all = tasks(&get(client, "/v2/tasks").await?, None);
            let task = all
                .into_iter()
                .find(|task| task.get("id").and_then(Value::as_str) == Some(&id));
            let task = task.ok_or_else(|| unknown(std::slice::from_ref(&id)))?;
            printer::json(&task);
        }
        TaskCommand::Kill { ids, scale } => {
            let known = tasks(&get(client, "/v2/tasks").await?, None);
            let is_known = |id: &String| {
                known
                    .iter()
                    .any(|task| task.get("id").and_then(Value::as_str) == Some(id))
            };
            let missing: Vec<String> = ids.iter().filter(|id| !is_known(id)).cloned().collect();
            if !missing.is_empty() {
                return Err(unknown(&missing));
            }
            let path = if scale {
                "/v2/tasks/delete?scale=true"
            } else {
                "/v2/tasks/delete"
            };
            let answer = send(client, "POST", path, Some(&json!({ "ids": ids }))).await?;
            match (scale, places.output) {
                (true, _) => deployment(places, &answer),
                (false, Format::Json) => printer::json(&answer),
                (false, Format::Text) => {
                    printer::data(format_args!("Killed tasks: {}", ids.join(", ")));
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// Marathon answers 200 to ids it does not know (marathon#3208): teal does not.
fn unknown(ids: &[String]) -> Failure {
    Failure::new(
        Exit::Invalid,
        format!("there is no task {}; nothing was changed", ids.join(", ")),
    )
    .hint("`teal task list` shows them")
}

fn tasks(answer: &Value, app: Option<&str>) -> Vec<Value> {
    let all = answer
        .get("tasks")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let wanted =
        |task: &Value| app.is_none_or(|app| task.get("appId").and_then(Value::as_str) == Some(app));
    all.into_iter().filter(wanted).collect()
}

fn list(places: &Places, tasks: &[Value]) {
    if places.output == Format::Json {
        return printer::json(&tasks);
    }
    let mut rows = vec![
        ["APP", "HEALTHY", "STARTED", "ADDRESS", "STATE", "ID"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for task in tasks {
        let text = |name: &str| {
            task.get(name)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let port = task
            .pointer("/ports/0")
            .map_or_else(String::new, |port| format!(":{port}"));
        rows.push(vec![
            text("appId"),
            healthy(task).to_owned(),
            text("startedAt"),
            format!("{}{port}", text("host")),
            text("state").trim_start_matches("TASK_").to_lowercase(),
            text("id"),
        ]);
    }
    printer::table(&rows);
}

/// No result is no result: not healthy, not unhealthy.
fn healthy(task: &Value) -> &'static str {
    let results = task.get("healthCheckResults").and_then(Value::as_array);
    let alive = |result: &Value| result.get("alive").and_then(Value::as_bool) == Some(true);
    match results {
        Some(results) if !results.is_empty() && results.iter().all(alive) => "yes",
        Some(results) if !results.is_empty() => "no",
        Some(_) | None => "unknown",
    }
}
