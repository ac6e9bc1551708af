//! The HTTP side: from connections to requests, from requests to routes, from answers to bytes.
//!
//! Routes are matched on path segments, so empty ones (`/v2/apps//a/`) do no harm; real clients send
//! them. The prefixes `/marathon` and `/service/marathon` of DC/OS's Admin Router are accepted.

mod accept;
mod apps;
mod deployments;
mod events;
mod files;
mod filters;
mod groups;
mod info;
mod message;
mod pods;
mod tasks;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use message::{Answer, Body, Call};
use serde_json::{Value, json};

use crate::refusal::Refusal;
use crate::shell::Shell;

/// The largest body that is read.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the server waits after a connection could not be accepted, say for lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything a request handler needs.
#[derive(Debug)]
pub(crate) struct Api {
    shell: Arc<Shell>,
    address: SocketAddr,
    heartbeat: Duration,
}

impl Api {
    /// Returns the API of an engine that listens on `address`.
    pub(crate) fn new(shell: Arc<Shell>, address: SocketAddr, heartbeat: Duration) -> Arc<Self> {
        Arc::new(Self {
            shell,
            address,
            heartbeat,
        })
    }
}

impl Api {
    /// Returns the `http_config` of `/v2/info`.
    fn ports_json(&self) -> Value {
        json!({ "http_port": self.address.port(), "https_port": null })
    }

    /// Returns where the API is, as `http://host:port`.
    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Accepts connections for ever.
pub(crate) async fn serve(listener: TcpListener, api: Arc<Api>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                tokio::spawn(serve_connection(stream, client, Arc::clone(&api)));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Serves one connection; what ends it early concerns only its client.
async fn serve_connection(stream: TcpStream, client: SocketAddr, api: Arc<Api>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(|request| handle(request, client, Arc::clone(&api)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
}

async fn handle(
    request: Request<Incoming>,
    client: SocketAddr,
    api: Arc<Api>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => {
            let refusal = if error.is::<LengthLimitError>() {
                Refusal::BodyTooLarge(BODY_BYTES_MAX)
            } else {
                Refusal::BadRequest(format!("The body could not be read: {error}"))
            };
            return Ok(Answer::from(refusal).into_response(api.url()));
        }
    };
    let call = Call::new(parts, bytes, client);
    let answer = refuse_foreign_pages(&api, &call).and_then(|()| route(&api, &call));
    let answer = answer.unwrap_or_else(Answer::from);
    Ok(answer.into_response(api.url()))
}

/// Refuses what a browser sends for a page from elsewhere: an API that starts commands must not be
/// open to every page that somebody on this machine looks at. Browsers put the page's origin on
/// every request that changes something (Fetch standard, §3.1); other clients send none.
fn refuse_foreign_pages(api: &Api, call: &Call) -> Result<(), Refusal> {
    let Some(origin) = call.headers.get(ORIGIN) else {
        return Ok(());
    };
    let port = api.address.port();
    let own = [
        format!("http://{}", api.address),
        format!("http://localhost:{port}"),
    ];
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
        _ if !call.accept.takes("application", "json") => return Err(Refusal::NotAcceptable),
        _ => {}
    }
    match segments {
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
