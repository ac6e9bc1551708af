//! How Marathon's clock stands to ours, by the `Date` of its answers, which counts whole seconds.
//!
//! One answer leaves a second of doubt, and in a different place each time: a moment of Marathon's, reckoned anew with
//! every answer, would wander by up to a second. So what all answers say is held together.

use super::app::Clock;
use crate::http::Answer;
use std::sync::{Mutex, PoisonError};
use teal_core::Moment;

/// `Date` is rounded down (RFC 9110, section 5.6.7 has no fractions of a second).
const ROUNDING_MS: i128 = 999;
/// A clock that is being corrected runs fast or slow by at most 500 in a million (adjtimex(2)), and there are two: they
/// part by one millisecond in so many.
const DRIFT_ONE_IN: i128 = 1000;

/// What is known of Marathon's clock, from all answers so far.
#[derive(Debug, Default)]
pub(super) struct Reckoning(Mutex<Option<Bounds>>);

/// By how much our clock is ahead of Marathon's, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    least: i128,
    most: i128,
    at: Moment,
}

impl Reckoning {
    /// Takes in an answer to what was asked at a moment, and returns how the clocks stand.
    pub(super) fn clock(&self, asked: Moment, answer: &Answer) -> Clock {
        let now = crate::clock::now();
        let Some(date) = answer.date else {
            return Clock { now, ahead: None };
        };
        let told = Bounds::of(asked, date, now);
        let mut bounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bounds.map_or(told, |known| known.narrowed(told));
        *bounds = Some(known);
        Clock {
            now,
            ahead: Some(known.most),
        }
    }
}

impl Bounds {
    fn of(asked: Moment, date: Moment, now: Moment) -> Self {
        let [asked, date, ours] = [asked, date, now].map(|moment| i128::from(moment.0));
        Self {
            least: asked - date - ROUNDING_MS,
            most: ours - date,
            at: now,
        }
    }

    /// Returns what is left when another answer says so. Where both cannot be, a clock was set, or it is the clock of
    /// another master: then only the later one counts.
    fn narrowed(self, told: Self) -> Self {
        let drift = i128::from(told.at.since(self.at).0) / DRIFT_ONE_IN + 1;
        let both = Self {
            least: told.least.max(self.least - drift),
            most: told.most.min(self.most + drift),
            at: told.at,
        };
        if both.least <= both.most { both } else { told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns what answers say that were asked for at these moments of ours and took so long, each read when half of
    /// that was over, from a clock that is behind by so much.
    fn after(behind: u64, answers: &[(u64, u64)]) -> Vec<Bounds> {
        let mut known: Option<Bounds> = None;
        let read = answers.iter().map(|&(asked, took)| {
            let theirs = asked + took / 2 - behind;
            let date = Moment(theirs - theirs % 1000);
            let told = Bounds::of(Moment(asked), date, Moment(asked + took));
            known = Some(known.map_or(told, |known| known.narrowed(told)));
            known.unwrap_or(told)
        });
        read.collect()
    }

    #[test]
    fn an_answer_from_the_end_of_a_second_does_not_undo_what_one_from_its_beginning_told() {
        let bounds = after(0, &[(50_010, 4), (50_900, 4), (51_990, 4)]);

        assert_eq!(bounds[0].most, 14);
        assert!(bounds[1].most <= 15, "{bounds:?}");
        assert!(bounds[2].most <= 17, "{bounds:?}");
    }

    #[test]
    fn a_clock_that_was_set_is_believed_anew() {
        let before = after(0, &[(50_010, 4)])[0];
        let later = after(5_000, &[(60_500, 4)])[0];

        assert_eq!(before.narrowed(later), later);
    }

    proptest! {
        #[test]
        fn what_the_clocks_really_are_apart_is_always_within_the_bounds(
            behind in 0..100_000_u64,
            steps in proptest::collection::vec((1..5_000_u64, 0..3_000_u64), 1..20),
        ) {
            let mut asked = 1_000_000;
            let answers: Vec<_> = steps.iter().map(|&(pause, took)| {
                asked += pause;
                (asked, took)
            }).collect();

            for bounds in after(behind, &answers) {
                prop_assert!(bounds.least <= i128::from(behind), "{:?}", bounds);
                prop_assert!(bounds.most >= i128::from(behind), "{:?}", bounds);
            }
        }
    }
}
