//! One oinker in this process, asked over real connections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::settings::Sickness;
use super::{Server, Settings, stored_ids};

#[tokio::test]
async fn an_oink_is_acknowledged_and_then_committed() {
    let board = Board::start(|_| {}).await;

    let answer = board.post(r#"{"id":"one","text":"oink"}"#).await;

    assert_eq!(answer.status, StatusCode::ACCEPTED);
    assert_eq!(
        answer.json(),
        serde_json::json!({ "id": "one", "revision": "blue" })
    );
    board.until_pending_is(0).await;
    assert!(board.stored().contains("one"));
    let listed = board.get("/oinks?last=5").await.json();
    assert_eq!(listed[0]["id"], "one");
    assert_eq!(listed[0]["revision"], "blue");
}

#[tokio::test]
async fn the_gauge_rises_while_a_commit_cannot_happen_and_falls_to_zero_after_it() {
    let board = Board::start(|_| {}).await;
    let lock = rusqlite::Connection::open(&board.database).expect("the database opens");
    lock.execute_batch("BEGIN IMMEDIATE")
        .expect("the lock is taken");

    for id in ["a", "b", "c"] {
        let body = format!(r#"{{"id":"{id}","text":"oink"}}"#);
        assert_eq!(board.post(&body).await.status, StatusCode::ACCEPTED);
    }

    assert_eq!(board.pending().await, 3);
    assert!(board.stored().is_empty());
    lock.execute_batch("ROLLBACK")
        .expect("the lock is given back");
    board.until_pending_is(0).await;
    assert_eq!(board.stored().len(), 3);
}

#[tokio::test]
async fn an_oink_that_cannot_be_taken_is_refused_with_a_reason() {
    let board = Board::start(|_| {}).await;
    let long = format!(r#"{{"id":"a","text":"{}"}}"#, "ö".repeat(281));
    let huge = format!(r#"{{"id":"a","text":"{}"}}"#, "o".repeat(20_000));
    let cases = [
        ("oink", 400, "no oink"),
        (r#"{"id":"","text":"oink"}"#, 400, "id must have"),
        (r#"{"id":"a","text":""}"#, 400, "text must have"),
        (
            r#"{"id":"a","text":"oink","loud":true}"#,
            400,
            "unknown field",
        ),
        (long.as_str(), 400, "281"),
        (huge.as_str(), 413, "at most"),
    ];

    for (body, status, reason) in cases {
        let answer = board.post(body).await;

        assert_eq!(answer.status.as_u16(), status, "{body}");
        let message = answer.json()["message"].to_string();
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(board.pending().await, 0);
}

#[tokio::test]
async fn every_response_names_the_revision() {
    let board = Board::start(|_| {}).await;

    for path in [
        "/",
        "/health",
        "/revision",
        "/oinks",
        "/metrics",
        "/status",
        "/none",
        "/socket",
    ] {
        let answer = board.get(path).await;
        assert_eq!(answer.headers["x-revision"], "blue", "{path}");
    }

    assert_eq!(board.get("/none").await.status, StatusCode::NOT_FOUND);
    let answer = board.ask(Method::DELETE, "/oinks", "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers["allow"], "GET, HEAD, POST");
    let named = board.get("/revision").await.json();
    assert_eq!(
        named,
        serde_json::json!({ "revision": "blue", "instance": "blue.1" })
    );
}

#[tokio::test]
async fn the_page_escapes_what_it_names() {
    let board = Board::start(|settings| settings.revision = "<b>&\"blue\"".to_owned()).await;

    let answer = board.get("/").await;

    assert!(
        answer
            .text()
            .contains("data-revision=\"&lt;b&gt;&amp;&quot;blue&quot;\"")
    );
}

#[tokio::test]
async fn health_is_refused_before_the_start_delay_has_passed() {
    let early = Board::start(|settings| settings.start_delay = Duration::from_secs(3600)).await;
    let ready = Board::start(|_| {}).await;

    assert_eq!(
        early.get("/health").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(ready.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_sick_health_answers_500_and_the_gauge_is_well() {
    let board = Board::start(|settings| settings.sick = Sickness::Health).await;

    assert_eq!(
        board.get("/health").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    assert_eq!(board.pending().await, 0);
}

#[tokio::test]
async fn a_stuck_gauge_never_reads_below_3() {
    let board = Board::start(|settings| settings.sick = Sickness::StuckGauge).await;

    assert_eq!(board.pending().await, 3);
    let metrics = board.get("/metrics").await.text();
    assert!(
        metrics.contains("\noinker_pending_operations 3\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_gauge_error_answers_500() {
    let board = Board::start(|settings| settings.sick = Sickness::GaugeError).await;

    for path in ["/metrics", "/status"] {
        assert_eq!(
            board.get(path).await.status,
            StatusCode::INTERNAL_SERVER_ERROR
        );
    }
    assert_eq!(board.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn gauge_garbage_is_no_number() {
    let board = Board::start(|settings| settings.sick = Sickness::GaugeGarbage).await;

    let metrics = board.get("/metrics").await.text();
    assert!(
        metrics.contains("\noinker_pending_operations NaN\n"),
        "{metrics}"
    );
    assert!(board.get("/status").await.json()["pending"]["operations"].is_string());
}

#[tokio::test]
async fn a_gauge_timeout_never_answers() {
    let board = Board::start(|settings| settings.sick = Sickness::GaugeTimeout).await;

    for path in ["/metrics", "/status"] {
        let answer = tokio::time::timeout(Duration::from_millis(50), board.get(path)).await;
        assert!(answer.is_err(), "{path} has answered");
    }
    assert_eq!(board.get("/health").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_slow_answer_begins_at_once_and_ends_with_the_revision() {
    let board = Board::start(|_| {}).await;

    let endless = board.request(Method::GET, "/slow?ms=3600000", "").await;
    let mut body = endless.into_body();
    let first = body
        .frame()
        .await
        .expect("a frame")
        .expect("no error")
        .into_data()
        .expect("data");
    assert_eq!(first, "working for 3600000 ms\n");

    for path in ["/slow?ms=20", "/slow?ms=20&quiet=1"] {
        assert_eq!(board.get(path).await.text().lines().last(), Some("blue"));
    }
    assert_eq!(
        board.get("/slow?ms=never").await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_feed_counts_and_ends_by_itself_with_its_mark() {
    let board = Board::start(|_| {}).await;

    let answer = board.get("/feed?ms=40&every=20").await;

    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = answer.text();
    let events: Vec<_> = text.split_terminator("\n\n").collect();
    assert_eq!(
        events,
        [
            "id: 0\nevent: tick\ndata: {\"count\":0,\"revision\":\"blue\"}",
            "id: 1\nevent: tick\ndata: {\"count\":1,\"revision\":\"blue\"}",
            "id: 2\nevent: tick\ndata: {\"count\":2,\"revision\":\"blue\"}",
            "id: 3\nevent: end\ndata: {\"count\":3,\"revision\":\"blue\"}",
        ]
    );
}

#[tokio::test]
async fn the_socket_echoes_with_the_revision_in_front_until_the_client_closes() {
    let board = Board::start(|_| {}).await;
    let stream = TcpStream::connect(board.address)
        .await
        .expect("it connects");
    let url = format!("ws://{}/socket", board.address);
    let (mut socket, response) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("it upgrades");
    assert_eq!(response.headers()["x-revision"], "blue");

    for text in ["oink", "oink again"] {
        socket.send(Message::text(text)).await.expect("it is sent");
        let echo = socket.next().await.expect("it is open").expect("no error");
        assert_eq!(echo, Message::text(format!("blue: {text}")));
    }

    socket.close(None).await.expect("it closes");
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_)))));
    assert!(socket.next().await.is_none());
}

/// An oinker that serves until it is dropped.
struct Board {
    address: SocketAddr,
    database: PathBuf,
    serving: tokio::task::JoinHandle<std::convert::Infallible>,
    _directory: tempfile::TempDir,
}

impl Drop for Board {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).expect("text")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Board {
    async fn start(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let database = directory.path().join("oinks.db");
        let mut settings = Settings {
            listen: "127.0.0.1:0".parse().expect("an address"),
            revision: "blue".to_owned(),
            database: database.clone(),
            instance: "blue.1".to_owned(),
            commit_delay: Duration::ZERO,
            start_delay: Duration::ZERO,
            sick: Sickness::Well,
        };
        change(&mut settings);
        let server = Server::bind(settings).await.expect("it listens");
        let address = server.address().expect("an address");
        let serving = tokio::spawn(server.serve());
        Self {
            address,
            database,
            serving,
            _directory: directory,
        }
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> hyper::Response<hyper::body::Incoming> {
        let stream = TcpStream::connect(self.address).await.expect("it connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("it speaks");
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "oinker")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .expect("a request");
        sender.send_request(request).await.expect("a response")
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        let (head, body) = self.request(method, path, body).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "").await
    }

    async fn post(&self, body: &str) -> Answer {
        self.ask(Method::POST, "/oinks", body).await
    }

    async fn pending(&self) -> u64 {
        let status = self.get("/status").await.json();
        status["pending"]["operations"].as_u64().expect("a number")
    }

    /// Asks until the gauge reads `pending`; a test that waits forever is ended by its runner.
    async fn until_pending_is(&self, pending: u64) {
        while self.pending().await != pending {
            tokio::task::yield_now().await;
        }
    }

    fn stored(&self) -> std::collections::BTreeSet<String> {
        stored_ids(&self.database).expect("the ids are readable")
    }
}
