//! The message board itself: posting, listing, and the page.

use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use super::reply::{Body, JSON, Query, Refusal, json, whole};
use super::server::Oinker;
use super::store::Oink;

const BODY_SIZE_MAX: usize = 16 * 1024;
const ID_LENGTH_MAX: usize = 128;
const TEXT_LENGTH_MAX: usize = 280;
const LIST_DEFAULT: u64 = 20;
const LIST_MAX: u64 = 1_000;
const PAGE: &str = include_str!("page.html");

/// What a client posts.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    id: String,
    text: String,
}

/// `POST /oinks`: acknowledges at once; the oink is committed later.
pub(super) async fn post(
    oinker: &Oinker,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let posted = read(request.into_body()).await?;
    let settings = &oinker.settings;
    let acknowledgement = serde_json::json!({ "id": posted.id, "revision": settings.revision });
    let oink = Oink {
        id: posted.id,
        text: posted.text,
        revision: settings.revision.clone(),
        instance: settings.instance.clone(),
        posted_at_ms: unix_ms(),
    };
    oinker.writer.push(oink).map_err(|_full| {
        Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many oinks wait to be committed",
        )
    })?;
    Ok(json(StatusCode::ACCEPTED, &acknowledgement))
}

async fn read(body: Incoming) -> Result<Posted, Refusal> {
    let bytes = match Limited::new(body, BODY_SIZE_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("a body has at most {BODY_SIZE_MAX} bytes");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Err(error) => return Err(Refusal::bad_request(format!("the body broke off: {error}"))),
    };
    let posted: Posted = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::bad_request(format!("the body is no oink: {error}")))?;
    if posted.id.is_empty() || posted.id.len() > ID_LENGTH_MAX {
        return Err(Refusal::bad_request(format!(
            "id must have 1 to {ID_LENGTH_MAX} bytes"
        )));
    }
    let length = posted.text.chars().count();
    if length == 0 || length > TEXT_LENGTH_MAX {
        return Err(Refusal::bad_request(format!(
            "text must have 1 to {TEXT_LENGTH_MAX} characters, this one has {length}"
        )));
    }
    Ok(posted)
}

/// `GET /oinks?last=20`: the last committed oinks, newest first.
pub(super) async fn list(
    oinker: &Arc<Oinker>,
    query: Query<'_>,
) -> Result<Response<Body>, Refusal> {
    let last = query.number("last", LIST_DEFAULT, 1..=LIST_MAX)?;
    let shared = Arc::clone(oinker);
    let read = tokio::task::spawn_blocking(move || -> anyhow::Result<String> {
        let reader = shared.reader.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(serde_json::to_string(&reader.latest(last)?)?)
    });
    let listed = read
        .await
        .unwrap_or_else(|error| Err(error.into()))
        .map_err(|error| {
            let message = format!("the oinks cannot be read: {error}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, message)
        })?;
    Ok(whole(StatusCode::OK, JSON, listed + "\n"))
}

/// `GET /`: a page that shows which revision answers, and the latest oinks.
pub(super) fn page(oinker: &Oinker) -> Response<Body> {
    let page = PAGE
        .replace("{{revision}}", &escape(&oinker.settings.revision))
        .replace("{{instance}}", &escape(&oinker.settings.instance));
    whole(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn unix_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
