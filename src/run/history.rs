//! What an account's days cost, to judge the newest one by.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::cost::day::DAY_MINUTES;
use crate::cost::odd_days::{Costs, Judged, Limits, newest_day};
use crate::day_status::{DayState, DayStatus};

use super::summary::DaySummary;

/// Days with what is stored of them, USD, and whether that is whole. They are the days that a run
/// looks at anyhow: nothing is read for this.
#[derive(Clone, Debug, Default)]
pub(super) struct History(BTreeMap<Day, (f64, bool)>);

impl History {
    pub(super) fn of(statuses: &BTreeMap<Day, DayStatus>) -> Self {
        let one = |(day, status): (&Day, &DayStatus)| {
            let expected = status.stored.coverage.expected_minutes;
            let is_whole = is_whole(status.attempt.state, expected);
            (*day, (status.stored.total_usd, is_whole))
        };
        Self(statuses.iter().map(one).collect())
    }

    /// Judges the newest whole day, once days were worked on.
    pub(super) fn judged(mut self, days: &[DaySummary]) -> Option<Judged> {
        let done = days.iter().map(|day| {
            (day.day, (day.stored_total_usd, is_whole(day.state, day.expected_minutes)))
        });
        self.0.extend(done);
        let costs: Costs = self.0.iter().map(|(day, (usd, _))| (*day, *usd)).collect();
        let whole = self.0.iter().filter(|(_, (_, is_whole))| *is_whole);
        let whole: Vec<Day> = whole.map(|(day, _)| *day).collect();
        newest_day(&costs, &whole, Limits::default())
    }
}

fn is_whole(state: DayState, expected_minutes: u32) -> bool {
    state == DayState::Ok && expected_minutes == DAY_MINUTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::stored_form::tests::complete;

    fn day(number: u32) -> Day {
        "2026-11-20".parse::<Day>().unwrap().minus(30 - number)
    }

    /// Thirty days of a dollar each.
    fn history() -> History {
        let statuses = (0..30).map(|number| (day(number), complete(day(number)))).collect();
        History::of(&statuses)
    }

    fn done(usd: f64, state: DayState) -> Option<Judged> {
        let mut summary = DaySummary::without_costs(day(29));
        (summary.state, summary.expected_minutes) = (state, 1_440);
        summary.stored_total_usd = usd;
        history().judged(&[summary])
    }

    #[test]
    fn what_a_run_has_stored_is_judged_by_the_days_before() {
        let spike = done(9.0, DayState::Ok).unwrap();
        assert_eq!((spike.day, spike.spike_usd, spike.drop_usd), (day(29), 8.0, 0.0));
        assert_eq!(done(1.1, DayState::Ok).unwrap().spike_usd, 0.0);
    }

    #[test]
    fn a_day_that_is_not_whole_is_not_judged_and_the_one_before_it_is() {
        let judged = done(9.0, DayState::Partial).unwrap();
        assert_eq!((judged.day, judged.spike_usd), (day(28), 0.0));
        assert_eq!(done(9.0, DayState::Approximate).unwrap().day, day(28));
    }
}
