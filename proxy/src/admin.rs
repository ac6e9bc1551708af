//! The admin API: JSON over HTTP/1.1 on a listener of its own.
//!
//! It is meant for programs on the same machine. On a loopback address it answers only to hosts
//! that are loopback by name, and to no foreign web page, so that a browser cannot be made to
//! steer it (DNS rebinding, cross-site requests). Where to read next: `input`, which judges what
//! is sent, and `pool`, which does it.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits;
use crate::listener::truth;
use crate::metrics;
use crate::pool::{EndpointView, PoolView, Protocol};
use crate::registry::{Listed, OpenError, Opened, Registry};

mod input;

/// The server's state.
#[derive(Debug)]
pub(crate) struct Admin {
    pub(crate) registry: Arc<Registry>,
    /// Differs for each start.
    pub(crate) boot: String,
    /// The listener's address.
    pub(crate) address: SocketAddr,
}

/// A pool as it is shown.
#[derive(Debug, Serialize)]
struct PoolBody<'b> {
    name: &'b str,
    listen: SocketAddr,
    protocol: Protocol,
    boot: &'b str,
    generation: u64,
    endpoints: Vec<EndpointView>,
}

type Answer = Response<Full<Bytes>>;

/// Serves the admin API until `stop` turns true or is dropped.
pub(crate) async fn run(listener: TcpListener, admin: Arc<Admin>, mut stop: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = truth(&mut stop) => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&admin)));
                }
                Err(_) => sleep(limits::ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, admin: Arc<Admin>) {
    let service = service_fn(move |request| {
        let admin = Arc::clone(&admin);
        async move { Ok::<_, Infallible>(admin.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits::ADMIN_READ_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    // A client that breaks off its own connection is nobody else's business.
    drop(served);
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        if let Some(refusal) = self.refusal(&request) {
            return refusal;
        }
        let (parts, body) = request.into_parts();
        let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        match (&parts.method, segments.as_slice()) {
            (&Method::GET, ["ping"]) => text("pong\n"),
            (&Method::GET, ["metrics"]) => text(metrics::render(&self.registry.all())),
            (&Method::GET, ["v1", "info"]) => reply(StatusCode::OK, &self.info()),
            (&Method::GET, ["v1", "pools"]) => self.list(),
            (&Method::GET, ["v1", "pools", name]) => self.named(name, |name| self.get(name)),
            (&Method::DELETE, ["v1", "pools", name]) => self.named(name, |name| self.delete(name)),
            (&Method::PUT, ["v1", "pools", name]) => match read_json(body).await {
                Ok(value) => self.named(name, |name| self.open(name, &value)),
                Err(answer) => answer,
            },
            (&Method::POST, ["v1", "pools", name, "change"]) => match read_json(body).await {
                Ok(value) => self.named(name, |name| self.change(name, &value)),
                Err(answer) => answer,
            },
            (_, ["ping"] | ["metrics"] | ["v1", "info"] | ["v1", "pools"]) => not_allowed("GET"),
            (_, ["v1", "pools", _]) => not_allowed("GET, PUT, DELETE"),
            (_, ["v1", "pools", _, "change"]) => not_allowed("POST"),
            _ => message(StatusCode::NOT_FOUND, "there is nothing at this path"),
        }
    }

    /// Refuses what a web browser may have been tricked into sending.
    fn refusal(&self, request: &Request<Incoming>) -> Option<Answer> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        if self.address.ip().is_loopback() && !host.is_some_and(is_loopback_host) {
            return Some(message(
                StatusCode::FORBIDDEN,
                "the Host field must be a loopback address or localhost",
            ));
        }
        let origin = request.headers().get(ORIGIN)?.to_str().unwrap_or_default();
        let same = origin.split_once("://").map(|(_, authority)| authority) == host;
        (!same).then(|| message(StatusCode::FORBIDDEN, "web pages of another origin are refused"))
    }

    /// Hands on the pool's name: one segment, percent-encoded, so that it may hold a slash.
    fn named(&self, segment: &str, then: impl FnOnce(&str) -> Answer) -> Answer {
        let name = percent_decode_str(segment).decode_utf8();
        match name.as_deref().map(|name| (name, input::is_name(name))) {
            Ok((name, true)) => then(name),
            Ok((_, false)) | Err(_) => message(
                StatusCode::UNPROCESSABLE_ENTITY,
                "a pool's name must be UTF-8 without control characters, 1 to 512 bytes long",
            ),
        }
    }

    fn info(&self) -> Value {
        json!({
            "name": env!("CARGO_PKG_NAME"),
            "version": env!("CARGO_PKG_VERSION"),
            "boot": self.boot,
            "pid": std::process::id(),
        })
    }

    fn list(&self) -> Answer {
        let all = self.registry.all();
        let pools: Vec<_> = all.iter().map(|listed| self.body(listed, listed.pool.view())).collect();
        reply(StatusCode::OK, &json!({ "boot": self.boot, "pools": pools }))
    }

    fn get(&self, name: &str) -> Answer {
        match self.registry.get(name) {
            Some(listed) => self.show(StatusCode::OK, &listed),
            None => unknown(name),
        }
    }

    fn delete(&self, name: &str) -> Answer {
        match self.registry.close(name) {
            Some(listed) => self.show(StatusCode::OK, &listed),
            None => unknown(name),
        }
    }

    fn open(&self, name: &str, value: &Value) -> Answer {
        let (listen, protocol) = match input::open(value) {
            Ok(wanted) => wanted,
            Err(problems) => return invalid(&problems),
        };
        match self.registry.open(name, listen, protocol) {
            Ok((Opened::New, listed)) => self.show(StatusCode::CREATED, &listed),
            Ok((Opened::Known, listed)) => self.show(StatusCode::OK, &listed),
            Err(error @ OpenError::Refused { .. }) => invalid(&[error.to_string()]),
            Err(
                error @ (OpenError::InUse(_) | OpenError::NoPort | OpenError::OtherProtocol(_)),
            ) => message(StatusCode::CONFLICT, &error.to_string()),
        }
    }

    fn change(&self, name: &str, value: &Value) -> Answer {
        let change = match input::change(value) {
            Ok(change) => change,
            Err(problems) => return invalid(&problems),
        };
        match self.registry.get(name) {
            Some(listed) => {
                let view = listed.pool.change(&change);
                reply(StatusCode::OK, &self.body(&listed, view))
            }
            None => unknown(name),
        }
    }

    fn show(&self, status: StatusCode, listed: &Listed) -> Answer {
        reply(status, &self.body(listed, listed.pool.view()))
    }

    fn body<'b>(&'b self, listed: &'b Listed, view: PoolView) -> PoolBody<'b> {
        PoolBody {
            name: &listed.pool.name,
            listen: listed.listen,
            protocol: listed.pool.protocol,
            boot: &self.boot,
            generation: view.generation,
            endpoints: view.endpoints,
        }
    }
}

async fn read_json(body: Incoming) -> Result<Value, Answer> {
    let read = Limited::new(body, limits::ADMIN_BODY_BYTES_MAX).collect();
    let bytes = match timeout(limits::ADMIN_READ_TIMEOUT, read).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(message(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 16 MiB"));
        }
        Ok(Err(_)) => {
            return Err(message(StatusCode::BAD_REQUEST, "the body broke off"));
        }
        Err(_) => {
            return Err(message(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        message(StatusCode::BAD_REQUEST, &format!("the body is not valid JSON: {error}"))
    })
}

/// Returns whether a `Host` field names this machine's loopback, whatever the port.
fn is_loopback_host(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unknown(name: &str) -> Answer {
    message(StatusCode::NOT_FOUND, &format!("there is no pool {name:?}"))
}

fn not_allowed(methods: &'static str) -> Answer {
    let mut answer =
        message(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods} is possible here"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

fn invalid(problems: &[String]) -> Answer {
    let body = json!({ "message": "the request is not valid", "details": problems });
    reply(StatusCode::UNPROCESSABLE_ENTITY, &body)
}

fn message(status: StatusCode, text: &str) -> Answer {
    reply(status, &json!({ "message": text }))
}

fn reply(status: StatusCode, body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body).expect("our own answers are plain data");
    build(status, "application/json", bytes.into())
}

fn text(text: impl Into<Bytes>) -> Answer {
    build(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text.into())
}

fn build(status: StatusCode, kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
