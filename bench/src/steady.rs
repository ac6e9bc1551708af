//! An open-loop load: requests at a fixed rate, whatever becomes of them, over kept connections.
//!
//! The latency of a request counts from the moment at which it was to be sent, so whoever makes requests wait cannot
//! hide it by making the generator wait too (coordinated omission). Nothing is sent again: what fails has failed.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::anyhow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio::time::timeout;

use crate::backend::find;

/// An answer that takes longer is a failure.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 4 * 1024;

/// A load that is being sent.
#[derive(Debug)]
pub(crate) struct Steady {
    stop: Arc<AtomicBool>,
    pacer: JoinHandle<()>,
    sender: JoinHandle<io::Result<Vec<Request>>>,
    clock: Clock,
}

/// What became of a load.
#[derive(Debug, Clone)]
pub(crate) struct Course {
    /// In the order in which they ended.
    pub(crate) requests: Vec<Request>,
    pub(crate) clock: Clock,
}

/// One request. Times are microseconds after the load's beginning.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// When it was to be sent.
    pub(crate) due_us: u64,
    /// When it was sent.
    pub(crate) sent_us: u64,
    /// When its answer was whole, or had failed.
    pub(crate) ended_us: u64,
    /// The revision that answered; None if it failed.
    pub(crate) revision: Option<String>,
}

/// The load's beginning, by both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    system: SystemTime,
}

impl Clock {
    fn start() -> Self {
        Self {
            instant: Instant::now(),
            system: SystemTime::now(),
        }
    }

    fn now_us(&self) -> u64 {
        micros(self.instant.elapsed())
    }

    /// Returns when something was by the system's clock, in microseconds after the beginning; 0 if it was before.
    pub(crate) fn us_of(&self, time: SystemTime) -> u64 {
        micros(time.duration_since(self.system).unwrap_or_default())
    }

    /// Returns the same of milliseconds since 1970, as a journal has them.
    pub(crate) fn us_of_ms(&self, ms: u64) -> u64 {
        self.us_of(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Request {
    pub(crate) const fn latency_us(&self) -> u64 {
        self.ended_us.saturating_sub(self.due_us)
    }
}

impl Steady {
    /// Begins to send this many requests a second to an address.
    pub(crate) fn start(address: SocketAddr, rate: u32) -> Self {
        let clock = Clock::start();
        let stop = Arc::new(AtomicBool::new(false));
        let (due, dues) = unbounded_channel();
        let pacer = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || pace(rate, clock, &stop, &due)
        });
        let sender = std::thread::spawn(move || send_all(address, clock, dues));
        Self {
            stop,
            pacer,
            sender,
            clock,
        }
    }

    /// Stops, waits for the answers that are still to come, and returns what became of all requests.
    ///
    /// # Errors
    ///
    /// If the load could not be sent at all.
    pub(crate) fn stop(self) -> anyhow::Result<Course> {
        self.stop.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow!("the load generator panicked");
        self.pacer.join().map_err(panicked)?;
        let requests = self.sender.join().map_err(panicked)??;
        Ok(Course {
            requests,
            clock: self.clock,
        })
    }
}

/// Says when each request is due. A thread of its own: the runtime's timer counts in milliseconds.
fn pace(rate: u32, clock: Clock, stop: &AtomicBool, due: &UnboundedSender<u64>) {
    let mut next = clock.instant;
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let due_us = micros(next.duration_since(clock.instant));
        if due.send(due_us).is_err() {
            return;
        }
        next += Duration::from_secs(1) / rate;
    }
}

struct Client {
    address: SocketAddr,
    clock: Clock,
    request: String,
    idle: RefCell<Vec<TcpStream>>,
    ended: RefCell<Vec<Request>>,
}

fn send_all(
    address: SocketAddr,
    clock: Clock,
    mut dues: UnboundedReceiver<u64>,
) -> io::Result<Vec<Request>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = Rc::new(Client {
        address,
        clock,
        request: format!("GET / HTTP/1.1\r\nHost: {address}\r\nUser-Agent: bench\r\n\r\n"),
        idle: RefCell::default(),
        ended: RefCell::default(),
    });
    let set = LocalSet::new();
    set.spawn_local({
        let client = Rc::clone(&client);
        async move {
            while let Some(due_us) = dues.recv().await {
                tokio::task::spawn_local(one(Rc::clone(&client), due_us));
            }
        }
    });
    // It ends when every request has.
    runtime.block_on(set);
    Ok(client.ended.take())
}

async fn one(client: Rc<Client>, due_us: u64) {
    let sent_us = client.clock.now_us();
    let exchange = timeout(ANSWER_LIMIT, exchange(&client)).await;
    let revision = exchange.ok().and_then(Result::ok);
    client.ended.borrow_mut().push(Request {
        due_us,
        sent_us,
        ended_us: client.clock.now_us(),
        revision,
    });
}

/// Sends a request on an idle connection, or a fresh one, and returns the revision that answered.
async fn exchange(client: &Client) -> io::Result<String> {
    let kept = client.idle.borrow_mut().pop();
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(client.address).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(client.request.as_bytes()).await?;
    let mut buffer = [0; HEAD_BYTES_MAX];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 || filled + count == buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        if let Some(revision) = answered(&buffer[..filled])? {
            let closes =
                find(&buffer[..filled].to_ascii_lowercase(), b"connection: close").is_some();
            if !closes {
                client.idle.borrow_mut().push(stream);
            }
            return Ok(revision);
        }
    }
}

/// Returns the revision that an answer names, once the answer is whole: its body ends with the only line's end.
fn answered(bytes: &[u8]) -> io::Result<Option<String>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    if !bytes.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let body = String::from_utf8_lossy(&bytes[end + 4..]);
    let Some(line) = body.strip_suffix('\n') else {
        return Ok(None);
    };
    let revision = line.split(' ').next().unwrap_or_default();
    Ok(Some(revision.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_when_it_is_whole_and_says_yes() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nr1 i\n";

        assert_eq!(answered(whole).unwrap().as_deref(), Some("r1"));
        assert_eq!(answered(&whole[..whole.len() - 1]).unwrap(), None);
        assert_eq!(answered(&whole[..20]).unwrap(), None);
        assert!(answered(b"HTTP/1.1 503 No\r\n\r\nno\n").is_err());
    }

    #[test]
    fn latency_counts_from_when_a_request_was_due() {
        let request = Request {
            due_us: 1000,
            sent_us: 5000,
            ended_us: 6000,
            revision: None,
        };

        assert_eq!(request.latency_us(), 5000);
    }
}
