//! What a month will cost: spent so far, and what its other days cost as days of late did: those to
//! come, and past ones of which nothing is stored.
//!
//! The expected cost of a day is the mean of the complete days of the last four weeks, weekends by
//! themselves where two of them are known. The interval is that of a sum of days that vary as
//! those did, about a mean that is itself estimated: `t * s * sqrt(r + r^2 / n)` for `r` days to
//! come and `n` days known. It knows no trend and no plan: `docs/REPORT.md` says what that means.

use chrono::{Datelike, NaiveDate, Weekday};
use serde::Serialize;

use crate::cost::Day;

/// How many days back are looked at.
pub const BASIS_DAYS_MAX: u32 = 28;
/// Fewer complete days than this make no forecast.
const BASIS_DAYS_MIN: usize = 3;
/// Of a normal distribution, for an interval that holds 95 of 100.
const Z_95: f64 = 1.959_964;

/// What a month will cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The month's last day.
    pub month_end: Day,
    /// Stored of the month so far, USD.
    pub spent_usd: f64,
    /// Expected for the whole month, USD.
    pub expected_usd: f64,
    /// The lower end of the 95 % interval, USD; never below what is spent.
    pub low_usd: f64,
    /// Its upper end, USD.
    pub high_usd: f64,
    /// Complete days that it rests on.
    pub basis_days: usize,
    /// Days of the month that are to come, today included.
    pub days_left: u32,
    /// Past days of the month of which nothing is stored, though the source may have costs.
    pub days_lacking: u32,
}

impl Forecast {
    /// The forecast of two accounts together. Widths add up, as though both moved as one: wider
    /// than need be rather than too narrow.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            month_end: self.month_end,
            spent_usd: self.spent_usd + other.spent_usd,
            expected_usd: self.expected_usd + other.expected_usd,
            low_usd: self.low_usd + other.low_usd,
            high_usd: self.high_usd + other.high_usd,
            basis_days: self.basis_days.min(other.basis_days),
            days_left: self.days_left,
            days_lacking: self.days_lacking.max(other.days_lacking),
        }
    }
}

/// A day that is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownDay {
    /// Which.
    pub day: Day,
    /// What is stored of it, USD.
    pub usd: f64,
    /// Whether it is over and complete.
    pub is_complete: bool,
    /// Whether nothing is stored of it, though the source may have costs.
    pub is_lacking: bool,
}

/// The first and the last day of a day's month.
#[must_use]
pub fn month_of(day: Day) -> (Day, Day) {
    let date = DayParts::of(day);
    let first = day.minus(date.day_of_month - 1);
    let mut last = day;
    while last.next().month() == first.month() && last.next() > last {
        last = last.next();
    }
    (first, last)
}

struct DayParts {
    day_of_month: u32,
    is_weekend: bool,
}

impl DayParts {
    fn of(day: Day) -> Self {
        let time = chrono::DateTime::from_timestamp(day.start_seconds(), 0).unwrap_or_default();
        let date: NaiveDate = time.date_naive();
        let is_weekend = matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
        Self { day_of_month: date.day(), is_weekend }
    }
}

/// The forecast of the month that `today` is in. `None` where fewer than three complete days of
/// the last four weeks are known.
#[must_use]
pub fn forecast(known: &[KnownDay], today: Day) -> Option<Forecast> {
    let (first, month_end) = month_of(today);
    let earliest = today.minus(BASIS_DAYS_MAX);
    let is_basis = |one: &&KnownDay| one.is_complete && one.day >= earliest && one.day < today;
    let basis: Vec<KnownDay> = known.iter().filter(is_basis).copied().collect();
    if basis.len() < BASIS_DAYS_MIN {
        return None;
    }
    let means = Means::of(&basis);
    let in_month = |one: &&KnownDay| (first..=today).contains(&one.day);
    let spent: f64 = known.iter().filter(in_month).map(|one| one.usd).sum::<f64>() + 0.0;
    let today_usd: f64 = known.iter().filter(|one| one.day == today).map(|one| one.usd).sum();
    let rest_of_today = (means.of_day(today) - today_usd).max(0.0);
    let later: f64 = today.next().through(month_end).map(|day| means.of_day(day)).sum();
    let is_lacking = |one: &&KnownDay| one.is_lacking && one.day >= first && one.day < today;
    let lacking: Vec<Day> = known.iter().filter(is_lacking).map(|one| one.day).collect();
    let not_stored: f64 = lacking.iter().map(|day| means.of_day(*day)).sum();
    let days_left = u32::try_from(today.through(month_end).count()).unwrap_or(0);
    let days_lacking = u32::try_from(lacking.len()).unwrap_or(u32::MAX);
    let (n, r) = (basis.len() as f64, f64::from(days_left) + f64::from(days_lacking));
    let half = student_t(n - means.count) * means.spread(&basis) * (r + r * r / n).sqrt();
    let expected = spent + rest_of_today + later + not_stored;
    Some(Forecast {
        month_end,
        spent_usd: spent,
        expected_usd: expected,
        low_usd: (expected - half).max(spent),
        high_usd: expected + half,
        basis_days: basis.len(),
        days_left,
        days_lacking,
    })
}

/// What a day costs on average.
struct Means {
    workday: f64,
    weekend: f64,
    /// How many means were estimated.
    count: f64,
}

impl Means {
    fn of(basis: &[KnownDay]) -> Self {
        let (weekend, workday): (Vec<f64>, Vec<f64>) = {
            let of = |is_weekend: bool| {
                let days =
                    basis.iter().filter(|one| DayParts::of(one.day).is_weekend == is_weekend);
                days.map(|one| one.usd).collect::<Vec<f64>>()
            };
            (of(true), of(false))
        };
        let mean = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
        // Each kind of day needs enough of its own; else all days are of one kind.
        if weekend.len() >= 2 && workday.len() >= 3 {
            return Self { workday: mean(&workday), weekend: mean(&weekend), count: 2.0 };
        }
        let all: Vec<f64> = basis.iter().map(|one| one.usd).collect();
        Self { workday: mean(&all), weekend: mean(&all), count: 1.0 }
    }

    fn of_day(&self, day: Day) -> f64 {
        if DayParts::of(day).is_weekend { self.weekend } else { self.workday }
    }

    /// The standard deviation of days about their mean, USD.
    fn spread(&self, basis: &[KnownDay]) -> f64 {
        let squares: f64 = basis.iter().map(|one| (one.usd - self.of_day(one.day)).powi(2)).sum();
        (squares / (basis.len() as f64 - self.count).max(1.0)).sqrt()
    }
}

/// The two-sided 95 % quantile of Student's t, by its expansion about the normal one: right to
/// 1 % from 3 degrees of freedom on, and held at the exact values below.
fn student_t(freedom: f64) -> f64 {
    if freedom < 1.5 {
        return 12.706;
    }
    if freedom < 2.5 {
        return 4.303;
    }
    let z = Z_95;
    let first = (z.powi(3) + z) / (4.0 * freedom);
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * freedom.powi(2));
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z)
        / (384.0 * freedom.powi(3));
    z + first + second + third
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn known(first: &str, costs: &[f64]) -> Vec<KnownDay> {
        let days = day(first).through(day("2030-01-01"));
        days.zip(costs)
            .map(|(day, usd)| KnownDay { day, usd: *usd, is_complete: true, is_lacking: false })
            .collect()
    }

    #[test]
    fn a_month_of_equal_days_costs_as_many_times_one_day_and_the_interval_is_a_point() {
        let mut days = known("2026-10-20", &[10.0; 21]);
        // Today, a quarter of the day in.
        days.push(KnownDay {
            day: day("2026-11-10"),
            usd: 2.5,
            is_complete: false,
            is_lacking: false,
        });
        let forecast = forecast(&days, day("2026-11-10")).unwrap();
        assert_eq!((forecast.spent_usd, forecast.expected_usd), (92.5, 300.0));
        assert_eq!((forecast.low_usd, forecast.high_usd), (300.0, 300.0));
        assert_eq!((forecast.basis_days, forecast.days_left), (21, 21));
        assert_eq!(forecast.month_end, day("2026-11-30"));
    }

    #[test]
    fn weekends_cost_what_weekends_cost() {
        // 2026-10-31 is a Saturday.
        let of = |day: Day| if DayParts::of(day).is_weekend { 4.0 } else { 10.0 };
        let days: Vec<KnownDay> = day("2026-10-18")
            .through(day("2026-11-09"))
            .map(|day| KnownDay { day, usd: of(day), is_complete: true, is_lacking: false })
            .collect();
        let expected: f64 = day("2026-11-01").through(day("2026-11-30")).map(of).sum();
        let forecast = forecast(&days, day("2026-11-10")).unwrap();
        assert!((forecast.expected_usd - expected).abs() < 1e-9, "{forecast:?}");
    }

    #[test]
    fn what_is_not_complete_says_nothing_of_other_days_and_two_days_are_too_few() {
        let mut days = known("2026-11-01", &[10.0, 10.0, 10.0, 1.0]);
        days[3].is_complete = false;
        let with = forecast(&days, day("2026-11-05")).unwrap();
        assert_eq!((with.spent_usd, with.expected_usd), (31.0, 31.0 + 260.0));
        days[0].is_complete = false;
        assert_eq!(forecast(&days, day("2026-11-05")), None);
    }

    #[test]
    fn past_days_of_which_nothing_is_stored_are_expected_to_cost_what_others_do() {
        let mut days = known("2026-10-28", &[10.0; 8]);
        for one in [1, 5, 6] {
            (days[one].usd, days[one].is_complete, days[one].is_lacking) = (0.0, false, true);
        }
        let forecast = forecast(&days, day("2026-11-05")).unwrap();
        // Of four days of the month two are stored; one that lacks is in the month before.
        assert_eq!((forecast.spent_usd, forecast.expected_usd), (20.0, 300.0));
        assert_eq!((forecast.days_lacking, forecast.days_left), (2, 26));
    }

    #[test]
    fn the_quantiles_are_those_of_the_tables() {
        for (freedom, t) in
            [(1.0, 12.706), (2.0, 4.303), (5.0, 2.571), (10.0, 2.228), (26.0, 2.056)]
        {
            let off = student_t(freedom) / t - 1.0;
            assert!(off.abs() < 0.01, "{freedom}: {}", student_t(freedom));
        }
    }

    /// The goal: an interval that holds as often as it says. The method: 400 made-up months of
    /// days that vary about one mean, each forecast on its tenth day and then lived through.
    #[test]
    fn the_interval_holds_the_months_end_about_as_often_as_it_says() {
        let mut state = 7_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1_u64 << 31) as f64
        };
        let mut held = 0;
        for _ in 0..400 {
            // The sum of twelve uniform numbers is near to normal, with a variance of one.
            let mut noise = || (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
            let costs: Vec<f64> = (0..51).map(|_| 100.0 + 15.0 * noise()).collect();
            let days = known("2026-10-11", &costs[..30]);
            let forecast = forecast(&days, day("2026-11-10")).unwrap();
            let truth: f64 = costs[21..51].iter().sum();
            held += u32::from((forecast.low_usd..=forecast.high_usd).contains(&truth));
        }
        assert!((370..=396).contains(&held), "95 of 100 are 380 of 400: {held}");
    }

    proptest! {
        #[test]
        fn the_forecast_lies_in_its_interval_and_never_below_what_is_spent(
            costs in prop::collection::vec(0.0_f64..1e6, 3..60), at in 0_u32..70,
        ) {
            let days = known("2026-10-01", &costs);
            let today = day("2026-10-04").through(day("2027-01-31")).nth(at as usize).unwrap();
            if let Some(forecast) = forecast(&days, today) {
                prop_assert!(forecast.low_usd <= forecast.expected_usd + 1e-6);
                prop_assert!(forecast.expected_usd <= forecast.high_usd + 1e-6);
                prop_assert!(forecast.low_usd >= forecast.spent_usd);
                prop_assert!(forecast.high_usd.is_finite());
            }
        }
    }
}
