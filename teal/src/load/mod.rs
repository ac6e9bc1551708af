//! The load generator: it uses a service as its users do and counts every failure.
//!
//! It must never retry. A proxy may hide a cut connection from a user by sending again; whoever
//! measures has to see it. Each exchange that is begun ends in exactly one of two ways, completed
//! or failed, so `sent = ok + failed` once everything has ended.
//!
//! Read next: `settings` for what can be asked, `tally` for what is counted, `fault` for what
//! counts as a failure, `link` for how a failure is told from another.

mod settings;

mod tally;

mod fault;

mod latency;

mod course;

mod worker;

mod link;

mod counted;

mod socket;

mod random;

#[cfg(test)]
mod broken;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use course::Course;
use fault::Fault;

pub(crate) use fault::FailureClass;
pub(crate) use settings::LoadSettings;
pub(crate) use tally::Snapshot;

/// How long past the longest exchange the end is waited for.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// A load that runs. Dropping it cuts everything that is under way, uncounted.
pub(crate) struct Load {
    course: Arc<Course>,
    workers: JoinSet<()>,
}

/// What a load came to.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    /// The final counts.
    pub(crate) totals: Snapshot,
    /// The ids of the oinks whose acknowledgement arrived whole: each must be stored.
    pub(crate) acknowledged: BTreeSet<String>,
}

impl Load {
    /// Starts the workers on the current tokio runtime.
    pub(crate) fn start(settings: LoadSettings) -> Self {
        let (connections, slow) = (settings.connections, settings.slow);
        let (feeds, sockets) = (settings.feeds, settings.sockets);
        let course = Arc::new(Course::new(settings));
        let mut workers = JoinSet::new();
        for number in 0..connections {
            workers.spawn(worker::plain(Arc::clone(&course), number));
        }
        for _ in 0..slow {
            workers.spawn(worker::slow(Arc::clone(&course)));
        }
        for _ in 0..feeds {
            workers.spawn(worker::feed(Arc::clone(&course)));
        }
        for _ in 0..sockets {
            workers.spawn(socket::work(Arc::clone(&course)));
        }
        Self { course, workers }
    }

    /// Returns the counts so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.course.tally.snapshot()
    }

    /// Begins no more exchanges, lets those under way finish, and returns the totals. A WebSocket
    /// is closed after one more echo. What outlives every limit is cut and counted as a timeout.
    pub(crate) async fn stop(mut self) -> Outcome {
        self.course.stop();
        let limit = self.course.settings.exchange_limit_max() + STOP_GRACE;
        let finished = async { while self.workers.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, finished).await.is_err() {
            self.workers.shutdown().await;
        }
        let tally = &self.course.tally;
        for _ in 0..tally.snapshot().running() {
            tally.failed(Fault::new(
                FailureClass::Timeout,
                "it was under way when the load ended",
            ));
        }
        Outcome {
            totals: tally.snapshot(),
            acknowledged: tally.acknowledged_ids(),
        }
    }
}
