//! `/v2/apps`: listing, creating, changing, restarting and removing apps, and their tasks.

use std::collections::BTreeMap;

use hyper::header::LOCATION;
use hyper::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::Api;
use super::filters::Filter;
use super::message::{Answer, Call, object};
use super::tasks::{Killing, kill};
use crate::definition::{Definition, Update};
use crate::identity::{AppId, TaskId};
use crate::issues::Issues;
use crate::refusal::Refusal;
use crate::time::{Moment, Stamp};
use crate::world::{Embeds, Force, Intent, ServicePorts, Target, World};

/// What an app, its tasks, its versions and its restart can be asked.
const APPS: &str = "GET, POST, PUT, PATCH";
const APP: &str = "GET, PUT, PATCH, DELETE";

/// Answers everything below `/v2/apps`.
pub(super) fn route(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    let app = |segments: &[&str]| AppId::from_segments(segments.iter().copied());
    match (&call.method, rest) {
        (&Method::GET, []) => list(api, call),
        (&Method::POST, []) => create(api, call),
        (&Method::PUT | &Method::PATCH, []) => update_several(api, call),
        (_, []) => Err(Refusal::MethodNotAllowed(APPS)),
        (&Method::GET, [group @ .., "*", "tasks"]) => tasks_within(api, &app(group)),
        (method, [id @ .., "tasks"]) if !id.is_empty() => match *method {
            Method::GET => tasks(api, &app(id)),
            Method::DELETE => kill_all(api, call, &app(id)),
            _ => Err(Refusal::MethodNotAllowed("GET, DELETE")),
        },
        (method, [id @ .., "tasks", task]) if !id.is_empty() => match *method {
            Method::DELETE => kill_one(api, call, &app(id), task),
            _ => Err(Refusal::MethodNotAllowed("DELETE")),
        },
        (method, [id @ .., "versions"]) if !id.is_empty() => match *method {
            Method::GET => versions(api, &app(id)),
            _ => Err(Refusal::MethodNotAllowed("GET")),
        },
        (method, [id @ .., "versions", version]) if !id.is_empty() => match *method {
            Method::GET => one_version(api, &app(id), version),
            _ => Err(Refusal::MethodNotAllowed("GET")),
        },
        (method, [id @ .., "restart"]) if !id.is_empty() => match *method {
            Method::POST => restart(api, call, &app(id)),
            _ => Err(Refusal::MethodNotAllowed("POST")),
        },
        (&Method::GET, [group @ .., "*"]) => list_group(api, call, &app(group)),
        (method, id) => match *method {
            Method::GET => show(api, call, &app(id)),
            Method::PUT => update(api, call, &app(id), Missing::Create),
            Method::PATCH => update(api, call, &app(id), Missing::Refuse),
            Method::DELETE => remove(api, call, &app(id)),
            _ => Err(Refusal::MethodNotAllowed(APP)),
        },
    }
}

/// Returns what `embed` parameters ask of an app, with any of the prefixes that Marathon takes
/// (`InfoEmbedResolver.scala`). Unknown ones are ignored.
pub(super) fn embeds<'a>(asked: impl Iterator<Item = &'a str>) -> Embeds {
    let mut embeds = Embeds::default();
    for asked in asked {
        let prefix = ["group.apps.", "apps.", "app."]
            .into_iter()
            .find_map(|prefix| asked.strip_prefix(prefix));
        match prefix.unwrap_or(asked) {
            "tasks" => (embeds.tasks, embeds.deployments) = (true, true),
            "failures" => {
                (embeds.tasks, embeds.deployments) = (true, true);
                embeds.last_task_failure = true;
            }
            "deployments" => embeds.deployments = true,
            "readiness" => embeds.readiness = true,
            "lastTaskFailure" => embeds.last_task_failure = true,
            "counts" => embeds.counts = true,
            "taskStats" => embeds.task_stats = true,
            _ => {}
        }
    }
    embeds
}

/// Returns what one app carries, whatever is asked for besides.
fn embeds_of_one(call: &Call) -> Embeds {
    Embeds {
        tasks: true,
        counts: true,
        deployments: true,
        last_task_failure: true,
        ..embeds(call.query.all("embed"))
    }
}

fn list(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let filter = Filter::read(&call.query)?;
    let embeds = Embeds {
        counts: true,
        deployments: true,
        ..embeds(call.query.all("embed"))
    };
    let apps = api.shell.read(|world, now| {
        let matching = world
            .currents()
            .filter(|current| filter.matches(&current.definition));
        let shown = matching.map(|current| world.app_json(&current.definition.id, embeds, now));
        shown.collect::<Result<Vec<Value>, Refusal>>()
    })?;
    Ok(Answer::ok(&json!({ "apps": apps })))
}

/// Lists the apps directly or indirectly inside a group.
fn list_group(api: &Api, call: &Call, group: &AppId) -> Result<Answer, Refusal> {
    let embeds = embeds_of_one(call);
    let apps = api.shell.read(|world, now| {
        world.known_group(group)?;
        world.apps_json_within(group, embeds, now)
    })?;
    Ok(Answer::ok(&json!({ "*": apps })))
}

fn show(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let embeds = embeds_of_one(call);
    let app = api
        .shell
        .read(|world, now| world.app_json(id, embeds, now))?;
    Ok(Answer::ok(&json!({ "app": app })))
}

fn create(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let definition = Definition::read(None, &object(call.json()?)?)?;
    let (id, asked) = (definition.id.clone(), definition.to_json());
    let (accepted, body) = api.shell.change(|world, now| {
        let accepted = world.create(definition, call.force(), now)?;
        world.announce_request(&call.client.ip().to_string(), &call.path, &id);
        let body = world.created_json(asked, &id, accepted.version);
        Ok::<_, Refusal>((accepted, body))
    })?;
    // Marathon builds this from the bare id, so it does not point below /v2/apps.
    let location = format!("{}{id}", api.url());
    Ok(Answer::json(StatusCode::CREATED, &body)
        .naming(&accepted)
        .with(LOCATION, location))
}

/// What to do with an update of an app that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Refuse,
}

fn update(api: &Api, call: &Call, id: &AppId, missing: Missing) -> Result<Answer, Refusal> {
    let update = Update::read(object(call.json()?)?)?;
    let replace = !call.query.flag_or("partialUpdate", true);
    let (status, accepted) = api.shell.change(|world, now| {
        let status = match (world.current(id), missing) {
            (Ok(_), _) => StatusCode::OK,
            (Err(_), Missing::Create) => StatusCode::CREATED,
            (Err(unknown), Missing::Refuse) => return Err(unknown),
        };
        let definition = world.updated(id, &update, replace)?;
        let group = id.parent().unwrap_or_else(AppId::root);
        let accepted = world.deploy(&group, call.force(), now, |_| {
            let target = Target::Define(Box::new(definition));
            Ok(Intent::of_app(id.clone(), target))
        })?;
        world.announce_request(&call.client.ip().to_string(), &call.path, id);
        Ok((status, accepted))
    })?;
    Ok(Answer::deployment(status, &accepted))
}

/// Changes several apps in one deployment.
fn update_several(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    let Value::Array(bodies) = call.json()? else {
        let mut issues = Issues::new();
        issues.add_wrong_type("/", "jsarray");
        return Err(issues.into());
    };
    let replace = !call.query.flag_or("partialUpdate", true);
    let mut updates = Vec::new();
    for (index, body) in bodies.into_iter().enumerate() {
        let body: Map<String, Value> = object(body)?;
        let Some(id) = body.get("id").and_then(Value::as_str).map(AppId::from_text) else {
            let mut issues = Issues::new();
            issues.add_path_missing(&format!("({index})/id"));
            return Err(issues.into());
        };
        updates.push((id, Update::read(body)?));
    }
    let accepted = api.shell.change(|world, now| {
        let mut definitions: BTreeMap<AppId, Definition> = BTreeMap::new();
        for (app, update) in &updates {
            if call.method == Method::PATCH {
                world.current(app)?;
            }
            // The same app may come twice; the later change is made to what the earlier one left.
            let definition = match definitions.get(app).filter(|_| !replace) {
                None => world.updated(app, update, replace)?,
                Some(earlier) => world.updated_from(app, earlier, update)?,
            };
            definitions.insert(app.clone(), definition);
        }
        world.deploy(&AppId::root(), call.force(), now, |_| {
            let wishes = definitions.into_iter().map(|(app, definition)| {
                let target = Target::Define(Box::new(definition));
                (app, target)
            });
            Ok(Intent::of_apps(wishes.collect()))
        })
    })?;
    Ok(Answer::deployment(StatusCode::OK, &accepted))
}

/// Removes an app. `force` defaults to true, whatever Marathon's RAML says
/// (`AppsResource.delete`, since 1.3).
fn remove(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let force = if call.query.flag_or("force", true) {
        Force::Yes
    } else {
        Force::No
    };
    change_to(api, id, Target::Remove, force)
}

fn restart(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    change_to(api, id, Target::Restart, call.force())
}

fn change_to(api: &Api, id: &AppId, target: Target, force: Force) -> Result<Answer, Refusal> {
    let accepted = api
        .shell
        .change(|world, now| world.change_app(id, target, force, now))?;
    Ok(Answer::deployment(StatusCode::OK, &accepted))
}

/// Lists the tasks of all apps in a group.
fn tasks_within(api: &Api, group: &AppId) -> Result<Answer, Refusal> {
    let tasks = api.shell.read(|world, _| {
        world.known_group(group)?;
        let apps = world.app_ids_within(group).into_iter();
        let tasks = apps.map(|app| world.tasks_of(&app, ServicePorts::Hidden));
        let lists = tasks.filter_map(|tasks| tasks.as_array().cloned());
        Ok::<_, Refusal>(lists.flatten().collect::<Vec<Value>>())
    })?;
    Ok(Answer::ok(&json!({ "tasks": tasks })))
}

fn tasks(api: &Api, id: &AppId) -> Result<Answer, Refusal> {
    let tasks = api.shell.read(|world, _| {
        world.current(id)?;
        Ok::<_, Refusal>(world.tasks_of(id, ServicePorts::Hidden))
    })?;
    Ok(Answer::ok(&json!({ "tasks": tasks })))
}

fn kill_all(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let how = Killing::read(call)?;
    let host = call.query.first("host").unwrap_or("*");
    api.shell.change(|world, now| {
        world
            .current(id)
            .map_err(|_| Refusal::PathUnknown(id.clone()))?;
        let on_host = host == "*" || world.host().contains(host);
        let ids = if on_host {
            world.task_ids_of(id)
        } else {
            Vec::new()
        };
        kill_or_scale(world, &ids, how, now, |killed| json!({ "tasks": killed }))
    })
}

fn kill_one(api: &Api, call: &Call, id: &AppId, task: &str) -> Result<Answer, Refusal> {
    let how = Killing::read(call)?;
    let task = TaskId::parse(task).map_err(Refusal::BadRequest)?;
    api.shell.change(|world, now| {
        world
            .current(id)
            .map_err(|_| Refusal::PathUnknown(id.clone()))?;
        let known = world.task_ids_of(id).contains(&task);
        if !known && !how.scale {
            return Err(Refusal::TaskUnknown(task.to_string()));
        }
        let ids = if known { vec![task] } else { Vec::new() };
        kill_or_scale(
            world,
            &ids,
            how,
            now,
            |killed| json!({ "task": killed.first() }),
        )
    })
}

fn kill_or_scale(
    world: &mut World,
    ids: &[TaskId],
    how: Killing,
    now: Moment,
    body: impl FnOnce(Vec<Value>) -> Value,
) -> Result<Answer, Refusal> {
    if how.scale {
        let accepted = world.kill_and_scale(ids, how.force, now)?;
        Ok(Answer::deployment(StatusCode::OK, &accepted))
    } else {
        Ok(Answer::ok(&body(kill(world, ids))))
    }
}

fn versions(api: &Api, id: &AppId) -> Result<Answer, Refusal> {
    let versions = api.shell.read(|world, _| world.versions(id))?;
    Ok(Answer::ok(&json!({ "versions": versions })))
}

fn one_version(api: &Api, id: &AppId, version: &str) -> Result<Answer, Refusal> {
    let bad = || Refusal::BadTimestamp(version.to_owned());
    let version = Stamp::parse(version).ok_or_else(bad)?;
    let body = api.shell.read(|world, _| world.version_json(id, version))?;
    Ok(Answer::ok(&body))
}
