//! The masters: where calls arrive, how long they take, and what becomes of them on the way.

use super::Shared;
use super::answer::{Call, Said, said};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, DATE, HeaderName, HeaderValue, LOCATION};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::convert::Infallible;
use std::sync::Arc;
use teal_core::Span;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long a standby looks for a leader before it says that there is none (Marathon's `LeaderProxyFilter`: 2.5 s).
const LEADER_PATIENCE: Span = Span(2500);
/// How often an event stream shows a sign of life.
const HEARTBEAT: Span = Span::seconds(10);

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The connection is closed without an answer.
#[derive(Debug)]
struct HungUp;

impl std::fmt::Display for HungUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed without an answer")
    }
}

impl std::error::Error for HungUp {}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Fine,
    Busy,
    Dropped,
    AnswerLost,
    /// The connection is closed, and the change comes about this much later.
    Late(Span),
}

/// Serves one master's address.
pub(super) async fn serve(shared: Arc<Shared>, master: usize, listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(connection(shared, master, stream));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(shared: Arc<Shared>, master: usize, stream: TcpStream) {
    if !shared.is_present(master) {
        return;
    }
    let answer = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { shared.receive(master, request).await }
    });
    // A caller that goes away, or is hung up on, ends its connection; that is no news.
    drop(
        http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer)
            .await,
    );
}

impl Shared {
    fn is_present(&self, master: usize) -> bool {
        self.state().absent[master] <= crate::clock::now()
    }

    fn is_led(&self) -> bool {
        self.state().leaderless_until <= crate::clock::now()
    }

    async fn receive(
        self: Arc<Self>,
        master: usize,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, HungUp> {
        let (fate, there, back) = self.draw_fate();
        sleep(there.duration()).await;
        if !self.is_present(master) {
            return Err(HungUp);
        }
        if request.uri().path() == "/v2/events" {
            return self.listen(master, &request);
        }
        let call = read(request).await?;
        if fate != Fate::Fine {
            self.state().tell(format!("FAULT {fate:?} {}", call.told()));
        }
        match fate {
            Fate::Dropped => return Err(HungUp),
            Fate::Busy => {
                let message = "Too many concurrent requests! Allowed: 500.";
                return Ok(self.reply(&said(503, json!({ "message": message }))));
            }
            Fate::Fine | Fate::AnswerLost | Fate::Late(_) => {}
        }
        if !self.finds_leader().await {
            let message = "Could not determine the current leader";
            return Ok(self.reply(&said(502, json!({ "message": message }))));
        }
        // The change goes on when its caller has gone away.
        let carry_out = Arc::clone(&self).carry_out(call.clone(), fate);
        let reign = self.state().reign;
        let carried_out = tokio::spawn(carry_out);
        if matches!(fate, Fate::Late(_)) {
            return Err(HungUp);
        }
        let Ok(done) = carried_out.await else {
            return Err(HungUp);
        };
        sleep(back.duration()).await;
        let is_cut = self.state().reign != reign;
        if fate == Fate::AnswerLost || is_cut || !self.is_present(master) {
            return Err(HungUp);
        }
        self.state().shown_well.extend(done.well.iter().cloned());
        Ok(self.reply(&done))
    }

    fn draw_fate(&self) -> (Fate, Span, Span) {
        let mut state = self.state();
        let temper = state.temper.clone();
        let latency = temper.latency.0;
        let there = if state.chance.happens(temper.slow) {
            state.chance.span(1000, 8000)
        } else {
            state.chance.span(0, latency)
        };
        let back = state.chance.span(0, latency);
        let late = state.chance.span(100, temper.late_by.0);
        let mut drawn = state.chance.below(1000);
        let table = [
            (temper.busy, Fate::Busy),
            (temper.dropped, Fate::Dropped),
            (temper.lost_answers, Fate::AnswerLost),
            (temper.late, Fate::Late(late)),
        ];
        for (weight, fate) in table {
            let weight = u64::from(weight);
            if drawn < weight {
                return (fate, there, back);
            }
            drawn -= weight;
        }
        (Fate::Fine, there, back)
    }

    async fn finds_leader(&self) -> bool {
        let led = async {
            while !self.is_led() {
                sleep(Span(50).duration()).await;
            }
        };
        timeout(LEADER_PATIENCE.duration(), led).await.is_ok()
    }

    async fn carry_out(self: Arc<Self>, call: Call, fate: Fate) -> Said {
        if !call.is_change() {
            return self.state().answer(&call, crate::clock::now());
        }
        // It is late for itself: behind another late one it would come about later than it may.
        if let Fate::Late(by) = fate {
            sleep(by.duration()).await;
        }
        let _turn = self.queue.lock().await;
        let takes = self.state().chance.span(1, 60);
        sleep(takes.duration()).await;
        while !self.is_led() {
            sleep(Span(50).duration()).await;
        }
        self.state().answer(&call, crate::clock::now())
    }

    fn reply(&self, said: &Said) -> Response<Body> {
        let state = self.state();
        let leader = self.masters.get(state.leader);
        let leader = leader
            .map(|address| format!("http://{address}"))
            .unwrap_or_default();
        let mut reply = Response::new(Full::from(said.body.to_string()).boxed_unsync());
        *reply.status_mut() = hyper::StatusCode::from_u16(said.status).unwrap_or_default();
        let date = state.date(crate::clock::now());
        let headers = [
            (CONTENT_TYPE, "application/json"),
            (DATE, date.as_str()),
            (
                HeaderName::from_static("x-marathon-leader"),
                leader.as_str(),
            ),
        ];
        for (name, value) in headers {
            if let Ok(value) = value.parse() {
                reply.headers_mut().insert(name, value);
            }
        }
        reply
    }

    /// Opens an event stream; a standby sends on to the leader (from 1.7 on).
    fn listen(&self, master: usize, request: &Request<Incoming>) -> Result<Response<Body>, HungUp> {
        let accept = request.headers().get(ACCEPT);
        if accept.is_none_or(|accept| accept != "text/event-stream") {
            let message = "Method Not Allowed";
            return Ok(self.reply(&said(405, json!({ "message": message }))));
        }
        if !self.is_led() {
            return Err(HungUp);
        }
        let mut state = self.state();
        let mut reply = Response::new(Full::default().boxed_unsync());
        if state.leader != master {
            *reply.status_mut() = hyper::StatusCode::FOUND;
            let leader = self.masters.get(state.leader).ok_or(HungUp)?;
            let location = format!("http://{leader}/v2/events").parse();
            reply
                .headers_mut()
                .insert(LOCATION, location.map_err(|_| HungUp)?);
            return Ok(reply);
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        state.streams.push(sender);
        state.emit(
            "event_stream_attached",
            json!({ "remoteAddress": "127.0.0.1" }),
        );
        let frames = stream::unfold(receiver, |mut receiver| async {
            let bytes = match timeout(HEARTBEAT.duration(), receiver.recv()).await {
                Ok(event) => event?,
                Err(_) => Bytes::from_static(b"\r\n"),
            };
            Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
        });
        let headers = reply.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream;charset=utf-8"),
        );
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        Ok(reply.map(|_| StreamBody::new(frames).boxed_unsync()))
    }
}

async fn read(request: Request<Incoming>) -> Result<Call, HungUp> {
    let (head, body) = request.into_parts();
    let text = |part: &str| {
        percent_encoding::percent_decode_str(part)
            .decode_utf8_lossy()
            .into_owned()
    };
    let path = head.uri.path().split('/').filter(|part| !part.is_empty());
    let query = head.uri.query().unwrap_or_default().split('&');
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((text(key), text(value)))
    };
    let (path, query) = (path.map(text).collect(), query.filter_map(pair).collect());
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    Ok(Call {
        method: head.method,
        path,
        query,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}
