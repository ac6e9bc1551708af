//! One small HTTP client for all drivers: a base address, JSON in and out, a timeout for every call, a limit for
//! every answer.
//!
//! It never resends a change. It asks again, once, when a `GET` dies on a connection that the server had closed. It
//! follows a redirect only of a `GET` and only on the same host. It speaks `http` alone.

mod answer;
mod complaint;

pub use answer::Answer;
pub use hyper::Method;

use crate::DriverError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, DATE, LOCATION, USER_AGENT};
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;
use teal_core::{Moment, Span};
use tokio::time::timeout;

/// How long a connection may take to come about.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a call may take, answer included, unless told otherwise. Marathon serialises changes: seconds are usual
/// under load.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer may be: 10,000 tasks of Marathon take about 10 MB.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many redirects in a row are followed.
const REDIRECTS_MAX: usize = 3;
/// Shorter than the 30 s after which Marathon's connector closes an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How many idle connections are kept per host: as many as gauges are read at once.
const IDLE_CONNECTIONS_MAX: usize = 64;

/// What stays as it is in one segment of a path (RFC 3986, unreserved).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

pub(crate) type Wire = legacy::Client<HttpConnector, Full<Bytes>>;

/// A client of one server.
#[derive(Debug, Clone)]
pub struct Client {
    wire: Wire,
    authority: Authority,
    prefix: String,
    timeout: Duration,
}

impl Client {
    /// Returns a client for the server at `url`: `http://host:port`, optionally with a path that goes before every
    /// other. Nothing is sent yet.
    ///
    /// # Errors
    /// [`DriverError::Unusable`] when this is no such address.
    pub fn new(url: &str) -> Result<Self, DriverError> {
        let (authority, prefix) = base(url)?;
        Ok(Self {
            wire: wire(),
            authority,
            prefix,
            timeout: CALL_TIMEOUT,
        })
    }

    /// Returns the client with another limit for the time that a call may take.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Returns the address of the server, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}{}", self.authority, self.prefix)
    }

    /// Gets a JSON document. `path` begins with a slash and may carry a query.
    ///
    /// # Errors
    /// Every kind: see [`Answer::accept`].
    pub async fn get(&self, path: &str) -> Result<Value, DriverError> {
        self.call(Method::GET, path, None).await?.accept()
    }

    /// Sends a request and returns the status and the JSON of an answer that says yes; null where it has no body.
    ///
    /// # Errors
    /// Every kind: see [`Answer::accept`].
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value), DriverError> {
        let answer = self.call(method, path, body).await?;
        Ok((answer.status, answer.accept()?))
    }

    /// Sends a request and returns the answer, whatever its status.
    ///
    /// # Errors
    /// [`DriverError::Unreachable`] when no whole answer came in time, [`DriverError::Malformed`] when it is too long.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, DriverError> {
        let uri = self.uri(path)?;
        let url = uri.to_string();
        let body = body.map(|body| Bytes::from(body.to_string()));
        match timeout(self.timeout, self.follow(method, uri, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_slow(url)),
        }
    }

    /// Opens a stream of bytes that ends when the server or the caller drops it. The timeout is for its head.
    pub(crate) async fn stream(&self, path: &str, accept: &str) -> Result<Incoming, DriverError> {
        let uri = self.uri(path)?;
        let url = uri.to_string();
        let response =
            match timeout(self.timeout, self.head(&Method::GET, &uri, accept, None)).await {
                Ok(response) => response?,
                Err(_) => return Err(self.too_slow(url)),
            };
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let answer = take(&Method::GET, &uri, response).await?;
        Err(answer.error())
    }

    fn uri(&self, path: &str) -> Result<Uri, DriverError> {
        let whole = format!("{}{path}", self.prefix);
        let unusable = |reason: String| DriverError::Unusable {
            what: format!("http://{}{whole}", self.authority),
            reason,
        };
        let path_and_query = whole
            .parse::<PathAndQuery>()
            .map_err(|error| unusable(error.to_string()))?;
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path_and_query)
            .build()
            .map_err(|error| unusable(error.to_string()))
    }

    async fn follow(
        &self,
        method: Method,
        mut uri: Uri,
        body: Option<Bytes>,
    ) -> Result<Answer, DriverError> {
        for _ in 0..REDIRECTS_MAX {
            let response = self
                .head(&method, &uri, "application/json", body.clone())
                .await?;
            let answer = take(&method, &uri, response).await?;
            match self.onward(&method, &answer) {
                Some(next) => uri = next,
                None => return Ok(answer),
            }
        }
        let response = self.head(&method, &uri, "application/json", body).await?;
        take(&method, &uri, response).await
    }

    /// Returns where a redirect leads, when it is one that is followed.
    fn onward(&self, method: &Method, answer: &Answer) -> Option<Uri> {
        if *method != Method::GET || !(300..400).contains(&answer.status) {
            return None;
        }
        let location = answer.location.as_deref()?.parse::<Uri>().ok()?;
        let same_host = location
            .authority()
            .is_none_or(|there| *there == self.authority);
        let same_scheme = location
            .scheme()
            .is_none_or(|scheme| *scheme == Scheme::HTTP);
        let path_and_query = location.path_and_query()?;
        if !same_host || !same_scheme || !path_and_query.as_str().starts_with('/') {
            return None;
        }
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.authority.clone())
            .path_and_query(path_and_query.clone())
            .build()
            .ok()
    }

    async fn head(
        &self,
        method: &Method,
        uri: &Uri,
        accept: &str,
        body: Option<Bytes>,
    ) -> Result<Response<Incoming>, DriverError> {
        let mut first = *method == Method::GET;
        loop {
            let request = request(method, uri, accept, body.clone())?;
            match self.wire.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) if first && !error.is_connect() => first = false,
                Err(error) => return Err(unreachable(uri, &error)),
            }
        }
    }

    fn too_slow(&self, url: String) -> DriverError {
        let millis = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        DriverError::Unreachable {
            url,
            reason: format!("none came within {}", Span(millis)),
        }
    }
}

/// Returns a pool of connections.
pub(crate) fn wire() -> Wire {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .build(connector)
}

/// Encodes a text as one segment of a path, or as one value of a query.
#[must_use]
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Returns the innermost cause: what the operating system or the protocol said.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn base(url: &str) -> Result<(Authority, String), DriverError> {
    let unusable = |what: &str, reason: &str| {
        Err(DriverError::Unusable {
            what: what.to_owned(),
            reason: reason.to_owned(),
        })
    };
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let Ok(uri) = whole.parse::<Uri>() else {
        return unusable("this address", "it is not a URL");
    };
    if uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'))
    {
        // Not repeated: it holds a password.
        return unusable(
            "an address with a user name in it",
            "teal cannot log in anywhere yet",
        );
    }
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return unusable(url, "teal cannot speak TLS yet, only http"),
        Some(_) | None => return unusable(url, "it does not begin with http://"),
    }
    if uri.query().is_some() {
        return unusable(url, "a base address has no query");
    }
    let Some(authority) = uri
        .authority()
        .filter(|authority| !authority.host().is_empty())
    else {
        return unusable(url, "it names no host");
    };
    Ok((
        authority.clone(),
        uri.path().trim_end_matches('/').to_owned(),
    ))
}

fn request(
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
        })
}

/// Reads an answer to its end.
async fn take(
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
        body: body.to_bytes(),
    })
}

fn date(text: &str) -> Option<Moment> {
    let timestamp = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    u64::try_from(timestamp.as_millisecond()).ok().map(Moment)
}

fn unreachable(uri: &Uri, error: &legacy::Error) -> DriverError {
    DriverError::Unreachable {
        url: uri.to_string(),
        reason: root_cause(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_address_may_carry_a_path_and_may_leave_out_the_scheme() {
        for (url, meant) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            (
                "http://master/service/marathon/",
                "http://master/service/marathon",
            ),
            ("localhost:8080", "http://localhost:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(
                Client::new(url).map(|client| client.url()),
                Ok(meant.to_owned()),
                "{url}"
            );
        }
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_with_the_reason() {
        for (url, reason) in [
            ("https://master", "cannot speak TLS yet"),
            ("ftp://master", "does not begin with http://"),
            ("http://", "not a URL"),
            ("http://a b", "not a URL"),
            ("http://master/?a=b", "has no query"),
        ] {
            let error = Client::new(url).expect_err(url).to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        let error = Client::new("http://me:secret@master").expect_err("must be refused");

        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn a_date_header_is_read_to_the_second() {
        assert_eq!(
            date("Sun, 06 Nov 1994 08:49:37 GMT"),
            Some(Moment(784_111_777_000))
        );
        assert_eq!(date("yesterday"), None);
    }
}
