//! How Marathon's clock stands to ours, by the `Date` of its answers, which counts whole seconds.
//!
//! One answer leaves a second of doubt, and in a different place each time: a moment of Marathon's, reckoned anew with
//! every answer, would wander by up to a second. So what all answers say is held together.

use crate::http::Answer;
use std::cell::Cell;
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

/// How Marathon's clock stands to ours, for one answer. It never makes a moment earlier than it was.
#[derive(Debug)]
pub(super) struct Clock {
    /// When the answer came.
    now: Moment,
    /// None when Marathon does not tell the time.
    bounds: Cell<Option<Bounds>>,
}

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
        let told = answer.date.map(|date| Bounds::of(asked, date, now));
        Clock {
            now,
            bounds: Cell::new(told.map(|told| self.take_in(told))),
        }
    }

    /// Keeps what was learnt while an answer was read.
    pub(super) fn keep(&self, clock: &Clock) {
        if let Some(bounds) = clock.bounds.get() {
            self.take_in(bounds);
        }
    }

    fn take_in(&self, told: Bounds) -> Bounds {
        let mut bounds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = bounds.map_or(told, |known| known.narrowed(told));
        *bounds = Some(known);
        known
    }
}

impl Clock {
    /// Returns a clock of which this is known, for an answer that came at a moment.
    #[cfg(test)]
    pub(super) fn that_is_behind_by(most: Option<i128>, now: Moment) -> Self {
        let bounds = most.map(|most| Bounds {
            least: most - ROUNDING_MS,
            most,
            at: now,
        });
        Self {
            now,
            bounds: Cell::new(bounds),
        }
    }

    /// Returns a moment of Marathon's clock in ours; None when it is not known how they stand to each other.
    ///
    /// What Marathon tells of has been, and that tells of its clock too: without it the same moment would come out later
    /// in a later answer, as if it had not been the same. A moment that another master wrote down may seem to be still
    /// to come; it tells nothing.
    pub(super) fn ours(&self, theirs: Moment) -> Option<Moment> {
        let mut bounds = self.bounds.get()?;
        let [now, theirs] = [self.now, theirs].map(|moment| i128::from(moment.0));
        if bounds.least <= now - theirs {
            bounds.most = bounds.most.min(now - theirs);
            self.bounds.set(Some(bounds));
        }
        let ours = u64::try_from(theirs + bounds.most).ok()?;
        Some(Moment(ours).min(self.now))
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
    fn a_moment_that_was_told_just_after_it_had_been_is_the_same_in_a_later_answer() {
        let reckoning = Reckoning::default();
        let healthy = Moment(50_600);
        let read = |asked: u64| {
            let told = Bounds::of(
                Moment(asked),
                Moment(asked - asked % 1000),
                Moment(asked + 4),
            );
            let clock = Clock {
                now: Moment(asked + 4),
                bounds: Cell::new(Some(reckoning.take_in(told))),
            };
            let ours = clock.ours(healthy);
            reckoning.keep(&clock);
            ours
        };

        assert_eq!(read(50_603), Some(Moment(50_607)));
        let later = read(50_900).expect("the clock is known");
        assert!(later <= Moment(50_610), "{later:?}");
    }

    #[test]
    fn a_clock_that_is_behind_makes_nothing_look_older() {
        let now = Moment(100_500);
        let clock = |behind| Clock::that_is_behind_by(behind, now);

        assert_eq!(
            clock(Some(60_500)).ours(Moment(30_000)),
            Some(Moment(90_500))
        );
        assert_eq!(clock(Some(60_500)).ours(Moment(50_000)), Some(now));
        assert_eq!(clock(None).ours(Moment(30_000)), None);
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
