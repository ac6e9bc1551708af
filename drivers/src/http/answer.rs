//! An answer, and what its status means to the caller.

use super::complaint::Complaint;
use crate::DriverError;
use bytes::Bytes;
use hyper::Method;
use serde::de::DeserializeOwned;
use serde_json::Value;
use teal_core::Moment;

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked to be done.
    pub method: Method,
    /// Where it was asked, query included.
    pub url: String,
    /// The status.
    pub status: u16,
    /// What the server's clock said, to the second, rounded down.
    pub date: Option<Moment>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// Who leads a cluster of Marathons, as it says. A hint for people.
    pub leader: Option<String>,
    /// By which scheme it wants to be told who asks (RFC 9110, section 11.6.1).
    pub challenge: Option<String>,
    /// As whom teal came; None is nobody.
    pub came_as: Option<String>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Returns the JSON of an answer that says yes; null where it has no body.
    ///
    /// # Errors
    /// What [`Self::error`] makes of any other, or [`DriverError::Malformed`] when it is not JSON.
    pub fn accept(&self) -> Result<Value, DriverError> {
        self.check()?;
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        self.parse()
    }

    /// Returns an answer that says yes as the type that is expected.
    ///
    /// # Errors
    /// What [`Self::error`] makes of any other, or [`DriverError::Malformed`] when it is something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DriverError> {
        self.check()?;
        self.parse()
    }

    /// Passes an answer that says yes.
    ///
    /// # Errors
    /// What [`Self::error`] makes of any other.
    pub fn check(&self) -> Result<(), DriverError> {
        if (200..300).contains(&self.status) {
            Ok(())
        } else {
            Err(self.error())
        }
    }

    /// Tells whether the system itself says that what was asked for does not exist. A 404 of something before it, say a
    /// gateway that has lost it, is no such news.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        if self.status != 404 {
            return false;
        }
        let body = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let message = body.get("message").and_then(Value::as_str);
        message.is_some_and(|message| subject(message).is_some())
    }

    /// Returns what an answer that says no means to the caller.
    #[must_use]
    pub fn error(&self) -> DriverError {
        let complaint = Complaint::read(&self.body);
        let url = self.url.clone();
        let what = format!("{} {}", self.method, self.url);
        let message = complaint
            .message
            .unwrap_or_else(|| format!("status {}", self.status));
        match self.status {
            401 => DriverError::Unauthorized {
                url,
                message: self.unknown(&message),
            },
            // Marathon says so when too many deployments run (--max_running_deployments).
            403 if message.starts_with("Max number") => DriverError::Busy { url, message },
            403 => DriverError::Forbidden {
                url,
                message: format!("{message}; teal came with {}", self.whom()),
            },
            404 => match subject(&message) {
                Some(subject) => DriverError::NotFound { what: subject },
                None => DriverError::Malformed {
                    url,
                    reason: format!("it says that there is no such path ({message})"),
                },
            },
            409 if complaint.locks => DriverError::Locked {
                what: path(&self.url),
                by: complaint.locked_by,
            },
            // Marathon answers an unknown route so, not with 404.
            500 if message == "URI not found" => DriverError::Refused {
                what,
                message,
                details: complaint.details,
            },
            429 | 500.. => DriverError::Busy { url, message },
            300..=399 => DriverError::Refused {
                what,
                message: self.redirect(),
                details: vec![],
            },
            _ => DriverError::Refused {
                what,
                message,
                details: complaint.details,
            },
        }
    }

    /// Tells whether a standby says that it has no leader to pass the question on to, or a gateway that there is
    /// nothing behind it (Marathon: LeaderProxyFilter.scala).
    pub(crate) const fn is_leaderless(&self) -> bool {
        matches!(self.status, 502..=504)
    }

    /// Returns the error for an answer that says yes and cannot be understood.
    #[must_use]
    pub fn malformed(&self, reason: impl Into<String>) -> DriverError {
        DriverError::Malformed {
            url: self.url.clone(),
            reason: reason.into(),
        }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, DriverError> {
        serde_json::from_slice(&self.body).map_err(|error| self.malformed(error.to_string()))
    }

    fn whom(&self) -> &str {
        self.came_as.as_deref().unwrap_or("no credentials")
    }

    fn unknown(&self, message: &str) -> String {
        let challenge = self.challenge.as_ref();
        let asks = challenge.map(|scheme| format!(", and asks for {}", scheme.to_lowercase()));
        let whom = match &self.came_as {
            Some(whom) => format!("{whom} was refused"),
            None => "teal came with no credentials".to_owned(),
        };
        format!("{message}{}; {whom}", asks.unwrap_or_default())
    }

    fn redirect(&self) -> String {
        match &self.location {
            Some(location) => {
                format!(
                    "it sends us on to {location}, and teal does not go to another address by itself"
                )
            }
            None => "it sends us on and does not say where to".to_owned(),
        }
    }
}

/// Returns what a message is about that reads `App '/x' does not exist` (Marathon) or `there is no pool "x"` (ours).
fn subject(message: &str) -> Option<String> {
    let of_marathon = message
        .split_once(" does not exist")
        .map(|(subject, _)| subject);
    of_marathon
        .or_else(|| message.strip_prefix("there is no "))
        .map(str::to_owned)
}

fn path(url: &str) -> String {
    let path = url.split('?').next().unwrap_or(url);
    match path.split_once("/v2/apps/") {
        Some((_, id)) => format!("/{}", id.trim_start_matches('/')),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_means_what_the_caller_can_do() {
        for (status, body, expected) in [
            (401, "<html>no</html>", "does not let us in"),
            (
                403,
                r#"{"message":"Not Authorized to perform this action!"}"#,
                "does not permit this: Not Authorized to perform this action!; teal came with no credentials",
            ),
            (
                403,
                r#"{"message":"Max number (100) of running deployments is achieved."}"#,
                "at the moment",
            ),
            (
                404,
                r#"{"message":"App '/x' does not exist","details":[]}"#,
                "App '/x' does not exist",
            ),
            (
                404,
                "<html>nginx</html>",
                "cannot be read: it says that there is no such path",
            ),
            (
                404,
                "",
                "cannot be read: it says that there is no such path (status 404)",
            ),
            (
                409,
                r#"{"message":"App is locked","deployments":[{"id":"d1"}]}"#,
                "/x is locked by deployment d1",
            ),
            (
                409,
                r#"{"message":"An app with id [/x] already exists."}"#,
                "was refused",
            ),
            (
                422,
                r#"{"message":"Object is not valid"}"#,
                "was refused: Object is not valid",
            ),
            (500, r#"{"message":"URI not found"}"#, "was refused"),
            (500, "", "at the moment: status 500"),
            (
                503,
                r#"{"message":"timed out"}"#,
                "at the moment: timed out",
            ),
            (302, "", "it sends us on"),
        ] {
            let error = answer(status, body).error().to_string();
            assert!(error.contains(expected), "{status} {body}: {error}");
        }
    }

    #[test]
    fn an_answer_that_is_not_json_is_malformed() {
        let error = answer(200, "<html>welcome</html>")
            .accept()
            .expect_err("must not be read");

        assert!(matches!(error, DriverError::Malformed { .. }), "{error}");
    }

    #[test]
    fn an_answer_without_a_body_is_null() {
        assert_eq!(answer(202, "").accept(), Ok(Value::Null));
    }

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            method: Method::GET,
            url: "http://m/v2/apps/x?force=true".to_owned(),
            status,
            date: None,
            location: None,
            leader: None,
            challenge: None,
            came_as: None,
            body: Bytes::from(body.to_owned()),
        }
    }
}
