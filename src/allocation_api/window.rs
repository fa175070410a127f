//! Closed windows on full hours.
//!
//! `window=1h` means the running, incomplete clock hour to both servers, so only pairs of times
//! are ever sent, and only of time that is over.

use std::fmt;

use chrono::{DateTime, SecondsFormat};

/// Seconds in an hour.
pub const HOUR_SECONDS: i64 = 3_600;

/// How long after its end a window is asked for: a closed hour was seen to change no more from
/// three minutes after it closed, when the last scrapes have arrived.
pub const SETTLE_SECONDS: i64 = 180;

/// A span of time `[start, end)` in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// First second.
    pub start: i64,
    /// First second after it.
    pub end: i64,
}

impl Window {
    /// The window from `start` to `end`; one that would end before it starts is empty.
    #[must_use]
    pub fn new(start: i64, end: i64) -> Self {
        Self { start, end: end.max(start) }
    }

    /// The last window of this length that ended [`SETTLE_SECONDS`] ago or earlier, or its own
    /// length where that is less. Windows start at multiples of their length, so those that divide
    /// a day start at midnight UTC too.
    #[must_use]
    pub fn last_closed(now_seconds: i64, length_seconds: i64) -> Self {
        let length = length_seconds.max(60);
        let end = (now_seconds - SETTLE_SECONDS.min(length)).div_euclid(length) * length;
        Self { start: end - length, end }
    }

    /// The part of this window that lies in full hours that are over at `now_seconds`.
    #[must_use]
    pub fn closed_part(self, now_seconds: i64) -> Self {
        let closed = (now_seconds - SETTLE_SECONDS).div_euclid(HOUR_SECONDS) * HOUR_SECONDS;
        Self::new(self.start, self.end.min(closed))
    }

    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        self.end - self.start
    }

    /// Its length in hours.
    #[must_use]
    pub fn hours(self) -> f64 {
        self.seconds() as f64 / HOUR_SECONDS as f64
    }

    /// Whether no time lies in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    /// Whether all of `other` lies in it.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Its hours, one by one.
    pub fn each_hour(self) -> impl Iterator<Item = Self> {
        let hours = self.seconds() / HOUR_SECONDS;
        (0..hours).map(move |hour| {
            let start = self.start + hour * HOUR_SECONDS;
            Self { start, end: start + HOUR_SECONDS }
        })
    }
}

impl fmt::Display for Window {
    /// As the API reads it: two RFC 3339 times that end in `Z`; offsets and fractions are refused
    /// there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", rfc3339(self.start), rfc3339(self.end))
    }
}

/// A Unix time as `2026-11-20T16:00:00Z`.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The Unix time of an RFC 3339 text, if it is one.
#[must_use]
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_last_closed_hour_is_over_and_settled() {
        let hour = |text| Window::last_closed(at(text), HOUR_SECONDS).to_string();
        assert_eq!(hour("2026-11-20T15:02:59Z"), "2026-11-20T13:00:00Z,2026-11-20T14:00:00Z");
        assert_eq!(hour("2026-11-20T15:03:00Z"), "2026-11-20T14:00:00Z,2026-11-20T15:00:00Z");
        assert_eq!(hour("2026-11-20T15:59:59Z"), "2026-11-20T14:00:00Z,2026-11-20T15:00:00Z");
        assert_eq!(hour("2026-11-20T00:10:00Z"), "2026-11-19T23:00:00Z,2026-11-20T00:00:00Z");
        let minute = Window::last_closed(at("2026-11-20T15:02:30Z"), 60).to_string();
        assert_eq!(minute, "2026-11-20T15:00:00Z,2026-11-20T15:01:00Z");
        let day = Window::last_closed(at("2026-11-20T15:00:00Z"), 86_400);
        assert_eq!(day.to_string(), "2026-11-19T00:00:00Z,2026-11-20T00:00:00Z");
    }

    #[test]
    fn a_running_day_is_asked_for_up_to_its_last_closed_hour() {
        let day = Window::new(at("2026-11-20T00:00:00Z"), at("2026-11-21T00:00:00Z"));
        assert_eq!(day.closed_part(at("2026-11-20T05:10:00Z")).each_hour().count(), 5);
        assert!(day.closed_part(at("2026-11-20T00:59:00Z")).is_empty());
        assert!(day.closed_part(at("2026-11-10T00:00:00Z")).is_empty());
        assert_eq!(day.closed_part(at("2026-11-25T00:00:00Z")), day);
    }

    #[test]
    fn garbage_is_no_time() {
        for text in ["", "yesterday", "2026-11-20", "0001-01-01T00:00", "2026-13-40T99:00:00Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        assert_eq!(parse_rfc3339("2026-11-20T01:00:00+01:00"), Some(at("2026-11-20T00:00:00Z")));
    }
}
