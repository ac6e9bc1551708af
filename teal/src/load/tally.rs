//! What a load has seen so far.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::fault::{FailureClass, Fault};
use super::latency::{Histogram, Latency};

/// The largest number of acknowledged ids that are remembered. More are counted.
const ACKNOWLEDGED_IDS_MAX: usize = 1_000_000;
const EXAMPLE_LENGTH_MAX: usize = 300;
/// The largest number of revisions that are counted each for itself.
const REVISIONS_MAX: usize = 100;
const OTHER_REVISIONS: &str = "(other)";

/// The counts at one moment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Snapshot {
    /// How long the load has run.
    pub(crate) elapsed_ms: u64,
    /// Exchanges begun: plain requests, slow answers, feeds and WebSockets.
    pub(crate) sent: u64,
    /// Exchanges that ended as they should.
    pub(crate) ok: u64,
    /// Exchanges that failed, whatever the class.
    pub(crate) failed: u64,
    /// The failures by class.
    pub(crate) failures: Vec<Failure>,
    /// Kept connections that the server closed while nothing was under way on them. No request
    /// was harmed, so this is no failure.
    pub(crate) closed_while_idle: u64,
    /// How many response heads named which revision; `(none)` where none was named.
    pub(crate) revisions: BTreeMap<String, u64>,
    /// Oinks whose acknowledgement arrived whole.
    pub(crate) acknowledged: u64,
    /// Slow answers that ended with their last line.
    pub(crate) slow_completed: u64,
    /// Feeds that ended with their end event.
    pub(crate) feeds_completed: u64,
    /// WebSockets that echoed everything and closed when asked to.
    pub(crate) sockets_completed: u64,
    /// What completed plain requests took.
    pub(crate) latency: Latency,
}

impl Snapshot {
    /// Returns how many exchanges are under way.
    pub(crate) fn running(&self) -> u64 {
        self.sent - self.ok - self.failed
    }
}

/// All failures of one class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Failure {
    /// What went wrong.
    pub(crate) class: FailureClass,
    /// How often.
    pub(crate) count: u64,
    /// What the first one looked like.
    pub(crate) first_example: String,
    /// When the first one was, in milliseconds since 1970.
    pub(crate) first_at_unix_ms: u64,
    /// When the last one was, in milliseconds since 1970.
    pub(crate) last_at_unix_ms: u64,
}

/// The kinds of exchanges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    Plain,
    Slow,
    Feed,
    Socket,
}

/// Counts, from many tasks at once.
pub(super) struct Tally {
    started: Instant,
    counts: Mutex<Counts>,
}

struct Counts {
    sent: u64,
    ok: u64,
    failures: BTreeMap<FailureClass, Failure>,
    closed_while_idle: u64,
    revisions: BTreeMap<String, u64>,
    acknowledged: u64,
    acknowledged_ids: BTreeSet<String>,
    slow_completed: u64,
    feeds_completed: u64,
    sockets_completed: u64,
    latencies: Histogram,
}

impl Tally {
    pub(super) fn new() -> Self {
        let counts = Counts {
            sent: 0,
            ok: 0,
            failures: BTreeMap::new(),
            closed_while_idle: 0,
            revisions: BTreeMap::new(),
            acknowledged: 0,
            acknowledged_ids: BTreeSet::new(),
            slow_completed: 0,
            feeds_completed: 0,
            sockets_completed: 0,
            latencies: Histogram::new(),
        };
        Self {
            started: Instant::now(),
            counts: Mutex::new(counts),
        }
    }

    /// Counts an exchange that begins. It must end in `completed` or `failed`.
    pub(super) fn begun(&self) {
        self.lock().sent += 1;
    }

    /// Counts an exchange that ended as it should.
    pub(super) fn completed(&self, exchange: Exchange, latency: Duration) {
        let mut counts = self.lock();
        counts.ok += 1;
        match exchange {
            Exchange::Plain => counts.latencies.record(latency),
            Exchange::Slow => counts.slow_completed += 1,
            Exchange::Feed => counts.feeds_completed += 1,
            Exchange::Socket => counts.sockets_completed += 1,
        }
    }

    /// Counts an exchange that failed.
    pub(super) fn failed(&self, fault: Fault) {
        let now = unix_ms();
        let mut counts = self.lock();
        let failure = counts
            .failures
            .entry(fault.class)
            .or_insert_with(|| Failure {
                class: fault.class,
                count: 0,
                first_example: fault.text.chars().take(EXAMPLE_LENGTH_MAX).collect(),
                first_at_unix_ms: now,
                last_at_unix_ms: now,
            });
        failure.count += 1;
        failure.last_at_unix_ms = now;
    }

    /// Counts a response head.
    pub(super) fn answered(&self, revision: Option<&str>) {
        let mut counts = self.lock();
        let mut revision = revision.unwrap_or("(none)");
        if !counts.revisions.contains_key(revision) && counts.revisions.len() >= REVISIONS_MAX {
            revision = OTHER_REVISIONS;
        }
        *counts.revisions.entry(revision.to_owned()).or_default() += 1;
    }

    /// Remembers an oink whose acknowledgement arrived whole.
    pub(super) fn acknowledged(&self, id: String) {
        let mut counts = self.lock();
        counts.acknowledged += 1;
        if counts.acknowledged_ids.len() < ACKNOWLEDGED_IDS_MAX {
            counts.acknowledged_ids.insert(id);
        }
    }

    /// Counts a kept connection that was found closed before anything was sent on it.
    pub(super) fn closed_while_idle(&self) {
        self.lock().closed_while_idle += 1;
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let counts = self.lock();
        Snapshot {
            elapsed_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sent: counts.sent,
            ok: counts.ok,
            failed: counts.failures.values().map(|failure| failure.count).sum(),
            failures: counts.failures.values().cloned().collect(),
            closed_while_idle: counts.closed_while_idle,
            revisions: counts.revisions.clone(),
            acknowledged: counts.acknowledged,
            slow_completed: counts.slow_completed,
            feeds_completed: counts.feeds_completed,
            sockets_completed: counts.sockets_completed,
            latency: counts.latencies.summary(),
        }
    }

    pub(super) fn acknowledged_ids(&self) -> BTreeSet<String> {
        self.lock().acknowledged_ids.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
