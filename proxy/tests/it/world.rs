//! A balancer, backends and clients to test with. Every wait is bounded.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use teal_proxy::{Config, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// No wait of a test lasts longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ANY: &str = "127.0.0.1:0";

/// A balancer with one HTTP pool, `p`.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    pub(crate) listen: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::speaking("http").await
    }

    pub(crate) async fn speaking(protocol: &str) -> Self {
        let config = Config::new(ANY.parse().expect("an address"));
        let proxy = Proxy::start(config).await.expect("the port is free");
        let body = json!({ "listen": ANY, "protocol": protocol });
        let pool = admin(&proxy, "PUT", "/v1/pools/p", &body.to_string())
            .await
            .json(201);
        let listen = pool["listen"]
            .as_str()
            .expect("a string")
            .parse()
            .expect("an address");
        Self { proxy, listen }
    }

    /// A world with these backends admitted as `a`, `b`, …
    pub(crate) async fn with(backends: &[&Backend]) -> Self {
        let world = Self::new().await;
        for (backend, name) in backends.iter().zip(["a", "b", "c", "d"]) {
            world.admit(name, backend.address).await;
        }
        world
    }

    pub(crate) async fn client(&self) -> Peer {
        Peer::connect(self.listen).await
    }

    /// Sends one GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Message {
        let mut client = self.client().await;
        client
            .send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
            .await;
        client.answer().await
    }

    pub(crate) async fn change(&self, change: Value) -> Value {
        let path = "/v1/pools/p/change";
        admin(&self.proxy, "POST", path, &change.to_string())
            .await
            .json(200)
    }

    pub(crate) async fn admit(&self, instance: &str, address: SocketAddr) -> Value {
        self.change(json!({ "admit": [{ "instance": instance, "address": address }] }))
            .await
    }

    pub(crate) async fn pool(&self) -> Value {
        admin(&self.proxy, "GET", "/v1/pools/p", "").await.json(200)
    }

    pub(crate) async fn in_flight(&self, instance: &str) -> u64 {
        let pool = self.pool().await;
        let endpoints = pool["endpoints"].as_array().expect("a list").iter();
        endpoints
            .filter(|endpoint| endpoint["instance"] == instance)
            .map(|endpoint| endpoint["in_flight"].as_u64().expect("a count"))
            .sum()
    }

    pub(crate) async fn until_in_flight(&self, instance: &str, count: u64) {
        eventually(async || self.in_flight(instance).await == count).await;
    }
}

/// Sends one admin request.
pub(crate) async fn admin(proxy: &Proxy, method: &str, path: &str, body: &str) -> Message {
    let address = proxy.admin_address();
    let length = body.len();
    let mut peer = Peer::connect(address).await;
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}");
    peer.send(&format!("{head}\r\n\r\n{body}")).await;
    peer.answer().await
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(condition: impl AsyncFn() -> bool) {
    let begin = Instant::now();
    while !condition().await {
        assert!(
            begin.elapsed() < PATIENCE,
            "the condition never came to hold"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An address that refuses connections, as long as the socket lives.
pub(crate) fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(ANY.parse().expect("an address"))
        .expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    (socket, address)
}

/// A server to balance to. It ends when dropped, and with it all of its connections.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    task: tokio::task::AbortHandle,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicUsize,
    pub(crate) requests: AtomicUsize,
}

impl Backend {
    /// Runs `each` for every connection.
    pub(crate) async fn with<F>(each: impl Fn(Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(ANY).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let counts = Some(Arc::clone(&counted));
                connections.spawn(each(Peer {
                    stream,
                    buffer: Vec::new(),
                    counts,
                }));
            }
        });
        Self {
            address,
            counts,
            task: task.abort_handle(),
        }
    }

    /// Answers every request with 200 and `body`, and keeps the connection.
    pub(crate) async fn saying(body: &'static str) -> Self {
        Self::with(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.say(body).await;
            }
        })
        .await
    }

    /// Answers every request with these bytes.
    pub(crate) async fn raw(answer: &'static str) -> Self {
        Self::with(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await
    }

    /// Answers every request with these bytes and closes.
    pub(crate) async fn raw_then_close(answer: &'static str) -> Self {
        Self::with(move |mut peer| async move {
            if peer.request().await.is_some() {
                peer.send(answer).await;
            }
        })
        .await
    }

    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One side of a connection, of a client or of a backend.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    pub(crate) buffer: Vec<u8>,
    counts: Option<Arc<Counts>>,
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// The body ended as its framing says.
    pub(crate) complete: bool,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.head
            .get(9..12)
            .and_then(|code| code.parse().ok())
            .expect("a status line")
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The body of an answer with this status.
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{self:?}");
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        Self {
            stream,
            buffer: Vec::new(),
            counts: None,
        }
    }

    pub(crate) fn accepted(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            counts: None,
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.try_send(text.as_bytes())
            .await
            .expect("the other side reads");
    }

    pub(crate) async fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes))
            .await
            .expect("sending is not stuck")
    }

    /// Answers 200 with `body`.
    pub(crate) async fn say(&mut self, body: &str) {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // The other side may have gone; then the test notices by itself.
        drop(self.try_send(answer.as_bytes()).await);
    }

    /// Reads more into the buffer; false at the end of the connection.
    async fn more(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
        matches!(read.expect("bytes or an end come in time"), Ok(1..))
    }

    /// Reads exactly these bytes.
    pub(crate) async fn expect(&mut self, text: &str) {
        while self.buffer.len() < text.len() {
            let so_far = String::from_utf8_lossy(&self.buffer).into_owned();
            assert!(
                self.more().await,
                "the connection ended after {so_far:?}, before {text:?}"
            );
        }
        let rest = self.buffer.split_off(text.len());
        let read = std::mem::replace(&mut self.buffer, rest);
        assert_eq!(String::from_utf8_lossy(&read), text);
    }

    /// Asserts that the other side has ended without sending anything more.
    pub(crate) async fn expect_end(&mut self) {
        assert!(
            !self.more().await || self.buffer.is_empty(),
            "{:?}",
            self.buffer
        );
        assert!(
            self.buffer.is_empty(),
            "{:?}",
            String::from_utf8_lossy(&self.buffer)
        );
    }

    /// Reads everything until the connection ends, and says whether it ended in order.
    pub(crate) async fn rest(&mut self) -> (String, bool) {
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut self.buffer)).await;
        let orderly = read.expect("an end comes in time").is_ok();
        (String::from_utf8_lossy(&self.buffer).into_owned(), orderly)
    }

    /// Reads a head, with the empty line; `None` if the connection ends before.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let rest = self.buffer.split_off(end + 4);
                let head = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8(head).expect("text"));
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads a request with its body, and counts it.
    pub(crate) async fn request(&mut self) -> Option<Message> {
        let message = self.request_head().await?;
        Some(self.body(message, false).await)
    }

    /// Reads a request without its body, and counts it.
    pub(crate) async fn request_head(&mut self) -> Option<Message> {
        let head = self.head().await?;
        if let Some(counts) = &self.counts {
            counts.requests.fetch_add(1, Ordering::SeqCst);
        }
        Some(Message {
            head,
            body: Vec::new(),
            complete: false,
        })
    }

    /// Reads an answer to a GET.
    pub(crate) async fn answer(&mut self) -> Message {
        let message = self.answer_head().await;
        self.body(message, true).await
    }

    /// Reads an answer without its body.
    pub(crate) async fn answer_head(&mut self) -> Message {
        let head = self.head().await;
        let head = head.unwrap_or_else(|| panic!("no answer but {:?}", self.buffer));
        Message {
            head,
            body: Vec::new(),
            complete: true,
        }
    }

    pub(crate) async fn body(&mut self, mut message: Message, until_close: bool) -> Message {
        let length = message
            .field("content-length")
            .map(|length| length.parse().expect("digits"));
        message.complete = true;
        if message.field("transfer-encoding").is_some() {
            while let Some(chunk) = self.chunk().await {
                if chunk.is_empty() {
                    return message;
                }
                message.body.extend(chunk);
            }
            message.complete = false;
        } else if let Some(length) = length {
            let body = self.take(length).await;
            message.complete = body.len() == length;
            message.body = body;
        } else if until_close {
            let (_, orderly) = self.rest().await;
            message.body = std::mem::take(&mut self.buffer);
            message.complete = orderly;
        }
        message
    }

    /// Reads so many bytes, less if the connection ends before.
    async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length && self.more().await {}
        let rest = self.buffer.split_off(length.min(self.buffer.len()));
        std::mem::replace(&mut self.buffer, rest)
    }

    /// Reads one chunk, the last one empty; `None` if the connection ends before.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let end = loop {
            match find(&self.buffer, b"\r\n") {
                Some(end) => break end,
                None if !self.more().await => return None,
                None => {}
            }
        };
        let line = self.take(end + 2).await;
        let size = std::str::from_utf8(&line[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a bare chunk size");
        let mut chunk = self.take(size + 2).await;
        (chunk.len() == size + 2).then(|| {
            assert!(chunk.ends_with(b"\r\n"));
            chunk.truncate(size);
            chunk
        })
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
