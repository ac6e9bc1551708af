//! `/v2/events`: a listener gets every event from here on, and a sign of life in between.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame as BodyFrame;
use hyper::header::CONNECTION;
use tokio::sync::broadcast::{self, error::RecvError};
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
    receiver: broadcast::Receiver<Frame>,
    /// The types asked for; none means all.
    types: Vec<String>,
    heartbeat: Duration,
    first: VecDeque<Frame>,
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
    if api.shell.bus.listeners() >= LISTENERS_MAX {
        return Err(Refusal::TooManyListeners(LISTENERS_MAX));
    }
    let remote = call.client.ip().to_string();
    let attached = event_stream_attached(&remote);
    let now = Moment::now().stamp;
    api.shell.bus.publish(&attached, now);
    let listener = Listener {
        receiver: api.shell.bus.listen(),
        types: call.query.all("event_type").map(str::to_owned).collect(),
        heartbeat: api.heartbeat,
        first: VecDeque::from([attached.frame(now)]),
        shell: Arc::clone(&api.shell),
        remote,
    };
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
    ///
    /// A listener that falls too far behind is cut off, as by Marathon ≥ 1.8: it must read again
    /// anyway, and a gap nobody sees would be worse.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = match self.first.pop_front() {
                Some(frame) => frame,
                None => match timeout(self.heartbeat, self.receiver.recv()).await {
                    Err(_) => return Some(HEARTBEAT),
                    Ok(Ok(frame)) => frame,
                    Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return None,
                },
            };
            let wanted = self.types.is_empty() || self.types.iter().any(|kind| kind == frame.kind);
            if wanted {
                return Some(Bytes::copy_from_slice(frame.text.as_bytes()));
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let detached = event_stream_detached(&self.remote);
        self.shell.bus.publish(&detached, Moment::now().stamp);
    }
}
