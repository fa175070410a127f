//! A day's rows: this program's and those of others, and those that the day shall have.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{AccountId, Day, RollUp};
use crate::day_status::{DayStatus, OtherRows};
use crate::ledger::{Dimensions, KeyState, WantedRow};
use crate::source::{Warning, WarningKind};

/// What the ledger has at a day's midnight.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DayRows {
    /// The states of this program's resources.
    pub own: Vec<KeyState>,
    /// Rows of others.
    pub others: OtherRows,
    /// Rows of the day that are off its midnight, as earlier software wrote them.
    pub off_midnight: OtherRows,
}

impl DayRows {
    /// Divides states by whether this program made the resource's document.
    #[must_use]
    pub fn of(day: Day, mut states: Vec<KeyState>, is_own: impl Fn(&str) -> bool) -> Self {
        let at_midnight = |state: &mut KeyState| state.date_seconds == day.start_seconds();
        let off_midnight: Vec<KeyState> =
            states.extract_if(.., |state| !at_midnight(state)).collect();
        let (own, others): (Vec<_>, Vec<_>) =
            states.into_iter().partition(|state| is_own(&state.resource_id));
        let sum = |states: &[KeyState]| OtherRows {
            rows: states.iter().map(|state| state.sign_sum).sum(),
            total_usd: states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0,
        };
        Self { own, others: sum(&others), off_midnight: sum(&off_midnight) }
    }

    /// The warnings about rows of others.
    pub(super) fn warnings(&self, day: Day) -> Vec<Warning> {
        let command = format!("kubecost-worker audit --from {day} --to {day} --adopt --dry-run");
        let one = |found: &OtherRows, what: &str| {
            let OtherRows { rows, total_usd } = found;
            (*rows != 0)
                .then(|| format!("{rows} rows of this day, ${total_usd:.4}, {what}: see {command}"))
        };
        let others = "belong to no resource that this program made";
        let earlier =
            "are off midnight, as earlier software wrote them: such costs are shown twice";
        [one(&self.others, others), one(&self.off_midnight, earlier)]
            .into_iter()
            .flatten()
            .map(|text| Warning::new(WarningKind::ForeignRows, &text))
            .collect()
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
pub fn live_totals(states: &[KeyState]) -> (u64, f64) {
    let rows = states.iter().filter(|state| state.sign_sum > 0).count() as u64;
    (rows, states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0)
}

/// Whether the ledger has of the day, by its live rows and their total, what its status says was
/// stored.
pub(super) fn is_as_stored(status: Option<&DayStatus>, (rows, usd): (u64, f64)) -> bool {
    match status.map(|status| &status.stored) {
        Some(stored) => (stored.rows, stored.total_usd.to_bits()) == (rows, usd.to_bits()),
        None => rows == 0,
    }
}

/// The resources of these states that are not among `known`.
#[must_use]
pub fn unknown_ids(states: &[KeyState], known: &BTreeSet<&str>) -> Vec<String> {
    let ids: BTreeSet<&String> = states.iter().map(|state| &state.resource_id).collect();
    ids.into_iter().filter(|id| !known.contains(id.as_str())).cloned().collect()
}
