//! How long an app that keeps ending waits before its next launch.
//!
//! Marathon's `RateLimiter`: the first end waits `backoffSeconds`, each further one `backoffFactor`
//! times longer up to `maxLaunchDelaySeconds`; a fresh configuration or a reset starts over, and so
//! does a spell without an end as long as the delay and `maxLaunchDelaySeconds` together.

use std::time::{Duration, Instant};

use crate::definition::Definition;

/// The least time between two launches after an end, so that `backoffSeconds: 0` is no busy loop.
const DELAY_MIN: Duration = Duration::from_millis(50);

/// The waiting state of one app configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Backoff {
    delay: Option<Delay>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delay {
    length: Duration,
    until: Instant,
}

impl Backoff {
    /// Returns the state after a task ended by itself.
    pub(crate) fn after_end(self, definition: &Definition, now: Instant) -> Self {
        let longest = Duration::from_secs(u64::from(definition.max_launch_delay_seconds));
        let first = Duration::from_secs(u64::from(definition.backoff_seconds));
        let length = match self.delay {
            Some(delay) if now < delay.until + longest => {
                let seconds = delay.length.as_secs_f64() * definition.backoff_factor.max(1.0);
                // A factor may be anything that a float can hold: what is too long is the longest.
                Duration::try_from_secs_f64(seconds).unwrap_or(longest)
            }
            Some(_) | None => first,
        };
        let length = length.min(longest).max(DELAY_MIN);
        Self {
            delay: Some(Delay {
                length,
                until: now + length,
            }),
        }
    }

    /// Returns until when launches wait, where they still do.
    pub(crate) fn waits_until(self, now: Instant) -> Option<Instant> {
        let delay = self.delay?;
        (now < delay.until).then_some(delay.until)
    }

    /// Returns the length of the latest delay and its end, where a task has ended.
    pub(crate) fn delay(self) -> Option<(Duration, Instant)> {
        self.delay.map(|delay| (delay.length, delay.until))
    }

    /// Returns the state with a delay that was in force before.
    pub(crate) fn resumed(length: Duration, until: Instant) -> Self {
        Self {
            delay: Some(Delay { length, until }),
        }
    }

    /// Forgets every end.
    pub(crate) fn reset(&mut self) {
        self.delay = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::definition;

    #[test]
    fn a_factor_beyond_all_bounds_leads_to_the_longest_delay() {
        let mut app = definition();
        app.backoff_seconds = 1;
        app.backoff_factor = 1e308;
        app.max_launch_delay_seconds = 5;
        let now = Instant::now();

        let twice = Backoff::default().after_end(&app, now).after_end(&app, now);

        let length = twice.delay().map(|(length, _)| length);
        assert_eq!(length, Some(Duration::from_secs(5)));
    }

    #[test]
    fn each_end_waits_longer_up_to_the_longest_delay() {
        let mut app = definition();
        app.backoff_seconds = 1;
        app.backoff_factor = 2.0;
        app.max_launch_delay_seconds = 5;
        let start = Instant::now();
        let mut now = start;
        let mut backoff = Backoff::default();
        let mut waited = Vec::new();

        for _ in 0..5 {
            backoff = backoff.after_end(&app, now);
            let until = backoff.waits_until(now).unwrap_or(now);
            waited.push((until - now).as_secs());
            now = until;
        }

        assert_eq!(waited, [1, 2, 4, 5, 5]);
    }

    #[test]
    fn a_long_quiet_spell_starts_over() {
        let mut app = definition();
        app.backoff_factor = 10.0;
        app.max_launch_delay_seconds = 60;
        let start = Instant::now();

        let once = Backoff::default().after_end(&app, start);
        let later = start + Duration::from_secs(62);
        let again = once.after_end(&app, later);

        assert_eq!(
            again.waits_until(later),
            Some(later + Duration::from_secs(1))
        );
    }

    #[test]
    fn a_reset_and_a_passed_delay_wait_for_nothing() {
        let now = Instant::now();
        let mut backoff = Backoff::default().after_end(&definition(), now);

        assert_eq!(backoff.waits_until(now + Duration::from_secs(1)), None);
        backoff.reset();
        assert_eq!(backoff.waits_until(now), None);
    }

    #[test]
    fn no_backoff_at_all_still_leaves_a_moment_between_launches() {
        let mut app = definition();
        app.backoff_seconds = 0;
        let now = Instant::now();

        let backoff = Backoff::default().after_end(&app, now);

        assert_eq!(backoff.waits_until(now), Some(now + DELAY_MIN));
    }
}
