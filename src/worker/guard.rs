//! What may be written over what is stored: a day is never made poorer by missing data.

use crate::allocation::{Cost, RollUp};
use crate::query::SourceDay;
use crate::records::{AccountDay, DayState};

/// Coverage may be told a little differently from run to run (a lag that is learned better, a
/// sample at the edge): differences up to the look-back of instant queries say nothing.
const COVERAGE_NOISE_MINUTES: u32 = 5;
/// How long after a day's end, its lag included, samples may still be on their way (seconds).
const SETTLE_SECONDS: i64 = 600;

/// What to do with a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it; the state that the day is in then, and the cause if it is not `ok`.
    Store(DayState, String),
    /// Leave what is stored; the state and its cause.
    Keep(DayState, String),
}

/// What is stored of a day, as far as the verdict minds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredDay<'a> {
    /// Its record, if there is one.
    pub record: Option<&'a AccountDay>,
    /// What the ledger has, USD.
    pub total_usd: f64,
}

/// Judges a day's costs against what is stored.
#[must_use]
pub fn judge(
    source: &SourceDay,
    roll: &RollUp,
    stored: StoredDay<'_>,
    shrink_limit: f64,
    is_forced: bool,
) -> Verdict {
    if source.expected_minutes == 0 {
        let cause = format!(
            "the source lags by {} min: nothing of this day can be known yet",
            source.lag_seconds / 60
        );
        return Verdict::Keep(DayState::NoData, cause);
    }
    if source.covered_minutes == 0 || source.costs.is_empty() {
        return Verdict::Keep(DayState::NoData, "the source has no sample of this day".to_owned());
    }
    if !is_forced && let Some(cause) = poorer(source, roll.total, stored, shrink_limit) {
        return Verdict::Keep(DayState::Late, cause);
    }
    let causes = gaps(source, roll);
    let state = if causes.is_empty() { DayState::Ok } else { DayState::Partial };
    Verdict::Store(state, causes.join("; "))
}

/// Why the day would become poorer, if it would.
fn poorer(
    source: &SourceDay,
    total: Cost,
    stored: StoredDay<'_>,
    shrink_limit: f64,
) -> Option<String> {
    let covered_before = stored.record.filter(|r| r.phase.is_some()).map(|r| r.covered_minutes);
    if let Some(before) = covered_before
        && source.covered_minutes + COVERAGE_NOISE_MINUTES < before
    {
        return Some(format!(
            "the source now covers {} min of this day, but it is stored with {before} min: kept \
             (--force --reason overrides)",
            source.covered_minutes
        ));
    }
    let least = stored.total_usd * (1.0 - shrink_limit);
    if stored.total_usd > 0.0 && total.usd() < least {
        return Some(format!(
            "the source now says ${:.4}, over {:.0} % less than the stored ${:.4}, without less \
             coverage: kept (--force --reason overrides)",
            total.usd(),
            shrink_limit * 100.0,
            stored.total_usd
        ));
    }
    None
}

fn gaps(source: &SourceDay, roll: &RollUp) -> Vec<String> {
    let mut causes = Vec::new();
    if source.covered_minutes < source.expected_minutes {
        causes.push(format!(
            "the source has samples for {} of {} min",
            source.covered_minutes, source.expected_minutes
        ));
    }
    if !roll.refused.is_empty() {
        causes.push(format!("{} numbers of the source are no costs", roll.refused.len()));
    }
    if source.is_partial {
        causes.push("the query layer's answer is incomplete, see the warnings".to_owned());
    }
    causes
}

/// Whether a day is over, the source's lag and late samples included.
#[must_use]
pub fn is_settled(day: crate::allocation::Day, lag_seconds: i64, now_seconds: i64) -> bool {
    now_seconds >= day.end_seconds() + lag_seconds + SETTLE_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation::DayCosts;
    use crate::query::Phase;
    use crate::worker::days::tests::record;

    fn source(covered: u32) -> SourceDay {
        let mut costs = DayCosts::default();
        costs.cluster_mut("c").total_usd = Some(1.0);
        SourceDay {
            costs,
            phase: Phase::Exporter,
            covered_minutes: covered,
            expected_minutes: 1_440,
            lag_seconds: 0,
            warnings: vec![],
            is_partial: false,
        }
    }

    fn roll(usd: f64) -> RollUp {
        RollUp { total: Cost::from_usd(usd).unwrap(), ..RollUp::default() }
    }

    fn stored(record: Option<&AccountDay>, total_usd: f64) -> StoredDay<'_> {
        StoredDay { record, total_usd }
    }

    #[test]
    fn no_series_writes_nothing() {
        let verdict = judge(&source(0), &roll(0.0), stored(None, 5.0), 0.2, true);
        assert!(matches!(verdict, Verdict::Keep(DayState::NoData, _)));
    }

    #[test]
    fn less_coverage_than_stored_is_kept_unless_forced() {
        let before = record("2026-11-19".parse().unwrap());
        let less = source(1_200);
        let stored = stored(Some(&before), 1.0);
        assert!(matches!(
            judge(&less, &roll(1.0), stored, 0.2, false),
            Verdict::Keep(DayState::Late, _)
        ));
        assert!(matches!(
            judge(&less, &roll(1.0), stored, 0.2, true),
            Verdict::Store(DayState::Partial, _)
        ));
    }

    #[test]
    fn a_total_that_shrinks_beyond_the_limit_is_kept() {
        let full = source(1_440);
        assert!(matches!(
            judge(&full, &roll(0.79), stored(None, 1.0), 0.2, false),
            Verdict::Keep(DayState::Late, _)
        ));
        let verdict = judge(&full, &roll(0.81), stored(None, 1.0), 0.2, false);
        assert_eq!(verdict, Verdict::Store(DayState::Ok, String::new()));
    }

    #[test]
    fn a_day_settles_after_its_lag() {
        let day: crate::allocation::Day = "2026-11-19".parse().unwrap();
        assert!(!is_settled(day, 3_900, day.end_seconds() + 3_900));
        assert!(is_settled(day, 3_900, day.end_seconds() + 4_500));
    }
}
