//! The clock, and moments as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use teal_core::Moment;

/// Returns the time.
pub(crate) fn now() -> Moment {
    teal_drivers::clock::now()
}

/// Returns a moment as `2026-11-22 23:52:38`, local time.
pub(crate) fn date_time(moment: Moment) -> String {
    format(moment, "%Y-%m-%d %H:%M:%S")
}

/// Returns a moment as `23:52:38`, local time.
pub(crate) fn time(moment: Moment) -> String {
    format(moment, "%H:%M:%S")
}

/// Returns a moment as `20261122-235238`, UTC: for names.
pub(crate) fn stamp(moment: Moment) -> String {
    timestamp(moment).strftime("%Y%m%d-%H%M%S").to_string()
}

fn format(moment: Moment, how: &str) -> String {
    timestamp(moment)
        .to_zoned(TimeZone::system())
        .strftime(how)
        .to_string()
}

fn timestamp(moment: Moment) -> Timestamp {
    let millis = i64::try_from(moment.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::UNIX_EPOCH)
}
