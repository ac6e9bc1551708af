//! An instance: a small HTTP server in this process, which can be stopped as by a kill.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use teal_core::action::Member;
use teal_core::name::{Address, InstanceId};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// An instance that answers every request with its name: after as many milliseconds as `?ms=` asks for, or for `?held`
/// when it is told to.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The instance's id.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    serving: AbortHandle,
}

#[derive(Debug, Default)]
struct Counts {
    came: AtomicU64,
    under_way: AtomicU64,
    released: watch::Sender<bool>,
}

/// A request under way, until it is answered or cut.
struct UnderWay(Arc<Counts>);

impl Backend {
    /// Starts one; it answers when this returns.
    pub(crate) async fn start(name: impl Into<String>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (name, counts) = (name.into(), Arc::new(Counts::default()));
        let serving = tokio::spawn(serve(listener, name.clone(), Arc::clone(&counts)));
        Self {
            name,
            address,
            counts,
            serving: serving.abort_handle(),
        }
    }

    /// Returns it as a pool knows it.
    pub(crate) fn member(&self) -> Member {
        Member {
            instance: InstanceId(self.name.clone()),
            address: Address(self.address.to_string()),
        }
    }

    /// Returns how many requests have come so far.
    pub(crate) fn came(&self) -> u64 {
        self.counts.came.load(Ordering::SeqCst)
    }

    /// Returns how many requests have come and are not answered yet.
    pub(crate) fn under_way(&self) -> u64 {
        self.counts.under_way.load(Ordering::SeqCst)
    }

    /// Answers what is held, and what will be.
    pub(crate) fn release(&self) {
        self.counts.released.send_replace(true);
    }

    /// Stops at once, as a kill does: it listens no more, and whatever is under way is cut.
    pub(crate) fn stop(&self) {
        self.serving.abort();
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop();
    }
}

impl UnderWay {
    fn new(counts: Arc<Counts>) -> Self {
        counts.came.fetch_add(1, Ordering::SeqCst);
        counts.under_way.fetch_add(1, Ordering::SeqCst);
        Self(counts)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes connections until it is aborted, which drops them all.
async fn serve(listener: TcpListener, name: String, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        connections.spawn(keep(stream, name.clone(), Arc::clone(&counts)));
        while connections.try_join_next().is_some() {}
    }
}

async fn keep(stream: TcpStream, name: String, counts: Arc<Counts>) {
    stream.set_nodelay(true).ok();
    let answer = |request| answer(request, name.clone(), Arc::clone(&counts));
    let connection =
        http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
    // How a connection ends is the client's affair.
    connection.await.ok();
}

async fn answer(
    request: Request<Incoming>,
    name: String,
    counts: Arc<Counts>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let under_way = UnderWay::new(Arc::clone(&counts));
    match request.uri().query() {
        Some("held") => {
            let mut released = counts.released.subscribe();
            let released = released.wait_for(|released| *released).await;
            released.expect("it is never closed: this request has its other end");
        }
        Some(query) => {
            let ms = query.strip_prefix("ms=").map(str::parse);
            let ms = ms.expect("a delay").expect("a number");
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        None => {}
    }
    drop(under_way);
    Ok(Response::new(Full::new(Bytes::from(name))))
}
