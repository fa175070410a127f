//! By how much a stored day may be off, for reports.

use crate::cost::Day;
use crate::cost::Phase;
use crate::cost::bound::{BoundInputs, DayBound, bound};
use crate::day_status::DayStatus;

/// The bound of a day's total: that of its status; of a day that an earlier version stored, or that
/// lacks its end, what follows from its coverage, at the rate that was seen on average. `None` where
/// nothing is stored.
#[must_use]
pub fn day_bound(status: &DayStatus, today: Day) -> Option<DayBound> {
    let stored = &status.stored;
    let phase = stored.phase?;
    let coverage = &stored.coverage;
    let covered = coverage.covered_minutes;
    if covered == 0 || (stored.bound.is_some() && !status.lacks_its_end(today)) {
        return stored.bound;
    }
    let clusters = u32::try_from(coverage.clusters.len().max(1)).unwrap_or(u32::MAX);
    // A window is billed whole: nothing happens between its samples. A raw total may change at any
    // moment; a cluster's day has a beginning and an end.
    let edges = if phase == Phase::Exporter { 0 } else { 2 * clusters };
    Some(bound(BoundInputs {
        rate_max: stored.total_usd / f64::from(covered) * 60.0,
        missing_minutes: status.expected_minutes(today).saturating_sub(covered),
        edges,
        step_minutes: 1.0,
        roundings: u32::try_from(stored.rows).unwrap_or(u32::MAX),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::stored_form::tests::complete;

    #[test]
    fn a_days_bound_is_that_of_its_status_and_else_follows_from_its_coverage() {
        let day: Day = "2026-11-20".parse().unwrap();
        let mut status = complete(day);
        status.stored.total_usd = 23.0;
        status.stored.coverage.covered_minutes = 1_380;
        let followed = day_bound(&status, day.next()).unwrap();
        assert!((followed.gaps_usd - 1.0).abs() < 1e-9, "an hour at a dollar: {followed:?}");
        let known = DayBound { low_by_usd: 0.5, ..DayBound::default() };
        status.stored.bound = Some(known);
        assert_eq!(day_bound(&status, day.next()), Some(known));
        let mut broken_off = status.clone();
        broken_off.attempt.is_settled = false;
        broken_off.stored.coverage.expected_minutes = 1_380;
        assert_eq!(day_bound(&broken_off, day), Some(known), "it is running");
        let followed = day_bound(&broken_off, day.next()).unwrap();
        assert!(
            (followed.gaps_usd - 1.0).abs() < 1e-9,
            "its last hour is not stored: {followed:?}"
        );
        status.stored.phase = None;
        assert_eq!(day_bound(&status, day.next()), None);
    }
}
