//! The one polling loop: a condition is looked at again and again, and given up after a while.

use std::time::Duration;
use tokio::time::Instant;

/// No wait of a test lasts longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until there is something to return.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(PAUSE).await;
    }
}
