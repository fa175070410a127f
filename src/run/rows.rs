//! The rows' part of a day: what of it is ours, and the difference written until none is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{AccountId, Cost, Day, RollUp};
use crate::ledger::{Difference, Dimensions, KeyState, WantedRow, difference};
use crate::service::failure::{Failure, Hop, Kind};

use super::day::{DayWork, DueDay};
use super::record;
use super::summary::DaySummary;

/// How often a difference is written and looked at again before the day is given up.
const ROUNDS_MAX: usize = 4;

/// What the ledger has at a day's midnight.
#[derive(Clone, Debug, Default)]
pub(super) struct DayRows {
    /// Of resources of ours.
    pub(super) own: Vec<KeyState>,
    /// Live rows that other programs wrote.
    pub(super) foreign_rows: i64,
    /// Their total, USD.
    pub(super) foreign_total_usd: f64,
}

impl DayRows {
    /// What an operator should know of rows that are not ours.
    pub(super) fn foreign_warning(&self) -> Option<String> {
        (self.foreign_rows != 0).then(|| {
            format!(
                "{} rows of this day, ${:.4}, are of no resource of ours: see audit",
                self.foreign_rows, self.foreign_total_usd
            )
        })
    }
}

impl DayWork<'_> {
    /// Step 3: the ledger's states of the day's midnight, told apart by whose they are.
    pub(super) async fn day_rows(
        &self,
        day: Day,
        ids: &BTreeMap<String, String>,
    ) -> Result<DayRows, Failure> {
        let mut states = self.environment.ledger.states(&self.account.id, day).await?;
        states.retain(|state| state.date_seconds == day.start_seconds());
        let wanted: BTreeSet<&str> = ids.values().map(String::as_str).collect();
        let unknown: Vec<String> = states
            .iter()
            .map(|state| state.resource_id.clone())
            .filter(|id| !wanted.contains(id.as_str()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let known = self.environment.resources.own_ids(&self.account.id, &unknown).await?;
        let (own, foreign): (Vec<_>, Vec<_>) = states.into_iter().partition(|state| {
            wanted.contains(state.resource_id.as_str()) || known.contains(&state.resource_id)
        });
        Ok(DayRows {
            own,
            foreign_rows: foreign.iter().map(|state| state.sign).sum(),
            foreign_total_usd: foreign.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0,
        })
    }

    /// Step 6: the difference, written and read again until nothing differs. Before the first row
    /// the day's record says that it is being written, so that whoever finds it half done knows.
    pub(super) async fn write_rows(
        &self,
        due: DueDay<'_>,
        states: Vec<KeyState>,
        ids: &BTreeMap<String, String>,
        wanted: &[WantedRow],
        summary: &mut DaySummary,
    ) -> Result<(), Failure> {
        let (day, ledger) = (due.day, &self.environment.ledger);
        let mut diff = difference(day, &states, wanted, false);
        note(summary, &diff);
        let Some(lease) = self.lease else {
            summary.rows_written = diff.entries.len() as u64;
            (summary.rows, summary.stored_total_usd) = live(&states);
            return Ok(());
        };
        if !diff.is_empty() {
            lease.keep().await?;
            let pending = record::pending(due, &self.account.id, self.run_id, self.now_seconds());
            self.environment.days.put(&pending).await?;
        }
        let mut states = states;
        for _ in 0..ROUNDS_MAX {
            if diff.is_empty() {
                break;
            }
            lease.keep().await?;
            // Sums of a key whose rows contradict each other change while parts merge, and not all
            // parts merge at once: only what is left after a merge can be counted on.
            let is_contradictory = !diff.unsettled.is_empty() || diff.healed_keys > 0;
            if is_contradictory {
                ledger.merge(day).await?;
                states = self.day_rows(day, ids).await?.own;
                diff = difference(day, &states, wanted, true);
                // A merge may take longer than the lease is long.
                lease.keep().await?;
            }
            ledger.append(&self.account.id, day, &diff.entries).await?;
            summary.rows_written += diff.entries.len() as u64;
            if is_contradictory {
                ledger.merge(day).await?;
            }
            states = self.day_rows(day, ids).await?.own;
            diff = difference(day, &states, wanted, false);
        }
        (summary.rows, summary.stored_total_usd) = live(&states);
        let total: Cost = wanted.iter().map(|row| row.cost).sum();
        if diff.is_empty() && summary.stored_total_usd.to_bits() == total.usd().to_bits() {
            return Ok(());
        }
        Err(not_stored(day, total, summary.stored_total_usd, &diff))
    }
}

fn not_stored(day: Day, total: Cost, stored_usd: f64, diff: &Difference) -> Failure {
    let keys = diff.changed_keys + diff.unsettled.len();
    Failure::new(
        Hop::ClickHouse,
        Kind::Internal,
        format!(
            "{day}: ${} was to be stored, but ${stored_usd} is, with {keys} keys that differ",
            total.usd(),
        ),
        "see whether another program writes this account's expenses; the next run tries again",
    )
}

/// The rows that a day shall have: one for each line with a cost.
pub(super) fn wanted(
    roll: &RollUp,
    ids: &BTreeMap<String, String>,
    account: &AccountId,
) -> Vec<WantedRow> {
    roll.lines
        .iter()
        .filter(|line| !line.cost.is_zero())
        .filter_map(|line| {
            Some(WantedRow {
                resource_id: ids.get(&line.key.id(account))?.clone(),
                cost: line.cost,
                dimensions: Dimensions {
                    namespace: line.key.namespace().map(str::to_owned),
                    node: line.node.clone(),
                    service: line.service.clone(),
                },
            })
        })
        .collect()
}

/// Live rows and their total, USD.
pub(super) fn live(states: &[KeyState]) -> (u64, f64) {
    let rows = states.iter().filter(|state| state.sign > 0).count() as u64;
    (rows, states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0)
}

fn note(summary: &mut DaySummary, diff: &Difference) {
    summary.keys_changed = (diff.changed_keys + diff.unsettled.len()) as u64;
    summary.keys_healed = (diff.healed_keys + diff.unsettled.len()) as u64;
}
