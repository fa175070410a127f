//! How often the pods of a running day are written.
//!
//! A day's rows are mostly those of pods, and all of them change with every run. Between two
//! refreshes (`TODAY_REFRESH`) a pod keeps the row that it has, and what it cost since is in the row
//! above it: its namespace's, or its cluster's where namespaces have none. So every sum above pods
//! is that of the source at every run, to the last unit, and the rows a day are bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cost::{AccountId, Cost, CostLine, Level, ResourceKey, RollUp};
use crate::documents::Change;
use crate::ledger::{Dimensions, KeyState};

use super::inputs::DayInputs;

impl DayInputs {
    /// Whether the day's pods keep their rows: those of a running day that are not `every` old yet.
    /// Kept rows are not split into parts again, so with `COST_PARTS` none is kept.
    pub(super) fn may_keep_pod_rows(&self, every: Duration) -> bool {
        let Some(status) = &self.due.status else { return false };
        is_younger(status.stored.pods_at, every, self.now_seconds)
            && self.due.day.has(self.now_seconds)
            && !status.attempt.is_pending
            && status.stored.phase == Some(self.costs.source.phase)
            && self.costs.parts.is_none()
            && self.has_pods()
    }

    fn has_pods(&self) -> bool {
        self.costs.roll.lines.iter().any(|line| line.key.level() == Level::Pod)
    }

    /// When the rows of the day's pods were last all written, once it is written now; `None` where
    /// that is no matter: without pods, and of a day that is over.
    pub(super) fn pods_at(&self, are_kept: bool) -> Option<i64> {
        if are_kept {
            return self.due.status.as_ref().and_then(|status| status.stored.pods_at);
        }
        (self.has_pods() && self.due.day.has(self.now_seconds)).then_some(self.now_seconds)
    }
}

/// Whether a time is less than an interval before now. If the clock went back, it is not.
pub(super) fn is_younger(at_seconds: Option<i64>, interval: Duration, now_seconds: i64) -> bool {
    let interval_seconds = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
    at_seconds.is_some_and(|at| (0..interval_seconds).contains(&(now_seconds - at)))
}

/// What the ledger has of a pod's day.
#[derive(Clone, Copy)]
enum PodRow<'a> {
    None,
    One(Cost, &'a Dimensions),
    /// Rows that contradict each other, or that are not of this program's making.
    Unclear,
}

/// Rows by their document's `_id`.
struct StoredRows<'a> {
    account: &'a AccountId,
    ids: &'a BTreeMap<String, String>,
    by_id: BTreeMap<&'a str, Vec<&'a KeyState>>,
}

impl<'a> StoredRows<'a> {
    fn of(&self, line: &CostLine) -> PodRow<'a> {
        let key = &line.key;
        let id = self.ids.get(&key.id(self.account));
        let states = id.and_then(|id| self.by_id.get(id.as_str())).map(Vec::as_slice);
        match states.unwrap_or_default() {
            [] => PodRow::None,
            [state] if state.is_healthy() => match Cost::from_usd(state.cost_usd) {
                Ok(cost)
                    if cost.usd().to_bits() == state.cost_usd.to_bits()
                        && state.dimensions.namespace.as_deref() == key.namespace()
                        // Nodes' rows are of where pods are by now.
                        && state.dimensions.node == line.node =>
                {
                    PodRow::One(cost, &state.dimensions)
                }
                _ => PodRow::Unclear,
            },
            _ => PodRow::Unclear,
        }
    }
}

/// Gives pods the costs of their stored rows, and the difference to the line above them; returns the
/// stable ids of the pods that have no row, or `None` where no pod kept its row. The sum of the
/// lines stays, and none becomes negative: pods keep the source's costs where the line above them is
/// too small for that, where they have no line above them, where they contradict it, and where the
/// stored row of one of them contradicts itself or is of another node.
///
/// `ids` has the document's `_id` by stable id, of pods without a row as far as it is known.
pub fn keep_pod_rows(
    roll: &mut RollUp,
    account: &AccountId,
    ids: &BTreeMap<String, String>,
    rows: &[KeyState],
) -> Option<BTreeSet<String>> {
    let lines = &mut roll.lines;
    let contradictory: BTreeSet<&ResourceKey> =
        roll.contradictions.iter().map(|one| &one.key).collect();
    let mut by_id: BTreeMap<&str, Vec<&KeyState>> = BTreeMap::new();
    for state in rows {
        by_id.entry(&state.resource_id).or_default().push(state);
    }
    let stored = StoredRows { account, ids, by_id };
    let mut without_rows = None;
    for (above, pods) in pods_by_line_above(lines) {
        let key = &lines[above].key;
        let of_cluster = ResourceKey::Cluster { cluster: key.cluster().to_owned() };
        if contradictory.contains(key) || contradictory.contains(&of_cluster) {
            continue;
        }
        let kept: Vec<(usize, PodRow<'_>)> =
            pods.into_iter().map(|pod| (pod, stored.of(&lines[pod]))).collect();
        let cost = |row: &PodRow<'_>| match row {
            PodRow::None => Some(Cost::ZERO),
            PodRow::One(cost, _) => Some(*cost),
            PodRow::Unclear => None,
        };
        let Some(kept_sum) = kept.iter().map(|(_, row)| cost(row)).sum::<Option<Cost>>() else {
            continue;
        };
        let sum: Cost = kept.iter().map(|(pod, _)| lines[*pod].cost).sum();
        let left = lines[above].cost + sum - kept_sum;
        if left.is_negative() {
            continue;
        }
        lines[above].cost = left;
        let without_rows = without_rows.get_or_insert_with(BTreeSet::new);
        for (pod, row) in kept {
            let line = &mut lines[pod];
            line.cost = cost(&row).unwrap_or_default();
            match row {
                PodRow::One(_, dimensions) => line.service.clone_from(&dimensions.service),
                _ => drop(without_rows.insert(line.key.id(account))),
            }
        }
    }
    without_rows
}

/// The lines of pods, by the line that has the remainder above them.
fn pods_by_line_above(lines: &[CostLine]) -> BTreeMap<usize, Vec<usize>> {
    let mut remainders: BTreeMap<(&str, Option<&str>), usize> = BTreeMap::new();
    for (index, line) in lines.iter().enumerate() {
        if matches!(line.key.level(), Level::Cluster | Level::Namespace) {
            remainders.insert((line.key.cluster(), line.key.namespace()), index);
        }
    }
    let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let pods = lines.iter().enumerate().filter(|(_, line)| line.key.level() == Level::Pod);
    for (index, line) in pods {
        let (cluster, namespace) = (line.key.cluster(), line.key.namespace());
        let above = remainders.get(&(cluster, namespace)).or(remainders.get(&(cluster, None)));
        if let Some(above) = above {
            out.entry(*above).or_default().push(index);
        }
    }
    out
}

/// Leaves out the documents of new pods that get no row yet: they come with it.
pub(super) fn drop_new_pods(changes: &mut Vec<Change>, pods: &BTreeSet<String>) {
    changes.retain(|change| match change {
        Change::Insert(new) => !pods.contains(&new.document.cloud_resource_id),
        _ => true,
    });
}

#[cfg(test)]
pub(super) mod tests;
