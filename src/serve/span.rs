//! The time that is asked for, and the share of a day that lies in it.

use crate::cost::Day;

/// The most days that one question may ask for.
pub(super) const DAYS_MAX: i64 = 400;
/// User interfaces end a day at 23:59:59 or 23:59: that is the whole day.
const END_SLACK_SECONDS: i64 = 60;

/// A time from `start` up to `end`, Unix seconds; `start` lies before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Span {
    /// The first and the last day that it touches.
    pub(super) fn days(self) -> (Day, Day) {
        (Day::of_unix(self.start), Day::of_unix(self.end - 1))
    }

    /// Which share of what a day costs lies in it, 0 to 1, by time; its costs are known up to
    /// `known_until`, the day's end or, of one that is running, when the source last could have a
    /// sample. All of that counts as a whole.
    pub(super) fn share(self, day: Day, known_until_seconds: i64) -> f64 {
        let (from, known_until) = (day.start_seconds(), day.end_seconds().min(known_until_seconds));
        let known_seconds = known_until - from;
        if known_seconds <= 0 {
            return 0.0;
        }
        if self.start <= from && self.end + END_SLACK_SECONDS >= known_until {
            return 1.0;
        }
        let overlap_seconds = (self.end.min(known_until) - self.start.max(from)).max(0);
        overlap_seconds as f64 / known_seconds as f64
    }

    /// How many of its hours lie before a time.
    pub(super) fn hours_before(self, until_seconds: i64) -> f64 {
        (self.end.min(until_seconds) - self.start).max(0) as f64 / 3_600.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn a_day_counts_by_the_part_of_it_that_is_asked_for() {
        let day: Day = "2026-11-20".parse().unwrap();
        let (start, later) = (day.start_seconds(), day.end_seconds() + 10 * HOUR);
        let share =
            |from: i64, to: i64, now| Span { start: start + from, end: start + to }.share(day, now);
        assert_eq!(share(0, 24 * HOUR, later), 1.0);
        assert_eq!(share(0, 24 * HOUR - 1, later), 1.0, "as user interfaces end a day");
        assert_eq!(share(-99 * HOUR, 99 * HOUR, later), 1.0);
        assert_eq!(share(0, 12 * HOUR, later), 0.5);
        assert_eq!(share(18 * HOUR, 30 * HOUR, later), 0.25);
        assert_eq!(share(24 * HOUR, 30 * HOUR, later), 0.0);
        let noon = start + 12 * HOUR;
        assert_eq!(share(0, 24 * HOUR, noon), 1.0, "all that is known of it");
        assert_eq!(share(9 * HOUR, 24 * HOUR, noon), 0.25);
        assert_eq!(share(0, 24 * HOUR, start), 0.0, "nothing is known of it");
    }

    #[test]
    fn days_and_hours_are_those_of_the_time_asked_for() {
        let day: Day = "2026-11-20".parse().unwrap();
        let start = day.start_seconds();
        assert_eq!(Span { start, end: start + 24 * HOUR }.days(), (day, day));
        assert_eq!(Span { start, end: start + 24 * HOUR + 1 }.days(), (day, day.next()));
        let span = Span { start, end: start + 24 * HOUR };
        assert_eq!(span.hours_before(start + 6 * HOUR), 6.0);
        assert_eq!(span.hours_before(start + 60 * HOUR), 24.0);
        assert_eq!(span.hours_before(start - HOUR), 0.0);
    }
}
