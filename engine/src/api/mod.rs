//! The HTTP side: from connections to requests, from requests to routes, from answers to bytes.
//!
//! Routes are matched on path segments, so empty ones (`/v2/apps//a/`) do no harm; real clients send
//! them. The prefixes `/marathon` and `/service/marathon` of DC/OS's Admin Router are accepted.

mod accept;
mod access;
mod apps;
mod deployments;
mod events;
mod files;
mod filters;
mod groups;
mod info;
mod message;
mod metrics;
mod pods;
mod tasks;
mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::ORIGIN;
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use message::{Answer, Body, Call};
use metrics::{Exchange, Traffic};
use serde_json::{Value, json};

pub use access::{Token, TokenError};
pub use tls::Tls;
pub(crate) use tls::TlsError;

use crate::refusal::Refusal;
use crate::shell::Shell;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to shake hands.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the server waits after a connection could not be accepted, say for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything a request handler needs.
#[derive(Debug)]
pub(crate) struct Api {
    shell: Arc<Shell>,
    address: SocketAddr,
    heartbeat: Duration,
    traffic: Traffic,
    door: Door,
}

/// Whom the API lets in, and how they come.
#[derive(Debug, Default)]
pub(crate) struct Door {
    /// What everybody must know; without one the API is open to all who reach it.
    pub(crate) token: Option<Token>,
    /// Whether connections to [`Api::address`] are encrypted.
    pub(crate) encrypted: bool,
}

impl Api {
    /// Returns the API of an engine that listens on `address`.
    pub(crate) fn new(
        shell: Arc<Shell>,
        address: SocketAddr,
        heartbeat: Duration,
        door: Door,
    ) -> Arc<Self> {
        Arc::new(Self {
            shell,
            address,
            heartbeat,
            traffic: Traffic::new(Instant::now()),
            door,
        })
    }
}

impl Api {
    /// Returns the `http_config` of `/v2/info`.
    fn ports_json(&self) -> Value {
        let port = self.address.port();
        if self.door.encrypted {
            json!({ "http_port": null, "https_port": port })
        } else {
            json!({ "http_port": port, "https_port": null })
        }
    }

    /// Returns where the API is, as `http://host:port`.
    fn url(&self) -> String {
        format!("{}://{}", self.scheme(), self.address)
    }

    fn scheme(&self) -> &'static str {
        if self.door.encrypted { "https" } else { "http" }
    }
}

/// Accepts connections for ever, encrypted ones where there is an acceptor.
pub(crate) async fn serve(listener: TcpListener, api: Arc<Api>, tls: Option<TlsAcceptor>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                tokio::spawn(accept(stream, client, Arc::clone(&api), tls.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Shakes hands where that is asked for, and serves one connection.
async fn accept(stream: TcpStream, client: SocketAddr, api: Arc<Api>, tls: Option<TlsAcceptor>) {
    stream.set_nodelay(true).ok();
    match tls {
        None => serve_connection(stream, client, api).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                serve_connection(stream, client, api).await;
            }
        }
    }
}

/// Serves one connection; what ends it early concerns only its client.
async fn serve_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    client: SocketAddr,
    api: Arc<Api>,
) {
    let cut = Arc::new(Notify::new());
    let caller = Caller {
        address: client,
        cut: Arc::clone(&cut),
    };
    let service = service_fn(|request| handle(request, caller.clone(), Arc::clone(&api)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = cut.notified() => {}
    }
}

/// Who is at the other end of a connection, and how to end that.
#[derive(Debug, Clone)]
struct Caller {
    address: SocketAddr,
    cut: Arc<Notify>,
}

/// Answers one request, and takes note of it.
async fn handle(
    request: Request<Incoming>,
    caller: Caller,
    api: Arc<Api>,
) -> Result<Response<Body>, Infallible> {
    let began = Instant::now();
    let method = request.method().clone();
    let request_bytes = request.body().size_hint().exact().unwrap_or(0);
    api.traffic.begins();
    let response = answer(request, caller, &api).await.into_response(api.url());
    api.traffic.ends(Exchange {
        method: &method,
        status: response.status(),
        took: began.elapsed(),
        request_bytes,
        response_bytes: response.body().size_hint().exact().unwrap_or(0),
    });
    Ok(response)
}

async fn answer(request: Request<Incoming>, caller: Caller, api: &Arc<Api>) -> Answer {
    let (parts, body) = request.into_parts();
    // Before the body: who may not ask shall not make the engine read.
    if let Err(refusal) = let_in(api, &parts) {
        return refusal.into();
    }
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Refusal::BodyTooLarge(BODY_BYTES_MAX).into();
        }
        Err(error) => {
            return Refusal::BadRequest(format!("The body could not be read: {error}")).into();
        }
    };
    let call = Call::new(parts, bytes, caller.address, caller.cut);
    let answer = refuse_foreign_pages(api, &call).and_then(|()| route(api, &call));
    answer.unwrap_or_else(Answer::from)
}

/// Refuses who does not know the token. Whether the engine lives may be asked by everybody.
fn let_in(api: &Api, parts: &Parts) -> Result<(), Refusal> {
    let Some(token) = &api.door.token else {
        return Ok(());
    };
    if parts.uri.path().trim_matches('/') == "ping" {
        return Ok(());
    }
    token.check(&parts.headers)
}

/// Refuses what a browser sends for a page from elsewhere: an API that starts commands must not be
/// open to every page that somebody on this machine looks at. Browsers put the page's origin on
/// every request that changes something (Fetch standard, §3.1); other clients send none.
fn refuse_foreign_pages(api: &Api, call: &Call) -> Result<(), Refusal> {
    let Some(origin) = call.headers.get(ORIGIN) else {
        return Ok(());
    };
    let port = api.address.port();
    let own = [api.url(), format!("{}://localhost:{port}", api.scheme())];
    if own.iter().any(|own| own.as_bytes() == origin.as_bytes()) {
        return Ok(());
    }
    let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
    Err(Refusal::ForeignOrigin(origin))
}

fn route(api: &Arc<Api>, call: &Call) -> Result<Answer, Refusal> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let segments = match segments.as_slice() {
        ["service", "marathon", rest @ ..] | ["marathon", rest @ ..] => rest,
        all => all,
    };
    match segments {
        ["ping"] => return only_get(call, info::ping),
        ["v2", "events"] if call.method == Method::GET => return events::listen(api, call),
        ["v2", "events"] => return Err(Refusal::EventsOnly),
        ["metrics", "prometheus"] => return only_get(call, |_| metrics::prometheus(api)),
        _ if !call.accept.takes("application", "json") => return Err(Refusal::NotAcceptable),
        _ => {}
    }
    match segments {
        ["metrics"] => only_get(call, |_| metrics::json(api)),
        ["v2", "info"] => only_get(call, |_| info::info(api)),
        ["v2", "leader"] if call.method == Method::DELETE => Err(Refusal::CannotAbdicate),
        ["v2", "leader"] => only_get(call, |_| info::leader(api)),
        ["v2", "plugins"] => only_get(call, |_| info::plugins()),
        ["v2", "groups", rest @ ..] => groups::route(api, call, rest),
        ["v2", "pods", rest @ ..] => pods::route(call, rest),
        ["v2", "apps", rest @ ..] => apps::route(api, call, rest),
        ["v2", "tasks", rest @ ..] => tasks::route(api, call, rest),
        ["v2", "deployments", rest @ ..] => deployments::route(api, call, rest),
        ["v2", "queue", rest @ ..] => deployments::route_queue(api, call, rest),
        ["files", rest @ ..] => files::route(api, call, rest),
        _ => Err(Refusal::RouteUnknown),
    }
}

fn only_get(call: &Call, answer: impl FnOnce(&Call) -> Answer) -> Result<Answer, Refusal> {
    if call.method == Method::GET {
        Ok(answer(call))
    } else {
        Err(Refusal::MethodNotAllowed("GET"))
    }
}
