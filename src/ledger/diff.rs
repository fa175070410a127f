//! The difference between what is stored and what is wanted, as rows to add.
//!
//! For a healthy key that is one row taking back the stored cost and one row with the new one; in
//! this order, for the engine keeps the last row of a key with sign +1 only when it comes last.
//! Keys whose signs do not sum to 0 or 1 (a race, a crash of an old server in the midst of an
//! insert) are put right by the same rows, so a run heals what it meets.

use std::collections::BTreeMap;

use crate::cost::Day;

use super::entry::{Dimensions, Entry, KeyState, WantedRow};

/// Rows to add, and what was found on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// The rows, in the order in which they must be written.
    pub entries: Vec<Entry>,
    /// Keys whose live row is replaced, added or taken back.
    pub changed_keys: usize,
    /// Keys whose signs did not sum to 0 or 1.
    pub healed_keys: usize,
    /// Keys whose signs sum to 0 but whose costs do not: the parts must be merged first.
    pub unsettled: Vec<String>,
}

impl Difference {
    /// Whether what is stored is what is wanted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.unsettled.is_empty()
    }
}

/// What must be added to `stored` so that each key of the day has exactly its wanted row.
///
/// `stored` holds the states of the day's midnight only. With `is_merged`, keys that stay
/// contradictory after a merge are moved on by one row; the caller merges and compares again.
#[must_use]
pub fn difference(
    day: Day,
    stored: &[KeyState],
    wanted: &[WantedRow],
    is_merged: bool,
) -> Difference {
    let mut keys: BTreeMap<&str, (Vec<&KeyState>, Option<&WantedRow>)> = BTreeMap::new();
    for state in stored {
        keys.entry(&state.resource_id).or_default().0.push(state);
    }
    for row in wanted {
        keys.entry(&row.resource_id).or_default().1 = Some(row);
    }
    let mut out = Difference::default();
    for (resource_id, (states, row)) in keys {
        out.key(&Key { day, resource_id, is_merged }, &states, row);
    }
    out
}

struct Key<'a> {
    day: Day,
    resource_id: &'a str,
    is_merged: bool,
}

impl Key<'_> {
    fn entry(&self, sign: i8, cost_usd: f64, dimensions: &Dimensions) -> Entry {
        Entry {
            resource_id: self.resource_id.to_owned(),
            date_seconds: self.day.start_seconds(),
            cost_usd,
            sign,
            dimensions: dimensions.clone(),
        }
    }

    fn wanted(&self, row: &WantedRow) -> Entry {
        self.entry(1, row.cost.usd(), &row.dimensions)
    }
}

/// Whether rows of both signs in equal number do not cancel out.
fn is_contradictory(state: &KeyState) -> bool {
    state.sign == 0 && state.cost_usd != 0.0
}

impl Difference {
    fn key(&mut self, key: &Key<'_>, states: &[&KeyState], wanted: Option<&WantedRow>) {
        let live: Vec<_> =
            states.iter().copied().filter(|s| s.sign != 0 || s.cost_usd != 0.0).collect();
        if live.iter().any(|state| is_contradictory(state)) {
            self.contradiction(key, wanted);
            return;
        }
        match (live.as_slice(), wanted) {
            ([], None) => {}
            ([], Some(row)) => self.change(vec![key.wanted(row)]),
            ([state], _) if state.sign == 1 => self.healthy(key, state, wanted),
            _ => self.heal(key, &live, wanted),
        }
    }

    fn change(&mut self, entries: Vec<Entry>) {
        self.changed_keys += 1;
        self.entries.extend(entries);
    }

    fn healthy(&mut self, key: &Key<'_>, state: &KeyState, wanted: Option<&WantedRow>) {
        let take_back = key.entry(-1, state.cost_usd, &state.dimensions);
        match wanted {
            None => self.change(vec![take_back]),
            Some(row) if is_same(state, row) => {}
            Some(row) => self.change(vec![take_back, key.wanted(row)]),
        }
    }

    /// Brings each group of rows to sign 0 and cost 0, then adds the wanted row.
    fn heal(&mut self, key: &Key<'_>, states: &[&KeyState], wanted: Option<&WantedRow>) {
        self.healed_keys += 1;
        let mut entries = Vec::new();
        for state in states {
            let sign = if state.sign > 0 { -1 } else { 1 };
            let mut rest = state.cost_usd;
            let count = state.sign.unsigned_abs();
            let share = state.cost_usd / count as f64;
            for index in 0..count {
                // The last one takes what rounding left, so that the costs cancel exactly.
                let cost = if index + 1 == count { rest } else { share };
                rest -= cost;
                entries.push(key.entry(
                    sign,
                    if sign < 0 { cost } else { -cost },
                    &state.dimensions,
                ));
            }
        }
        entries.extend(wanted.map(|row| key.wanted(row)));
        self.change(entries);
    }

    /// Rows of both signs that do not cancel out: their sum changes when parts merge, so no row
    /// added before the merge is right after it. Once merged, one more row makes the engine keep
    /// the wanted one (or, if none is wanted, a lone row that the next round takes back).
    fn contradiction(&mut self, key: &Key<'_>, wanted: Option<&WantedRow>) {
        self.unsettled.push(key.resource_id.to_owned());
        if key.is_merged {
            let row = match wanted {
                Some(row) => key.wanted(row),
                None => key.entry(-1, 0.0, &Dimensions::default()),
            };
            self.healed_keys += 1;
            self.change(vec![row]);
        }
    }
}

fn is_same(state: &KeyState, row: &WantedRow) -> bool {
    state.cost_usd.to_bits() == row.cost.usd().to_bits() && state.dimensions == row.dimensions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Cost;
    use proptest::prelude::*;

    fn day() -> Day {
        "2026-11-20".parse().unwrap()
    }

    fn dims(namespace: &str) -> Dimensions {
        Dimensions { namespace: Some(namespace.into()), ..Dimensions::default() }
    }

    fn state(cost_usd: f64, sign: i64, namespace: &str) -> KeyState {
        KeyState {
            resource_id: "r".into(),
            date_seconds: day().start_seconds(),
            dimensions: dims(namespace),
            cost_usd,
            sign,
        }
    }

    fn wanted(usd: f64) -> WantedRow {
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
        let out = difference(day(), &[state(1.5, 1, "a")], &[wanted(1.5)], false);
        assert!(out.is_empty());
        assert_eq!(out.changed_keys, 0);
    }

    #[test]
    fn a_change_is_two_rows_the_taking_back_first() {
        let out = difference(day(), &[state(1.5, 1, "a")], &[wanted(2.5)], false);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (1, 2.5)]);
        assert_eq!((out.changed_keys, out.healed_keys), (1, 0));
    }

    #[test]
    fn a_moved_row_takes_back_with_the_old_columns() {
        let out = difference(day(), &[state(1.5, 1, "b")], &[wanted(1.5)], false);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (1, 1.5)]);
        assert_eq!(out.entries[0].dimensions, dims("b"));
        assert_eq!(out.entries[1].dimensions, dims("a"));
    }

    #[test]
    fn a_key_that_is_gone_is_taken_back() {
        let out = difference(day(), &[state(0.1, 1, "a")], &[], false);
        assert_eq!(signs_and_costs(&out), [(-1, 0.1)]);
    }

    #[test]
    fn a_row_written_twice_is_healed() {
        let out = difference(day(), &[state(3.0, 2, "a")], &[wanted(1.5)], false);
        assert_eq!(signs_and_costs(&out), [(-1, 1.5), (-1, 1.5), (1, 1.5)]);
        assert_eq!(out.healed_keys, 1);
    }

    #[test]
    fn a_taking_back_without_its_row_is_healed() {
        let out = difference(day(), &[state(-1.5, -1, "a")], &[wanted(2.0)], false);
        assert_eq!(signs_and_costs(&out), [(1, 1.5), (1, 2.0)]);
    }

    #[test]
    fn contradictory_rows_wait_for_a_merge() {
        let out = difference(day(), &[state(0.5, 0, "a")], &[wanted(2.0)], false);
        assert!(out.entries.is_empty() && !out.is_empty());
        let out = difference(day(), &[state(0.5, 0, "a")], &[wanted(2.0)], true);
        assert_eq!(signs_and_costs(&out), [(1, 2.0)]);
    }

    fn any_state() -> impl Strategy<Value = KeyState> {
        (0u32..1000, -3i64..4, prop::sample::select(vec!["a", "b", "c"])).prop_map(
            |(units, sign, namespace)| {
                state(f64::from(units) / 64.0 * sign as f64, sign, namespace)
            },
        )
    }

    proptest! {
        #[test]
        fn after_the_difference_only_the_wanted_row_is_live(
            states in prop::collection::btree_map(0u8..3, any_state(), 0..3),
            usd in prop::option::of(0.01..100.0f64),
        ) {
            let mut seen = std::collections::BTreeSet::new();
            let stored: Vec<_> = states
                .into_values()
                .filter(|s| seen.insert(s.dimensions.clone()))
                .collect();
            let rows: Vec<_> = usd.map(wanted).into_iter().collect();
            let out = difference(day(), &stored, &rows, false);
            prop_assert!(out.unsettled.is_empty());
            let mut after: BTreeMap<Dimensions, (i64, f64)> = BTreeMap::new();
            for s in &stored {
                let slot = after.entry(s.dimensions.clone()).or_default();
                slot.0 += s.sign;
                slot.1 += s.cost_usd;
            }
            for e in &out.entries {
                let slot = after.entry(e.dimensions.clone()).or_default();
                slot.0 += i64::from(e.sign);
                slot.1 += e.cost_usd * f64::from(e.sign);
            }
            for (dimensions, (sign, cost)) in after {
                match rows.first() {
                    Some(row) if row.dimensions == dimensions => {
                        prop_assert_eq!(sign, 1);
                        prop_assert!((cost - row.cost.usd()).abs() < 1e-9);
                    }
                    _ => {
                        prop_assert_eq!(sign, 0);
                        prop_assert!(cost.abs() < 1e-9);
                    }
                }
            }
        }
    }
}
