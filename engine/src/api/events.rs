//! `/v2/events`: a listener gets every event from here on, and a sign of life in between.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame as BodyFrame;
use hyper::header::CONNECTION;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Api;
use super::message::{Answer, Call};
use crate::events::{Frame, event_stream_attached, event_stream_detached};
use crate::refusal::Refusal;
use crate::shell::Shell;
use crate::time::Moment;

/// How many listeners there may be at once.
const LISTENERS_MAX: usize = 256;

/// What an idle stream sends. A parser must not take it for the end of an event: it follows one.
const HEARTBEAT: Bytes = Bytes::from_static(b"\r\n");

struct Listener {
    receiver: mpsc::Receiver<Frame>,
    heartbeat: Duration,
    shell: Arc<Shell>,
    remote: String,
}

/// Opens an event stream.
///
/// # Errors
/// The client does not ask for an event stream, or too many are open.
pub(super) fn listen(api: &Api, call: &Call) -> Result<Answer, Refusal> {
    if !call.accept.names("text", "event-stream") {
        return Err(Refusal::EventsOnly);
    }
    let bus = &api.shell.bus;
    if bus.listeners() >= LISTENERS_MAX {
        return Err(Refusal::TooManyListeners(LISTENERS_MAX));
    }
    let remote = call.client.ip().to_string();
    let types = call.query.all("event_type").map(str::to_owned).collect();
    let listener = Listener {
        receiver: bus.listen(types, Arc::clone(&call.cut)),
        heartbeat: api.heartbeat,
        shell: Arc::clone(&api.shell),
        remote: remote.clone(),
    };
    bus.publish(&event_stream_attached(&remote), Moment::now().stamp);
    let frames = stream::unfold(listener, |mut listener| async {
        let bytes = listener.next().await?;
        Some((Ok::<_, Infallible>(BodyFrame::data(bytes)), listener))
    });
    let media_type = "text/event-stream;charset=utf-8";
    let body = StreamBody::new(frames).boxed_unsync();
    Ok(Answer::stream(StatusCode::OK, media_type, body).with(CONNECTION, "close".to_owned()))
}

impl Listener {
    /// Waits for what is to be sent next; nothing ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        match timeout(self.heartbeat, self.receiver.recv()).await {
            Err(_) => Some(HEARTBEAT),
            Ok(None) => None,
            Ok(Some(frame)) => {
                self.shell.bus.sent(frame.text.len());
                Some(Bytes::copy_from_slice(frame.text.as_bytes()))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.receiver.close();
        let detached = event_stream_detached(&self.remote);
        self.shell.bus.publish(&detached, Moment::now().stamp);
    }
}
