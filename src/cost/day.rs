//! UTC days, the unit in which costs are stored.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate};

/// Seconds in a UTC day (UTC as Unix counts it has no leap seconds).
pub const DAY_SECONDS: i64 = 86_400;
/// Minutes in a UTC day: the grid on which rates are integrated.
pub const DAY_MINUTES: u32 = 1_440;

/// A UTC day. Its stored form is the Unix time of its midnight, in seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(NaiveDate);

/// A text that is no `YYYY-MM-DD` day between 1970 and 2105, the range of ClickHouse's `DateTime`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not a UTC day of the form 2026-11-20 between 1970-01-01 and 2105-12-31")]
pub struct BadDay(pub String);

impl Day {
    /// The day that holds this Unix time (seconds). Times outside of 1970 to 2105 are clamped.
    #[must_use]
    pub fn of_unix(seconds: i64) -> Self {
        let clamped = seconds.clamp(0, i64::from(u32::MAX));
        let time = DateTime::from_timestamp(clamped, 0).unwrap_or_default();
        Self(time.date_naive())
    }

    /// Whether a Unix time (seconds) is in the day: of the present, whether the day is running.
    #[must_use]
    pub fn has(self, seconds: i64) -> bool {
        self == Self::of_unix(seconds)
    }

    /// Unix time of the day's first second: what stores call its date.
    #[must_use]
    pub fn start_seconds(self) -> i64 {
        self.0.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
    }

    /// Unix time of the next day's first second.
    #[must_use]
    pub fn end_seconds(self) -> i64 {
        self.start_seconds() + DAY_SECONDS
    }

    /// The day after.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.succ_opt().unwrap_or(self.0))
    }

    /// The day before.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.pred_opt().unwrap_or(self.0))
    }

    /// The day this many days earlier.
    #[must_use]
    pub fn minus(self, days: u32) -> Self {
        Self(self.0.checked_sub_days(Days::new(u64::from(days))).unwrap_or(self.0))
    }

    /// `YYYYMM` as a number: the monthly partition that ClickHouse keeps the day in.
    #[must_use]
    pub fn month(self) -> u32 {
        self.0.year().unsigned_abs() * 100 + self.0.month()
    }

    /// All days from this one to `last`, both included; none when `last` is earlier.
    pub fn through(self, last: Self) -> impl Iterator<Item = Self> {
        self.0.iter_days().take_while(move |date| *date <= last.0).map(Self)
    }

    /// Minutes of this day that have passed at the Unix time `now_seconds` (0 to 1440).
    #[must_use]
    pub fn minutes_passed(self, now_seconds: i64) -> u32 {
        let passed = (now_seconds - self.start_seconds()).clamp(0, DAY_SECONDS) / 60;
        u32::try_from(passed).unwrap_or(DAY_MINUTES)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%Y-%m-%d"))
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Day {
    type Err = BadDay;

    fn from_str(text: &str) -> Result<Self, BadDay> {
        let bad = || BadDay(text.to_owned());
        let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| bad())?;
        if !(1970..=2105).contains(&date.year()) || text.len() != 10 {
            return Err(bad());
        }
        Ok(Self(date))
    }
}

impl serde::Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Day {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_holds_its_first_and_last_second_only() {
        let friday = day("2026-11-20");
        assert_eq!(friday.start_seconds(), 1_795_132_800);
        assert_eq!(Day::of_unix(1_795_132_800), friday);
        assert_eq!(Day::of_unix(1_795_132_799), day("2026-11-19"));
        assert_eq!(Day::of_unix(friday.end_seconds() - 1), friday);
        assert_eq!(Day::of_unix(friday.end_seconds()), day("2026-11-21"));
    }

    #[test]
    fn leap_days_month_ends_and_year_ends_follow_the_calendar() {
        assert_eq!(day("2028-02-28").next(), day("2028-02-29"));
        assert_eq!(day("2028-02-29").next(), day("2028-03-01"));
        assert_eq!(day("2027-02-28").next(), day("2027-03-01"));
        assert_eq!(day("2026-12-31").next(), day("2027-01-01"));
        assert_eq!(day("2026-12-31").month(), 202_612);
        assert_eq!(day("2028-02-28").through(day("2028-03-01")).count(), 3);
        assert_eq!(day("2028-03-02").through(day("2028-03-01")).count(), 0);
    }

    #[test]
    fn days_before_follow_the_calendar_too() {
        assert_eq!(day("2028-03-01").previous(), day("2028-02-29"));
        assert_eq!(day("2027-01-01").previous(), day("2026-12-31"));
        assert_eq!(day("2026-11-20").minus(0), day("2026-11-20"));
        assert_eq!(day("2026-11-20").minus(35), day("2026-10-16"));
        let all: Vec<Day> = day("2026-12-31").through(day("2027-01-01")).collect();
        assert_eq!(all, [day("2026-12-31"), day("2027-01-01")]);
    }

    #[test]
    fn a_day_is_written_as_it_is_read() {
        let text = "2026-01-05";
        assert_eq!(format!("{} {:?}", day(text), day(text)), "2026-01-05 2026-01-05");
        let json = serde_json::to_string(&day(text)).unwrap();
        assert_eq!(json, "\"2026-01-05\"");
        assert_eq!(serde_json::from_str::<Day>(&json).unwrap(), day(text));
        let failure = serde_json::from_str::<Day>("\"2026-13-05\"").unwrap_err();
        assert!(failure.to_string().contains("2026-13-05"), "{failure}");
    }

    #[test]
    fn texts_that_are_no_day_are_refused() {
        for text in ["", "2026-11-31", "2026-1-1", "20261120", "1969-12-31", "2106-01-01", "today"]
        {
            assert_eq!(text.parse::<Day>(), Err(BadDay(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn passed_minutes_are_bounded_by_the_day() {
        let friday = day("2026-11-20");
        assert_eq!(friday.minutes_passed(friday.start_seconds() - 5), 0);
        assert_eq!(friday.minutes_passed(friday.start_seconds() + 3 * 60 + 59), 3);
        assert_eq!(friday.minutes_passed(friday.end_seconds() - 1), DAY_MINUTES - 1);
        assert_eq!(friday.minutes_passed(friday.end_seconds() + 99), DAY_MINUTES);
    }
}
