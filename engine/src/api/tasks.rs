//! `/v2/tasks`: all tasks, and killing some of them.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::Api;
use super::message::{Answer, Call, object};
use crate::identity::TaskId;
use crate::issues::Issues;
use crate::model::TaskState;
use crate::refusal::Refusal;
use crate::world::{Force, World};

/// Answers everything below `/v2/tasks`.
pub(super) fn route(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    match (&call.method, rest) {
        (&Method::GET, []) => Ok(list(api, call)),
        (&Method::POST, ["delete"]) => delete(api, call),
        (_, []) => Err(Refusal::MethodNotAllowed("GET")),
        (_, ["delete"]) => Err(Refusal::MethodNotAllowed("POST")),
        _ => Err(Refusal::RouteUnknown),
    }
}

/// Lists tasks; only `running` and `staging` are known as filters, others are ignored.
fn list(api: &Api, call: &Call) -> Answer {
    let asked = call.query.all("status").chain(call.query.all("status[]"));
    let states: Vec<TaskState> = asked
        .filter_map(|status| match status.to_ascii_lowercase().as_str() {
            "running" => Some(TaskState::Running),
            "staging" => Some(TaskState::Staging),
            _ => None,
        })
        .collect();
    let tasks = api.shell.read(|world, _| world.all_tasks(&states));
    Answer::ok(&json!({ "tasks": tasks }))
}

fn delete(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let ids = read_ids(call)?;
    let how = Killing::read(call)?;
    api.shell.change(|world, now| match how.scale {
        true => {
            let accepted = world.kill_and_scale(&ids, how.force, now)?;
            Ok(Answer::deployment(StatusCode::OK, &accepted))
        }
        false => Ok(Answer::ok(&json!({ "tasks": kill(world, &ids) }))),
    })
}

/// Kills tasks and returns what they were.
pub(super) fn kill(world: &mut World, ids: &[TaskId]) -> Vec<Value> {
    let killed = world.kill(ids);
    killed.iter().filter_map(|id| world.one_task(id)).collect()
}

/// How tasks are to be killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Killing {
    pub(super) scale: bool,
    pub(super) force: Force,
}

impl Killing {
    /// Reads the parameters that all killing requests have.
    ///
    /// # Errors
    /// `wipe` is asked for: it contradicts `scale`, and is for resident tasks, which there are none
    /// of.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let (scale, wipe) = (call.query.flag("scale"), call.query.flag("wipe"));
        if wipe {
            let message = if scale {
                "You cannot use scale and wipe at the same time."
            } else {
                "There is nothing to wipe: this engine keeps no volumes and reserves nothing for a \
                 task. Kill it without wipe=true."
            };
            return Err(Refusal::BadRequest(message.to_owned()));
        }
        Ok(Self {
            scale,
            force: call.force(),
        })
    }
}

fn read_ids(call: &Call) -> Result<Vec<TaskId>, Refusal> {
    let body = object(call.json()?)?;
    let mut issues = Issues::new();
    let Some(ids) = body.get("ids") else {
        issues.add_path_missing("/ids");
        return Err(issues.into());
    };
    let Some(ids) = ids.as_array() else {
        issues.add_wrong_type("/ids", "jsarray");
        return Err(issues.into());
    };
    let mut parsed = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        match id.as_str() {
            None => issues.add_wrong_type(&format!("/ids({index})"), "jsstring"),
            Some(id) => parsed.push(TaskId::parse(id).map_err(Refusal::BadRequest)?),
        }
    }
    issues.into_result()?;
    Ok(parsed)
}
