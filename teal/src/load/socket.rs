//! The workers that hold a WebSocket open, check that it echoes, and close it themselves.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::counted::{Counted, connect};
use super::course::Course;
use super::fault::{FailureClass, Fault};
use super::link::{fault_of, revision_of};
use super::tally::Exchange;
use super::worker::conclude;

const ECHO_INTERVAL: Duration = Duration::from_millis(500);

type Socket = WebSocketStream<Counted>;

/// Holds WebSockets, one after the other, until the load ends.
pub(super) async fn work(course: Arc<Course>) {
    while !course.is_stopped() {
        course.tally.begun();
        let started = Instant::now();
        let result = exchange(&course)
            .await
            .map_err(|fault| fault.while_doing("GET /socket"));
        conclude(&course, Exchange::Socket, started, result).await;
    }
}

async fn exchange(course: &Course) -> Result<(), Fault> {
    let limit = course.settings.timeout;
    let (mut socket, revision) = within(limit, "opening", open(course)).await?;
    let until = Instant::now() + course.settings.socket_hold;
    let mut count = 0_u64;
    loop {
        let text = format!("oink {count}");
        within(
            limit,
            "echoing",
            echo(&mut socket, revision.as_deref(), &text),
        )
        .await?;
        let now = Instant::now();
        if course.is_stopped() || now >= until {
            return within(limit, "closing", close(&mut socket)).await;
        }
        stay(course, &mut socket, until.min(now + ECHO_INTERVAL)).await?;
        count += 1;
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    step: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    timeout(limit, step).await.unwrap_or_else(|_elapsed| {
        let text = format!("{what} took more than {} ms", limit.as_millis());
        Err(Fault::new(FailureClass::Timeout, text))
    })
}

/// Opens a WebSocket. Returns it with the revision that the response named.
async fn open(course: &Course) -> Result<(Socket, Option<String>), Fault> {
    let target = &course.settings.target;
    let (stream, received) = connect(target).await?;
    let opened = tokio_tungstenite::client_async(format!("ws://{target}/socket"), stream).await;
    let (socket, response) = opened.map_err(|error| refused(course, received.bytes(), error))?;
    let revision = revision_of(response.headers());
    course.tally.answered(revision.as_deref());
    Ok((socket, revision))
}

/// Tells why a WebSocket did not open, with how many bytes had arrived by then.
fn refused(course: &Course, received: u64, error: Error) -> Fault {
    let broken = |error: &Error| {
        let cut = matches!(
            error,
            Error::Io(_) | Error::Protocol(ProtocolError::HandshakeIncomplete)
        );
        let class = match (cut, received) {
            (true, 0) => FailureClass::ClosedBeforeResponse,
            (true, _) => FailureClass::CutResponse,
            (false, _) => FailureClass::Malformed,
        };
        Fault::from_error(class, error)
    };
    let Error::Http(response) = error else {
        return broken(&error);
    };
    let revision = revision_of(response.headers());
    course.tally.answered(revision.as_deref());
    let body = response.body().as_deref().unwrap_or_default();
    let status = response.status();
    fault_of(status, revision.as_deref(), body).unwrap_or_else(|| {
        Fault::new(
            FailureClass::UnexpectedStatus,
            format!("{status} instead of 101"),
        )
    })
}

/// Sends a text and waits for it to come back.
async fn echo(socket: &mut Socket, revision: Option<&str>, text: &str) -> Result<(), Fault> {
    socket
        .send(Message::text(text))
        .await
        .map_err(|error| dropped(&error))?;
    let echo = receive(socket).await?;
    let expected = match revision {
        Some(revision) => format!("{revision}: {text}"),
        None => text.to_owned(),
    };
    if echo == expected || (revision.is_none() && echo.ends_with(text)) {
        return Ok(());
    }
    Err(Fault::new(
        FailureClass::EchoMissing,
        format!("{text:?} came back as {echo:?}"),
    ))
}

/// Waits on an open socket, on which nothing is expected.
async fn stay(course: &Course, socket: &mut Socket, until: Instant) -> Result<(), Fault> {
    tokio::select! {
        biased;
        received = receive(socket) => {
            let text = received?;
            let text = format!("{text:?} came and was not asked for");
            Err(Fault::new(FailureClass::EchoMissing, text))
        }
        () = course.rest_until(until) => Ok(()),
    }
}

/// Waits for a text. Any end of the socket is a failure here.
async fn receive(socket: &mut Socket) -> Result<String, Fault> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(message)) => {
                let text = format!("the other side sent {message:?}");
                return Err(Fault::new(FailureClass::SocketDropped, text));
            }
            Some(Err(error)) => return Err(dropped(&error)),
            None => return Err(Fault::new(FailureClass::SocketDropped, "it ended")),
        }
    }
}

/// Closes, and waits for the other side to have closed too.
async fn close(socket: &mut Socket) -> Result<(), Fault> {
    socket.close(None).await.map_err(|error| dropped(&error))?;
    while let Some(message) = socket.next().await {
        message.map_err(|error| dropped(&error))?;
    }
    Ok(())
}

fn dropped(error: &Error) -> Fault {
    Fault::from_error(FailureClass::SocketDropped, error)
}
