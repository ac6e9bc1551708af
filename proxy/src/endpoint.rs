//! One endpoint: its counters, its kept connections and how it is connected to.
//!
//! Whether it serves is not known here: that is the pool's, under the pool's lock. The lock of
//! the kept connections is taken inside the pool's, never the other way round.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::limits;

/// The moment that ejection times are counted from.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One address of one instance.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) instance: String,
    pub(crate) address: SocketAddr,
    /// Claims not yet dropped. Written under the pool's lock only.
    pub(crate) in_flight: AtomicU64,
    /// Exchanges and tunnels that reached a connection.
    pub(crate) requests: AtomicU64,
    /// Connections refused and exchanges broken by the endpoint.
    pub(crate) failures: AtomicU64,
    /// Refusals since the last success.
    refusals: AtomicU32,
    /// Until when it is passed over, in milliseconds since [`EPOCH`]; 0 is not at all.
    ejected_until_ms: AtomicU64,
    shelf: Mutex<Shelf>,
}

/// A kept connection.
#[derive(Debug)]
pub(crate) struct Idle {
    stream: TcpStream,
    since: Instant,
}

#[derive(Debug)]
struct Shelf {
    idle: Vec<Idle>,
    /// Connections are kept only while the endpoint serves.
    open: bool,
    /// A task looks the connections over.
    swept: bool,
}

/// How sure one must be that a kept connection still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// The request can be sent again.
    Any,
    /// The request cannot be sent again.
    Recent,
    /// A kept connection has just failed.
    Never,
}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    /// It has carried an exchange before, so it may turn out to be closed already.
    pub(crate) reused: bool,
}

impl Endpoint {
    /// Returns an endpoint with nothing in flight.
    pub(crate) fn new(instance: String, address: SocketAddr) -> Self {
        Self {
            instance,
            address,
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refusals: AtomicU32::new(0),
            ejected_until_ms: AtomicU64::new(0),
            shelf: Mutex::new(Shelf {
                idle: Vec::new(),
                open: true,
                swept: false,
            }),
        }
    }

    /// Returns whether it refused a connection so lately that others are to be tried first.
    pub(crate) fn is_ejected(&self) -> bool {
        let until = self.ejected_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms() < until
    }

    /// Counts a failure of the endpoint.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns a connection, kept or new, and counts the outcome.
    ///
    /// # Errors
    ///
    /// Whatever connecting fails with; [`ErrorKind::TimedOut`] after the limit.
    pub(crate) async fn link(&self, reuse: Reuse) -> io::Result<Link> {
        if let Some(stream) = self.take_idle(reuse) {
            self.requests.fetch_add(1, Ordering::Relaxed);
            return Ok(Link {
                stream,
                reused: true,
            });
        }
        match connect(self.address).await {
            Ok(stream) => {
                if self.refusals.load(Ordering::Relaxed) != 0 {
                    self.pardon();
                }
                self.requests.fetch_add(1, Ordering::Relaxed);
                Ok(Link {
                    stream,
                    reused: false,
                })
            }
            Err(error) => {
                self.count_failure();
                if is_the_endpoints_fault(&error) {
                    self.eject();
                }
                Err(error)
            }
        }
    }

    /// Keeps a connection for another request, if the endpoint serves and there is room.
    pub(crate) fn keep(self: &Arc<Self>, stream: TcpStream) {
        let mut shelf = self.shelf();
        if !shelf.open || shelf.idle.len() >= limits::UPSTREAM_IDLE_COUNT_MAX {
            drop(shelf);
            drop(stream);
            return;
        }
        shelf.idle.push(Idle {
            stream,
            since: Instant::now(),
        });
        if !shelf.swept {
            shelf.swept = true;
            drop(shelf);
            tokio::spawn(sweep(Arc::clone(self)));
        }
    }

    /// Starts keeping connections again, and forgives what was refused.
    pub(crate) fn revive(&self) {
        self.shelf().open = true;
        self.pardon();
    }

    /// Stops keeping connections and returns those that are kept, to be closed.
    pub(crate) fn refuse_idle(&self) -> Vec<Idle> {
        let mut shelf = self.shelf();
        shelf.open = false;
        std::mem::take(&mut shelf.idle)
    }

    fn eject(&self) {
        let refusals = self.refusals.fetch_add(1, Ordering::Relaxed).min(16);
        let time = limits::EJECTION_MIN
            .saturating_mul(1 << refusals)
            .min(limits::EJECTION_MAX);
        let until = now_ms() + u64::try_from(time.as_millis()).unwrap_or(0);
        self.ejected_until_ms.store(until, Ordering::Relaxed);
    }

    fn pardon(&self) {
        self.refusals.store(0, Ordering::Relaxed);
        self.ejected_until_ms.store(0, Ordering::Relaxed);
    }

    fn take_idle(&self, reuse: Reuse) -> Option<TcpStream> {
        if reuse == Reuse::Never {
            return None;
        }
        loop {
            let idle = self.shelf().idle.pop()?;
            let alive = match reuse {
                Reuse::Any => is_silent(&idle.stream),
                Reuse::Recent if idle.since.elapsed() > limits::UPSTREAM_RECENT => {
                    // What lies below on the shelf is older still.
                    let mut shelf = self.shelf();
                    if shelf.open {
                        shelf.idle.push(idle);
                    }
                    return None;
                }
                Reuse::Recent => is_surely_silent(&idle.stream),
                Reuse::Never => false,
            };
            if alive {
                return Some(idle.stream);
            }
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes kept connections that are old or were closed by the endpoint, until none is left.
async fn sweep(endpoint: Arc<Endpoint>) {
    loop {
        sleep(limits::UPSTREAM_SWEEP_INTERVAL).await;
        let mut shelf = endpoint.shelf();
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut shelf.idle)
                .into_iter()
                .partition(|idle| {
                    idle.since.elapsed() < limits::UPSTREAM_IDLE_MAX && is_silent(&idle.stream)
                });
        shelf.idle = kept;
        let empty = shelf.idle.is_empty();
        shelf.swept = !empty;
        drop(shelf);
        drop(gone);
        if empty {
            return;
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(limits::CONNECT_TIMEOUT, TcpStream::connect(address)).await??;
    // On loopback, connecting to a port nobody listens on can by chance connect the socket to
    // itself, if the kernel gives it that very port: TCP's simultaneous open, RFC 9293 3.5.
    if address.ip().is_loopback() {
        if stream.local_addr()? == address {
            return Err(ErrorKind::ConnectionRefused.into());
        }
    } else {
        // A machine that has vanished says nothing more; a loopback address cannot vanish.
        let keepalive = TcpKeepalive::new().with_time(limits::TCP_KEEPALIVE);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns whether a failed connect says something about the endpoint. Being out of ports or
/// descriptors does not.
fn is_the_endpoints_fault(error: &io::Error) -> bool {
    let kinds = [
        ErrorKind::ConnectionRefused,
        ErrorKind::ConnectionReset,
        ErrorKind::TimedOut,
        ErrorKind::HostUnreachable,
        ErrorKind::NetworkUnreachable,
    ];
    kinds.contains(&error.kind())
}

/// Returns whether nothing is known to have come in: neither an end nor bytes nobody asked for.
fn is_silent(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// Asks the kernel, where [`is_silent`] trusts the runtime's last look.
fn is_surely_silent(stream: &TcpStream) -> bool {
    let peeked = SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]);
    matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

fn now_ms() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis()).unwrap_or(u64::MAX)
}
