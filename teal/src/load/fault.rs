//! What counts as a failure, and how failures are told apart.

use std::error::Error;
use std::fmt;

/// What went wrong with one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FailureClass {
    /// Nothing listens.
    ConnectRefused,
    /// The connection could not be made for another reason: reset, unreachable, unknown host.
    ConnectFailed,
    /// A connection that had carried an answer was closed or reset under the next request, before
    /// any byte of the response. RFC 9112 section 9.3.1 lets a client send some of these again;
    /// a proxy that drains properly gives no reason to.
    ClosedWhenReused,
    /// A connection was closed or reset under its first request, before any byte of the response.
    ClosedBeforeResponse,
    /// The connection was closed or reset inside a response.
    CutResponse,
    /// No whole answer in time.
    Timeout,
    /// A status of 500 or more.
    ServerError,
    /// A status of 400 to 499, or one that makes no sense here.
    UnexpectedStatus,
    /// What came is not HTTP.
    Malformed,
    /// The answer is whole and belongs to something else: an oink that was not posted.
    WrongAnswer,
    /// A slow answer that ended without its last line.
    UnfinishedSlow,
    /// A feed that ended without its end event.
    UnfinishedFeed,
    /// A WebSocket that closed before it was asked to, or without a closing handshake.
    SocketDropped,
    /// A WebSocket echo that did not come, or was not what had been sent.
    EchoMissing,
}

impl FailureClass {
    /// Returns a few words for people.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connection refused",
            Self::ConnectFailed => "cannot connect",
            Self::ClosedWhenReused => "closed on a reused connection, before any answer",
            Self::ClosedBeforeResponse => "closed before any answer",
            Self::CutResponse => "cut inside the answer",
            Self::Timeout => "timed out",
            Self::ServerError => "server error",
            Self::UnexpectedStatus => "unexpected status",
            Self::Malformed => "not HTTP",
            Self::WrongAnswer => "answer to something else",
            Self::UnfinishedSlow => "slow answer without its end",
            Self::UnfinishedFeed => "feed without its end",
            Self::SocketDropped => "WebSocket dropped",
            Self::EchoMissing => "WebSocket echo missing",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.describe())
    }
}

/// One failed exchange.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) class: FailureClass,
    /// What happened, for the first example of its class.
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(class: FailureClass, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
        }
    }

    /// Returns a fault that tells an error with all of its causes.
    pub(super) fn from_error(class: FailureClass, error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Self { class, text }
    }

    /// Returns the fault with what was being done in front.
    pub(super) fn while_doing(self, what: &str) -> Self {
        Self {
            class: self.class,
            text: format!("{what}: {}", self.text),
        }
    }
}
