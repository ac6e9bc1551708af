//! Marathon's event stream, as a cue to look again and nothing else: events come late, out of order, or not at all
//! (mesosphere/marathon#2878, #5394), and a stream can die without a sign (mesosphere/marathon-lb#238).
//!
//! A standby of Marathon 1.7 and later sends us on to the leader's own address. That is followed, without credentials
//! when it is none of the addresses that were given. Where no stream is to be had the caller looks at intervals, which is
//! slower and no less right.

use crate::DriverError;
use crate::http::Client;
use http_body_util::BodyExt;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use teal_core::name::RevisionId;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Marathon sends a heartbeat every 10 s: a stream that is silent for this long is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(35);
/// How long to wait before the stream is opened again, doubled each time up to the second.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How long an event may be. Up to 1.5 one may carry two whole groups.
const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The stream. It is opened when somebody first waits for a change.
#[derive(Debug)]
pub(super) struct Events {
    client: Client,
    silence_max: Duration,
    cue: Arc<Cue>,
    reader: OnceLock<Reader>,
}

/// What the reader and those who wait share.
#[derive(Debug, Default)]
struct Cue {
    notify: Notify,
    /// The app ids that somebody looks at; every event counts while there are none.
    watched: Mutex<BTreeSet<String>>,
}

/// The task that reads; it ends with the driver.
#[derive(Debug)]
struct Reader(JoinHandle<()>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Events {
    pub(super) fn new(client: Client, silence_max: Duration) -> Self {
        Self {
            client,
            silence_max,
            cue: Arc::default(),
            reader: OnceLock::new(),
        }
    }

    /// Counts only events that speak of these revisions from here on.
    pub(super) fn watch(&self, revisions: &[RevisionId]) {
        let mut watched = self
            .cue
            .watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if watched.len() != revisions.len() || revisions.iter().any(|r| !watched.contains(&r.0)) {
            *watched = revisions
                .iter()
                .map(|revision| revision.0.clone())
                .collect();
        }
    }

    pub(super) async fn changed(&self) {
        self.reader.get_or_init(|| {
            let read = read_for_ever(self.client.clone(), self.silence_max, Arc::clone(&self.cue));
            Reader(tokio::spawn(read))
        });
        self.cue.notify.notified().await;
    }
}

impl Cue {
    fn hear(&self, event: &str) {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.is_empty() || watched.iter().any(|id| speaks_of(event, id)) {
            self.notify.notify_one();
        }
    }
}

fn speaks_of(event: &str, id: &str) -> bool {
    let quoted = format!("\"{id}\"");
    event.contains(&quoted) || event.contains(&quoted.replace('/', "\\/"))
}

async fn read_for_ever(client: Client, silence_max: Duration, cue: Arc<Cue>) {
    let mut backoff = BACKOFF_MIN;
    loop {
        let opened = Instant::now();
        // Why a stream ended does not matter: whoever waits looks at intervals too, and is told then.
        if read_once(&client, silence_max, &cue).await.is_ok() && opened.elapsed() > BACKOFF_MAX {
            backoff = BACKOFF_MIN;
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// Reads one stream until it ends. `Ok` when it ever began.
async fn read_once(client: &Client, silence_max: Duration, cue: &Cue) -> Result<(), DriverError> {
    let mut body = client.stream("/v2/events", "text/event-stream").await?;
    // What happened while there was no stream was missed.
    cue.notify.notify_one();
    let mut frames = Frames::default();
    while let Ok(Some(Ok(frame))) = timeout(silence_max, body.frame()).await {
        let Some(bytes) = frame.data_ref() else {
            continue;
        };
        for event in frames.push(bytes) {
            cue.hear(&event);
        }
        if frames.len() > EVENT_BYTES_MAX {
            break;
        }
    }
    cue.notify.notify_one();
    Ok(())
}

/// Cuts the stream into events. Lines end in `\n` or `\r\n`; an empty line ends an event; an empty line with no event
/// before it is a heartbeat.
#[derive(Debug, Default)]
struct Frames {
    line: Vec<u8>,
    data: Option<String>,
}

impl Frames {
    /// Takes bytes and returns the data of the events that they complete.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut events = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.line.push(byte);
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let line = String::from_utf8_lossy(&line);
            events.extend(self.end_line(line.trim_end_matches('\r')));
        }
        events
    }

    /// Returns how many bytes of an event that is not complete are held.
    fn len(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, String::len)
    }

    fn end_line(&mut self, line: &str) -> Option<String> {
        if line.is_empty() {
            return self.data.take();
        }
        let data = line.strip_prefix("data:")?;
        let data = data.strip_prefix(' ').unwrap_or(data);
        match &mut self.data {
            Some(more) => {
                more.push('\n');
                more.push_str(data);
            }
            None => self.data = Some(data.to_owned()),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = "event: event_stream_attached\r\ndata: {\"remoteAddress\":\"127.0.0.1\"}\r\n\r\n\r\n\
                          event: status_update_event\r\ndata: {\"appId\":\"/oinker\"}\r\n\r\n: a comment\n\ndata: 3\n\n";

    #[test]
    fn heartbeats_and_comments_are_no_events() {
        let events = Frames::default().push(STREAM.as_bytes());

        let expected = [
            "{\"remoteAddress\":\"127.0.0.1\"}",
            "{\"appId\":\"/oinker\"}",
            "3",
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_stream_that_was_recorded_is_cut_into_its_events() {
        let recorded =
            include_str!("../../../tests/data/marathon/zdd-lab-event-bus-log-base-min-over.txt");
        // It ends in the middle of a line end.
        let recorded = &format!("{}\n\n", recorded.trim_end());
        let jetty = recorded.replace('\n', "\r\n");

        for stream in [recorded, &jetty] {
            let events = Frames::default().push(stream.as_bytes());
            assert_eq!(events.len(), recorded.matches("\ndata: ").count());
            assert!(events.iter().all(|event| event.contains("\"eventType\":")));
            let ours = |event: &&String| speaks_of(event, "/zdd/base-min-over");
            assert!(events.iter().filter(ours).count() > events.len() / 2);
            assert!(!events.iter().any(|event| speaks_of(event, "/zdd/base-min")));
        }
    }

    #[test]
    fn data_of_several_lines_is_one_event() {
        assert_eq!(Frames::default().push(b"data: a\ndata:b\n\n"), ["a\nb"]);
    }

    #[test]
    fn an_event_wakes_only_those_who_look_at_its_app() {
        assert!(speaks_of(r#"{"appId":"/oinker","x":1}"#, "/oinker"));
        assert!(speaks_of(r#"{"appId":"\/a\/oinker"}"#, "/a/oinker"));
        assert!(!speaks_of(r#"{"appId":"/oinker-2"}"#, "/oinker"));
    }

    proptest! {
        #[test]
        fn events_are_the_same_however_the_stream_is_cut(cut in 0..STREAM.len()) {
            let (left, right) = STREAM.as_bytes().split_at(cut);
            let mut frames = Frames::default();
            let mut events = frames.push(left);
            events.extend(frames.push(right));

            prop_assert_eq!(events, Frames::default().push(STREAM.as_bytes()));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _events = Frames::default().push(&bytes);
        }
    }
}
