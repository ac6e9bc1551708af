//! `/v2/pods`: there are none, and none can be made. Clients ask, so they are told.

use hyper::Method;
use serde_json::json;

use super::message::{Answer, Call};
use crate::identity::AppId;
use crate::issues::Issues;
use crate::refusal::Refusal;

/// What follows an id with two colons in front (`PodsResource.scala`).
const PARTS: [&str; 3] = ["::status", "::versions", "::instances"];

/// Answers everything below `/v2/pods`.
pub(super) fn route(call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    match (&call.method, rest) {
        (&Method::GET, [] | ["::status"]) => Ok(Answer::ok(&json!([]))),
        (&Method::POST | &Method::PUT, _) => {
            let mut issues = Issues::new();
            issues.add("/", "pods are not supported: this engine runs apps");
            Err(issues.into())
        }
        (&Method::GET | &Method::DELETE, path) if !path.is_empty() => {
            let path = path.join("/");
            let id = PARTS.iter().find_map(|part| path.split_once(part));
            let id = id.map_or(path.as_str(), |(id, _)| id);
            Err(Refusal::PodUnknown(AppId::from_text(id)))
        }
        _ => Err(Refusal::MethodNotAllowed("GET, POST, PUT, DELETE")),
    }
}
