//! Whole loads: against servers that misbehave in known ways, and against the sample service.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::broken::{Broken, Move, OK};
use super::{FailureClass, Load, LoadSettings, Outcome, Snapshot};
use crate::oinker;

const CUT_LENGTH: Move = Move::SayAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok\n");
const CUT_CHUNK: Move =
    Move::SayAndClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nok\n\r\n");
const ERROR: Move =
    Move::Say("HTTP/1.1 503 Busy\r\nX-Revision: blue\r\nContent-Length: 5\r\n\r\nbusy\n");
const CLOSE: Move = Move::SayAndClose("");
const RESET: Move = Move::SayAndReset("");

#[tokio::test]
async fn every_injected_failure_is_counted_once_and_nothing_is_sent_twice() {
    let server = Broken::start(|number| match number.overall % 50 {
        10 => CLOSE,
        20 => RESET,
        30 => ERROR,
        40 => CUT_LENGTH,
        45 => CUT_CHUNK,
        _ => OK,
    })
    .await;

    let outcome = load_until(server.settings(), |snapshot| snapshot.sent >= 1_000).await;

    let totals = &outcome.totals;
    let silent = count(totals, FailureClass::ClosedWhenReused)
        + count(totals, FailureClass::ClosedBeforeResponse);
    assert_eq!(silent, server.did(CLOSE) + server.did(RESET));
    assert_eq!(count(totals, FailureClass::ServerError), server.did(ERROR));
    let cut = server.did(CUT_LENGTH) + server.did(CUT_CHUNK);
    assert_eq!(count(totals, FailureClass::CutResponse), cut);
    assert_eq!(totals.failed, silent + server.did(ERROR) + cut);
    assert_eq!(totals.ok, server.did(OK));
    assert_eq!(totals.sent, totals.ok + totals.failed);
    assert!(server.did(RESET) >= 20, "only {} resets", server.did(RESET));
}

#[tokio::test]
async fn a_reused_connection_that_is_closed_before_an_answer_is_a_class_of_its_own() {
    let server = Broken::start(|number| if number.on_connection == 1 { CLOSE } else { OK }).await;

    let outcome = load_until(server.settings(), |snapshot| snapshot.sent >= 50).await;

    let totals = outcome.totals;
    assert_eq!(
        count(&totals, FailureClass::ClosedWhenReused),
        server.did(CLOSE)
    );
    assert_eq!(totals.failed, server.did(CLOSE));
    let failure = &totals.failures[0];
    assert!(
        failure.first_example.starts_with("GET /revision: "),
        "{failure:?}"
    );
    assert!(failure.first_at_unix_ms > 0);
}

#[tokio::test]
async fn a_slow_answer_without_its_last_line_is_a_failure() {
    let server = Broken::start(|_| OK).await;
    let mut settings = server.settings();
    (settings.connections, settings.slow, settings.slow_ms) = (0, 1, 0);

    let outcome = load_until(settings, |snapshot| snapshot.sent >= 3).await;

    assert_only(&outcome.totals, FailureClass::UnfinishedSlow);
    assert_eq!(outcome.totals.failed, server.did(OK));
}

#[tokio::test]
async fn a_feed_without_its_end_event_is_a_failure_though_its_body_is_whole() {
    const FEED: Move = Move::SayAndClose(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: tick\ndata: 1\n\n",
    );
    let server = Broken::start(|_| FEED).await;
    let mut settings = server.settings();
    (settings.connections, settings.feeds, settings.feed_ms) = (0, 1, 0);

    let outcome = load_until(settings, |snapshot| snapshot.sent >= 3).await;

    assert_only(&outcome.totals, FailureClass::UnfinishedFeed);
    assert_eq!(outcome.totals.failed, server.did(FEED));
}

#[tokio::test]
async fn an_acknowledgement_of_another_oink_is_a_failure_and_acknowledges_nothing() {
    const OTHER: Move =
        Move::Say("HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}");
    let server = Broken::start(|_| OTHER).await;
    let mut settings = server.settings();
    settings.post_share = 1.0;

    let outcome = load_until(settings, |snapshot| snapshot.sent >= 3).await;

    assert_only(&outcome.totals, FailureClass::WrongAnswer);
    assert!(outcome.acknowledged.is_empty());
}

#[tokio::test]
async fn a_websocket_that_does_not_open_is_told_by_how_it_failed() {
    let cases = [
        (CLOSE, FailureClass::ClosedBeforeResponse),
        (RESET, FailureClass::ClosedBeforeResponse),
        (ERROR, FailureClass::ServerError),
        (OK, FailureClass::UnexpectedStatus),
        (
            Move::SayAndClose("HTTP/1.1 101 "),
            FailureClass::CutResponse,
        ),
        (Move::SayAndClose("oink\r\n\r\n"), FailureClass::Malformed),
        (Move::Silence, FailureClass::Timeout),
    ];

    for (next, class) in cases {
        let server = Broken::start(move |_| next).await;
        let mut settings = server.settings();
        (settings.connections, settings.sockets) = (0, 1);
        if class == FailureClass::Timeout {
            settings.timeout = Duration::from_millis(50);
        }

        let outcome = load_until(settings, |snapshot| snapshot.failed >= 1).await;

        assert_only(&outcome.totals, class);
        assert_eq!(outcome.totals.failed, server.did(next));
    }
}

#[tokio::test]
async fn a_websocket_that_drops_or_does_not_echo_is_a_failure() {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;
    #[derive(Clone, Copy)]
    enum Misdeed {
        Close,
        Vanish,
        Mumble,
    }
    let cases = [
        (Misdeed::Close, FailureClass::SocketDropped),
        (Misdeed::Vanish, FailureClass::SocketDropped),
        (Misdeed::Mumble, FailureClass::EchoMissing),
    ];

    for (misdeed, class) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut socket = tokio_tungstenite::accept_async(stream)
                    .await
                    .expect("it opens");
                let heard = socket.next().await.expect("a message").expect("no error");
                match misdeed {
                    Misdeed::Close => socket.close(None).await.expect("it closes"),
                    Misdeed::Vanish => {}
                    Misdeed::Mumble => {
                        let text = format!("{heard}?");
                        socket.send(Message::text(text)).await.expect("it is said");
                    }
                }
            }
        });
        let mut settings = LoadSettings::against(&address.to_string()).expect("a target");
        (settings.connections, settings.sockets) = (0, 1);

        let outcome = load_until(settings, |snapshot| snapshot.failed >= 2).await;

        assert_only(&outcome.totals, class);
        serving.abort();
    }
}

#[tokio::test]
async fn a_target_that_nobody_listens_on_refuses_every_exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let mut settings = LoadSettings::against(&address.to_string()).expect("a target");
    (settings.slow, settings.feeds, settings.sockets) = (1, 1, 1);

    let outcome = load_until(settings, |snapshot| snapshot.failed >= 20).await;

    assert_only(&outcome.totals, FailureClass::ConnectRefused);
}

#[tokio::test]
async fn an_open_loop_counts_the_wait_for_a_busy_connection_as_latency() {
    let server = Broken::start(|number| {
        if number.overall == 0 {
            Move::Silence
        } else {
            OK
        }
    })
    .await;
    let mut settings = server.settings();
    (settings.connections, settings.rate) = (1, Some(1_000.0));
    settings.timeout = Duration::from_millis(200);

    let outcome = load_until(settings, |snapshot| snapshot.ok >= 20).await;

    assert_eq!(count(&outcome.totals, FailureClass::Timeout), 1);
    assert!(
        outcome.totals.latency.max_us >= 150_000,
        "{:?}",
        outcome.totals.latency
    );
}

#[tokio::test]
async fn a_load_against_the_sample_service_fails_nowhere_and_loses_no_oink() {
    let directory = tempfile::tempdir().expect("a directory");
    let database = directory.path().join("oinks.db");
    let (address, serving) = serve_oinker(&database).await;
    let mut settings = LoadSettings::against(&address.to_string()).expect("a target");
    settings.paths = ["/revision", "/", "/oinks?last=5"]
        .map(str::to_owned)
        .to_vec();
    (settings.think, settings.post_share) = (Duration::from_millis(1), 0.5);
    (settings.slow, settings.slow_ms) = (2, 50);
    (settings.feeds, settings.feed_ms) = (2, 50);
    (settings.sockets, settings.socket_hold) = (2, Duration::from_millis(20));

    let outcome = load_until(settings.clone(), |snapshot| {
        let Snapshot {
            slow_completed,
            feeds_completed,
            sockets_completed,
            ..
        } = *snapshot;
        slow_completed.min(feeds_completed).min(sockets_completed) >= 3 && snapshot.ok >= 300
    })
    .await;
    until_nothing_is_pending(address).await;

    let totals = outcome.totals;
    assert_eq!((totals.failed, &totals.failures), (0, &vec![]));
    assert_eq!(totals.sent, totals.ok);
    assert_eq!(totals.revisions.keys().collect::<Vec<_>>(), ["blue"]);
    assert_eq!(totals.revisions["blue"], totals.sent);
    assert!(totals.latency.p50_us > 0 && totals.latency.p50_us <= totals.latency.max_us);
    assert!(totals.acknowledged >= 100, "{totals:?}");
    let stored = oinker::stored_ids(&database).expect("the ids are readable");
    assert_eq!(outcome.acknowledged, stored);
    serving.abort();
}

#[tokio::test]
async fn what_is_under_way_when_a_load_stops_may_finish() {
    let directory = tempfile::tempdir().expect("a directory");
    let (address, serving) = serve_oinker(&directory.path().join("oinks.db")).await;
    let mut settings = LoadSettings::against(&address.to_string()).expect("a target");
    (settings.connections, settings.slow, settings.slow_ms) = (0, 3, 100);
    (settings.sockets, settings.socket_hold) = (1, Duration::from_secs(3_600));

    let outcome = load_until(settings, |snapshot| snapshot.sent >= 4).await;

    assert_eq!((outcome.totals.ok, outcome.totals.failed), (4, 0));
    assert_eq!(outcome.totals.slow_completed, 3);
    assert_eq!(outcome.totals.sockets_completed, 1);
    serving.abort();
}

/// Runs a load until its counts satisfy the condition, and stops it.
async fn load_until(settings: LoadSettings, enough: impl Fn(&Snapshot) -> bool) -> Outcome {
    let load = Load::start(settings);
    while !enough(&load.snapshot()) {
        tokio::task::yield_now().await;
    }
    load.stop().await
}

async fn serve_oinker(
    database: &std::path::Path,
) -> (
    SocketAddr,
    tokio::task::JoinHandle<std::convert::Infallible>,
) {
    let settings = oinker::Settings::from_lookup(|name| match name {
        "PORT0" => Some("0".to_owned()),
        "OINKER_REVISION" => Some("blue".to_owned()),
        "OINKER_DATABASE" => Some(database.display().to_string()),
        "OINKER_COMMIT_DELAY_MS" => Some("10".to_owned()),
        _ => None,
    })
    .expect("the settings are sound");
    let server = oinker::Server::bind(settings).await.expect("it listens");
    let address = server.address().expect("an address");
    (address, tokio::spawn(server.serve()))
}

/// Asks for the gauge as teal does, until it reads zero.
async fn until_nothing_is_pending(address: SocketAddr) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    loop {
        let mut stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("it connects");
        let request = b"GET /metrics HTTP/1.1\r\nHost: oinker\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.expect("it is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        if answer.contains("\noinker_pending_operations 0\n") {
            return;
        }
    }
}

fn count(totals: &Snapshot, class: FailureClass) -> u64 {
    let failures = totals
        .failures
        .iter()
        .filter(|failure| failure.class == class);
    failures.map(|failure| failure.count).sum()
}

/// Asserts that every exchange failed, in one way.
fn assert_only(totals: &Snapshot, class: FailureClass) {
    let classes: Vec<_> = totals
        .failures
        .iter()
        .map(|failure| failure.class)
        .collect();
    assert_eq!(classes, [class], "{totals:?}");
    assert_eq!((totals.ok, totals.failed), (0, totals.sent), "{totals:?}");
}
