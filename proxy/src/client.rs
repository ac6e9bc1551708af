//! One client connection: request after request, in order, until one side has had enough.
//!
//! Where to read next: `forward`, which carries one request to an endpoint and its answer back.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::answer::Fault;
use crate::forward::exchange;
use crate::head::{Origin, Request, Search, read_request};
use crate::limits;
use crate::pool::Pool;
use crate::random::Random;
use crate::wire;

/// What a listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It accepts connections, and those stay open between requests.
    Open,
    /// It accepts none; each is closed after its next answer.
    Closing,
}

/// What all connections of one listener share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) pool: Arc<Pool>,
    /// The listener's address.
    pub(crate) authority: String,
    pub(crate) stage: watch::Receiver<Stage>,
}

/// One client connection and the bytes on their way through it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    pub(crate) peer: String,
    pub(crate) stage: watch::Receiver<Stage>,
    pub(crate) random: Random,
    /// Read from the client and not used up.
    pub(crate) incoming: Vec<u8>,
    /// Due to the client.
    pub(crate) outgoing: Vec<u8>,
    /// The head that is sent on, kept for a second attempt.
    pub(crate) head: Vec<u8>,
    /// Due to the endpoint.
    pub(crate) to_endpoint: Vec<u8>,
    /// Read from the endpoint and not used up.
    pub(crate) from_endpoint: Vec<u8>,
}

/// What is to become of a client connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It may carry another request.
    Keep,
    /// It is done: everything that was sent has been read.
    Close,
    /// It is done, but the client may still be sending.
    Linger,
    /// It must be seen to break, as nothing else tells the client that its answer is cut.
    Reset,
}

enum Next {
    Request(Request),
    Refused(Fault),
    Gone,
}

/// Serves one client connection until it ends.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, front: Arc<Front>) {
    let mut client = Client {
        stream,
        peer: peer.ip().to_canonical().to_string(),
        stage: front.stage.clone(),
        random: Random::new(),
        incoming: Vec::new(),
        outgoing: Vec::new(),
        head: Vec::new(),
        to_endpoint: Vec::new(),
        from_endpoint: Vec::new(),
    };
    let ending = loop {
        let ending = match client.next_request(&front.authority).await {
            Next::Request(request) => {
                front.pool.requests.fetch_add(1, Ordering::Relaxed);
                exchange(&mut client, &front.pool, request).await
            }
            Next::Refused(fault) => {
                front.pool.faults.count(fault);
                client.refuse(fault).await
            }
            Next::Gone => Ending::Close,
        };
        if ending != Ending::Keep {
            break ending;
        }
    };
    match ending {
        Ending::Keep | Ending::Close => {}
        Ending::Linger => linger(&mut client.stream).await,
        Ending::Reset => reset(&client.stream),
    }
}

impl Client {
    /// Returns whether the listener is closing, so that answers must announce it.
    pub(crate) fn is_closing(&self) -> bool {
        *self.stage.borrow() == Stage::Closing
    }

    async fn next_request(&mut self, authority: &str) -> Next {
        let mut search = Search::default();
        let mut skipped = 0;
        let mut deadline = None;
        loop {
            while self.incoming.starts_with(b"\r\n") && skipped < limits::LEADING_EMPTY_LINES_MAX {
                wire::consume(&mut self.incoming, 2);
                skipped += 1;
                search = Search::default();
            }
            match search.find_end(&self.incoming) {
                Ok(Some(length)) => return self.parse(length, authority),
                Ok(None) => {}
                Err(fault) => return Next::Refused(fault),
            }
            let filled = if self.incoming.is_empty() && deadline.is_none() {
                self.first_bytes().await
            } else {
                let deadline = *deadline.get_or_insert(Instant::now() + limits::HEAD_TIMEOUT);
                let (mut reader, _) = self.stream.split();
                let filled = wire::fill(&mut reader, &mut self.incoming);
                let Ok(filled) = timeout_at(deadline, filled).await else {
                    return Next::Refused(Fault::HeadTimeout);
                };
                filled
            };
            match filled {
                Ok(0) | Err(_) => return Next::Gone,
                Ok(_) => {}
            }
        }
    }

    fn parse(&mut self, length: usize, authority: &str) -> Next {
        let origin = Origin {
            peer: &self.peer,
            authority,
        };
        self.head.clear();
        match read_request(&self.incoming[..length], origin, &mut self.head) {
            Ok(request) => {
                wire::consume(&mut self.incoming, length);
                Next::Request(request)
            }
            Err(fault) => Next::Refused(fault),
        }
    }

    /// Waits for the first bytes of a request; an error means that there will be none.
    async fn first_bytes(&mut self) -> io::Result<usize> {
        for buffer in [
            &mut self.incoming,
            &mut self.outgoing,
            &mut self.head,
            &mut self.to_endpoint,
            &mut self.from_endpoint,
        ] {
            if buffer.capacity() > limits::IDLE_BUFFER_BYTES {
                *buffer = Vec::new();
            }
        }
        let (mut reader, _) = self.stream.split();
        let first = wire::fill(&mut reader, &mut self.incoming);
        let mut first = std::pin::pin!(first);
        let idle: Duration = tokio::select! {
            biased;
            filled = &mut first => return filled,
            () = closing(&mut self.stage) => limits::FAREWELL_TIMEOUT,
            () = tokio::time::sleep(limits::CLIENT_IDLE_TIMEOUT) => return Ok(0),
        };
        timeout(idle, first).await.unwrap_or(Ok(0))
    }

    /// Answers with a fault before anything was sent on; what the client still sends is dropped.
    async fn refuse(&mut self, fault: Fault) -> Ending {
        fault.write(&mut self.outgoing, true, false);
        match wire::flush(&self.stream, &mut self.outgoing).await {
            Ok(()) => Ending::Linger,
            Err(_) => Ending::Close,
        }
    }
}

/// Waits until the listener is closing or gone.
pub(crate) async fn closing(stage: &mut watch::Receiver<Stage>) {
    drop(stage.wait_for(|stage| *stage == Stage::Closing).await);
}

/// Ends the sending side, then reads and drops what still comes for a while.
///
/// Closing a socket that has unread input makes the kernel send a reset, which can destroy the
/// answer before the client has read it: RFC 9112 section 9.6.
async fn linger(stream: &mut TcpStream) {
    if SockRef::from(&*stream).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let (mut reader, _) = stream.split();
        let mut dropped = Vec::new();
        while let Ok(1..) = wire::fill(&mut reader, &mut dropped).await {
            dropped.clear();
        }
    };
    // Either the client has ended its side or it has had its time.
    drop(timeout(limits::LINGER_TIMEOUT, drain).await);
}

/// Makes closing the connection a reset.
fn reset(stream: &TcpStream) {
    // If the option cannot be set the connection is already broken, which is what is wanted.
    drop(SockRef::from(stream).set_linger(Some(Duration::ZERO)));
}
