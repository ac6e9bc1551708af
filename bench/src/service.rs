//! The service that is deployed: one instance of it, as small as can be, so that fifty of them leave the processors to
//! what is measured.
//!
//! `/` answers with the revision and the instance, and begins an operation that goes on for a while after the answer.
//! `/health` is 503 until the instance has started up. `/metrics` tells how many operations are pending. Told to end, it
//! answers what it has begun to read, goes on with its operations for as long as Marathon lets it, and notes how many it
//! took with it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::backend::find;

/// The gauge of pending operations, on `/metrics`.
pub(crate) const GAUGE: &str = "bench_pending_operations";
/// How long an instance that was told to end goes on: Marathon kills it after three seconds.
const FINISH_LIMIT: Duration = Duration::from_millis(2500);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its revision
    #[arg(long)]
    revision: String,
    /// How long it takes to start up, in milliseconds
    #[arg(long, default_value_t = 0)]
    start_up_ms: u64,
    /// How long an operation goes on after its answer, in milliseconds
    #[arg(long, default_value_t = 0)]
    operation_ms: u64,
    /// The file to which a line is added at the end if operations were pending then
    #[arg(long)]
    lost: PathBuf,
    /// The file to which a line is added at the end: who it was, and when it was idle, told to end, and ended
    #[arg(long)]
    diary: PathBuf,
    /// Where it listens
    #[arg(long, env = "PORT0")]
    port: u16,
    /// Who it is
    #[arg(long, env = "MESOS_TASK_ID", default_value = "nobody")]
    instance: String,
}

/// What an instance is at work on.
#[derive(Debug)]
struct Work {
    started_up: Instant,
    operation: Duration,
    /// When each pending operation will be finished, the earliest first: all take the same time.
    finished: RefCell<VecDeque<Instant>>,
    /// When the last one was, or will be.
    idle: Cell<Option<Instant>>,
    greeting: Vec<u8>,
}

/// How an instance ended, by its own account, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// When its last operation was finished; 0 if it had none.
    pub(crate) idle_ms: u64,
    pub(crate) told_ms: u64,
    pub(crate) ended_ms: u64,
}

/// Reads the diary of instances that have ended, by their ids.
///
/// # Errors
///
/// If it cannot be read. Where nobody has ended yet there is none.
pub(crate) fn lives(diary: &Path) -> anyhow::Result<BTreeMap<String, Life>> {
    if !diary.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(diary).with_context(|| diary.display().to_string())?;
    Ok(text.lines().filter_map(Life::parse).collect())
}

impl Life {
    fn parse(line: &str) -> Option<(String, Self)> {
        let mut words = line.split(' ');
        let instance = words.next()?.to_owned();
        let mut moment = || words.next()?.parse().ok();
        let life = Self {
            idle_ms: moment()?,
            told_ms: moment()?,
            ended_ms: moment()?,
        };
        Some((instance, life))
    }

    fn line(self, instance: &str) -> String {
        let (idle, told, ended) = (self.idle_ms, self.told_ms, self.ended_ms);
        format!("{instance} {idle} {told} {ended}\n")
    }
}

fn since_1970_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Runs an instance until it is told to end.
///
/// # Errors
///
/// If it cannot listen.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let work = Rc::new(Work::new(args, Instant::now()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let told_ms = LocalSet::new().block_on(&runtime, serve(args, Rc::clone(&work)))?;
    let lost = work.pending(Instant::now());
    if lost > 0 {
        let line = format!("{} {} {lost}\n", args.revision, args.instance);
        add(&args.lost, &line)?;
    }
    let life = Life {
        idle_ms: work.idle_ms(),
        told_ms,
        ended_ms: since_1970_ms(),
    };
    add(&args.diary, &life.line(&args.instance))
}

fn add(file: &Path, line: &str) -> anyhow::Result<()> {
    let mut open = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)
        .with_context(|| file.display().to_string())?;
    open.write_all(line.as_bytes())?;
    Ok(())
}

/// Serves until it is told to end, and returns when that was, in milliseconds since 1970.
async fn serve(args: &Args, work: Rc<Work>) -> anyhow::Result<u64> {
    let mut told_to_end = signal(SignalKind::terminate())?;
    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let (ending, ends) = watch::channel(());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                stream.set_nodelay(true)?;
                tokio::task::spawn_local(connection(stream, Rc::clone(&work), ends.clone()));
            }
            _ = told_to_end.recv() => break,
        }
    }
    let told_ms = since_1970_ms();
    drop((listener, ends));
    // Nobody hears it where no connection is left.
    ending.send(()).ok();
    let finish = async {
        ending.closed().await;
        while let Some(at) = work.next_finished(Instant::now()) {
            tokio::time::sleep_until(at.into()).await;
        }
    };
    tokio::time::timeout(FINISH_LIMIT, finish).await.ok();
    Ok(told_ms)
}

/// Answers every head; no request has a body.
async fn connection(mut stream: TcpStream, work: Rc<Work>, mut ends: watch::Receiver<()>) {
    let mut buffer = vec![0; 8 * 1024];
    let mut filled = 0;
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer[filled..]) => read,
            _ = ends.changed(), if filled == 0 => return,
        };
        let Ok(count @ 1..) = read else {
            return;
        };
        filled += count;
        while let Some(end) = find(&buffer[..filled], b"\r\n\r\n") {
            let answer = work.answer(&buffer[..end], Instant::now());
            let is_last = find(&buffer[..end], b"Connection: close").is_some();
            if stream.write_all(&answer).await.is_err() || is_last {
                return;
            }
            buffer.copy_within(end + 4..filled, 0);
            filled -= end + 4;
        }
        if filled == buffer.len() {
            return;
        }
    }
}

impl Work {
    fn new(args: &Args, now: Instant) -> Self {
        Self {
            started_up: now + Duration::from_millis(args.start_up_ms),
            operation: Duration::from_millis(args.operation_ms),
            finished: RefCell::default(),
            idle: Cell::default(),
            greeting: answer("200 OK", &format!("{} {}\n", args.revision, args.instance)),
        }
    }

    fn answer(&self, head: &[u8], now: Instant) -> Vec<u8> {
        if head.starts_with(b"GET /health ") {
            return if now >= self.started_up {
                answer("200 OK", "well\n")
            } else {
                answer("503 Service Unavailable", "starting up\n")
            };
        }
        if head.starts_with(b"GET /metrics ") {
            let pending = self.pending(now);
            return answer(
                "200 OK",
                &format!("# TYPE {GAUGE} gauge\n{GAUGE} {pending}\n"),
            );
        }
        if self.operation > Duration::ZERO {
            let finished = now + self.operation;
            self.finished.borrow_mut().push_back(finished);
            self.idle.set(Some(finished));
        }
        self.greeting.clone()
    }

    /// Returns when the last operation was finished, in milliseconds since 1970; 0 if there was none.
    fn idle_ms(&self) -> u64 {
        let Some(idle) = self.idle.get() else {
            return 0;
        };
        let (now, now_ms) = (Instant::now(), since_1970_ms());
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        (now_ms + millis(idle.saturating_duration_since(now)))
            .saturating_sub(millis(now.saturating_duration_since(idle)))
    }

    /// Returns how many operations are not finished.
    fn pending(&self, now: Instant) -> usize {
        let mut finished = self.finished.borrow_mut();
        while finished.front().is_some_and(|&at| at <= now) {
            finished.pop_front();
        }
        finished.len()
    }

    /// Returns when the next operation will be finished, if any is not.
    fn next_finished(&self, now: Instant) -> Option<Instant> {
        self.pending(now);
        self.finished.borrow().front().copied()
    }
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(start_up_ms: u64, operation_ms: u64) -> (Work, Instant) {
        let args = Args {
            revision: "r1".to_owned(),
            start_up_ms,
            operation_ms,
            lost: PathBuf::new(),
            diary: PathBuf::new(),
            port: 0,
            instance: "i".to_owned(),
        };
        let now = Instant::now();
        (Work::new(&args, now), now)
    }

    #[test]
    fn an_instance_is_healthy_once_it_has_started_up() {
        let (work, now) = work(300, 0);
        let health =
            |after| work.answer(b"GET /health HTTP/1.1", now + Duration::from_millis(after));

        assert!(health(299).starts_with(b"HTTP/1.1 503 "));
        assert!(health(300).starts_with(b"HTTP/1.1 200 "));
    }

    #[test]
    fn an_operation_is_pending_until_its_time_is_over() {
        let (work, now) = work(0, 200);
        let at = |after| now + Duration::from_millis(after);

        work.answer(b"GET / HTTP/1.1", at(0));
        work.answer(b"GET / HTTP/1.1", at(100));

        assert_eq!(work.pending(at(199)), 2);
        assert_eq!(work.pending(at(200)), 1);
        assert_eq!(work.pending(at(300)), 0);
    }
}
