//! Running days whose pods keep their rows, and so need not be read.
//!
//! Pods are nearly all of what a large account's day is read from. Between two refreshes of their
//! rows (`TODAY_REFRESH`) the source is asked for what is above them only: their rows stay, and the
//! lines above have the rest, as in [`super::refresh`], which needs the pods' costs too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cost::{Cost, CostLine, Excess, Level, Levels, NodeLevel, Phase, RollUp};
use crate::day_status::DayStatus;
use crate::ledger::{KeyState, WantedRow};

use super::inputs::{CostedDay, DayInputs, DocumentsRead, DueDay, KeptPods};
use super::refresh::is_younger;
use super::rows::{is_as_stored, live_totals};

/// How long pods may go without being read and written.
#[derive(Clone, Copy, Debug)]
pub struct PodIntervals {
    /// How old the rows of a running day's pods may become; zero: all are written.
    pub written: Duration,
    /// How old the times at which their documents were last seen may become.
    pub seen: Duration,
}

/// Whether the pods of a day may keep their rows without being read: those of a running day that
/// were written and read not long ago, and had nothing wrong about them then.
#[must_use]
pub fn may_leave_pods(
    due: &DueDay,
    levels: Levels,
    intervals: PodIntervals,
    now_seconds: i64,
) -> bool {
    let Some(status) = &due.status else { return false };
    let stored = &status.stored;
    can_do_without_pods(status, levels, due.phase)
        && due.day.has(now_seconds)
        && is_younger(stored.pods_at, intervals.written, now_seconds)
        && is_younger(stored.pods_read_at, intervals.seen, now_seconds)
}

/// Whether what is above the pods of a running day can be read without them: where it has lines of
/// its own and metrics with its totals, and where nothing was wrong about the day when its pods were
/// last read, nor since.
#[must_use]
pub fn can_do_without_pods(status: &DayStatus, levels: Levels, phase: Option<Phase>) -> bool {
    (levels.cluster && levels.namespace && levels.pod)
        && !levels.has_parts
        // What nodes get depends on the pods that are on them.
        && levels.node == NodeLevel::Off
        && phase == Some(Phase::Exporter)
        && status.stored.phase == phase
        && status.stored.pods_read_at.is_some()
        && status.attempt.state.is_stored()
        && !status.attempt.is_pending
}

/// Whether the ledger has at the day's midnight what the status says was stored, and nothing else.
#[must_use]
pub fn is_all_as_stored(status: &DayStatus, states: &[KeyState]) -> bool {
    let midnight = status.day.start_seconds();
    states.iter().all(|state| state.date_seconds == midnight && state.is_healthy())
        && is_as_stored(Some(status), live_totals(states))
}

/// Leaves the rows of pods as they are, and takes them from the lines above, of a day that was read
/// without them: rows that are of none of its documents are of pods. `None`, where that cannot be
/// done: with another cluster than is stored, or with several, of which a row does not say which is
/// its own; where a line is too small for what is kept below it; where a document is missing that
/// had rows; and where it is time to see what has samples, which is for all documents at once.
#[must_use]
pub fn leave_pods(
    status: &DayStatus,
    roll: &mut RollUp,
    documents: &DocumentsRead,
    states: &[KeyState],
) -> Option<KeptPods> {
    let lines = &mut roll.lines;
    let [cluster] = status.stored.coverage.clusters.as_slice() else { return None };
    let is_other = |line: &CostLine| line.key.cluster() != cluster.cluster;
    if !roll.contradictions.is_empty() || lines.iter().any(is_other) {
        return None;
    }
    if documents.seen_now.is_some()
        || !documents.taken.is_empty()
        || !documents.new_totals.is_empty()
    {
        return None;
    }
    let known: BTreeSet<&str> = documents.stored.iter().map(|one| one.id.as_str()).collect();
    let mut above: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        if matches!(line.key.level(), Level::Cluster | Level::Namespace) {
            above.insert(line.key.namespace().map(str::to_owned), index);
        }
    }
    let mut kept = KeptPods::default();
    for state in states.iter().filter(|state| !known.contains(state.resource_id.as_str())) {
        let cost = Cost::from_usd(state.cost_usd).ok()?;
        let dimensions = state.dimensions.clone();
        let index = *above.get(&dimensions.namespace).or_else(|| above.get(&None))?;
        lines[index].cost = lines[index].cost - cost;
        if cost.usd().to_bits() != state.cost_usd.to_bits() || dimensions.namespace.is_none() {
            return None;
        }
        kept.rows.push(WantedRow { resource_id: state.resource_id.clone(), cost, dimensions });
    }
    let is_whole = lines.iter().all(|line| !line.cost.is_negative());
    is_whole.then_some(kept)
}

impl DayInputs {
    /// When the day's pods were last read, once it is written now; `None` where that is no matter,
    /// and where something was wrong about the costs, which is then looked at again each time.
    pub(super) fn pods_read_at(&self) -> Option<i64> {
        if self.kept_pods.is_some() {
            return self.due.status.as_ref().and_then(|status| status.stored.pods_read_at);
        }
        let CostedDay { source, roll, .. } = &self.costs;
        let covered: Vec<&String> = source.clusters.keys().collect();
        let is_of_it = |line: &CostLine| [line.key.cluster()] == covered.as_slice();
        let is_sound = !source.is_partial
            && source.missing.is_empty()
            && roll.lines.iter().all(is_of_it)
            && source.conflicts.is_empty()
            && roll.contradictions.is_empty()
            && roll.refused.is_empty()
            && !roll.excess.iter().any(Excess::is_beyond_rounding);
        (is_sound && self.pods_at(false).is_some()).then_some(self.now_seconds)
    }
}

#[cfg(test)]
mod tests;
