//! Asks one question and says what came back. What it means is decided in `crate::health`,
//! `crate::readiness` and `crate::check`.
//!
//! Follows `HealthCheckWorker.scala` and `ReadinessCheckExecutorImpl.scala`: redirects are not
//! followed and no certificate is verified.

mod command;
mod http;
mod tls;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::definition::Scheme;
use crate::identity::TaskId;
use crate::run::Runners;

/// What a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question {
    /// There is nobody to ask; the text says why.
    Unanswerable(String),
    Http(Request),
    Tcp {
        host: String,
        port: u16,
    },
    /// A program and its arguments on this machine.
    Command {
        words: Vec<String>,
        environment: BTreeMap<String, String>,
        folder: PathBuf,
    },
    /// A program and its arguments in the container of a task.
    Inside {
        task: TaskId,
        words: Vec<String>,
    },
}

/// A GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) scheme: Scheme,
    /// A name or an address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// It begins with a slash.
    pub(crate) path: String,
    pub(crate) reads: Reads,
}

/// How much of an answer is of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// The first status that comes, be it an informational one.
    Status,
    /// The final answer with its body.
    Body,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Http(Response),
    /// The connection was made.
    Connected,
    /// A command ended; the text says how.
    Ended {
        code: Option<i32>,
        text: String,
    },
    /// Nothing that answers the question; the text says why.
    Nothing(String),
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The status as it was written: `503 Service Unavailable`.
    pub(crate) line: String,
    /// The media type without parameters; empty where it is unknown or was not asked for.
    pub(crate) content_type: String,
    /// Empty where it was not asked for.
    pub(crate) body: String,
}

impl Answer {
    /// Returns what is said about a question that took too long.
    pub(crate) fn silence(limit: Duration) -> Self {
        Self::Nothing(format!("no answer within {} s", limit.as_secs()))
    }
}

impl Request {
    /// Returns the address as a person would write it.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// Returns `host:port`, an IPv6 address in brackets (RFC 3986, section 3.2.2).
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Asks, and gives up after `limit`.
pub(crate) async fn ask(question: Question, limit: Duration, runners: &Runners) -> Answer {
    let patience = match &question {
        Question::Inside { .. } => limit * 3,
        Question::Unanswerable(_)
        | Question::Http(_)
        | Question::Tcp { .. }
        | Question::Command { .. } => limit,
    };
    let answer = async {
        match question {
            Question::Unanswerable(cause) => Ok(Answer::Nothing(cause)),
            Question::Inside { task, words } => {
                Ok(runners.probe_inside(&task, &words, limit).await)
            }
            Question::Command {
                words,
                environment,
                folder,
            } => command::ask(&words, &environment, folder).await,
            Question::Tcp { host, port } => {
                TcpStream::connect((host.as_str(), port)).await?;
                Ok(Answer::Connected)
            }
            Question::Http(request) => {
                let connection = connect(&request).await?;
                let response = match request.reads {
                    Reads::Status => http::status(connection, &request).await?,
                    Reads::Body => http::whole(connection, &request).await?,
                };
                Ok(Answer::Http(response))
            }
        }
    };
    // What is asked inside a container is given up by its runner, which has to clean up.
    match timeout(patience, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            let error: io::Error = error;
            Answer::Nothing(error.to_string())
        }
        Err(_) => Answer::silence(limit),
    }
}

/// A connection, encrypted or not.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

async fn connect(request: &Request) -> io::Result<Box<dyn Connection>> {
    let stream = TcpStream::connect((request.host.as_str(), request.port)).await?;
    match request.scheme {
        Scheme::Http => Ok(Box::new(stream)),
        Scheme::Https => Ok(Box::new(tls::encrypt(stream, &request.host).await?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let mut request = Request {
            scheme: Scheme::Https,
            host: "::1".to_owned(),
            port: 443,
            path: "/health".to_owned(),
            reads: Reads::Status,
        };

        assert_eq!(request.url(), "https://[::1]:443/health");
        request.host = "127.0.0.1".to_owned();
        assert_eq!(request.url(), "https://127.0.0.1:443/health");
    }
}
