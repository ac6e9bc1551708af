//! A task's own little server: the page with its gauge of pending operations.

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::{AbortHandle, JoinSet};

/// What the next reading is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mood {
    /// With the count.
    #[default]
    Honest,
    /// With what is no number.
    NoNumber,
    /// With status 500.
    Broken,
    /// Not at all.
    Silent,
}

#[derive(Debug, Default)]
struct Said {
    pending: u64,
    once: Mood,
    is_cut_off: bool,
}

/// The server, which ends with its task.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) address: SocketAddr,
    said: Arc<Mutex<Said>>,
    serving: AbortHandle,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Page {
    /// Starts to serve at a free port of an agent.
    pub(super) fn serve(agent: IpAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((agent, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let said = Arc::<Mutex<Said>>::default();
        let serving = tokio::spawn(accept(listener, Arc::clone(&said))).abort_handle();
        Ok(Self {
            address,
            said,
            serving,
        })
    }

    /// Sets what the gauge says.
    pub(super) fn set_pending(&self, count: u64) {
        self.change(|said| said.pending = count);
    }

    /// Sets what the next reading is answered with.
    pub(super) fn set_mood(&self, mood: Mood) {
        self.change(|said| said.once = mood);
    }

    /// Sets whether the network keeps everybody from it.
    pub(super) fn cut_off(&self, is_cut_off: bool) {
        self.change(|said| said.is_cut_off = is_cut_off);
    }

    fn change(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

async fn accept(listener: tokio::net::TcpListener, said: Arc<Mutex<Said>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let said = Arc::clone(&said);
        let answer = service_fn(move |_: Request<Incoming>| answer(Arc::clone(&said)));
        // A reader that goes away ends its connection; that is no news.
        let serve = async move { drop(serve(stream, answer).await) };
        connections.spawn(serve);
        while connections.try_join_next().is_some() {}
    }
}

async fn serve<S>(stream: tokio::net::TcpStream, answer: S) -> Result<(), hyper::Error>
where
    S: hyper::service::Service<
            Request<Incoming>,
            Response = Response<Full<Bytes>>,
            Error = Infallible,
        > + Send,
    S::Future: Send,
{
    http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await
}

async fn answer(said: Arc<Mutex<Said>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (count, mood) = {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let mood = std::mem::take(&mut said.once);
        let mood = if said.is_cut_off { Mood::Silent } else { mood };
        (said.pending, mood)
    };
    let page = |body: String| Response::new(Full::from(body));
    match mood {
        Mood::Honest => Ok(page(format!("# TYPE pending gauge\npending {count}\n"))),
        Mood::NoNumber => Ok(page("# TYPE pending gauge\npending NaN\n".to_owned())),
        Mood::Broken => {
            let mut broken = page("out of order".to_owned());
            *broken.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            Ok(broken)
        }
        Mood::Silent => pending().await,
    }
}
