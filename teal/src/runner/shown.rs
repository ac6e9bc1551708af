//! The gauges of instances that do not leave: nothing depends on them, they are only shown. They are read beside the
//! looks, so that a slow one keeps nobody waiting.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use teal_core::name::InstanceId;
use teal_core::observation::PendingSighting;
use teal_drivers::{Gauges, Question};
use tokio::task::JoinHandle;

/// The first look has nothing to show yet, and for `teal status` it is the only one: it waits for so long.
const FIRST_LIMIT: Duration = Duration::from_millis(100);

type Readings = BTreeMap<InstanceId, PendingSighting>;

/// What such gauges said last.
pub(super) struct Shown {
    gauges: Arc<dyn Gauges>,
    last: Arc<Mutex<Readings>>,
    reading: Mutex<Option<JoinHandle<()>>>,
    has_begun: AtomicBool,
}

impl Shown {
    pub(super) fn new(gauges: Arc<dyn Gauges>) -> Self {
        Self {
            gauges,
            last: Arc::default(),
            reading: Mutex::default(),
            has_begun: AtomicBool::new(false),
        }
    }

    /// Returns what the gauges that are asked about said last, each with its own moment, and has them read again.
    pub(super) async fn read(&self, asked: Vec<Question>) -> Readings {
        self.begin(asked.clone());
        if !self.has_begun.swap(true, Ordering::Relaxed) {
            self.first().await;
        }
        let mut known = lock(&self.last).clone();
        known.retain(|id, _| asked.iter().any(|question| question.instance == *id));
        known
    }

    /// Waits for the first reading, as long as it may take.
    async fn first(&self) {
        let begun = lock(&self.reading).take();
        if let Some(mut begun) = begun {
            // What has not come by then comes with a later look.
            tokio::time::timeout(FIRST_LIMIT, &mut begun).await.ok();
            *lock(&self.reading) = Some(begun);
        }
    }

    /// Has them read, unless the last reading still goes on.
    fn begin(&self, asked: Vec<Question>) {
        let mut reading = lock(&self.reading);
        if asked.is_empty() || reading.as_ref().is_some_and(|last| !last.is_finished()) {
            return;
        }
        let (gauges, last) = (Arc::clone(&self.gauges), Arc::clone(&self.last));
        *reading = Some(tokio::spawn(async move {
            let readings = gauges.read(&asked).await;
            let now = crate::clock::now();
            let readings = readings
                .into_iter()
                .map(|(id, reading)| (id, reading.at(now)));
            *lock(&last) = readings.collect();
        }));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(reading) = lock(&self.reading).take() {
            reading.abort();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use teal_core::definition::PendingSource;
    use teal_core::name::Addresses;
    use teal_drivers::Reading;
    use tokio::time::Instant;

    struct Silent;

    #[async_trait]
    impl Gauges for Silent {
        async fn read(&self, _: &[Question]) -> BTreeMap<InstanceId, Reading> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn gauges_that_do_not_answer_keep_only_the_first_look_waiting_and_not_for_long() {
        let shown = Shown::new(Arc::new(Silent));
        let asked = vec![Question {
            instance: InstanceId::from("blue-1"),
            source: PendingSource::None,
            addresses: Addresses::default(),
        }];
        let began = Instant::now();

        assert_eq!(shown.read(asked.clone()).await, Readings::new());
        let first = began.elapsed();
        assert_eq!(shown.read(asked).await, Readings::new());

        assert_eq!(first, FIRST_LIMIT);
        assert_eq!(began.elapsed(), first);
    }
}
