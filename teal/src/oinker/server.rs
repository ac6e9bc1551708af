//! The HTTP server and its routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::queue::Writer;
use super::reply::{Body, Query, Refusal, TEXT, json, whole};
use super::settings::{Settings, Sickness};
use super::store::Store;
use super::{board, gauge, say, socket, streams};

const REVISION_HEADER: HeaderName = HeaderName::from_static("x-revision");
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// A message board that listens and is ready to serve.
pub(crate) struct Server {
    listener: TcpListener,
    oinker: Arc<Oinker>,
}

/// What all requests share.
pub(super) struct Oinker {
    pub(super) settings: Settings,
    pub(super) writer: Writer,
    /// The connection for reading; the writer has its own.
    pub(super) reader: Mutex<Store>,
    /// How many requests have come in.
    pub(super) requests: AtomicU64,
    revision: HeaderValue,
    started: Instant,
}

impl Server {
    /// Opens the database and listens.
    ///
    /// # Errors
    ///
    /// When either fails.
    pub(crate) async fn bind(settings: Settings) -> anyhow::Result<Self> {
        let revision = HeaderValue::from_str(&settings.revision)
            .context("the revision does not fit into a header")?;
        let database = settings.database.clone();
        let delay = settings.commit_delay;
        let (writer, reader) = tokio::task::spawn_blocking(move || {
            anyhow::Ok((Writer::start(&database, delay)?, Store::open(&database)?))
        })
        .await??;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("cannot listen on {}", settings.listen))?;
        let oinker = Oinker {
            settings,
            writer,
            reader: Mutex::new(reader),
            requests: AtomicU64::new(0),
            revision,
            started: Instant::now(),
        };
        Ok(Self {
            listener,
            oinker: Arc::new(oinker),
        })
    }

    /// Returns where it listens, with the port that was taken.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves for as long as the future is polled.
    pub(crate) async fn serve(self) -> Infallible {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(serve_connection(stream, Arc::clone(&self.oinker)));
                }
                // Too many open files, most likely: wait for some to be closed.
                Err(error) => {
                    say(&format!(
                        "cannot accept a connection, trying again: {error}"
                    ));
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    }
}

/// Serves one connection for as long as the client keeps it. No timer is set: an idle connection
/// that the server closes could be the one on which the next request is under way.
async fn serve_connection(stream: TcpStream, oinker: Arc<Oinker>) {
    stream.set_nodelay(true).ok();
    let service = service_fn(move |request| answer(Arc::clone(&oinker), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that fails is the client's to notice.
    connection.with_upgrades().await.ok();
}

async fn answer(
    oinker: Arc<Oinker>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    oinker.requests.fetch_add(1, Ordering::Relaxed);
    let mut response = route(&oinker, request)
        .await
        .unwrap_or_else(Refusal::into_response);
    response
        .headers_mut()
        .insert(REVISION_HEADER, oinker.revision.clone());
    Ok(response)
}

async fn route(
    oinker: &Arc<Oinker>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let uri = request.uri().clone();
    let query = Query(uri.query().unwrap_or_default());
    let revision = &oinker.settings.revision;
    let method = match request.method().as_str() {
        "HEAD" => "GET",
        method => method,
    };
    match (method, uri.path()) {
        ("POST", "/oinks") => board::post(oinker, request).await,
        ("GET", "/oinks") => board::list(oinker, query).await,
        ("GET", "/") => Ok(board::page(oinker)),
        ("GET", "/health") => health(oinker),
        ("GET", "/revision") => Ok(name(oinker)),
        ("GET", "/metrics") => gauge::metrics(oinker).await,
        ("GET", "/status") => gauge::status(oinker).await,
        ("GET", "/slow") => streams::slow(revision, query).await,
        ("GET", "/feed") => streams::feed(revision, query),
        ("GET", "/socket") => socket::upgrade(revision, request),
        _ => Ok(refuse(&uri, request.method())),
    }
}

/// Answers a path that does not exist, or a method that it does not have.
fn refuse(uri: &hyper::Uri, method: &Method) -> Response<Body> {
    let allowed = match uri.path() {
        "/oinks" => "GET, HEAD, POST",
        "/" | "/health" | "/revision" | "/metrics" | "/status" | "/slow" | "/feed" | "/socket" => {
            "GET, HEAD"
        }
        path => {
            return Refusal::new(StatusCode::NOT_FOUND, format!("there is no {path}"))
                .into_response();
        }
    };
    let message = format!("{} does not understand {method}", uri.path());
    let mut response = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

fn health(oinker: &Oinker) -> Result<Response<Body>, Refusal> {
    if oinker.settings.sick == Sickness::Health {
        return Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "sick, as it was asked to be",
        ));
    }
    let age = oinker.started.elapsed();
    if age < oinker.settings.start_delay {
        let left_ms = (oinker.settings.start_delay - age).as_millis();
        let message = format!("starting, ready in {left_ms} ms");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message));
    }
    Ok(whole(StatusCode::OK, TEXT, "healthy\n"))
}

fn name(oinker: &Oinker) -> Response<Body> {
    let settings = &oinker.settings;
    json(
        StatusCode::OK,
        &serde_json::json!({ "revision": settings.revision, "instance": settings.instance }),
    )
}
