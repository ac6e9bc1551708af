//! `/v2/deployments` and `/v2/queue`.

use hyper::{Method, StatusCode};

use super::Api;
use super::message::{Answer, Call};
use crate::identity::AppId;
use crate::refusal::Refusal;
use crate::world::{Force, Offers};

/// Answers everything below `/v2/deployments`.
pub(super) fn route(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let deployments = api.shell.read(|world, _| world.deployments_json());
            Ok(Answer::ok(&deployments))
        }
        (&Method::DELETE, [id]) => match call.force() {
            Force::Yes => {
                api.shell.change(|world, _| world.abandon_deployment(id))?;
                Ok(Answer::empty(StatusCode::ACCEPTED))
            }
            Force::No => {
                let accepted = api
                    .shell
                    .change(|world, now| world.revert_deployment(id, now))?;
                Ok(Answer::deployment(StatusCode::OK, &accepted))
            }
        },
        (_, []) => Err(Refusal::MethodNotAllowed("GET")),
        (_, [_]) => Err(Refusal::MethodNotAllowed("DELETE")),
        _ => Err(Refusal::RouteUnknown),
    }
}

/// Answers everything below `/v2/queue`.
pub(super) fn route_queue(api: &Api, call: &Call, rest: &[&str]) -> Result<Answer, Refusal> {
    match (&call.method, rest) {
        (&Method::GET, []) => {
            let offers = match call
                .query
                .all("embed")
                .any(|embed| embed == "lastUnusedOffers")
            {
                true => Offers::Listed,
                false => Offers::Hidden,
            };
            let queue = api.shell.read(|world, now| world.queue_json(offers, now));
            Ok(Answer::ok(&queue))
        }
        (&Method::DELETE, [app @ .., "delay"]) => {
            let app = AppId::from_segments(app.iter().copied());
            api.shell.change(|world, _| world.reset_delay(&app))?;
            Ok(Answer::empty(StatusCode::NO_CONTENT))
        }
        (_, []) => Err(Refusal::MethodNotAllowed("GET")),
        (_, [.., "delay"]) => Err(Refusal::MethodNotAllowed("DELETE")),
        _ => Err(Refusal::RouteUnknown),
    }
}
