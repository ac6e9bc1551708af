//! The gap between acknowledged and committed: a queue in memory and the thread that empties it.
//!
//! What is in here is the service's pending operations. It is lost when the process is killed;
//! that is the point of the sample. While the process lives nothing is lost: a commit that fails,
//! for whatever reason, is repeated until it succeeds, and the gauge stays up meanwhile.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::say;
use super::store::{Oink, Store};

/// The largest number of oinks that may wait; past it, posting is refused and not acknowledged.
const QUEUE_LENGTH_MAX: usize = 100_000;
const RETRY_AFTER: Duration = Duration::from_millis(20);
const RETRIES_PER_COMPLAINT: u64 = 50;

/// How many oinks are where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    /// Acknowledged and not committed yet: the pending operations.
    pub(super) pending: u64,
    /// Acknowledged since the start.
    pub(super) acknowledged: u64,
    /// Committed since the start.
    pub(super) committed: u64,
}

/// Why an oink was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

/// Takes oinks, and commits them on a thread of its own.
pub(super) struct Writer {
    queue: Arc<Queue>,
}

impl Writer {
    /// Opens the database and starts the thread.
    ///
    /// # Errors
    ///
    /// When the database cannot be opened or the thread cannot be started.
    pub(super) fn start(database: &Path, commit_delay: Duration) -> anyhow::Result<Self> {
        let store = Store::open(database)?;
        let queue = Arc::new(Queue::default());
        let shared = Arc::clone(&queue);
        std::thread::Builder::new()
            .name("oinker-writer".to_owned())
            .spawn(move || shared.write(store, commit_delay))?;
        Ok(Self { queue })
    }

    /// Queues an oink. When this returns it may be acknowledged.
    pub(super) fn push(&self, oink: Oink) -> Result<(), QueueFull> {
        let mut state = self.queue.lock();
        if state.queued.len() >= QUEUE_LENGTH_MAX {
            return Err(QueueFull);
        }
        state.queued.push(oink);
        state.acknowledged += 1;
        drop(state);
        self.queue.changed.notify_one();
        Ok(())
    }

    /// Returns how many oinks are where, in one consistent look.
    pub(super) fn counts(&self) -> Counts {
        let state = self.queue.lock();
        Counts {
            pending: state.acknowledged - state.committed,
            acknowledged: state.acknowledged,
            committed: state.committed,
        }
    }
}

impl Drop for Writer {
    /// Ends the thread. What is queued is lost, as it is when the process is killed.
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queued: Vec<Oink>,
    acknowledged: u64,
    committed: u64,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut store: Store, commit_delay: Duration) {
        while self.wait() {
            std::thread::sleep(commit_delay);
            let batch = std::mem::take(&mut self.lock().queued);
            if !self.commit(&mut store, &batch) {
                return;
            }
            self.lock().committed += u64::try_from(batch.len()).unwrap_or(u64::MAX);
        }
    }

    /// Waits for an oink. Returns false when the writer is closed.
    fn wait(&self) -> bool {
        let idle = |state: &mut State| state.queued.is_empty() && !state.closed;
        let waited = self.changed.wait_while(self.lock(), idle);
        !waited.unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Commits a batch however long it takes. Returns false when the writer is closed.
    fn commit(&self, store: &mut Store, batch: &[Oink]) -> bool {
        let mut failures = 0_u64;
        while let Err(error) = store.insert(batch) {
            if self.lock().closed {
                return false;
            }
            if failures.is_multiple_of(RETRIES_PER_COMPLAINT) {
                let oinks = batch.len();
                say(&format!(
                    "{oinks} oinks are not committed yet, trying again: {error}"
                ));
            }
            failures += 1;
            std::thread::sleep(RETRY_AFTER);
        }
        true
    }
}
