//! The time, as the drivers and the program read it: the system's. A simulation lets a thread's time go with tokio's
//! clock instead, which can be paused: then hours pass in no time, and nothing depends on how fast the machine is.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};
use teal_core::{Moment, Span};
use tokio::time::Instant;

thread_local! {
    /// When this thread's simulated time began, in both reckonings.
    static SIMULATED: Cell<Option<(Moment, Instant)>> = const { Cell::new(None) };
}

/// Returns the time.
#[must_use]
pub fn now() -> Moment {
    if let Some((began, at)) = SIMULATED.get() {
        return began + Span(millis(at.elapsed().as_millis()));
    }
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Moment(millis(since.as_millis()))
}

/// Lets this thread's time begin at a moment and go with tokio's clock from here on. For simulations: the runtime has to
/// be one of a single thread, this one.
pub fn go_with_tokio(began: Moment) {
    SIMULATED.set(Some((began, Instant::now())));
}

fn millis(millis: u128) -> u64 {
    u64::try_from(millis).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn simulated_time_passes_only_as_tokio_says() {
        go_with_tokio(Moment(1000));

        tokio::time::advance(Duration::from_secs(3600)).await;

        assert_eq!(now(), Moment(3_601_000));
    }

    #[test]
    fn time_is_the_systems_unless_told_otherwise() {
        let year_2020 = Moment(1_577_836_800_000);

        assert!(now() > year_2020);
    }
}
