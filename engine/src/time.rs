//! Time as the engine uses it: a monotonic instant for waiting, a wall-clock stamp for saying.
//!
//! Nothing here waits. Decisions take a [`Moment`] as an argument and never read a clock.

use std::fmt;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A point in time on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The monotonic clock: the only one that deadlines are computed from.
    pub(crate) instant: Instant,
    /// The wall clock: the only one that answers and events show.
    pub(crate) stamp: Stamp,
}

impl Moment {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self {
            instant: Instant::now(),
            stamp: Stamp(Timestamp::now().as_millisecond()),
        }
    }

    /// Returns another moment, given by the monotonic clock, as if nobody had set the other one.
    pub(crate) fn at(self, instant: Instant) -> Self {
        let later = instant.saturating_duration_since(self.instant);
        let earlier = self.instant.saturating_duration_since(instant);
        let stamp = self.stamp.0 + milliseconds(later) - milliseconds(earlier);
        Self {
            instant,
            stamp: Stamp(stamp),
        }
    }

    /// Returns another moment, given by the wall clock, as if nobody had set it.
    pub(crate) fn at_stamp(self, stamp: Stamp) -> Self {
        let length = Duration::from_millis(stamp.0.abs_diff(self.stamp.0));
        let instant = if stamp > self.stamp {
            self.instant.checked_add(length)
        } else {
            self.instant.checked_sub(length)
        };
        Self {
            instant: instant.unwrap_or(self.instant),
            stamp,
        }
    }
}

fn milliseconds(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// A wall-clock time in whole milliseconds, which is also what an app version is.
///
/// Marathon prints every timestamp in UTC with exactly three fractional digits and a `Z`
/// (`mesosphere.marathon.state.Timestamp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stamp(i64);

impl Stamp {
    /// The begin of Unix time: the version of what nobody has changed yet.
    pub(crate) const BEGINNING: Self = Self(0);

    /// Returns the stamp for a number of milliseconds since 1970-01-01 UTC.
    #[cfg(test)]
    pub(crate) const fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Returns the stamp one millisecond later, which keeps versions distinct.
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns how much time lies between an earlier stamp and this one; none where it is later.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        let milliseconds = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(milliseconds).unwrap_or_default())
    }

    /// Returns the stamp that an ISO-8601 text means, or nothing where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let timestamp: Timestamp = text.parse().ok()?;
        Some(Self(timestamp.as_millisecond()))
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = Timestamp::from_millisecond(self.0).unwrap_or_default();
        write!(f, "{timestamp:.3}")
    }
}

impl serde::Serialize for Stamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Stamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no ISO-8601 time")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_prints_three_fractional_digits_and_a_z() {
        assert_eq!(
            Stamp::from_milliseconds(1_393_716_570_158).to_string(),
            "2014-03-01T23:29:30.158Z"
        );
        assert_eq!(
            Stamp::from_milliseconds(1_393_716_570_000).to_string(),
            "2014-03-01T23:29:30.000Z"
        );
    }

    #[test]
    fn a_stamp_reads_what_it_prints_and_refuses_other_text() {
        let stamp = Stamp::from_milliseconds(1_393_716_570_158);

        assert_eq!(Stamp::parse(&stamp.to_string()), Some(stamp));
        assert_eq!(Stamp::parse("yesterday"), None);
    }
}
