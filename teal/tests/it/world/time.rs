//! Waiting for what must become true, and how many worlds there are at once.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long anything may take to become true before the scenario fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How many worlds run at once: more would only wait for the processor.
const WORLDS_MAX: usize = 2;

static WORLDS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Returns what `look` finds, as soon as it finds something. Panics when it never does.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within_patience(look).unwrap_or_else(|| panic!("it never came true: {what}"))
}

/// Returns what `look` finds, as soon as it finds something. None when it never does.
pub(crate) fn within_patience<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// The right to have a world, until dropped.
pub(crate) struct Turn(());

impl Turn {
    /// Waits until a world may begin.
    pub(crate) fn take() -> Self {
        let (count, freed) = &WORLDS;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = freed
            .wait_while(count, |count| *count >= WORLDS_MAX)
            .unwrap_or_else(PoisonError::into_inner);
        *count += 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (count, freed) = &WORLDS;
        *count.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        freed.notify_one();
    }
}
