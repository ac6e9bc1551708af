//! Load that does not wait: requests begin at their time, whether or not those before them were answered.

use crate::client::{Answer, Broken, Connection};
use crate::until::{PATIENCE, until};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, timeout};

/// The time from one request to the next: about 300 a second.
const PERIOD: Duration = Duration::from_micros(3333);

/// One in so many requests is slow.
const SLOW_ONE_IN: u64 = 10;

/// How many milliseconds a slow one takes.
const SLOW_MS: u64 = 200;

/// Requests that come until it is stopped.
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What became of them.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// How many there were.
    pub(crate) sent: u64,
    /// How many got no complete answer with status 200, each with why.
    pub(crate) failed: Vec<String>,
    /// How many were sent again because a connection that had been used before was closed before a byte of the answer
    /// came. RFC 9112, section 9.3.1, and RFC 9110, section 9.2.2, let a client do so.
    pub(crate) retried: u64,
}

#[derive(Debug)]
struct Shared {
    fronts: Vec<Front>,
    stopped: AtomicBool,
    sent: AtomicU64,
    retried: AtomicU64,
    failed: Mutex<Vec<String>>,
}

/// Where is sent to, and the connections to it that nobody uses at the moment.
#[derive(Debug)]
struct Front {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Load {
    /// Begins to send to these, in turn.
    pub(crate) fn start(fronts: &[SocketAddr]) -> Self {
        let front = |&address| Front {
            address,
            idle: Mutex::default(),
        };
        let shared = Arc::new(Shared {
            fronts: fronts.iter().map(front).collect(),
            stopped: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            failed: Mutex::default(),
        });
        let task = tokio::spawn(send(Arc::clone(&shared)));
        Self { shared, task }
    }

    /// Waits until so many more have been sent.
    pub(crate) async fn pass(&self, more: u64) {
        let sent = || self.shared.sent.load(Ordering::SeqCst);
        let goal = sent() + more;
        until("requests are sent", async || (sent() >= goal).then_some(())).await;
    }

    /// Sends no more, waits for all answers, and tells what became of them.
    pub(crate) async fn stop(self) -> Tally {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.task.await.expect("the sender did not panic");
        let failed = &self.shared.failed;
        let failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        Tally {
            sent: self.shared.sent.load(Ordering::SeqCst),
            failed: failed.clone(),
            retried: self.shared.retried.load(Ordering::SeqCst),
        }
    }
}

impl Tally {
    /// Asserts that nothing failed, and writes a line of figures, which `./check` shows.
    pub(crate) fn is_lossless(&self, what: &str) {
        let Self {
            sent,
            failed,
            retried,
        } = self;
        assert!(*sent > 0, "{what}: no request was sent");
        assert!(
            failed.is_empty(),
            "{what}: {} of {sent} requests failed: {:#?}",
            failed.len(),
            &failed[..failed.len().min(10)]
        );
        let line = format!(
            "\nfigures: {what}, {sent} requests, 0 failed, {retried} retried as RFC 9112 lets a client\n"
        );
        // Straight to the stream: the test's output is shown only if it fails.
        io::stdout().write_all(line.as_bytes()).ok();
    }
}

async fn send(shared: Arc<Shared>) {
    let mut ticks = interval(PERIOD);
    let mut requests = JoinSet::new();
    while !shared.stopped.load(Ordering::SeqCst) {
        ticks.tick().await;
        let number = shared.sent.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        requests.spawn(async move { shared.request(number).await });
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

impl Shared {
    async fn request(&self, number: u64) {
        let index = usize::try_from(number).unwrap_or_default() % self.fronts.len();
        let path = if number % SLOW_ONE_IN == SLOW_ONE_IN / 2 {
            format!("/?ms={SLOW_MS}")
        } else {
            "/".to_owned()
        };
        let front = &self.fronts[index];
        let why = match timeout(PATIENCE, self.exchange(front, &path)).await {
            Ok(Ok(answer)) if answer.status == 200 => return,
            Ok(Ok(answer)) => format!("{} {}", answer.status, answer.body),
            Ok(Err(why)) => why,
            Err(_elapsed) => "no answer in time".to_owned(),
        };
        let why = format!("GET {path} at {}: {why}", front.address);
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.push(why);
    }

    async fn exchange(&self, front: &Front, path: &str) -> Result<Answer, String> {
        if let Some(connection) = front.take() {
            match front.exchange(connection, path).await {
                Err(Broken::Unanswered(_)) => {
                    self.retried.fetch_add(1, Ordering::SeqCst);
                }
                Err(Broken::Cut(why)) => return Err(format!("a reused connection: {why}")),
                Ok(answer) => return Ok(answer),
            }
        }
        let fresh = Connection::open(front.address).await;
        let fresh = fresh.map_err(|error| format!("no connection: {error}"))?;
        let answer = front.exchange(fresh, path).await;
        answer.map_err(|broken| match broken {
            Broken::Unanswered(why) => format!("a fresh connection, without an answer: {why}"),
            Broken::Cut(why) => format!("a fresh connection, within an answer: {why}"),
        })
    }
}

impl Front {
    async fn exchange(&self, mut connection: Connection, path: &str) -> Result<Answer, Broken> {
        let answer = connection.get(path, "").await?;
        if answer.keeps_alive() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
        }
        Ok(answer)
    }

    fn take(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop()
    }
}
