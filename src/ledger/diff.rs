//! The difference between what is stored and what is wanted, as rows to add.
//!
//! For a healthy key that is one row taking back the stored cost and one row with the new one; in
//! this order, for the engine keeps the last row of a key with sign +1 only when it comes last.
//! A key whose rows contradict each other is healed by rows alone, never by a merge ([`heal`]).
//!
//! [`heal`]: super::heal

use std::collections::BTreeMap;

use crate::cost::Day;

use super::entry::{Entry, KeyState, WantedRow};
use super::heal::{is_as_wanted, replacement};

/// Rows to add, and what was found on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// The rows, in the order in which they must be written.
    pub entries: Vec<Entry>,
    /// Keys whose live row is replaced, added or taken back.
    pub changed_keys: usize,
    /// Keys whose rows contradicted each other.
    pub healed_keys: usize,
}

impl Difference {
    /// Whether what is stored is what is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What must be added to `stored` so that each key of the day has exactly its wanted row.
///
/// `stored` holds the states of the day's midnight only.
#[must_use]
pub fn difference(day: Day, stored: &[KeyState], wanted: &[WantedRow]) -> Difference {
    let mut keys: BTreeMap<&str, (Vec<&KeyState>, Option<&WantedRow>)> = BTreeMap::new();
    for state in stored {
        keys.entry(&state.resource_id).or_default().0.push(state);
    }
    for row in wanted {
        keys.entry(&row.resource_id).or_default().1 = Some(row);
    }
    let mut out = Difference::default();
    for (states, wanted) in keys.into_values() {
        if is_as_wanted(&states, wanted) {
            continue;
        }
        out.changed_keys += 1;
        out.healed_keys += usize::from(!is_healthy(&states));
        out.entries.extend(replacement(day, &states, wanted));
    }
    out
}

/// Whether the states of one key are no row, or one live row.
fn is_healthy(states: &[&KeyState]) -> bool {
    match states {
        [] => true,
        [state] => state.is_healthy(),
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cost::Cost;
    use crate::ledger::{Dimensions, SignedCost};

    pub(in crate::ledger) fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    pub(in crate::ledger) fn dims(namespace: &str) -> Dimensions {
        Dimensions { namespace: Some(namespace.into()), ..Dimensions::default() }
    }

    pub(in crate::ledger) fn state(namespace: &str, rows: &[(i8, f64)]) -> KeyState {
        let rows: Vec<_> = rows
            .iter()
            .map(|(sign, cost_usd)| SignedCost { sign: *sign, cost_usd: *cost_usd })
            .collect();
        KeyState::of_rows("r".into(), day().start_seconds(), dims(namespace), &rows).unwrap()
    }

    pub(in crate::ledger) fn wanted(usd: f64) -> WantedRow {
        WantedRow {
            resource_id: "r".into(),
            cost: Cost::from_usd(usd).unwrap(),
            dimensions: dims("a"),
        }
    }

    fn signs_and_costs(difference: &Difference) -> Vec<(i8, f64)> {
        difference.entries.iter().map(|e| (e.sign, e.cost_usd)).collect()
    }

    #[test]
    fn nothing_changes_where_nothing_changed() {
        let out = difference(day(), &[state("a", &[(1, 1.5)])], &[wanted(1.5)]);
        assert_eq!(out, Difference::default());
    }

    #[test]
    fn a_change_is_two_rows_the_taking_back_first() {
        let out = difference(day(), &[state("a", &[(1, 1.5)])], &[wanted(2.5)]);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (1, 2.5)]);
        assert_eq!((out.changed_keys, out.healed_keys), (1, 0));
    }

    #[test]
    fn a_moved_row_takes_back_with_the_old_columns() {
        let out = difference(day(), &[state("b", &[(1, 1.5)])], &[wanted(1.5)]);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (1, 1.5)]);
        assert_eq!(out.entries[0].dimensions, dims("b"));
        assert_eq!(out.entries[1].dimensions, dims("a"));
    }

    #[test]
    fn a_key_that_is_gone_is_taken_back() {
        let out = difference(day(), &[state("a", &[(1, 0.1)])], &[]);
        assert_eq!(signs_and_costs(&out), [(-1, 0.1)]);
    }

    #[test]
    fn a_contradictory_key_is_healed_once() {
        let stored = [state("a", &[(1, 1.5), (1, 1.5)])];
        let out = difference(day(), &stored, &[wanted(2.5)]);
        assert_eq!(signs_and_costs(&out), [(-1, 0.5), (-1, 2.5), (1, 2.5)]);
        assert_eq!((out.changed_keys, out.healed_keys), (1, 1));
        let healed = [state("a", &[(1, 1.5), (1, 1.5), (-1, 0.5)])];
        assert_eq!(difference(day(), &healed, &[wanted(2.5)]), Difference::default());
    }

    #[test]
    fn two_live_rows_with_other_columns_are_both_taken_back() {
        let stored = [state("a", &[(1, 1.5)]), state("b", &[(1, 2.0)])];
        let out = difference(day(), &stored, &[wanted(1.5)]);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (-1, 2.0), (1, 1.5)]);
        assert_eq!(out.entries[1].dimensions, dims("b"));
        assert_eq!(out.healed_keys, 1);
    }

    #[test]
    fn a_difference_is_empty_when_it_has_no_row() {
        assert!(Difference::default().is_empty());
        let new = difference(day(), &[], &[wanted(1.0)]);
        assert!(!new.is_empty());
        assert_eq!((new.changed_keys, new.healed_keys), (1, 0));
    }
}
