//! How responses are made, and the query of a request is read.

use std::convert::Infallible;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// The body of every response.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A request that is answered with an error.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        json(self.status, &serde_json::json!({ "message": self.message }))
    }
}

/// Returns a response with a whole body.
pub(super) fn whole(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    streamed(status, content_type, Full::new(body.into()).boxed_unsync())
}

/// Returns a response with a body that may come in pieces.
pub(super) fn streamed(
    status: StatusCode,
    content_type: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Returns a response with a JSON body and a line end.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    whole(status, JSON, format!("{value}\n"))
}

/// The query of a request. Its values are numbers, so nothing needs decoding.
#[derive(Clone, Copy)]
pub(super) struct Query<'a>(pub(super) &'a str);

impl Query<'_> {
    /// Returns the number called `name`, or `default` when it is not there.
    ///
    /// # Errors
    ///
    /// 400 when it is no number, or outside of the range.
    pub(super) fn number(
        self,
        name: &str,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> Result<u64, Refusal> {
        let Some(text) = self.value(name) else {
            return Ok(default);
        };
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| {
                let (low, high) = (range.start(), range.end());
                Refusal::bad_request(format!("{name} must be a number from {low} to {high}"))
            })
    }

    fn value(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }
}
