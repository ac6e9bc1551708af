//! `/v2/groups`: the tree of groups, its versions, and changes of whole subtrees.
//!
//! Follows `GroupsResource.scala`: what an id may end with decides what is meant (`/apps`,
//! `/versions`, `/versions/{version}`).

use hyper::header::LOCATION;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::Api;
use super::apps::embeds;
use super::message::{Answer, Call, Query, object};
use crate::groups::{Children, GroupUpdate, read_settings};
use crate::identity::AppId;
use crate::issues::Issues;
use crate::refusal::Refusal;
use crate::time::Stamp;
use crate::world::GroupApps;

/// What a group and its parts can be asked.
const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";

/// Answers everything below `/v2/groups`.
pub(super) fn route(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    let id = |segments: &[&str]| AppId::from_segments(segments.iter().copied());
    match (&call.method, rest) {
        (&Method::GET, [group @ .., "apps"]) => list_apps(api, call, &id(group)),
        (&Method::GET, [group @ .., "versions"]) => versions(api, &id(group)),
        (&Method::GET, [group @ .., "versions", version]) => {
            one_version(api, call, &id(group), version)
        }
        (&Method::GET, group) => show(api, call, &id(group)),
        (&Method::POST, group) => create(api, call, &id(group)),
        (&Method::PUT, group) => update(api, call, &id(group)),
        (&Method::PATCH, group) if !group.is_empty() => settings(api, call, &id(group)),
        (&Method::DELETE, group) => remove(api, call, &id(group)),
        _ => Err(Refusal::MethodNotAllowed(METHODS)),
    }
}

fn show(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let (apps, children) = read_embeds(&call.query);
    let group = api
        .shell
        .read(|world, now| world.group_json(id, apps, children, now))?;
    Ok(Answer::ok(&group))
}

fn list_apps(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let embeds = embeds(
        call.query
            .all("embed")
            .filter(|embed| embed.starts_with(APPS)),
    );
    let apps = api
        .shell
        .read(|world, now| world.apps_json_within(id, embeds, now))?;
    Ok(Answer::ok(&json!(apps)))
}

fn versions(api: &Api, id: &AppId) -> Result<Answer, Refusal> {
    let versions = api.shell.read(|world, _| world.group_versions(id))?;
    Ok(Answer::ok(&json!(versions)))
}

fn one_version(api: &Api, call: &Call, id: &AppId, version: &str) -> Result<Answer, Refusal> {
    let bad = || Refusal::BadTimestamp(version.to_owned());
    let version = Stamp::parse(version).ok_or_else(bad)?;
    let (apps, children) = read_embeds(&call.query);
    let group = api
        .shell
        .read(|world, _| world.group_version_json(id, version, apps, children))?;
    Ok(Answer::ok(&group))
}

fn create(api: &Api, call: &Call, base: &AppId) -> Result<Answer, Refusal> {
    let update = GroupUpdate::read(base, &object(call.json()?)?)?;
    let accepted = api
        .shell
        .change(|world, now| world.create_group(&update, call.force(), now))?;
    let location = format!("{}{}", api.url(), update.id);
    Ok(Answer::deployment(StatusCode::CREATED, &accepted).with(LOCATION, location))
}

fn update(api: &Api, call: &Call, base: &AppId) -> Result<Answer, Refusal> {
    let update = GroupUpdate::read(base, &object(call.json()?)?)?;
    if call.query.flag("dryRun") {
        let steps = api
            .shell
            .read(|world, now| world.rehearse_group(&update, now))?;
        return Ok(Answer::ok(&steps));
    }
    let accepted = api
        .shell
        .change(|world, now| world.change_group(&update, call.force(), now))?;
    Ok(Answer::deployment(StatusCode::OK, &accepted))
}

/// Takes a `PATCH`, which could only switch on what one machine does not have.
fn settings(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    read_settings(&object(call.json()?)?)?;
    if id.parent() != Some(AppId::root()) {
        let mut issues = Issues::new();
        issues.add("/", "Path needs to be top-level");
        return Err(issues.into());
    }
    api.shell.read(|world, _| world.known_group(id))?;
    Ok(Answer::empty(StatusCode::OK))
}

fn remove(api: &Api, call: &Call, id: &AppId) -> Result<Answer, Refusal> {
    let accepted = api
        .shell
        .change(|world, now| world.remove_group(id, call.force(), now))?;
    Ok(Answer::deployment(StatusCode::OK, &accepted))
}

/// What begins the name of everything that can be embedded in an app of a group.
const APPS: &str = "group.apps.";

/// Returns what a group shall carry; nothing asked means apps and groups.
fn read_embeds(query: &Query) -> (GroupApps, Children) {
    let asked: Vec<&str> = query.all("embed").collect();
    let asks = |what: &str| asked.is_empty() || asked.contains(&what);
    let apps = asked
        .iter()
        .copied()
        .filter(|embed| embed.starts_with(APPS));
    let apps = if asks("group.apps") {
        GroupApps::Embedded(embeds(apps))
    } else {
        GroupApps::Hidden
    };
    let children = if asks("group.groups") {
        Children::Embedded
    } else {
        Children::Hidden
    };
    (apps, children)
}
