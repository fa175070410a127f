//! Days that cost other than days like them: spikes, and drops to nothing.
//!
//! A day is held against the complete days of the eight weeks before it: weekdays against weekdays,
//! weekends against weekends. It is a spike where it exceeds their median by more than
//! [`Limits::spreads`] times their spread (the median distance from the median, times 1.4826, which
//! is the standard deviation of a normal distribution; never less than 12 % of the median), by
//! [`Limits::least_usd`], and the day that nine of ten do not exceed by a fifth: who has dear days
//! every week has no spike on one of them. Median and spread, and not mean and deviation, because one spike in the
//! history must not hide the next. A drop is a day at less than a tenth of the least of them. Days
//! that are not complete, the first week of a name, and names with fewer than five days to hold
//! against are not judged.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Day;

/// How many days back are looked at.
pub const HISTORY_DAYS: u32 = 56;
/// A name's first days, which are not judged.
const FIRST_DAYS: u32 = 7;
/// Fewer days than this are no basis.
const BASIS_MIN: usize = 5;
/// A spread is never taken for less than this share of the median.
const SPREAD_SHARE_MIN: f64 = 0.12;
/// A spike exceeds the day that nine of ten do not exceed by this factor.
const HIGH_FACTOR: f64 = 1.2;
/// From the median distance to a standard deviation, for a normal distribution.
const MAD_TO_DEVIATION: f64 = 1.482_6;
/// A drop is a day at less than this share of the least day of the basis.
const DROP_SHARE: f64 = 0.1;

/// From when on a day is odd.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// How many spreads above the median.
    pub spreads: f64,
    /// By how much at least, USD.
    pub least_usd: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { spreads: 4.0, least_usd: 1.0 }
    }
}

/// What is odd about a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AnomalyKind {
    /// It costs more than days like it.
    Spike,
    /// It costs next to nothing.
    Drop,
}

impl std::fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Spike => "spike",
            Self::Drop => "drop",
        })
    }
}

/// One name's costs by day, USD. Days without an entry cost nothing.
pub type Costs = BTreeMap<Day, f64>;

/// An odd day of one name, without the name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Odd {
    /// The day.
    pub day: Day,
    /// What is odd.
    pub kind: AnomalyKind,
    /// What it costs, USD.
    pub usd: f64,
    /// The median, USD.
    pub expected_usd: f64,
    /// The spread, USD.
    pub spread_usd: f64,
    /// Days of the basis.
    pub basis_days: usize,
}

/// The odd days of one name. `complete` are the account's days that are over and covered whole:
/// others are neither judged nor held against.
#[must_use]
pub fn odd_days(costs: &Costs, complete: &[Day], limits: Limits) -> Vec<Odd> {
    // A name begins with its first cost.
    let Some(first) = costs.iter().find(|(_, usd)| **usd > 0.0).map(|(day, _)| *day) else {
        return Vec::new();
    };
    let usd = |day: &Day| costs.get(day).copied().unwrap_or(0.0);
    let known: Vec<Day> = complete.iter().copied().filter(|day| *day >= first).collect();
    let mut odd: Vec<Odd> = Vec::new();
    for day in known.iter().filter(|day| day.minus(FIRST_DAYS) >= first) {
        let like_it = |other: &&Day| is_like(**other, *day);
        let basis: Vec<f64> = known.iter().filter(like_it).map(usd).collect();
        if let Some(mut found) = judge(usd(day), &basis, limits) {
            found.day = *day;
            // A name that is gone for good dropped once.
            let goes_on = found.kind == AnomalyKind::Drop
                && odd.last().is_some_and(|last| {
                    last.kind == AnomalyKind::Drop
                        && known
                            .iter()
                            .filter(|d| **d > last.day && **d < *day)
                            .all(|d| usd(d) <= last.usd.max(found.usd))
                });
            if !goes_on {
                odd.push(found);
            }
        }
    }
    odd
}

/// Whether a day is one that another is held against.
fn is_like(other: Day, day: Day) -> bool {
    other < day && other >= day.minus(HISTORY_DAYS) && is_weekend(other) == is_weekend(day)
}

/// What is odd about a cost, held against those of days like it.
fn judge(usd: f64, basis: &[f64], limits: Limits) -> Option<Odd> {
    if basis.len() < BASIS_MIN {
        return None;
    }
    let expected_usd = median(basis);
    let distances: Vec<f64> = basis.iter().map(|one| (one - expected_usd).abs()).collect();
    let spread_usd = (median(&distances) * MAD_TO_DEVIATION).max(expected_usd * SPREAD_SHARE_MIN);
    let least = basis.iter().copied().fold(f64::INFINITY, f64::min);
    let kind = if usd - expected_usd > limits.least_usd
        && usd - expected_usd > limits.spreads * spread_usd
        && usd > HIGH_FACTOR * high(basis)
    {
        AnomalyKind::Spike
    } else if expected_usd - usd > limits.least_usd && usd < DROP_SHARE * least {
        AnomalyKind::Drop
    } else {
        return None;
    };
    let day = Day::of_unix(0);
    Some(Odd { day, kind, usd, expected_usd, spread_usd, basis_days: basis.len() })
}

/// What nine of ten values do not exceed.
fn high(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * 9 / 10).copied().unwrap_or(0.0)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle.wrapping_sub(1)), sorted.get(middle)) {
        (Some(low), Some(high)) if sorted.len().is_multiple_of(2) => f64::midpoint(*low, *high),
        (_, Some(middle)) => *middle,
        _ => 0.0,
    }
}

fn is_weekend(day: Day) -> bool {
    // 1970-01-01 was a Thursday.
    let weekday = (day.start_seconds() / super::day::DAY_SECONDS + 3).rem_euclid(7);
    weekday >= 5
}

/// Whether the newest complete day is odd, and against what it was held.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Judged {
    /// The day.
    pub day: Day,
    /// By how much it exceeds days like it where it is a spike, else 0, USD.
    pub spike_usd: f64,
    /// By how much it lies below them where it is a drop, else 0, USD.
    pub drop_usd: f64,
}

/// Judges the newest complete day alone; `None` where there is too little to hold it against.
#[must_use]
pub fn newest_day(costs: &Costs, complete: &[Day], limits: Limits) -> Option<Judged> {
    let day = complete.iter().copied().max()?;
    let first = costs.iter().find(|(_, usd)| **usd > 0.0).map(|(day, _)| *day)?;
    let like_it = complete.iter().filter(|one| is_like(**one, day) && **one >= first).count();
    if day.minus(FIRST_DAYS) < first || like_it < BASIS_MIN {
        return None;
    }
    let odd = odd_days(costs, complete, limits).into_iter().find(|odd| odd.day == day);
    let by = |kind: AnomalyKind| {
        let of_kind = odd.filter(|odd| odd.kind == kind);
        of_kind.map_or(0.0, |odd| (odd.usd - odd.expected_usd).abs())
    };
    Some(Judged { day, spike_usd: by(AnomalyKind::Spike), drop_usd: by(AnomalyKind::Drop) })
}

#[cfg(test)]
mod tests;
