//! What the answers to a readiness check mean: ready, or not yet.
//!
//! A task is asked only while a deployment waits for it: at once when it runs, then an interval
//! after each answer, until it is ready (`ReadinessCheckExecutorImpl.scala`). Which tasks a
//! deployment waits for is decided in `crate::world`.

use serde_json::{Value, json};

use crate::definition::ReadinessCheck;
use crate::identity::TaskId;
use crate::model::ProbeSlot;
use crate::probe::{Answer, Response};

/// The readiness of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Readiness {
    pub(crate) slot: ProbeSlot,
    /// Whether it has been ready once; that is never taken back.
    pub(crate) is_ready: bool,
    /// What came back last, since the present step of a deployment began.
    pub(crate) last: Option<ReadinessResult>,
}

/// What one try said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadinessResult {
    ready: bool,
    /// Only where the check wants it kept.
    response: Option<Response>,
}

impl Readiness {
    /// Folds an answer in.
    pub(crate) fn fold(&mut self, check: &ReadinessCheck, answer: Answer, url: &str) {
        let response = match answer {
            Answer::Http(response) => response,
            Answer::Connected => unanswered(url, "the answer is not HTTP"),
            Answer::Ended { text, .. } | Answer::Nothing(text) => unanswered(url, &text),
        };
        let ready = check.ready_statuses.contains(&response.status);
        self.is_ready |= ready;
        self.last = Some(ReadinessResult {
            ready,
            response: Some(response).filter(|_| check.preserve_last_response),
        });
    }
}

/// Returns what Marathon shows where nothing answered
/// (`ReadinessCheckExecutorImpl.exceptionToErrorResponse`).
fn unanswered(url: &str, cause: &str) -> Response {
    Response {
        status: 504,
        line: "504 Gateway Timeout".to_owned(),
        content_type: "text/plain".to_owned(),
        body: format!("Marathon could not query {url}: {cause}"),
    }
}

impl ReadinessResult {
    /// Returns the entry of `readinessCheckResults` (`readinessCheck.raml`).
    pub(crate) fn to_json(&self, check: &ReadinessCheck, task: &TaskId) -> Value {
        let mut result = json!({ "name": check.name, "taskId": task, "ready": self.ready });
        if let Some(response) = &self.response {
            result["lastResponse"] = json!({
                "status": response.status,
                "contentType": response.content_type,
                "body": response.body,
            });
        }
        result
    }
}
