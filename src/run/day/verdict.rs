//! What may be written over what is stored: missing data never lowers what is stored.

use crate::cost::{Cost, Day, ResourceKey, RollUp};
use crate::day_status::{ClusterCoverage, DayState, DayStatus, Guard};
use crate::service::shown::shown;
use crate::source::SourceDay;

/// Coverage differs a little from run to run (a lag that is known more exactly, a sample at the
/// edge): differences up to the look-back of instant queries are noise.
const COVERAGE_NOISE_MINUTES: u32 = 5;
/// How long after a day's end, its lag included, samples may still be on their way (seconds).
const SETTLE_SECONDS: i64 = 600;

/// What to do with a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Store {
        /// The state that the day is in then.
        state: DayState,
        /// Why it is not `ok`; else empty.
        cause: String,
        /// The guards that objected and are overridden.
        overridden: Vec<Guard>,
    },
    /// Leave what is stored.
    KeepStored {
        /// The state that the day is in.
        state: DayState,
        /// Why.
        cause: String,
    },
}

/// What is stored of a day, as far as the verdict depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StoredDay<'a> {
    /// Its status, if there is one.
    pub status: Option<&'a DayStatus>,
    /// The ledger's total, USD.
    pub total_usd: f64,
}

/// A guard that objects to writing a day, and what the day's status then has.
struct Objection {
    guard: Guard,
    state: DayState,
    cause: String,
}

impl Verdict {
    /// The same, its cause as people may be shown it: it names clusters and namespaces.
    pub(crate) fn with_cause_shown(mut self) -> Self {
        let (Self::Store { cause, .. } | Self::KeepStored { cause, .. }) = &mut self;
        *cause = shown(cause);
        self
    }
}

/// Weighs a day's costs against what is stored.
#[must_use]
pub fn verdict(
    source: &SourceDay,
    roll: &RollUp,
    stored: StoredDay<'_>,
    shrink_limit: f64,
    is_forced: bool,
) -> Verdict {
    let keep = |state, cause| Verdict::KeepStored { state, cause };
    if let Some(cause) = nothing_due(source) {
        return keep(DayState::Waiting, cause);
    }
    if source.covered_minutes == 0 || source.costs.is_empty() {
        return keep(DayState::NoData, no_data(source));
    }
    let mut objections = objections(source, roll.total, stored, shrink_limit);
    if !is_forced && !objections.is_empty() {
        let first = objections.swap_remove(0);
        return keep(first.state, first.cause);
    }
    if !is_forced && let Some((state, cause)) = slightly_less(source, roll, stored) {
        return keep(state, cause);
    }
    let (state, cause) = stored_state(source, roll);
    let overridden = objections.into_iter().map(|objection| objection.guard).collect();
    Verdict::Store { state, cause, overridden }
}

/// Why nothing of the day can have samples yet, if so.
fn nothing_due(source: &SourceDay) -> Option<String> {
    if let Some(cause) = &source.waiting {
        return Some(cause.clone());
    }
    (source.expected_minutes == 0).then(|| {
        format!(
            "the source lags by {} min: nothing of this day can be known yet",
            source.lag_seconds / 60
        )
    })
}

fn no_data(source: &SourceDay) -> String {
    if !source.missing.is_empty() {
        return source.missing.join("; ");
    }
    if source.gap_causes.is_empty() {
        return "the source has no sample of this day".to_owned();
    }
    format!("the source has no cost of this day: {}", source.gap_causes.join("; "))
}

/// The guards that object to writing the day, the most serious first.
fn objections(
    source: &SourceDay,
    total: Cost,
    stored: StoredDay<'_>,
    shrink_limit: f64,
) -> Vec<Objection> {
    let mut out = Vec::new();
    // Two sources of a past day stay two: an override of this guard holds for all later runs.
    let overridden = |status: &DayStatus| status.override_reason(Guard::SourceConflict).is_some();
    if !source.conflicts.is_empty() && !stored.status.is_some_and(overridden) {
        let cause = format!("{}: the day is kept as it was", source.conflicts.join("; "));
        out.push(Objection { guard: Guard::SourceConflict, state: DayState::Failed, cause });
    }
    let regressions = [
        (Guard::LessCoverage, less_coverage(source, stored.status)),
        (Guard::LostCluster, lost_cluster(source, stored.status)),
        (Guard::ShrunkTotal, shrunk_total(total, stored.total_usd, shrink_limit)),
    ];
    let state = DayState::Late;
    out.extend(
        regressions
            .into_iter()
            .filter_map(|(guard, cause)| cause.map(|cause| Objection { guard, state, cause })),
    );
    out
}

fn less_coverage(source: &SourceDay, status: Option<&DayStatus>) -> Option<String> {
    let stored = &status?.stored;
    let before = stored.phase.map(|_| stored.coverage.covered_minutes)?;
    (source.covered_minutes + COVERAGE_NOISE_MINUTES < before).then(|| {
        format!(
            "the source now covers {} min of this day, but it is stored with {before} min: kept \
             (--force --reason overrides)",
            source.covered_minutes
        )
    })
}

/// A cluster of which the source has less than is stored: the others may hide that in the total.
fn lost_cluster(source: &SourceDay, status: Option<&DayStatus>) -> Option<String> {
    let now = |cluster: &str| source.minutes_of(cluster);
    let clusters = &status?.stored.coverage.clusters;
    let lost = clusters
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

fn shrunk_total(total: Cost, stored_usd: f64, shrink_limit: f64) -> Option<String> {
    let least = stored_usd * (1.0 - shrink_limit);
    (total.usd() < least).then(|| {
        format!(
            "the source now has ${:.4}, over {:.0} % less than the stored ${stored_usd:.4}, \
             without less coverage: kept (--force --reason overrides)",
            total.usd(),
            shrink_limit * 100.0
        )
    })
}

/// A total that lacks a few minutes of the stored one is not written, and without a warning: such
/// losses would add up from run to run. Returns the day's state and cause.
fn slightly_less(
    source: &SourceDay,
    roll: &RollUp,
    stored: StoredDay<'_>,
) -> Option<(DayState, String)> {
    let status = stored.status.filter(|status| !status.attempt.is_pending)?;
    let coverage = &status.stored.coverage;
    let has_less_of = |of: &ClusterCoverage| source.minutes_of(&of.cluster) < of.covered_minutes;
    let has_less = source.covered_minutes < coverage.covered_minutes
        || coverage.clusters.iter().any(has_less_of);
    if !has_less || roll.total.usd() >= stored.total_usd {
        return None;
    }
    // A day that was running when it was stored may have gone on since.
    let is_short = coverage.covered_minutes < source.expected_minutes;
    Some(match status.attempt.state {
        state if state == DayState::Partial || (state.is_stored() && !is_short) => {
            (state, status.attempt.cause.clone())
        }
        _ if is_short => {
            let cause = format!(
                "it is stored with {} of {} min, and of these the source has fewer by now: kept",
                coverage.covered_minutes, source.expected_minutes
            );
            (DayState::Partial, cause)
        }
        // What was refused before is not what is kept now.
        _ if coverage.is_incomplete() => (DayState::Partial, missing(source, roll).join("; ")),
        // With which faults it was stored is not recorded: most likely with those of today.
        _ => with_faults(faults(source, roll), source),
    })
}

/// The state of a day that is written as the source has it, and its cause.
fn stored_state(source: &SourceDay, roll: &RollUp) -> (DayState, String) {
    with_faults(missing(source, roll), source)
}

/// The state of a day that lacks this, and its cause.
fn with_faults(faults: Vec<String>, source: &SourceDay) -> (DayState, String) {
    let state = match (faults.is_empty(), source.approximations.is_empty()) {
        (true, true) => DayState::Ok,
        (true, false) => DayState::Approximate,
        (false, _) => DayState::Partial,
    };
    let causes: Vec<String> = faults.into_iter().chain(source.approximations.clone()).collect();
    (state, causes.join("; "))
}

/// What the source's costs lack, a phrase each.
fn missing(source: &SourceDay, roll: &RollUp) -> Vec<String> {
    let is_short = source.covered_minutes < source.expected_minutes;
    let minutes = is_short.then(|| {
        let colon = if source.gap_causes.is_empty() { "" } else { ": " };
        format!(
            "the source has samples for {} of {} min{colon}{}",
            source.covered_minutes,
            source.expected_minutes,
            source.gap_causes.join("; ")
        )
    });
    minutes.into_iter().chain(faults(source, roll)).collect()
}

/// What they lack beside minutes.
fn faults(source: &SourceDay, roll: &RollUp) -> Vec<String> {
    let mut causes = Vec::new();
    if !roll.refused.is_empty() {
        causes.push(format!(
            "{} costs of the source are refused (invalid cost or name), see the warnings",
            roll.refused.len()
        ));
    }
    causes.extend(contradictions(roll));
    causes.extend(source.conflicts.iter().cloned());
    causes.extend(source.missing.iter().cloned());
    if source.is_partial {
        causes.push("the query layer's answer is incomplete, see the warnings".to_owned());
    }
    causes
}

/// Where children cost more than their parent, a phrase each; the first few, and how many more.
fn contradictions(roll: &RollUp) -> Vec<String> {
    const NAMED_MAX: usize = 5;
    let named = roll.contradictions.iter().take(NAMED_MAX).map(|one| {
        format!(
            "the {}s of {} add up to ${:.4}, more than its own ${:.4}: they are left out there",
            one.left_out.as_str(),
            display(&one.key),
            one.children_usd,
            one.parent_usd
        )
    });
    let more = roll.contradictions.len().saturating_sub(NAMED_MAX);
    named.chain((more > 0).then(|| format!("and {more} more of that kind"))).collect()
}

/// A resource's level and name in messages. A name may be refused for the very characters that
/// would spoil a log line.
pub(super) fn display(key: &ResourceKey) -> String {
    let parts = [Some(key.cluster()), key.namespace(), key.pod()];
    let names: Vec<_> = parts.into_iter().flatten().collect();
    format!("{} {}", key.level().as_str(), names.join("/").escape_debug())
}

/// Whether a day is over, the source's lag and late samples included.
#[must_use]
pub fn is_settled(day: Day, lag_seconds: i64, now_seconds: i64) -> bool {
    now_seconds >= day.end_seconds() + lag_seconds + SETTLE_SECONDS
}

#[cfg(test)]
mod tests;
