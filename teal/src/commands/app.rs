//! `teal app`: the runbook's `dcos marathon app …` by hand.

use crate::failure::{Exit, Failure};
use crate::printer::{self, Format};
use crate::settings::Places;
use crate::systems;
use clap::Subcommand;
use serde_json::{Map, Value};
use std::path::PathBuf;
use teal_core::definition::check_part;
use teal_drivers::DriverError;
use teal_drivers::http::Client;

/// Apps by hand: the runbook's steps 3, 4, 5 and 13
#[derive(Debug, Subcommand)]
pub(crate) enum AppCommand {
    /// Launch an app from its definition
    Add {
        /// The Marathon app definition; - reads standard input
        file: PathBuf,
    },
    /// List the apps
    List,
    /// Show an app, with its tasks, as JSON
    Show {
        /// The app's id
        id: String,
    },
    /// Change an app: instances=1, cpus=0.5, cmd="…"; without properties a JSON patch is read from standard input
    Update {
        /// The app's id
        id: String,
        /// What to change, as NAME=VALUE; a value that is JSON is taken as such
        properties: Vec<String>,
        /// Change it though a change is under way
        #[arg(long)]
        force: bool,
    },
    /// Remove an app and stop its instances
    Remove {
        /// The app's id
        id: String,
    },
    /// Replace all instances of an app by new ones of the same definition
    Restart {
        /// The app's id
        id: String,
    },
}

/// Runs `teal app …`.
pub(crate) async fn run(places: &Places, command: AppCommand) -> Result<Exit, Failure> {
    let marathon = systems::marathon(places)?;
    let client = marathon.client();
    match command {
        AppCommand::Add { file } => {
            let text = super::read_file(&file)?;
            let body: Value = serde_json::from_str(&text).map_err(|error| {
                Failure::new(
                    Exit::Invalid,
                    format!(
                        "{} is not JSON: {error}; nothing was changed",
                        file.display()
                    ),
                )
            })?;
            deployment(
                places,
                &send(client, "POST", "/v2/apps", Some(&body)).await?,
            );
        }
        AppCommand::List => list(places, client).await?,
        AppCommand::Show { id } => {
            let app = get(client, &path(&id)).await?;
            printer::json(app.get("app").unwrap_or(&app));
        }
        AppCommand::Update {
            id,
            properties,
            force,
        } => {
            let patch = patch(&properties)?;
            let force = if force { "?force=true" } else { "" };
            deployment(
                places,
                &send(
                    client,
                    "PUT",
                    &format!("{}{force}", path(&id)),
                    Some(&patch),
                )
                .await?,
            );
        }
        AppCommand::Remove { id } => {
            deployment(places, &send(client, "DELETE", &path(&id), None).await?);
        }
        AppCommand::Restart { id } => {
            deployment(
                places,
                &send(client, "POST", &format!("{}/restart", path(&id)), None).await?,
            );
        }
    }
    Ok(Exit::Done)
}

pub(super) fn path(id: &str) -> String {
    format!("/v2/apps/{}", id.trim_matches('/'))
}

pub(super) async fn get(client: &Client, path: &str) -> Result<Value, Failure> {
    client.get(path).await.map_err(|error| refused(&error))
}

pub(super) async fn send(
    client: &Client,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let method = method.parse().map_err(anyhow::Error::new)?;
    let (_, answer) = client
        .send(method, path, body)
        .await
        .map_err(|error| refused(&error))?;
    Ok(answer)
}

/// What a person asked for by name and what is not there is the person's mistake; the rest is the orchestrator's.
fn refused(error: &DriverError) -> Failure {
    if matches!(error, DriverError::NotFound { .. }) {
        return Failure::new(Exit::Invalid, format!("{error}; nothing was changed"))
            .hint("`teal app list` shows what there is");
    }
    Failure::orchestrator(error)
}

/// Tells which deployment of Marathon's an answer announces.
pub(super) fn deployment(places: &Places, answer: &Value) {
    let id = answer
        .pointer("/deployments/0/id")
        .or_else(|| answer.get("deploymentId"))
        .and_then(Value::as_str);
    match (places.output, id) {
        (Format::Json, _) => printer::json(answer),
        (Format::Text, Some(id)) => printer::data(format_args!("Created deployment {id}")),
        (Format::Text, None) => {}
    }
}

fn patch(properties: &[String]) -> Result<Value, Failure> {
    if properties.is_empty() {
        let text = super::read_file(std::path::Path::new("-"))?;
        return serde_json::from_str(&text).map_err(|error| {
            Failure::new(
                Exit::Invalid,
                format!("standard input is not JSON: {error}; nothing was changed"),
            )
        });
    }
    let mut patch = Map::new();
    for property in properties {
        let Some((name, value)) = property.split_once('=') else {
            return Err(Failure::new(
                Exit::Invalid,
                format!("`{property}` is not NAME=VALUE; nothing was changed"),
            )
            .hint("write it like instances=1"));
        };
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        patch.insert(name.to_owned(), value);
    }
    let problems = check_part(&patch);
    if problems.is_empty() {
        return Ok(Value::Object(patch));
    }
    Err(Failure::invalid(
        "this change cannot be used; nothing was changed",
        problems,
    ))
}

async fn list(places: &Places, client: &Client) -> Result<(), Failure> {
    let answer = get(client, "/v2/apps").await?;
    let apps = answer
        .get("apps")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    if places.output == Format::Json {
        printer::json(&apps);
        return Ok(());
    }
    let mut rows = vec![
        [
            "ID",
            "INSTANCES",
            "HEALTHY",
            "UNHEALTHY",
            "DEPLOYMENT",
            "CMD",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for app in apps {
        let number = |name: &str| app.get(name).and_then(Value::as_u64).unwrap_or(0);
        let text = |name: &str| {
            app.get(name)
                .and_then(Value::as_str)
                .unwrap_or("-")
                .to_owned()
        };
        let locked = app
            .get("deployments")
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty());
        rows.push(vec![
            text("id"),
            format!("{} of {}", number("tasksRunning"), number("instances")),
            number("tasksHealthy").to_string(),
            number("tasksUnhealthy").to_string(),
            if locked { "under way" } else { "-" }.to_owned(),
            text("cmd").chars().take(60).collect(),
        ]);
    }
    printer::table(&rows);
    Ok(())
}
