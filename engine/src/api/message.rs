//! A request as handlers see it, and an answer before it is bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    self, ALLOW, CACHE_CONTROL, CONTENT_TYPE, EXPIRES, HeaderMap, HeaderName, HeaderValue, PRAGMA,
    WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::accept::Accept;
use crate::refusal::Refusal;
use crate::world::{Accepted, Force};

/// The body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// One request.
#[derive(Debug)]
pub(super) struct Call {
    /// HEAD counts as GET; the server leaves the body away.
    pub(super) method: Method,
    /// The decoded segments of the path, without empty ones.
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
    pub(super) headers: HeaderMap,
    pub(super) accept: Accept,
    pub(super) body: Bytes,
    pub(super) client: SocketAddr,
    /// Rung when the connection is to be ended at once, whatever is still to be sent.
    pub(super) cut: Arc<Notify>,
    /// The path as it was sent.
    pub(super) path: String,
}

impl Call {
    /// Takes a request apart.
    pub(super) fn new(parts: Parts, body: Bytes, client: SocketAddr, cut: Arc<Notify>) -> Self {
        let method = if parts.method == Method::HEAD {
            Method::GET
        } else {
            parts.method
        };
        let path = parts.uri.path().to_owned();
        // Decoded first: some clients send the slashes of an app id as %2F.
        let decoded = decode(&path);
        let segments = decoded.split('/').filter(|segment| !segment.is_empty());
        Self {
            method,
            segments: segments.map(str::to_owned).collect(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            accept: Accept::read(&parts.headers),
            headers: parts.headers,
            body,
            client,
            cut,
            path,
        }
    }

    /// Reads the body as JSON.
    ///
    /// # Errors
    /// The body is not JSON.
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::MalformedJson(error.to_string()))
    }

    /// Returns whether `force` is asked for.
    pub(super) fn force(&self) -> Force {
        if self.query.flag("force") {
            Force::Yes
        } else {
            Force::No
        }
    }
}

/// The parameters of a request, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode_form(key), decode_form(value))
        });
        Self(pairs.collect())
    }

    /// Returns all values of a parameter.
    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let matching = self.0.iter().filter(move |(known, _)| known == key);
        matching.map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a parameter, unless it is empty.
    pub(super) fn first<'a>(&'a self, key: &'a str) -> Option<&'a str> {
        self.all(key).next().filter(|value| !value.is_empty())
    }

    /// Returns whether a parameter is "true" in any case, as Java's `Boolean.valueOf` reads it.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.first(key)
            .is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Returns a parameter's truth, or the default where it is not given.
    pub(super) fn flag_or(&self, key: &str, default: bool) -> bool {
        match self.first(key) {
            None => default,
            Some(_) => self.flag(key),
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn decode_form(text: &str) -> String {
    decode(&text.replace('+', " "))
}

/// One answer.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: Body,
    headers: Vec<(HeaderName, String)>,
}

/// The header that names the deployment a change has set off.
const DEPLOYMENT_ID: HeaderName = HeaderName::from_static("marathon-deployment-id");

impl Answer {
    /// Returns an answer with a JSON body.
    pub(super) fn json(status: StatusCode, body: &Value) -> Self {
        Self::text(status, "application/json", body.to_string())
    }

    /// Returns a 200 answer with a JSON body.
    pub(super) fn ok(body: &Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// Returns an answer with some other text.
    pub(super) fn text(status: StatusCode, media_type: &str, text: String) -> Self {
        Self::stream(status, media_type, Full::from(text).boxed_unsync())
    }

    /// Returns an answer with a body that comes bit by bit.
    pub(super) fn stream(status: StatusCode, media_type: &str, body: Body) -> Self {
        Self {
            status,
            body,
            headers: vec![(CONTENT_TYPE, media_type.to_owned())],
        }
    }

    /// Returns an answer without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            body: Full::default().boxed_unsync(),
            headers: Vec::new(),
        }
    }

    /// Returns the answer to a change: the deployment it has set off.
    pub(super) fn deployment(status: StatusCode, accepted: &Accepted) -> Self {
        let body = json!({ "version": accepted.version, "deploymentId": accepted.deployment });
        Self::json(status, &body).with(DEPLOYMENT_ID, accepted.deployment.clone())
    }

    /// Adds the header that names a deployment.
    pub(super) fn naming(self, accepted: &Accepted) -> Self {
        self.with(DEPLOYMENT_ID, accepted.deployment.clone())
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Returns the answer with the headers that every answer of a leader carries
    /// (`CacheDisablingFilter`, `LeaderProxyFilter` and `RootApplication` in Marathon 1.10).
    pub(super) fn into_response(self, leader: String) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let common = [
            (HeaderName::from_static("x-marathon-leader"), leader),
            (header::X_FRAME_OPTIONS, "DENY".to_owned()),
            (header::X_XSS_PROTECTION, "1; mode=block".to_owned()),
            (
                CACHE_CONTROL,
                "no-cache, no-store, must-revalidate".to_owned(),
            ),
            (PRAGMA, "no-cache".to_owned()),
            (EXPIRES, "0".to_owned()),
        ];
        for (name, value) in common.into_iter().chain(self.headers) {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let answer = Self::json(refusal.status(), &refusal.body());
        if refusal == Refusal::Unauthorized {
            let ways = "Basic realm=\"teal\", Bearer realm=\"teal\"";
            return answer.with(WWW_AUTHENTICATE, ways.to_owned());
        }
        match refusal.allowed() {
            None => answer,
            Some(methods) => answer.with(ALLOW, methods.to_owned()),
        }
    }
}

/// Returns a JSON value as an object.
///
/// # Errors
/// It is something else.
pub(super) fn object(value: Value) -> Result<Map<String, Value>, Refusal> {
    match value {
        Value::Object(map) => Ok(map),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            let mut issues = crate::issues::Issues::new();
            issues.add_wrong_type("/", "jsobject");
            Err(Refusal::Invalid(issues))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_true_in_any_case_and_false_otherwise() {
        let query = Query::parse("scale=True&force=False&wipe=yes&empty");

        assert!(query.flag("scale"));
        for key in ["force", "wipe", "empty", "absent"] {
            assert!(!query.flag(key), "{key}");
        }
        assert!(query.flag_or("absent", true));
        assert!(!query.flag_or("force", true));
    }

    #[test]
    fn parameters_are_decoded_and_may_repeat() {
        let query = Query::parse("embed=apps.tasks&embed=apps.counts&label=a%3D%3Db+c");

        assert_eq!(
            query.all("embed").collect::<Vec<_>>(),
            ["apps.tasks", "apps.counts"]
        );
        assert_eq!(query.first("label"), Some("a==b c"));
    }
}
