//! A closed-loop load generator: a fixed number of requests over a fixed number of connections, from one thread.
//!
//! Closed loop, because the measure is cost per request on a busy processor. Its latencies are those of a proxy that
//! is kept full; for latency under a given rate use an open loop.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::backend::find;
use crate::statistics::percentile;

/// An answer that takes longer is a failure.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Room for one read of a large body.
const READ_BYTES: usize = 128 * 1024;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) path: &'static str,
    /// The size of the body that every answer must have.
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) requests: u64,
    pub(crate) reuse: Reuse,
}

/// How long a connection lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// Until the end.
    KeepAlive,
    /// One request.
    Close,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Served {
    pub(crate) answered: u64,
    pub(crate) failed: u64,
    pub(crate) elapsed: Duration,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

/// What the connections share.
#[derive(Debug)]
struct Tally {
    load: Load,
    left: Cell<u64>,
    failed: Cell<u64>,
    latencies_us: RefCell<Vec<u64>>,
}

/// Sends the load to an address, from the calling thread.
///
/// # Errors
///
/// If there is no runtime to be had. Failed requests are counted instead.
pub(crate) fn run(address: SocketAddr, load: Load) -> io::Result<Served> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let tally = Rc::new(Tally {
        load,
        left: Cell::new(load.requests),
        failed: Cell::new(0),
        latencies_us: RefCell::default(),
    });
    let set = LocalSet::new();
    let begun = Instant::now();
    for _ in 0..load.connections {
        set.spawn_local(client(address, Rc::clone(&tally)));
    }
    runtime.block_on(set);
    let mut latencies = tally.latencies_us.take();
    latencies.sort_unstable();
    Ok(Served {
        answered: latencies.len() as u64,
        failed: tally.failed.get(),
        elapsed: begun.elapsed(),
        p50_us: percentile(&latencies, 0.50),
        p99_us: percentile(&latencies, 0.99),
    })
}

impl Tally {
    fn take(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

async fn client(address: SocketAddr, tally: Rc<Tally>) {
    let close = if tally.load.reuse == Reuse::Close {
        "Connection: close\r\n"
    } else {
        ""
    };
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\nAccept: */*\r\n{close}\r\n",
        tally.load.path
    );
    let mut buffer = vec![0; READ_BYTES];
    let mut kept: Option<TcpStream> = None;
    while tally.take() {
        let begun = Instant::now();
        let exchange = exchange(
            address,
            kept.take(),
            request.as_bytes(),
            &tally.load,
            &mut buffer,
        );
        match timeout(ANSWER_LIMIT, exchange).await {
            Ok(Ok(stream)) => {
                let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
                tally.latencies_us.borrow_mut().push(us);
                kept = stream;
            }
            Ok(Err(_)) | Err(_) => tally.failed.set(tally.failed.get() + 1),
        }
    }
}

/// Sends one request and reads its answer. Returns the connection if it can be used again.
async fn exchange(
    address: SocketAddr,
    kept: Option<TcpStream>,
    request: &[u8],
    load: &Load,
    buffer: &mut [u8],
) -> io::Result<Option<TcpStream>> {
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(request).await?;
    let mut head = 0;
    let end = loop {
        let count = stream.read(&mut buffer[head..]).await?;
        if count == 0 || head + count == buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head += count;
        if let Some(end) = find(&buffer[..head], b"\r\n\r\n") {
            break end + 4;
        }
    };
    if !buffer.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut rest = load.body_bytes.checked_sub(head - end);
    while let Some(missing @ 1..) = rest {
        let count = stream.read(buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        rest = missing.checked_sub(count);
    }
    if rest.is_none() {
        // More than the body: the answer is not the one of the backend.
        return Err(io::ErrorKind::InvalidData.into());
    }
    if load.reuse == Reuse::KeepAlive {
        return Ok(Some(stream));
    }
    // Whoever closes first holds the port for a minute: it is to be the server, as everywhere.
    while stream.read(buffer).await? > 0 {}
    Ok(None)
}
