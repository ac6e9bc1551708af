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
use hyper::body::{Body, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits;
use crate::listener::Unbound;
use crate::metrics;
use crate::pool::{EndpointView, PoolView, Protocol};
use crate::registry::{Listed, OpenError, Opened, Registry};
use crate::snapshot::Snapshot;

mod input;

/// The server's state.
pub(crate) struct Admin {
    pub(crate) registry: Arc<Registry>,
    /// Differs for each start.
    pub(crate) boot: String,
    /// The listener's address.
    pub(crate) address: SocketAddr,
    /// Where changes are written down before they are answered.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) on_notice: Box<dyn Fn(&str) + Send + Sync>,
    /// Rings when a pool has been changed.
    pub(crate) changed: Arc<Notify>,
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
            return refusal.answer();
        }
        let (parts, body) = request.into_parts();
        let segments: Vec<&str> = parts.uri.path().split('/').skip(1).collect();
        self.route(&parts.method, &segments, body)
            .await
            .unwrap_or_else(Refusal::answer)
    }

    async fn route(
        &self,
        method: &Method,
        segments: &[&str],
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        match (method, segments) {
            (&Method::GET, ["ping"]) => Ok(text("pong\n")),
            (&Method::GET, ["metrics"]) => Ok(text(metrics::render(&self.registry.all()))),
            (&Method::GET, ["v1", "info"]) => Ok(reply(StatusCode::OK, &self.info())),
            (&Method::GET, ["v1", "pools"]) => Ok(self.list()),
            (&Method::GET, ["v1", "pools", name]) => self.get(&decode(name)?),
            (&Method::DELETE, ["v1", "pools", name]) => self.delete(&decode(name)?).await,
            (&Method::PUT, ["v1", "pools", name]) => {
                self.open(&decode(name)?, &read_json(body).await?).await
            }
            (&Method::POST, ["v1", "pools", name, "change"]) => {
                self.change(&decode(name)?, &read_json(body).await?)
            }
            (_, ["ping"] | ["metrics"] | ["v1", "info"] | ["v1", "pools"]) => {
                Err(Refusal::NotAllowed("GET"))
            }
            (_, ["v1", "pools", _]) => Err(Refusal::NotAllowed("GET, PUT, DELETE")),
            (_, ["v1", "pools", _, "change"]) => Err(Refusal::NotAllowed("POST")),
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "there is nothing at this path",
            )),
        }
    }

    /// Refuses what a web browser may have been tricked into sending.
    fn refusal(&self, request: &Request<Incoming>) -> Option<Refusal> {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        if self.address.ip().is_loopback() && !host.is_some_and(is_loopback_host) {
            return Some(Refusal::new(
                StatusCode::FORBIDDEN,
                "the Host field must be a loopback address or localhost",
            ));
        }
        let origin = request.headers().get(ORIGIN)?.to_str().unwrap_or_default();
        let same = origin.split_once("://").map(|(_, authority)| authority) == host;
        (!same).then(|| {
            Refusal::new(
                StatusCode::FORBIDDEN,
                "web pages of another origin are refused",
            )
        })
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
        let pools: Vec<_> = all
            .iter()
            .map(|listed| self.body(listed, listed.pool.view()))
            .collect();
        reply(
            StatusCode::OK,
            &json!({ "boot": self.boot, "pools": pools }),
        )
    }

    fn get(&self, name: &str) -> Result<Answer, Refusal> {
        let listed = self.registry.get(name).ok_or_else(|| unknown(name))?;
        Ok(self.show(StatusCode::OK, &listed))
    }

    /// Answers when the pool's address is free again.
    async fn delete(&self, name: &str) -> Result<Answer, Refusal> {
        let (unbound, listed) = self.registry.close(name).ok_or_else(|| unknown(name))?;
        self.settle();
        wait_for(unbound).await;
        Ok(self.show(StatusCode::OK, &listed))
    }

    /// Answers when the pool listens, and no longer where it did before.
    async fn open(&self, name: &str, value: &Value) -> Result<Answer, Refusal> {
        let (listen, protocol) = input::open(value).map_err(Refusal::Invalid)?;
        let opened = self.registry.open(name, listen, protocol);
        let (opened, listed) = opened.map_err(|error| match &error {
            OpenError::Refused { .. } => Refusal::Invalid(vec![error.to_string()]),
            OpenError::InUse(_) | OpenError::NoPort | OpenError::OtherProtocol(_) => {
                Refusal::new(StatusCode::CONFLICT, &error.to_string())
            }
        })?;
        self.settle();
        let status = match opened {
            Opened::New => StatusCode::CREATED,
            Opened::Known => StatusCode::OK,
            Opened::Moved(unbound) => {
                wait_for(unbound).await;
                StatusCode::OK
            }
        };
        Ok(self.show(status, &listed))
    }

    fn change(&self, name: &str, value: &Value) -> Result<Answer, Refusal> {
        let change = input::change(value).map_err(Refusal::Invalid)?;
        let listed = self.registry.get(name).ok_or_else(|| unknown(name))?;
        let view = listed.pool.change(&change);
        self.settle();
        Ok(reply(StatusCode::OK, &self.body(&listed, view)))
    }

    /// Writes a change down, and rings for whoever waits for one.
    fn settle(&self) {
        self.write_down();
        self.changed.notify_one();
    }

    /// Remembers the pools for the next start. That a disk is full is no reason not to balance: it is told, and the
    /// next start begins without pools.
    fn write_down(&self) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        if let Err(error) = snapshot.write(|| self.registry.all()) {
            (self.on_notice)(&format!(
                "the pools cannot be written down, so a restart will begin without them: {error}"
            ));
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

/// Waits until an address is free again.
async fn wait_for(unbound: Option<Unbound>) {
    if let Some(unbound) = unbound {
        // An error is how it resolves: the other end is dropped together with the socket.
        drop(unbound.await);
    }
}

/// Waits until `signal` is true, or nobody is left who could make it so.
async fn truth(signal: &mut watch::Receiver<bool>) {
    drop(signal.wait_for(|value| *value).await);
}

/// Decodes a pool's name: one segment, percent-encoded, so that it may hold a slash.
fn decode(segment: &str) -> Result<String, Refusal> {
    let name = percent_decode_str(segment).decode_utf8();
    match name {
        Ok(name) if input::is_name(&name) => Ok(name.into_owned()),
        Ok(_) | Err(_) => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "a pool's name must be UTF-8 without control characters, 1 to 512 bytes long",
        )),
    }
}

async fn read_json(body: Incoming) -> Result<Value, Refusal> {
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is larger than 16 MiB",
        )
    };
    if body.size_hint().lower() > limits::ADMIN_BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read = Limited::new(body, limits::ADMIN_BODY_BYTES_MAX).collect();
    let bytes = match timeout(limits::ADMIN_READ_TIMEOUT, read).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "the body broke off"));
        }
        Err(_) => {
            return Err(Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "the body did not arrive in time",
            ));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            &format!("the body is not valid JSON: {error}"),
        )
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
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn unknown(name: &str) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        &format!("Pool '{name}' does not exist"),
    )
}

/// A request that was not done, and why.
#[derive(Debug)]
enum Refusal {
    /// Just a sentence.
    Because(StatusCode, String),
    /// These mistakes were found, all of them.
    Invalid(Vec<String>),
    /// Only these methods are possible.
    NotAllowed(&'static str),
}

impl Refusal {
    fn new(status: StatusCode, message: &str) -> Self {
        Self::Because(status, message.to_owned())
    }

    fn answer(self) -> Answer {
        match self {
            Self::Because(status, message) => reply(status, &json!({ "message": message })),
            Self::Invalid(problems) => reply(
                StatusCode::UNPROCESSABLE_ENTITY,
                &json!({ "message": "the request is not valid", "details": problems }),
            ),
            Self::NotAllowed(methods) => {
                let message = format!("only {methods} is possible here");
                let body = json!({ "message": message });
                let mut answer = reply(StatusCode::METHOD_NOT_ALLOWED, &body);
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(methods));
                answer
            }
        }
    }
}

fn reply(status: StatusCode, body: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(body).expect("our own answers are plain data");
    build(status, "application/json", bytes.into())
}

fn text(text: impl Into<Bytes>) -> Answer {
    build(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        text.into(),
    )
}

fn build(status: StatusCode, kind: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
