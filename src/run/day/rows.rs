//! A day's rows: this program's and those of others, and those that the day shall have.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{AccountId, RollUp};
use crate::day_status::OtherRows;
use crate::ledger::{Dimensions, KeyState, WantedRow};

/// What the ledger has at a day's midnight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayRows {
    /// The states of this program's resources.
    pub own: Vec<KeyState>,
    /// Rows of others.
    pub others: OtherRows,
}

impl DayRows {
    /// Divides states by whether this program made the resource's document.
    #[must_use]
    pub fn of(states: Vec<KeyState>, is_own: impl Fn(&str) -> bool) -> Self {
        let (own, others): (Vec<_>, Vec<_>) =
            states.into_iter().partition(|state| is_own(&state.resource_id));
        let others = OtherRows {
            rows: others.iter().map(|state| state.sign).sum(),
            total_usd: others.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0,
        };
        Self { own, others }
    }

    /// The warning about rows of others.
    pub(super) fn warning(&self) -> Option<String> {
        let OtherRows { rows, total_usd } = self.others;
        (rows != 0).then(|| {
            format!(
                "{rows} rows of this day, ${total_usd:.4}, belong to no resource that this \
                 program made: see audit"
            )
        })
    }
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
#[must_use]
pub fn live(states: &[KeyState]) -> (u64, f64) {
    let rows = states.iter().filter(|state| state.sign > 0).count() as u64;
    (rows, states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0)
}

/// The resources of these states that are not among `known`.
#[must_use]
pub fn unknown_ids(states: &[KeyState], known: &BTreeSet<&str>) -> Vec<String> {
    let ids: BTreeSet<&String> = states.iter().map(|state| &state.resource_id).collect();
    ids.into_iter().filter(|id| !known.contains(id.as_str())).cloned().collect()
}
