//! The little of HTTP/1.1 that the simulated systems speak, with everything counted that goes through it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::backend::find;

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) body: Vec<u8>,
    /// Whether it is the last one of its connection.
    pub(super) is_last: bool,
}

/// What it is answered with.
#[derive(Debug)]
pub(super) enum Reply {
    /// A status and a body of JSON.
    Whole(u16, Vec<u8>),
    /// Events, for as long as they come.
    Events(UnboundedReceiver<String>),
}

/// How often each call was made, and how many bytes of bodies and heads went in and out.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<String, u64>,
    received: u64,
    sent: u64,
    events: u64,
    event_bytes: u64,
}

impl Counts {
    /// Returns them for programs.
    pub(super) fn json(&self) -> Value {
        self.with(|counted| {
            json!({
                "calls": counted.calls,
                "all": counted.calls.values().sum::<u64>(),
                "received_bytes": counted.received,
                "sent_bytes": counted.sent,
                "events": counted.events,
                "event_bytes": counted.event_bytes,
            })
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counted) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn call(&self, kind: &str, received: usize, sent: usize) {
        self.with(|counted| {
            *counted.calls.entry(kind.to_owned()).or_default() += 1;
            counted.received += received as u64;
            counted.sent += sent as u64;
        });
    }

    fn event(&self, bytes: usize) {
        self.with(|counted| {
            counted.events += 1;
            counted.event_bytes += bytes as u64;
        });
    }
}

/// What answers the requests of one address.
pub(super) trait Server: Send + Sync + 'static {
    /// Answers one request, and says as what it is counted; None: it is not counted.
    fn answer(
        &self,
        request: Request,
    ) -> impl Future<Output = (Option<&'static str>, Reply)> + Send;
}

/// Serves until the listener fails.
///
/// # Errors
///
/// Those of accepting.
pub(super) async fn serve(
    listener: TcpListener,
    server: Arc<impl Server>,
    counts: Counts,
) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (server, counts) = (Arc::clone(&server), counts.clone());
        // A caller that goes away ends its connection; that is no news.
        tokio::spawn(async move { connection(stream, server, counts).await.ok() });
    }
}

/// Sends one request to another server, on a connection of its own, and returns its status and body.
///
/// # Errors
///
/// If no answer came.
pub(super) async fn pass_on(to: SocketAddr, request: &Request) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(to).await?;
    let Request {
        method, path, body, ..
    } = request;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {to}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let end = find(&answer, b"\r\n\r\n").ok_or(io::ErrorKind::InvalidData)?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, answer.split_off(end + 4)))
}

async fn connection(
    mut stream: TcpStream,
    server: Arc<impl Server>,
    counts: Counts,
) -> io::Result<()> {
    let mut held = Vec::new();
    while let Some((request, received)) = read(&mut stream, &mut held).await? {
        let is_last = request.is_last;
        match server.answer(request).await {
            (kind, Reply::Whole(status, body)) => {
                let head = head(status, body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(&body).await?;
                if let Some(kind) = kind {
                    counts.call(kind, received, head.len() + body.len());
                }
                if is_last {
                    return Ok(());
                }
            }
            (_, Reply::Events(events)) => return send(stream, events, &counts).await,
        }
    }
    Ok(())
}

async fn send(
    mut stream: TcpStream,
    mut events: UnboundedReceiver<String>,
    counts: &Counts,
) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    while let Some(event) = events.recv().await {
        stream.write_all(event.as_bytes()).await?;
        counts.event(event.len());
    }
    Ok(())
}

fn head(status: u16, length: usize) -> String {
    let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&Timestamp::now());
    let date = date.unwrap_or_default();
    format!(
        "HTTP/1.1 {status} -\r\nDate: {date}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n"
    )
}

/// Reads one request. None: the caller has closed the connection.
async fn read(stream: &mut TcpStream, held: &mut Vec<u8>) -> io::Result<Option<(Request, usize)>> {
    let end = loop {
        if let Some(end) = find(held, b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&held[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let (method, path) = (word(), word());
    let fields: Vec<_> = lines.filter_map(|line| line.split_once(':')).collect();
    let field = |wanted: &str| {
        let mut found = fields.iter();
        found.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then_some(value.trim()))
    };
    let length = field("content-length").and_then(|value| value.parse().ok());
    let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let whole = end + 4 + length.unwrap_or(0_usize);
    while held.len() < whole {
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
    let rest = held.split_off(whole);
    let body = held.split_off(end + 4);
    *held = rest;
    let request = Request {
        method,
        path,
        body,
        is_last,
    };
    Ok(Some((request, whole)))
}
