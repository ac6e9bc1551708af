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
    /// There is no such file in a sandbox.
    FileUnknown(String),
    RouteUnknown,
    MethodNotAllowed,
    NotAcceptable,
    /// A web page from elsewhere asks, through the browser of somebody on this machine.
    ForeignOrigin(String),
    Exists(AppId),
    Locked(Vec<String>),
    Invalid(Issues),
    BadTimestamp(String),
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
            | Self::FileUnknown(_) => StatusCode::NOT_FOUND,
            // Marathon 1.9 and 1.10 answer 500 to an unknown route although they mean 404.
            Self::RouteUnknown => StatusCode::INTERNAL_SERVER_ERROR,
            Self::MethodNotAllowed | Self::NotAcceptable => StatusCode::METHOD_NOT_ALLOWED,
            Self::Exists(_) | Self::Locked(_) => StatusCode::CONFLICT,
            Self::Invalid(_) | Self::BadTimestamp(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BadRequest(_) | Self::MalformedJson(_) => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooManyDeployments(_) | Self::ForeignOrigin(_) => StatusCode::FORBIDDEN,
            Self::TooManyListeners(_) | Self::Stopping | Self::NotStored(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
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
            Self::AppUnknown(_) | Self::PathUnknown(_) | Self::VersionUnknown(..) => {
                json!({ "message": self.message(), "details": [] })
            }
            Self::TaskUnknown(_)
            | Self::DeploymentUnknown(_)
            | Self::NotQueued(_)
            | Self::FileUnknown(_)
            | Self::RouteUnknown
            | Self::MethodNotAllowed
            | Self::NotAcceptable
            | Self::ForeignOrigin(_)
            | Self::Exists(_)
            | Self::BadTimestamp(_)
            | Self::BadRequest(_)
            | Self::BodyTooLarge(_)
            | Self::TooManyDeployments(_)
            | Self::TooManyListeners(_)
            | Self::Stopping
            | Self::NotStored(_) => json!({ "message": self.message() }),
        }
    }

    fn message(&self) -> String {
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
            Self::RouteUnknown => "URI not found".to_owned(),
            Self::MethodNotAllowed => "HTTP 405 Method Not Allowed".to_owned(),
            Self::NotAcceptable => {
                "This address sends events: ask with 'Accept: text/event-stream'".to_owned()
            }
            Self::ForeignOrigin(origin) => {
                format!("A page from {origin} may not use this engine")
            }
            Self::Exists(id) => format!("An app with id [{id}] already exists."),
            Self::Locked(_) => {
                "App is locked by one or more deployments. Override with the option \
                 '?force=true'. View details at '/v2/deployments/<DEPLOYMENT_ID>'."
                    .to_owned()
            }
            Self::Invalid(_) => "Object is not valid".to_owned(),
            Self::BadTimestamp(text) => {
                format!("Invalid timestamp provided '{text}'. Expecting ISO-8601 datetime string.")
            }
            Self::BadRequest(message) => message.clone(),
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
