//! The workers that exchange requests: plain ones, slow ones, and feeds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use tokio::time::Instant;

use super::course::Course;
use super::fault::{FailureClass, Fault};
use super::link::{Answer, Link};
use super::random::Random;
use super::tally::Exchange;

/// Sends plain requests, one after the other, until the load ends.
pub(super) async fn plain(course: Arc<Course>, number: usize) {
    let mut link = Link::new(&course);
    let mut random = Random::new(course.settings.seed, number);
    while let Some(due) = course.turn(&mut random).await {
        let posts = random.fraction() < course.settings.post_share;
        course.tally.begun();
        let result = if posts {
            post(&course, &mut link).await
        } else {
            let path = random
                .choose(&course.settings.paths)
                .map_or("/", String::as_str);
            get(&course, &mut link, path, Duration::ZERO)
                .await
                .map(|_answer| ())
        };
        conclude(&course, Exchange::Plain, due, result).await;
    }
}

/// Asks for slow answers, one after the other, until the load ends.
pub(super) async fn slow(course: Arc<Course>) {
    long(
        &course,
        Exchange::Slow,
        "slow",
        course.settings.slow_ms,
        has_last_line,
    )
    .await;
}

/// Follows feeds, one after the other, until the load ends.
pub(super) async fn feed(course: Arc<Course>) {
    long(
        &course,
        Exchange::Feed,
        "feed",
        course.settings.feed_ms,
        has_end_event,
    )
    .await;
}

/// Asks for answers that take so long, one after the other, until the load ends.
async fn long(
    course: &Course,
    exchange: Exchange,
    name: &str,
    ms: u64,
    is_whole: fn(&Answer) -> Result<(), Fault>,
) {
    let mut link = Link::new(course);
    let (path, known) = (format!("/{name}?ms={ms}"), Duration::from_millis(ms));
    while !course.is_stopped() {
        course.tally.begun();
        let started = Instant::now();
        let answer = get(course, &mut link, &path, known).await;
        let result = answer.and_then(|answer| is_whole(&answer));
        conclude(course, exchange, started, result).await;
    }
}

/// Counts how an exchange ended, and rests if it failed.
pub(super) async fn conclude(
    course: &Course,
    exchange: Exchange,
    started: Instant,
    result: Result<(), Fault>,
) {
    match result {
        Ok(()) => course.tally.completed(exchange, started.elapsed()),
        Err(fault) => {
            course.tally.failed(fault);
            course.rest_after_failure().await;
        }
    }
}

async fn get(
    course: &Course,
    link: &mut Link<'_>,
    path: &str,
    known: Duration,
) -> Result<Answer, Fault> {
    let request = request(Method::GET, path, Bytes::new())?;
    link.exchange(request, course.settings.timeout + known)
        .await
}

async fn post(course: &Course, link: &mut Link<'_>) -> Result<(), Fault> {
    let id = course.unique_id();
    let oink = serde_json::json!({ "id": id, "text": format!("oink {id}") });
    let request = request(Method::POST, "/oinks", Bytes::from(oink.to_string()))?;
    let answer = link.exchange(request, course.settings.timeout).await?;
    let parsed: Option<serde_json::Value> = serde_json::from_slice(&answer.body).ok();
    let named = parsed.as_ref().and_then(|value| value.get("id")?.as_str());
    if named != Some(&id) {
        let text = format!("POST /oinks {id}: the answer acknowledges {named:?}");
        return Err(Fault::new(FailureClass::WrongAnswer, text));
    }
    course.tally.acknowledged(id);
    Ok(())
}

fn request(method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Fault> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Full::new(body))
        .map_err(|error| Fault::from_error(FailureClass::ConnectFailed, &error))
}

/// Checks that a slow answer ends with the revision that its head named.
fn has_last_line(answer: &Answer) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(&answer.body);
    let last = text.strip_suffix('\n').and_then(|text| text.lines().last());
    match (last, &answer.revision) {
        (Some(last), Some(revision)) if last == revision => Ok(()),
        (last, revision) => Err(Fault::new(
            FailureClass::UnfinishedSlow,
            format!("the last line is {last:?}, the revision {revision:?}"),
        )),
    }
}

/// Checks that a feed says itself that it ends.
fn has_end_event(answer: &Answer) -> Result<(), Fault> {
    let text = String::from_utf8_lossy(&answer.body);
    let last = text
        .strip_suffix("\n\n")
        .and_then(|text| text.rsplit("\n\n").next());
    if last.is_some_and(|event| event.lines().any(|line| line == "event: end")) {
        return Ok(());
    }
    Err(Fault::new(
        FailureClass::UnfinishedFeed,
        format!("the last event is {last:?}"),
    ))
}
