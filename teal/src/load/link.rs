//! One HTTP/1.1 connection that is kept alive, and the telling apart of the ways it can fail.
//!
//! It never sends a request twice.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::counted::{Received, connect};
use super::course::Course;
use super::fault::{FailureClass, Fault};

/// How much of a body is kept. The rest is read and dropped.
const BODY_KEPT_MAX: usize = 1024 * 1024;
const EXCERPT_LENGTH_MAX: usize = 120;

/// A whole answer with a status that is no error.
pub(super) struct Answer {
    pub(super) revision: Option<String>,
    pub(super) body: Vec<u8>,
}

/// The connection of one worker, remade whenever it is lost.
pub(super) struct Link<'a> {
    course: &'a Course,
    connection: Option<Connection>,
}

impl<'a> Link<'a> {
    pub(super) fn new(course: &'a Course) -> Self {
        Self {
            course,
            connection: None,
        }
    }

    /// Sends one request, once, and reads the whole answer within `limit`.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        limit: Duration,
    ) -> Result<Answer, Fault> {
        let what = format!("{} {}", request.method(), request.uri());
        // On any failure the connection, taken out by `attempt`, is dropped.
        let result = timeout(limit, self.attempt(request))
            .await
            .unwrap_or_else(|_elapsed| {
                let text = format!("no whole answer after {} ms", limit.as_millis());
                Err(Fault::new(FailureClass::Timeout, text))
            });
        result.map_err(|fault| fault.while_doing(&what))
    }

    async fn attempt(&mut self, mut request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let host = HeaderValue::from_str(&self.course.settings.target)
            .map_err(|error| Fault::from_error(FailureClass::ConnectFailed, &error))?;
        request.headers_mut().insert(HOST, host);
        let mut connection = self.connection().await?;
        let response = connection.send(request).await?;
        let revision = revision_of(response.headers());
        self.course.tally.answered(revision.as_deref());
        let status = response.status();
        let stays = stays_open(&response);
        let body = read(response.into_body()).await?;
        if stays {
            self.connection = Some(connection);
        }
        match fault_of(status, revision.as_deref(), &body) {
            Some(fault) => Err(fault),
            None => Ok(Answer { revision, body }),
        }
    }

    /// Returns the kept connection, or one that is new.
    async fn connection(&mut self) -> Result<Connection, Fault> {
        if let Some(mut kept) = self.connection.take() {
            if kept.sender.ready().await.is_ok() {
                return Ok(kept);
            }
            self.course.tally.closed_while_idle();
        }
        Connection::open(&self.course.settings.target).await
    }
}

/// Returns the revision that a response names.
pub(super) fn revision_of(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("x-revision")?.to_str().ok()?.to_owned())
}

/// Returns what is wrong with a status, if anything is.
pub(super) fn fault_of(status: StatusCode, revision: Option<&str>, body: &[u8]) -> Option<Fault> {
    let class = match status.as_u16() {
        500.. => FailureClass::ServerError,
        200..=399 => return None,
        _ => FailureClass::UnexpectedStatus,
    };
    let excerpt: String = String::from_utf8_lossy(body)
        .chars()
        .take(EXCERPT_LENGTH_MAX)
        .collect();
    let from = revision
        .map(|revision| format!(" from {revision}"))
        .unwrap_or_default();
    Some(Fault::new(
        class,
        format!("{status}{from}: {}", excerpt.trim_end()),
    ))
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    received: Received,
    answered: bool,
    task: AbortHandle,
}

impl Drop for Connection {
    /// Closes the connection, also when an answer is under way.
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    async fn open(target: &str) -> Result<Self, Fault> {
        let (stream, received) = connect(target).await?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Fault::from_error(FailureClass::ConnectFailed, &error))?;
        let task = tokio::spawn(connection).abort_handle();
        Ok(Self {
            sender,
            received,
            answered: false,
            task,
        })
    }

    /// Sends a request and waits for the head of its response.
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Fault> {
        let before = self.received.bytes();
        let response = self.sender.send_request(request).await.map_err(|error| {
            let silent = self.received.bytes() == before;
            let class = match (silent, self.answered) {
                (true, true) => FailureClass::ClosedWhenReused,
                (true, false) => FailureClass::ClosedBeforeResponse,
                (false, _) if error.is_parse() => FailureClass::Malformed,
                (false, _) => FailureClass::CutResponse,
            };
            Fault::from_error(class, &error)
        })?;
        self.answered = true;
        Ok(response)
    }
}

/// Reads a whole body. A cut one is an error in hyper: fewer bytes than Content-Length says, or no
/// last chunk.
async fn read(mut body: Incoming) -> Result<Vec<u8>, Fault> {
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::from_error(FailureClass::CutResponse, &error))?;
        let data = frame.into_data().unwrap_or_default();
        let room = BODY_KEPT_MAX.saturating_sub(kept.len()).min(data.len());
        kept.extend_from_slice(&data[..room]);
    }
    Ok(kept)
}

/// Says whether the connection may carry another request after this response.
fn stays_open(response: &Response<Incoming>) -> bool {
    let values = response.headers().get_all(CONNECTION).into_iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|v| v.split(','));
    let closes = words.any(|word| word.trim().eq_ignore_ascii_case("close"));
    response.version() == Version::HTTP_11 && !closes
}

#[cfg(test)]
mod tests {
    use super::super::broken::{Broken, Move, OK};
    use super::*;

    const BRIEF: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn each_way_of_failing_has_its_class() {
        use FailureClass as Class;
        let cases = [
            (Move::SayAndClose(""), Class::ClosedBeforeResponse),
            (Move::SayAndReset(""), Class::ClosedBeforeResponse),
            (Move::SayAndClose("HTTP/1.1 200"), Class::CutResponse),
            (
                Move::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
                Class::CutResponse,
            ),
            (
                Move::SayAndReset("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
                Class::CutResponse,
            ),
            (
                Move::SayAndClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok"),
                Class::CutResponse,
            ),
            (Move::Say("oink oink\r\n\r\n"), Class::Malformed),
            (
                Move::Say("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"),
                Class::ServerError,
            ),
            (
                Move::Say("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"),
                Class::UnexpectedStatus,
            ),
            (Move::Silence, Class::Timeout),
            (
                Move::Say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok\n"),
                Class::Timeout,
            ),
        ];

        for (next, class) in cases {
            let server = Broken::start(move |_| next).await;
            let course = Course::new(server.settings());

            let limit = if class == Class::Timeout { BRIEF } else { LONG };
            let fault = ask_within(&mut Link::new(&course), limit)
                .await
                .err()
                .expect("it fails");

            assert_eq!(fault.class, class, "{next:?}: {}", fault.text);
            assert_eq!(server.did(next), 1, "{next:?} was asked for again");
        }
    }

    #[tokio::test]
    async fn an_answer_that_closes_is_no_failure_and_the_next_request_connects_anew() {
        const LAST: Move = Move::SayAndClose(
            "HTTP/1.1 200 OK\r\nConnection: keep-nothing, Close\r\nContent-Length: 3\r\n\r\nok\n",
        );
        let server = Broken::start(|_| LAST).await;
        let course = Course::new(server.settings());
        let mut link = Link::new(&course);

        for _ in 0..3 {
            ask(&mut link).await.expect("it is answered");
        }

        assert_eq!(server.did(LAST), 3);
        assert_eq!(course.tally.snapshot().closed_while_idle, 0);
    }

    #[tokio::test]
    async fn a_connection_found_closed_before_anything_is_sent_is_counted_and_no_failure() {
        const LAST: Move = Move::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
        let server = Broken::start(|_| LAST).await;
        let course = Course::new(server.settings());
        let mut link = Link::new(&course);

        ask(&mut link).await.expect("it is answered");
        while link
            .connection
            .as_ref()
            .is_some_and(|kept| !kept.sender.is_closed())
        {
            tokio::task::yield_now().await;
        }
        ask(&mut link)
            .await
            .expect("it is answered on a connection of its own");

        assert_eq!(course.tally.snapshot().closed_while_idle, 1);
    }

    #[tokio::test]
    async fn a_connection_is_kept_alive_between_requests() {
        let server = Broken::start(|number| {
            if number.on_connection == number.overall {
                OK
            } else {
                Move::SayAndClose("")
            }
        })
        .await;
        let course = Course::new(server.settings());
        let mut link = Link::new(&course);

        for _ in 0..5 {
            let answer = ask(&mut link).await.expect("it is answered");
            assert_eq!(answer.revision.as_deref(), Some("blue"));
            assert_eq!(answer.body, b"ok\n");
        }

        assert_eq!(course.tally.snapshot().revisions["blue"], 5);
    }

    async fn ask(link: &mut Link<'_>) -> Result<Answer, Fault> {
        ask_within(link, LONG).await
    }

    async fn ask_within(link: &mut Link<'_>, limit: Duration) -> Result<Answer, Fault> {
        let request = Request::get("/").body(Full::default()).expect("a request");
        link.exchange(request, limit).await
    }
}
