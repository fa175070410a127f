//! What may be written over what is stored: a day is never made poorer by missing data.

use crate::cost::{Cost, RollUp};
use crate::day_status::{AccountDay, ClusterCoverage, DayState};
use crate::source::SourceDay;

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
    // The sources of a past day do not change: who forced it once need not do so again.
    let was_forced = stored.record.is_some_and(|record| record.forced_reason.is_some());
    if !is_forced && !was_forced && !source.conflicts.is_empty() {
        let cause = format!("{}: the day is kept as it was", source.conflicts.join("; "));
        return Verdict::Keep(DayState::Failed, cause);
    }
    if !is_forced && let Some(cause) = poorer(source, roll.total, stored, shrink_limit) {
        return Verdict::Keep(DayState::Late, cause);
    }
    if let Some(record) = stored.record.filter(|record| !is_forced && !record.pending)
        && has_less(source, record)
        && roll.total.usd() < stored.total_usd
    {
        // Not worth a word, but run by run it would add up.
        return match record.state {
            DayState::Ok | DayState::Partial => Verdict::Keep(record.state, record.cause.clone()),
            // What was refused before is not what is kept now.
            _ if record.covered_minutes < record.expected_minutes => {
                Verdict::Keep(DayState::Partial, gaps(source, roll).join("; "))
            }
            _ => Verdict::Keep(DayState::Ok, String::new()),
        };
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
    if let Some(cause) = lost_cluster(source, stored.record) {
        return Some(cause);
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

/// Whether the source has fewer minutes than are stored, of anything and however few.
fn has_less(source: &SourceDay, record: &AccountDay) -> bool {
    let has_less_of = |of: &ClusterCoverage| source.minutes_of(&of.cluster) < of.covered_minutes;
    source.covered_minutes < record.covered_minutes || record.clusters.iter().any(has_less_of)
}

/// A cluster of which the source has less than is stored: the others may hide that in the total.
fn lost_cluster(source: &SourceDay, record: Option<&AccountDay>) -> Option<String> {
    let now = |cluster: &str| source.minutes_of(cluster);
    let lost = record?
        .clusters
        .iter()
        .find(|before| now(&before.cluster) + COVERAGE_NOISE_MINUTES < before.covered_minutes)?;
    Some(format!(
        "the source now covers {} min of cluster '{}' on this day, but it is stored with {} min: \
         kept (--force --reason overrides, as after a change of DEFAULT_CLUSTER)",
        now(&lost.cluster),
        lost.cluster,
        lost.covered_minutes
    ))
}

fn gaps(source: &SourceDay, roll: &RollUp) -> Vec<String> {
    let mut causes = Vec::new();
    if source.covered_minutes < source.expected_minutes {
        let colon = if source.holes.is_empty() { "" } else { ": " };
        causes.push(format!(
            "the source has samples for {} of {} min{colon}{}",
            source.covered_minutes,
            source.expected_minutes,
            source.holes.join("; ")
        ));
    }
    if !roll.refused.is_empty() {
        causes.push(format!(
            "{} costs of the source are refused (no cost, or no name that can be), see the warnings",
            roll.refused.len()
        ));
    }
    causes.extend(source.conflicts.iter().cloned());
    if source.is_partial {
        causes.push("the query layer's answer is incomplete, see the warnings".to_owned());
    }
    causes
}

/// Whether a day is over, the source's lag and late samples included.
#[must_use]
pub fn is_settled(day: crate::cost::Day, lag_seconds: i64, now_seconds: i64) -> bool {
    now_seconds >= day.end_seconds() + lag_seconds + SETTLE_SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::days::tests::record;
    use crate::source::Phase;

    fn source(covered: u32) -> SourceDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
        source.costs.cluster_mut("c").total_usd = Some(1.0);
        source.cover_all(covered);
        source
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
    fn a_cluster_that_vanishes_is_kept_however_much_the_others_cost() {
        let of = |cluster: &str| ClusterCoverage { cluster: cluster.into(), covered_minutes: 700 };
        let mut before = record("2026-11-19".parse().unwrap());
        (before.covered_minutes, before.clusters) = (700, vec![of("c"), of("gone")]);
        let verdict = judge(&source(1_440), &roll(9.0), stored(Some(&before), 1.0), 0.2, false);
        assert!(
            matches!(&verdict, Verdict::Keep(DayState::Late, cause) if cause.contains("'gone'")),
            "{verdict:?}"
        );
        before.clusters.pop();
        let verdict = judge(&source(1_440), &roll(9.0), stored(Some(&before), 1.0), 0.2, false);
        assert!(matches!(verdict, Verdict::Store(DayState::Ok, _)), "{verdict:?}");
    }

    #[test]
    fn a_few_minutes_less_are_kept_in_silence_where_they_would_cost_something() {
        let before = record("2026-11-19".parse().unwrap());
        let judged = |minutes, usd| {
            judge(&source(minutes), &roll(usd), stored(Some(&before), 1.0), 0.2, false)
        };
        assert_eq!(judged(1_436, 0.99), Verdict::Keep(DayState::Ok, String::new()));
        let refused = AccountDay { state: DayState::Failed, cause: "two".into(), ..before.clone() };
        let verdict = judge(&source(1_436), &roll(0.99), stored(Some(&refused), 1.0), 0.2, false);
        assert_eq!(verdict, Verdict::Keep(DayState::Ok, String::new()));
        assert!(matches!(judged(1_436, 1.0), Verdict::Store(DayState::Partial, _)));
        assert!(matches!(judged(1_440, 0.99), Verdict::Store(DayState::Ok, _)));
    }

    #[test]
    fn sources_in_conflict_are_named_and_refused_unless_forced() {
        let mut source = source(1_440);
        source.conflicts = vec!["a says 1 and b says 2".into()];
        let verdict = judge(&source, &roll(1.0), stored(None, 0.0), 0.2, false);
        assert!(
            matches!(&verdict, Verdict::Keep(DayState::Failed, cause) if cause.contains("a says")),
            "{verdict:?}"
        );
        let mut before = record("2026-11-19".parse().unwrap());
        before.forced_reason = Some("known".into());
        for (record, is_forced) in [(None, true), (Some(&before), false)] {
            let verdict = judge(&source, &roll(1.0), stored(record, 1.0), 0.2, is_forced);
            assert!(
                matches!(&verdict, Verdict::Store(DayState::Partial, why) if why.contains("a says")),
                "{verdict:?}"
            );
        }
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
        let day: crate::cost::Day = "2026-11-19".parse().unwrap();
        assert!(!is_settled(day, 3_900, day.end_seconds() + 3_900));
        assert!(is_settled(day, 3_900, day.end_seconds() + 4_500));
    }
}
