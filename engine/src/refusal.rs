//! Why a request is refused, with the status and the body Marathon would answer with.
//!
//! The table is `MarathonExceptionMapper` and the resources' own messages in Marathon 1.10.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::identity::AppId;
use crate::issues::Issues;
use crate::time::Stamp;

/// A request that was not carried out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    AppUnknown(AppId),
    /// The kill paths call an unknown app a path.
    PathUnknown(AppId),
    VersionUnknown(AppId, Stamp),
    TaskUnknown(String),
    DeploymentUnknown(String),
    NotQueued(AppId),
    GroupUnknown(AppId),
    /// The group was not there in that version, or nobody remembers it.
    GroupNotInVersion(AppId, Stamp),
    PodUnknown(AppId),
    /// There is no such file in a sandbox.
    FileUnknown(String),
    RouteUnknown,
    /// The methods that the address has instead.
    MethodNotAllowed(&'static str),
    /// The client takes nothing that the address could send.
    NotAcceptable,
    /// The address sends events, and the client does not ask for them.
    EventsOnly,
    /// Marathon would hand its leadership over and exit.
    CannotAbdicate,
    /// Whoever asks does not know the token.
    Unauthorized,
    /// A web page from elsewhere asks, through the browser of somebody on this machine.
    ForeignOrigin(String),
    Exists(AppId),
    GroupExists(AppId),
    /// A group shall get the id of an app.
    AppInTheWay(AppId),
    Locked(Vec<String>),
    Invalid(Issues),
    BadTimestamp(String),
    BadSelector(String),
    BadRequest(String),
    MalformedJson(String),
    BodyTooLarge(usize),
    TooManyDeployments(usize),
    TooManyListeners(usize),
    Stopping,
    /// The change cannot be written down, for this reason.
    NotStored(String),
}

impl Refusal {
    /// Returns the status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::AppUnknown(_)
            | Self::PathUnknown(_)
            | Self::VersionUnknown(..)
            | Self::TaskUnknown(_)
            | Self::DeploymentUnknown(_)
            | Self::NotQueued(_)
            | Self::GroupUnknown(_)
            | Self::PodUnknown(_)
            | Self::FileUnknown(_) => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            // Marathon 1.9 and 1.10 answer 500 to an unknown route although they mean 404.
            Self::RouteUnknown => StatusCode::INTERNAL_SERVER_ERROR,
            // Jetty's event servlet answers 405 to who does not ask for events.
            Self::MethodNotAllowed(_) | Self::EventsOnly | Self::CannotAbdicate => {
                StatusCode::METHOD_NOT_ALLOWED
            }
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Exists(_) | Self::GroupExists(_) | Self::AppInTheWay(_) | Self::Locked(_) => {
                StatusCode::CONFLICT
            }
            Self::Invalid(_)
            | Self::BadTimestamp(_)
            | Self::BadSelector(_)
            | Self::GroupNotInVersion(..) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadRequest(_) | Self::MalformedJson(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyDeployments(_) | Self::ForeignOrigin(_) => StatusCode::FORBIDDEN,
            Self::TooManyListeners(_) | Self::Stopping | Self::NotStored(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Returns the methods that the address has, where the method was the mistake (RFC 9110, §15.5.6).
    pub(crate) fn allowed(&self) -> Option<&'static str> {
        match self {
            Self::MethodNotAllowed(methods) => Some(methods),
            Self::EventsOnly | Self::CannotAbdicate => Some("GET"),
            Self::AppUnknown(_)
            | Self::PathUnknown(_)
            | Self::VersionUnknown(..)
            | Self::TaskUnknown(_)
            | Self::DeploymentUnknown(_)
            | Self::NotQueued(_)
            | Self::GroupUnknown(_)
            | Self::GroupNotInVersion(..)
            | Self::PodUnknown(_)
            | Self::FileUnknown(_)
            | Self::RouteUnknown
            | Self::NotAcceptable
            | Self::Unauthorized
            | Self::ForeignOrigin(_)
            | Self::Exists(_)
            | Self::GroupExists(_)
            | Self::AppInTheWay(_)
            | Self::Locked(_)
            | Self::Invalid(_)
            | Self::BadTimestamp(_)
            | Self::BadSelector(_)
            | Self::BadRequest(_)
            | Self::MalformedJson(_)
            | Self::BodyTooLarge(_)
            | Self::TooManyDeployments(_)
            | Self::TooManyListeners(_)
            | Self::Stopping
            | Self::NotStored(_) => None,
        }
    }

    /// Returns the JSON body of the answer.
    pub(crate) fn body(&self) -> Value {
        match self {
            Self::Invalid(issues) => issues.body(),
            Self::MalformedJson(details) => {
                json!({ "message": "Invalid JSON", "details": details })
            }
            Self::Locked(deployments) => {
                let ids: Vec<Value> = deployments.iter().map(|id| json!({ "id": id })).collect();
                json!({ "message": self.message(), "deployments": ids })
            }
            Self::AppUnknown(_)
            | Self::PathUnknown(_)
            | Self::VersionUnknown(..)
            | Self::GroupUnknown(_)
            | Self::PodUnknown(_) => {
                json!({ "message": self.message(), "details": [] })
            }
            Self::TaskUnknown(_)
            | Self::DeploymentUnknown(_)
            | Self::NotQueued(_)
            | Self::FileUnknown(_)
            | Self::RouteUnknown
            | Self::MethodNotAllowed(_)
            | Self::NotAcceptable
            | Self::EventsOnly
            | Self::CannotAbdicate
            | Self::Unauthorized
            | Self::ForeignOrigin(_)
            | Self::Exists(_)
            | Self::GroupExists(_)
            | Self::AppInTheWay(_)
            | Self::GroupNotInVersion(..)
            | Self::BadTimestamp(_)
            | Self::BadSelector(_)
            | Self::BadRequest(_)
            | Self::BodyTooLarge(_)
            | Self::TooManyDeployments(_)
            | Self::TooManyListeners(_)
            | Self::Stopping
            | Self::NotStored(_) => json!({ "message": self.message() }),
        }
    }

    /// Returns what the body says in one sentence.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::AppUnknown(id) => format!("App '{id}' does not exist"),
            Self::PathUnknown(id) => format!("Path '{id}' does not exist"),
            Self::VersionUnknown(id, version) => {
                format!("App '{id}' does not exist in version {version}")
            }
            Self::TaskUnknown(id) => format!("Task '{id}' does not exist"),
            Self::DeploymentUnknown(id) => format!("DeploymentPlan {id} does not exist"),
            Self::NotQueued(id) => format!("Application {id} not found in tasks queue."),
            Self::FileUnknown(path) => format!("File '{path}' does not exist"),
            Self::GroupUnknown(id) => format!("Group '{id}' does not exist"),
            Self::PodUnknown(id) => format!("Pod '{id}' does not exist"),
            Self::GroupNotInVersion(id, version) => {
                format!("Group {id} not available in version {version}")
            }
            Self::RouteUnknown => "URI not found".to_owned(),
            Self::MethodNotAllowed(_) => "HTTP 405 Method Not Allowed".to_owned(),
            Self::NotAcceptable => "HTTP 406 Not Acceptable".to_owned(),
            Self::CannotAbdicate => {
                "This engine is the only one of its machine: nobody else could lead, and to abdicate \
                 would end it. To end it, stop the program that it runs in."
                    .to_owned()
            }
            Self::EventsOnly => {
                "This address sends events: ask with 'Accept: text/event-stream'".to_owned()
            }
            Self::Unauthorized => "The token is missing or wrong. Send it as 'Authorization: \
                                   token=<token>', as 'Authorization: Bearer <token>', or as the \
                                   password of basic authentication."
                .to_owned(),
            Self::ForeignOrigin(origin) => {
                format!("A page from {origin} may not use this engine")
            }
            Self::Exists(id) => format!("An app with id [{id}] already exists."),
            Self::GroupExists(id) => {
                format!("Group {id} is already created. Use PUT to change this group.")
            }
            Self::AppInTheWay(id) => format!("An app with the path {id} already exists."),
            Self::Locked(_) => {
                "App is locked by one or more deployments. Override with the option \
                 '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
                    .to_owned()
            }
            Self::Invalid(_) => "Object is not valid".to_owned(),
            Self::BadTimestamp(text) => {
                format!("Invalid timestamp provided '{text}'. Expecting ISO-8601 datetime string.")
            }
            Self::BadRequest(message) | Self::BadSelector(message) => message.clone(),
            Self::MalformedJson(_) => "Invalid JSON".to_owned(),
            Self::BodyTooLarge(limit) => format!("The body is larger than {limit} bytes"),
            Self::TooManyDeployments(limit) => format!(
                "Max number ({limit}) of running deployments is achieved. Wait for existing \
                 deployments to complete or cancel one using force=true parameter."
            ),
            Self::TooManyListeners(limit) => {
                format!("Too many event streams are open ({limit}). Close one and try again.")
            }
            Self::Stopping => "The engine is stopping".to_owned(),
            Self::NotStored(reason) => format!(
                "The engine cannot write its state down: {reason}. It starts and ends nothing until it can"
            ),
        }
    }
}

impl From<Issues> for Refusal {
    fn from(issues: Issues) -> Self {
        Self::Invalid(issues)
    }
}
