//! One exchange: a request to an endpoint, its answer back.
//!
//! Both directions run at once in one task, so that an answer may begin before the request has
//! ended and a client that goes away is noticed. A request is sent a second time only where that
//! is safe: if no connection came about, nothing was sent; if a kept connection was closed before
//! a byte of an answer, only a request that may be repeated is sent again, once.
//!
//! The claim on the endpoint lives until the last byte of the answer is written.

use std::future::pending;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::answer::Fault;
use crate::body::{Body, Form};
use crate::client::{Client, Ending, Stage};
use crate::endpoint::{Endpoint, Link, Reuse};
use crate::head::{Asked, Request, Response, Search, read_response};
use crate::limits;
use crate::pool::{Claim, Pool};
use crate::tunnel::tunnel;
use crate::wire::{self, Step, StepError};

/// How an attempt on one connection went.
#[derive(Debug)]
enum Attempt {
    /// The client connection goes on like this.
    Over(Ending),
    /// A kept connection was closed before a byte of the answer.
    Stale,
    /// Nothing but interim answers was written: the balancer must answer by itself.
    Failed(Fault),
}

/// How the way down, from the endpoint to the client, ended.
#[derive(Debug)]
enum Down {
    /// The answer is written.
    Answered {
        upstream_keep_alive: bool,
        keep_alive: bool,
    },
    /// The head of a 101 is in the client's buffer.
    Switched,
    /// The endpoint's connection ended before a byte of a final answer.
    NoAnswer { silent: bool },
    /// The endpoint's answer is not to be understood.
    Bad,
    /// The endpoint broke off, or violated its framing, in the middle.
    Cut { marked: bool },
    /// The client takes no more.
    ClientGone,
}

/// How the way up, from the client to the endpoint, ended. Success does not end it.
#[derive(Debug)]
enum Up {
    ClientGone,
    BadBody,
}

/// Carries `request`, whose head is in `client.head`, to an endpoint and the answer back.
pub(crate) async fn exchange(client: &mut Client, pool: &Pool, request: Request) -> Ending {
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let mut last = Fault::NoEndpoint;
    let mut reuse = if request.repeatable {
        Reuse::Any
    } else {
        Reuse::Recent
    };
    while let Some(claim) = pool.claim(&tried, &mut client.random) {
        let link = match claim.endpoint().link(reuse).await {
            Ok(link) => link,
            Err(error) => {
                last = connect_fault(&error);
                tried.push(Arc::clone(claim.endpoint()));
                continue;
            }
        };
        let retry = link.reused && request.repeatable;
        match attempt(client, pool, &claim, link, &request).await {
            Attempt::Over(ending) => return ending,
            Attempt::Stale if retry => {
                last = Fault::UpstreamClosed;
                reuse = Reuse::Never;
            }
            Attempt::Stale => {
                return fail(client, pool, &claim, Fault::UpstreamClosed, &request).await;
            }
            Attempt::Failed(fault) => return fail(client, pool, &claim, fault, &request).await,
        }
    }
    apologise(client, pool, last, &request).await
}

/// Returns the fault that a failed connect means.
pub(crate) fn connect_fault(error: &std::io::Error) -> Fault {
    if error.kind() == ErrorKind::TimedOut {
        Fault::ConnectTimeout
    } else {
        Fault::ConnectFailed
    }
}

async fn fail(
    client: &mut Client,
    pool: &Pool,
    claim: &Claim<'_>,
    fault: Fault,
    request: &Request,
) -> Ending {
    if !matches!(fault, Fault::BadRequest(_)) {
        claim.endpoint().count_failure();
    }
    apologise(client, pool, fault, request).await
}

/// Answers with a fault. The connection survives it if the request had no body.
async fn apologise(client: &mut Client, pool: &Pool, fault: Fault, request: &Request) -> Ending {
    pool.faults.count(fault);
    let close =
        !request.body.is_done() || !request.keep_alive || request.old || client.is_closing();
    fault.write(&mut client.outgoing, close, request.head);
    match wire::flush(&client.stream, &mut client.outgoing).await {
        Ok(()) if close => Ending::Linger,
        Ok(()) => Ending::Keep,
        Err(_) => Ending::Close,
    }
}

async fn attempt(
    client: &mut Client,
    pool: &Pool,
    claim: &Claim<'_>,
    mut link: Link,
    request: &Request,
) -> Attempt {
    let progress = Progress::default();
    client.from_endpoint.clear();
    client.to_endpoint.clear();
    client.to_endpoint.extend_from_slice(&client.head);
    let (mut client_reader, client_writer) = client.stream.split();
    let (mut endpoint_reader, endpoint_writer) = link.stream.split();
    let up = Upward {
        client: &mut client_reader,
        incoming: &mut client.incoming,
        endpoint: endpoint_writer.as_ref(),
        out: &mut client.to_endpoint,
        body: request.body.clone(),
        progress: &progress,
    };
    let down = Downward {
        endpoint: &mut endpoint_reader,
        incoming: &mut client.from_endpoint,
        client: client_writer.as_ref(),
        out: &mut client.outgoing,
        request,
        progress: &progress,
        stage: &client.stage,
    };
    // The way up comes first: nothing can come down before something went up.
    let outcome = tokio::select! {
        biased;
        up = up.run() => Err(up),
        down = down.run() => Ok(down),
    };
    match outcome {
        Ok(Down::Answered {
            upstream_keep_alive,
            keep_alive,
        }) => {
            let whole = progress.whole.load(Ordering::Relaxed);
            if whole && upstream_keep_alive && client.from_endpoint.is_empty() {
                claim.endpoint().keep(link.stream);
            }
            Attempt::Over(after_answer(whole, keep_alive, request, client))
        }
        Ok(Down::Switched) => {
            client.outgoing.append(&mut client.from_endpoint);
            client.to_endpoint.append(&mut client.incoming);
            let due = (&mut client.to_endpoint, &mut client.outgoing);
            tunnel(&mut client.stream, &mut link.stream, due).await;
            Attempt::Over(Ending::Close)
        }
        Ok(Down::NoAnswer { silent: true }) => Attempt::Stale,
        Ok(Down::NoAnswer { silent: false }) => Attempt::Failed(Fault::UpstreamClosed),
        Ok(Down::Bad) => Attempt::Failed(Fault::BadAnswer),
        Ok(Down::Cut { marked }) => {
            claim.endpoint().count_failure();
            pool.faults.count(Fault::Truncated);
            Attempt::Over(if marked { Ending::Close } else { Ending::Reset })
        }
        Err(Up::BadBody) if progress.begun.load(Ordering::Relaxed) => Attempt::Over(Ending::Reset),
        Err(Up::BadBody) => Attempt::Failed(Fault::BadRequest("the chunked body is malformed")),
        Ok(Down::ClientGone) | Err(Up::ClientGone) => Attempt::Over(Ending::Close),
    }
}

fn after_answer(whole: bool, keep_alive: bool, request: &Request, client: &Client) -> Ending {
    if whole && keep_alive {
        Ending::Keep
    } else if whole && !request.keep_alive && client.incoming.is_empty() {
        // A client that itself asked for the end sends nothing more.
        Ending::Close
    } else {
        Ending::Linger
    }
}

/// What each direction lets the other know.
#[derive(Debug, Default)]
struct Progress {
    /// The request is sent to its last byte.
    whole: AtomicBool,
    /// The head of the final answer is on its way to the client.
    begun: AtomicBool,
}

/// The way from the client to the endpoint.
struct Upward<'a, 'c> {
    client: &'a mut ReadHalf<'c>,
    incoming: &'a mut Vec<u8>,
    endpoint: &'a TcpStream,
    out: &'a mut Vec<u8>,
    body: Body,
    progress: &'a Progress,
}

impl Upward<'_, '_> {
    async fn run(mut self) -> Up {
        match self.send().await {
            Ok(()) => {
                self.progress.whole.store(true, Ordering::Relaxed);
                self.watch().await
            }
            Err(StepError::Read) => Up::ClientGone,
            Err(StepError::Framing(_)) => Up::BadBody,
            Err(StepError::Write) => {
                // The endpoint may have answered before it closed: that decides.
                pending().await
            }
        }
    }

    /// Sends the head, and the body as it comes.
    async fn send(&mut self) -> Result<(), StepError> {
        wire::take_pending(self.incoming, &mut self.body, Form::Verbatim, self.out)
            .map_err(StepError::Framing)?;
        wire::flush(self.endpoint, self.out)
            .await
            .map_err(|_| StepError::Write)?;
        while !self.body.is_done() {
            let body = (&mut self.body, Form::Verbatim);
            let step = wire::step(self.client, self.endpoint, self.out, body, self.incoming);
            if step.await? == Step::Ended {
                return Err(StepError::Read);
            }
        }
        Ok(())
    }

    /// Waits until the client is gone. What it sends meanwhile is the next request.
    async fn watch(&mut self) -> Up {
        loop {
            if self.incoming.len() >= limits::HEAD_BYTES_MAX {
                return pending().await;
            }
            match wire::fill(self.client, self.incoming).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => return Up::ClientGone,
            }
        }
        // Only its sending side is known to be closed. While an answer is written, a client that
        // is gone is noticed by its resets; keep-alive probes find one that nothing is sent to.
        loop {
            sleep(limits::HALF_CLOSED_TIMEOUT).await;
            let broken = wire::fill(self.client, self.incoming).await.is_err();
            if broken || !self.progress.begun.load(Ordering::Relaxed) {
                return Up::ClientGone;
            }
        }
    }
}

/// The way from the endpoint to the client.
struct Downward<'a, 'e> {
    endpoint: &'a mut ReadHalf<'e>,
    incoming: &'a mut Vec<u8>,
    client: &'a TcpStream,
    out: &'a mut Vec<u8>,
    request: &'a Request,
    progress: &'a Progress,
    stage: &'a watch::Receiver<Stage>,
}

impl Downward<'_, '_> {
    async fn run(mut self) -> Down {
        for interim in 0..=limits::INTERIM_ANSWERS_MAX {
            let length = match self.head().await {
                Ok(Some(length)) => length,
                Ok(None) => {
                    let silent = interim == 0 && self.incoming.is_empty();
                    return Down::NoAnswer { silent };
                }
                Err(_) => return Down::Bad,
            };
            let asked = self.asked();
            let Ok(response) = read_response(&self.incoming[..length], asked, self.out) else {
                return Down::Bad;
            };
            wire::consume(self.incoming, length);
            match response {
                Response::Interim => {
                    if wire::flush(self.client, self.out).await.is_err() {
                        return Down::ClientGone;
                    }
                }
                Response::Switched => return Down::Switched,
                Response::Final {
                    body,
                    form,
                    upstream_keep_alive,
                    keep_alive,
                } => {
                    self.progress.begun.store(true, Ordering::Relaxed);
                    return match self.body(body, form).await {
                        Ok(()) => Down::Answered {
                            upstream_keep_alive,
                            keep_alive,
                        },
                        Err(down) => down,
                    };
                }
            }
        }
        Down::Bad
    }

    /// Waits for a whole head and returns its length; `None` if the connection ends before.
    async fn head(&mut self) -> Result<Option<usize>, Fault> {
        let mut search = Search::default();
        loop {
            if let Some(length) = search.find_end(self.incoming)? {
                return Ok(Some(length));
            }
            match wire::fill(self.endpoint, self.incoming).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    fn asked(&self) -> Asked {
        let closing = *self.stage.borrow() == Stage::Closing;
        let whole = self.progress.whole.load(Ordering::Relaxed);
        Asked {
            head: self.request.head,
            old: self.request.old,
            upgrade: self.request.upgrade,
            keep_alive: self.request.keep_alive && whole && !closing,
        }
    }

    /// Passes the body on, after the head that waits in `out`.
    async fn body(&mut self, mut body: Body, form: Form) -> Result<(), Down> {
        let until_close = body == Body::UntilClose;
        // A client of HTTP/1.0 sees the end of an unmarked body by the connection's alone.
        let marked = form != Form::Decoded && !(until_close && form == Form::Verbatim);
        let cut = Down::Cut { marked };
        if wire::take_pending(self.incoming, &mut body, form, self.out).is_err() {
            // Nothing of this answer has been written: the balancer can still give one itself.
            self.out.clear();
            return Err(Down::Bad);
        }
        while !body.is_done() {
            let source = (&mut body, form);
            match wire::step(self.endpoint, self.client, self.out, source, self.incoming).await {
                Ok(Step::Moved) => {}
                Ok(Step::Ended) if until_close => break,
                Ok(Step::Ended) | Err(StepError::Read | StepError::Framing(_)) => {
                    // What came before the break is the client's all the same.
                    return Err(match wire::flush(self.client, self.out).await {
                        Ok(()) => cut,
                        Err(_) => Down::ClientGone,
                    });
                }
                Err(StepError::Write) => return Err(Down::ClientGone),
            }
        }
        if form == Form::Encoded {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        wire::flush(self.client, self.out)
            .await
            .map_err(|_| Down::ClientGone)
    }
}
