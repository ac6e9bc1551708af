//! Exchanges that last: a slow answer, and a feed of server-sent events. Both end with a mark, so
//! that a client can tell an end from a cut.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::time::Instant;

use super::reply::{Body, Query, Refusal, TEXT, streamed, whole};

const LENGTH_MS_MAX: u64 = 3_600_000;
const SLOW_MS_DEFAULT: u64 = 20_000;
const FEED_MS_DEFAULT: u64 = 10_000;
const EVERY_MS_DEFAULT: u64 = 200;
const EVERY_MS_MIN: u64 = 10;

/// `GET /slow?ms=20000`: a line at once and the revision as last line after that time. With
/// `quiet=1` nothing comes before the end, not even the head.
pub(super) async fn slow(revision: &str, query: Query<'_>) -> Result<Response<Body>, Refusal> {
    let ms = query.number("ms", SLOW_MS_DEFAULT, 0..=LENGTH_MS_MAX)?;
    let quiet = query.number("quiet", 0, 0..=1)? == 1;
    let deadline = Instant::now() + Duration::from_millis(ms);
    let last = format!("{revision}\n");
    if quiet {
        tokio::time::sleep_until(deadline).await;
        return Ok(whole(StatusCode::OK, TEXT, last));
    }
    let first = (Instant::now(), format!("working for {ms} ms\n"));
    let parts = [first, (deadline, last)];
    Ok(streamed(StatusCode::OK, TEXT, timed(parts.into_iter())))
}

/// `GET /feed?ms=10000&every=200`: an event with a counter and the revision every so often, and
/// `event: end` after that time.
pub(super) fn feed(revision: &str, query: Query<'_>) -> Result<Response<Body>, Refusal> {
    let ms = query.number("ms", FEED_MS_DEFAULT, 0..=LENGTH_MS_MAX)?;
    let every = query.number("every", EVERY_MS_DEFAULT, EVERY_MS_MIN..=LENGTH_MS_MAX)?;
    let start = Instant::now();
    let revision = revision.to_owned();
    let ticks = ms / every;
    let parts = (0..=ticks + 1).map(move |count| {
        let ends = count > ticks;
        let at_ms = if ends { ms } else { count * every };
        let event = if ends { "end" } else { "tick" };
        let data = serde_json::json!({ "count": count, "revision": revision });
        let text = format!("id: {count}\nevent: {event}\ndata: {data}\n\n");
        (start + Duration::from_millis(at_ms), text)
    });
    let mut response = streamed(StatusCode::OK, "text/event-stream", timed(parts));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns a body whose parts come when they are due.
fn timed(parts: impl Iterator<Item = (Instant, String)> + Send + 'static) -> Body {
    let frames = stream::unfold(parts, async |mut parts| {
        let (due, text) = parts.next()?;
        tokio::time::sleep_until(due).await;
        Some((Ok(Frame::data(Bytes::from(text))), parts))
    });
    StreamBody::new(frames).boxed_unsync()
}
