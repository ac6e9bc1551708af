//! What the balancer says by itself when it cannot pass on an answer.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why a request could not be served. Each has a status, a code and a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The pool has no serving endpoint.
    NoEndpoint,
    /// Every serving endpoint refused a connection.
    ConnectFailed,
    /// No serving endpoint accepted a connection in time.
    ConnectTimeout,
    /// The endpoint closed the connection before it answered.
    UpstreamClosed,
    /// The endpoint's answer is not HTTP/1.1, or two ways to read it exist.
    BadAnswer,
    /// The endpoint broke off in the middle of its answer, which was cut for the client too.
    Truncated,
    /// The request is malformed or could be read in two ways; the sentence says how.
    BadRequest(&'static str),
    /// The request head is larger than the limit.
    HeadTooLarge,
    /// The request head did not arrive in time.
    HeadTimeout,
    /// The request is not HTTP/1.0 or HTTP/1.1.
    Version,
    /// The request uses a method or transfer coding that is not supported.
    Unsupported(&'static str),
}

const CODES: [&str; 11] = [
    "no_endpoint",
    "connect_failed",
    "connect_timeout",
    "upstream_closed",
    "bad_answer",
    "truncated",
    "bad_request",
    "head_too_large",
    "head_timeout",
    "version_not_supported",
    "not_supported",
];

impl Fault {
    fn index(self) -> usize {
        match self {
            Self::NoEndpoint => 0,
            Self::ConnectFailed => 1,
            Self::ConnectTimeout => 2,
            Self::UpstreamClosed => 3,
            Self::BadAnswer => 4,
            Self::Truncated => 5,
            Self::BadRequest(_) => 6,
            Self::HeadTooLarge => 7,
            Self::HeadTimeout => 8,
            Self::Version => 9,
            Self::Unsupported(_) => 10,
        }
    }

    /// Returns the word for `X-Teal-Error` and for metrics.
    pub(crate) fn code(self) -> &'static str {
        CODES[self.index()]
    }

    fn status(self) -> &'static str {
        match self {
            Self::NoEndpoint => "503 Service Unavailable",
            Self::ConnectTimeout => "504 Gateway Timeout",
            Self::ConnectFailed | Self::UpstreamClosed | Self::BadAnswer | Self::Truncated => {
                "502 Bad Gateway"
            }
            Self::BadRequest(_) => "400 Bad Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::HeadTimeout => "408 Request Timeout",
            Self::Version => "505 HTTP Version Not Supported",
            Self::Unsupported(_) => "501 Not Implemented",
        }
    }

    fn message(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no instance of this service is serving",
            Self::ConnectFailed => "no instance of this service accepts connections",
            Self::ConnectTimeout => "no instance of this service accepted a connection in time",
            Self::UpstreamClosed => "the instance closed the connection before it answered",
            Self::BadAnswer => "the instance gave an answer that is not valid HTTP",
            Self::Truncated => "the instance broke off in the middle of its answer",
            Self::HeadTooLarge => "the request head is too large",
            Self::HeadTimeout => "the request head did not arrive in time",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::BadRequest(message) | Self::Unsupported(message) => message,
        }
    }

    /// Appends the whole answer to `out`. With `head_only`, the body is left out (HEAD).
    pub(crate) fn write(self, out: &mut Vec<u8>, close: bool, head_only: bool) {
        let body = format!("{{\"message\":\"{}\"}}", self.message());
        let retry = if self == Self::NoEndpoint {
            "Retry-After: 1\r\n"
        } else {
            ""
        };
        let close = if close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             X-Teal-Error: {}\r\n{retry}{close}\r\n",
            self.status(),
            body.len(),
            self.code(),
        );
        out.extend_from_slice(head.as_bytes());
        if !head_only {
            out.extend_from_slice(body.as_bytes());
        }
    }
}

/// How often each fault happened.
#[derive(Debug, Default)]
pub(crate) struct FaultCounts([AtomicU64; CODES.len()]);

impl FaultCounts {
    /// Counts one fault.
    pub(crate) fn count(&self, fault: Fault) {
        self.0[fault.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns code and count of each kind that has happened.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CODES
            .iter()
            .zip(&self.0)
            .map(|(code, count)| (*code, count.load(Ordering::Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}
