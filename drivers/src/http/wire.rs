//! What goes over the wire once: connections, one request, one whole answer, and what it means when there is none.

use super::answer::Answer;
use super::tls;
use crate::DriverError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCEPT, CONTENT_TYPE, DATE, HeaderName, LOCATION, USER_AGENT, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use teal_core::{Moment, Span};

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may be: 10,000 tasks of Marathon take about 10 MB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Shorter than the 30 s after which Marathon's connector closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How many idle connections are kept per host: as many as gauges are read at once.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// Who leads, as every answer of a Marathon says.
const LEADER: HeaderName = HeaderName::from_static("x-marathon-leader");

pub(crate) type PlainWire = legacy::Client<HttpConnector, Full<Bytes>>;
pub(crate) type Wire = legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Returns a pool of connections for servers that never speak TLS.
pub(crate) fn plain_wire() -> PlainWire {
    pool().build(tcp())
}

/// Returns the same without a pool: every connection ends with its answer.
pub(crate) fn plain_wire_that_keeps_nothing() -> PlainWire {
    pool().pool_max_idle_per_host(0).build(tcp())
}

pub(super) fn wire(config: ClientConfig) -> Wire {
    let mut tcp = tcp();
    tcp.enforce_http(false);
    pool().build(tls::connector(config, tcp))
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_nodelay(true);
    tcp
}

fn pool() -> legacy::Builder {
    let mut pool = legacy::Client::builder(TokioExecutor::new());
    pool.pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX);
    pool
}

/// Posts JSON once, to a whole address, without credentials and without going on to another.
pub(crate) async fn post_once(wire: &Wire, uri: &Uri, body: &Value) -> Result<Answer, DriverError> {
    let body = Bytes::from(body.to_string());
    let request = request(&Method::POST, uri, "application/json", Some(body))?;
    let response = wire
        .request(request)
        .await
        .map_err(|error| unreachable(uri, &error))?;
    take(&Method::POST, uri, response).await
}

/// Returns the innermost cause: what the operating system or the protocol said.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Returns the error for an answer that took too long.
pub(crate) fn too_slow(uri: &Uri, limit: Duration) -> DriverError {
    let millis = u64::try_from((limit.as_micros() + 500) / 1000).unwrap_or(u64::MAX);
    DriverError::Unreachable {
        url: uri.to_string(),
        reason: format!("none came within {}", Span(millis)),
    }
}

pub(super) fn request(
    method: &Method,
    uri: &Uri,
    accept: &str,
    body: Option<Bytes>,
) -> Result<Request<Full<Bytes>>, DriverError> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .header(USER_AGENT, "teal")
        .header(ACCEPT, accept);
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    request
        .body(Full::new(body.unwrap_or_default()))
        .map_err(|error| DriverError::Unusable {
            what: uri.to_string(),
            reason: error.to_string(),
            hint: "this is a bug of teal",
        })
}

/// Reads an answer to its end.
pub(super) async fn take(
    method: &Method,
    uri: &Uri,
    response: Response<Incoming>,
) -> Result<Answer, DriverError> {
    let (head, body) = response.into_parts();
    let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let body = Limited::new(body, ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                let reason = format!("it is longer than {} MiB", ANSWER_BYTES_MAX / 1024 / 1024);
                return DriverError::Malformed {
                    url: uri.to_string(),
                    reason,
                };
            }
            let reason = format!("the answer was cut short: {}", root_cause(error.as_ref()));
            DriverError::Unreachable {
                url: uri.to_string(),
                reason,
            }
        })?;
    Ok(Answer {
        method: method.clone(),
        url: uri.to_string(),
        status: head.status.as_u16(),
        date: text(DATE).and_then(date),
        location: text(LOCATION).map(str::to_owned),
        leader: text(LEADER).map(str::to_owned),
        challenge: text(WWW_AUTHENTICATE)
            .and_then(|value| value.split_whitespace().next())
            .map(str::to_owned),
        came_as: None,
        body: body.to_bytes(),
    })
}

fn date(text: &str) -> Option<Moment> {
    let timestamp = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    u64::try_from(timestamp.as_millisecond()).ok().map(Moment)
}

pub(super) fn unreachable(uri: &Uri, error: &legacy::Error) -> DriverError {
    match tls::distrust(error) {
        Some(reason) => DriverError::Untrusted {
            url: uri.to_string(),
            reason,
        },
        None => DriverError::Unreachable {
            url: uri.to_string(),
            reason: if tls::speaks_no_tls(error) {
                "what answers there does not speak TLS: is http:// meant?".to_owned()
            } else {
                root_cause(error)
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_header_is_read_to_the_second() {
        assert_eq!(
            date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Moment(784_111_777_000))
        );
        assert_eq!(date("yesterday"), None);
    }
}
