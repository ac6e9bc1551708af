//! Bytes both ways: upgraded connections, and pools of protocol `tcp`.
//!
//! Each side may close its sending direction by itself. A claim is held until both have ended,
//! so a tunnel counts in flight as long as it lives.

use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio::time::sleep;

use crate::answer::Fault;
use crate::body::{Body, Form};
use crate::client::Front;
use crate::endpoint::Reuse;
use crate::forward::connect_fault;
use crate::limits;
use crate::random::Random;
use crate::wire::{self, Step, StepError};

/// One side broke: nothing more can be passed on in either direction.
struct Broken;

/// Serves one connection of a TCP pool: it goes to one endpoint as a whole.
pub(crate) async fn serve_tcp(mut stream: TcpStream, front: Arc<Front>) {
    let pool = &front.pool;
    pool.requests.fetch_add(1, Ordering::Relaxed);
    let mut random = Random::new();
    let mut tried = Vec::new();
    let mut last = Fault::NoEndpoint;
    while let Some(claim) = pool.claim(&tried, &mut random) {
        match claim.endpoint().link(Reuse::Never).await {
            Ok(mut link) => {
                let due = (&mut Vec::new(), &mut Vec::new());
                return tunnel(&mut stream, &mut link.stream, due).await;
            }
            Err(error) => {
                last = connect_fault(&error);
                tried.push(Arc::clone(claim.endpoint()));
            }
        }
    }
    pool.faults.count(last);
}

/// Passes bytes both ways until both sides have ended or one has broken.
///
/// `due` is what must be sent first: to the endpoint, and to the client.
pub(crate) async fn tunnel(
    client: &mut TcpStream,
    endpoint: &mut TcpStream,
    due: (&mut Vec<u8>, &mut Vec<u8>),
) {
    let (mut client_reader, client_writer) = client.split();
    let (mut endpoint_reader, endpoint_writer) = endpoint.split();
    let moved = AtomicU64::new(0);
    let up = one_way(&mut client_reader, endpoint_writer.as_ref(), due.0, &moved);
    let down = one_way(&mut endpoint_reader, client_writer.as_ref(), due.1, &moved);
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    let (mut up_done, mut down_done) = (false, false);
    while !(up_done && down_done) {
        let before = moved.load(Ordering::Relaxed);
        tokio::select! {
            ended = &mut up, if !up_done => match ended {
                Ok(()) => up_done = true,
                Err(Broken) => return,
            },
            ended = &mut down, if !down_done => match ended {
                Ok(()) => down_done = true,
                Err(Broken) => return,
            },
            () = sleep(limits::TUNNEL_HALF_CLOSED_TIMEOUT), if up_done || down_done => {
                if moved.load(Ordering::Relaxed) == before {
                    return;
                }
            }
        }
    }
}

/// Passes bytes one way until the reading side ends, or the writing side takes no more; the
/// other direction may still carry an answer then.
async fn one_way(
    from: &mut ReadHalf<'_>,
    to: &TcpStream,
    out: &mut Vec<u8>,
    moved: &AtomicU64,
) -> Result<(), Broken> {
    let mut body = Body::UntilClose;
    let mut leftover = Vec::new();
    loop {
        let source = (&mut body, Form::Verbatim);
        match wire::step(from, to, out, source, &mut leftover).await {
            Ok(Step::Moved) => {
                moved.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Step::Ended) => {
                // The other side may be gone by now; its own direction will tell.
                drop(SockRef::from(to).shutdown(Shutdown::Write));
                return Ok(());
            }
            Err(StepError::Write) => return Ok(()),
            Err(StepError::Read | StepError::Framing(_)) => return Err(Broken),
        }
    }
}
