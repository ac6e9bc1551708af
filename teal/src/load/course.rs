//! What all workers of one load share: its settings, its counts, whose turn it is, and the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::Instant;

use super::random::Random;
use super::settings::LoadSettings;
use super::tally::Tally;

/// How long a worker rests after a failure, so that a dead target is asked and not flooded.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(20);
/// Later than any load runs.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) struct Course {
    pub(super) settings: LoadSettings,
    pub(super) tally: Tally,
    stopped: watch::Sender<bool>,
    started: Instant,
    /// How many turns of the open loop have been given out.
    turns: AtomicU64,
    /// How many ids have been given out.
    ids: AtomicU64,
    /// What tells the ids of this load from those of any other.
    name: String,
}

impl Course {
    pub(super) fn new(settings: LoadSettings) -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            settings,
            tally: Tally::new(),
            stopped: watch::Sender::new(false),
            started: Instant::now(),
            turns: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            name: format!("{:x}-{:x}", std::process::id(), since.as_nanos()),
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Waits for the end of the load.
    async fn stopped(&self) {
        let mut receiver = self.stopped.subscribe();
        // It fails when the sender is gone, and the sender is ours.
        receiver.wait_for(|stopped| *stopped).await.ok();
    }

    /// Waits until a worker may send its next plain request. Returns when that was due, or None
    /// when the load has ended.
    pub(super) async fn turn(&self, random: &mut Random) -> Option<Instant> {
        let due = match self.settings.rate {
            Some(rate) => {
                let turn = self.turns.fetch_add(1, Ordering::Relaxed) as f64;
                let seconds = turn / rate.max(f64::MIN_POSITIVE);
                self.started + Duration::try_from_secs_f64(seconds).unwrap_or(FAR).min(FAR)
            }
            None => Instant::now() + self.settings.think.mul_f64(0.5 + random.fraction()),
        };
        self.rest_until(due).await;
        (!self.is_stopped()).then_some(due)
    }

    pub(super) async fn rest_after_failure(&self) {
        self.rest_until(Instant::now() + REST_AFTER_FAILURE).await;
    }

    /// Waits for a point in time or the end of the load.
    pub(super) async fn rest_until(&self, due: Instant) {
        tokio::select! {
            biased;
            () = self.stopped() => {}
            () = tokio::time::sleep_until(due) => {}
        }
    }

    /// Returns an id that no other oink has.
    pub(super) fn unique_id(&self) -> String {
        format!(
            "load-{}-{}",
            self.name,
            self.ids.fetch_add(1, Ordering::Relaxed)
        )
    }
}
