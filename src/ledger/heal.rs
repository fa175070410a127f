//! The rows that give a key exactly its wanted row, whatever is stored of it.
//!
//! A run heals by rows alone, never by a merge. Two methods make the sums right at once; they differ
//! in what a later merge of some of the key's rows does (`docs/adr/0004-heal-without-merge.md`):
//! - *by sums*: at most one row carries the correction, so that a merge of the new rows among
//!   themselves, which comes soon, changes no cost;
//! - *row by row*: each stored row that does not cancel out is met by its opposite. It works for
//!   any columns and for costs whose sums are not exact.

use crate::cost::{Cost, Day};

use super::entry::{Entry, KeyState, WantedRow};

/// Sums of exact costs are exact below this, USD.
const EXACT_SUM_USD_MAX: f64 = 268_435_456.0;

/// Whether a key needs no new row: its sums are what is wanted, to the bit. Its rows may still
/// contradict each other; what a merge makes of them is seen by the next run.
#[must_use]
pub fn is_as_wanted(states: &[&KeyState], wanted: Option<&WantedRow>) -> bool {
    let (state, wanted) = match (states, wanted) {
        ([], None) => return true,
        ([state], wanted) => (state, wanted),
        _ => return false,
    };
    let is_final = state.is_healthy() || has_exact_sums(state);
    is_final
        && match wanted {
            None => state.sign_sum == 0 && state.cost_usd == 0.0,
            Some(row) => {
                state.sign_sum == 1
                    && state.cost_usd.to_bits() == row.cost.usd().to_bits()
                    && state.dimensions == row.dimensions
            }
        }
}

/// The rows to add to a key that is not as wanted, in the order in which they must be stored.
#[must_use]
pub fn replacement(day: Day, states: &[&KeyState], wanted: Option<&WantedRow>) -> Vec<Entry> {
    let live = wanted.map(|row| Entry {
        resource_id: row.resource_id.clone(),
        date_seconds: day.start_seconds(),
        cost_usd: row.cost.usd(),
        sign: 1,
        dimensions: row.dimensions.clone(),
    });
    match (states, &live) {
        ([state], Some(live)) if has_exact_sums(state) && state.dimensions == live.dimensions => {
            replaced_by_sums(state, live)
        }
        ([state], None) if has_exact_sums(state) && state.sign_sum > 0 => taken_back_by_sums(state),
        _ => row_by_row(states, live),
    }
}

/// The rows that take back all that is stored for one key.
#[must_use]
pub fn take_back(states: &[&KeyState]) -> Vec<Entry> {
    row_by_row(states, None)
}

/// Whether the state's sums are the same in whatever order its rows are added up.
fn has_exact_sums(state: &KeyState) -> bool {
    let is_exact = |usd: f64| Cost::from_usd(usd.abs()).is_ok_and(|cost| cost.usd() == usd.abs());
    let rows = state.rows();
    rows.iter().all(|row| is_exact(row.cost_usd))
        && rows.iter().map(|row| row.cost_usd.abs()).sum::<f64>() <= EXACT_SUM_USD_MAX
}

/// With one +1 too few or as many as there are -1: only a +1 that holds the whole correction stays
/// the same in any merge of new rows. With one +1 more: the usual pair. With several more: only a
/// first -1 stays; the pair behind it is what a merge of all rows keeps.
fn replaced_by_sums(state: &KeyState, live: &Entry) -> Vec<Entry> {
    let row = |sign: i8, cost_usd: f64| Entry { sign, cost_usd: cost_usd + 0.0, ..live.clone() };
    let (stored_usd, wanted_usd) = (state.cost_usd, live.cost_usd);
    match usize::try_from(state.sign_sum) {
        Ok(1) => vec![row(-1, stored_usd), row(1, wanted_usd)],
        Ok(more @ 2..) => {
            let mut rows = vec![row(-1, stored_usd - wanted_usd)];
            rows.extend(std::iter::repeat_n(row(-1, 0.0), more - 2));
            rows.extend([row(-1, wanted_usd), row(1, wanted_usd)]);
            rows
        }
        _ => {
            let missing = usize::try_from(state.sign_sum.unsigned_abs()).unwrap_or(usize::MAX);
            let mut rows = vec![row(1, 0.0); missing];
            rows.push(row(1, wanted_usd - stored_usd));
            rows
        }
    }
}

/// As many -1 as there are +1 left, the first with the whole cost.
fn taken_back_by_sums(state: &KeyState) -> Vec<Entry> {
    let row = |cost_usd: f64| Entry {
        resource_id: state.resource_id.clone(),
        date_seconds: state.date_seconds,
        cost_usd,
        sign: -1,
        dimensions: state.dimensions.clone(),
    };
    let mut rows = vec![row(state.cost_usd)];
    rows.resize(usize::try_from(state.sign_sum).unwrap_or(1), row(0.0));
    rows
}

/// Takes back each stored row at its own cost and with its own columns, and adds `live`.
///
/// The order is what a merge of all of the key's rows goes by: of one more +1 than there are -1
/// it keeps the last +1, of as many it keeps nothing when a -1 is the last.
fn row_by_row(states: &[&KeyState], live: Option<Entry>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = states
        .iter()
        .flat_map(|state| {
            state.rows().into_iter().map(|row| Entry {
                resource_id: state.resource_id.clone(),
                date_seconds: state.date_seconds,
                cost_usd: row.cost_usd,
                sign: -row.sign,
                dimensions: state.dimensions.clone(),
            })
        })
        .collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.sign));
    let last = entries.last().filter(|entry| entry.sign == 1).cloned();
    if let (Some(last), None) = (last, &live) {
        entries.extend([1, -1].map(|sign| Entry { cost_usd: 0.0, sign, ..last.clone() }));
    }
    entries.extend(live);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::diff::tests::{day, dims, state, wanted};

    fn added(stored: &[&KeyState], usd: Option<f64>) -> Vec<(i8, f64)> {
        let wanted = usd.map(wanted);
        assert!(!is_as_wanted(stored, wanted.as_ref()), "{stored:?}");
        let rows = replacement(day(), stored, wanted.as_ref());
        rows.iter().map(|entry| (entry.sign, entry.cost_usd)).collect()
    }

    #[test]
    fn exact_rows_of_the_wanted_columns_are_corrected_by_their_sums() {
        for (stored, usd, rows) in [
            // A difference that was written twice.
            (&[(1, 7.0), (1, 7.0), (-1, 5.0)][..], 8.0, &[(-1, 9.0), (1, 8.0)][..]),
            (&[(1, 1.5), (1, 1.5)], 1.5, &[(-1, 1.5), (-1, 1.5), (1, 1.5)]),
            (&[(1, 1.0), (1, 2.0)], 7.0, &[(-1, -4.0), (-1, 7.0), (1, 7.0)]),
            (&[(1, 1.0), (1, 2.0), (1, 4.0)], 3.0, &[(-1, 4.0), (-1, 0.0), (-1, 3.0), (1, 3.0)]),
            (&[(1, 2.0), (-1, 1.5)], 0.5, &[(1, 0.0)]),
            (&[(-1, 1.5)], 2.0, &[(1, 0.0), (1, 3.5)]),
        ] {
            assert_eq!(added(&[&state("a", stored)], Some(usd)), rows, "{stored:?}");
        }
    }

    #[test]
    fn exact_rows_that_none_is_wanted_of_are_taken_back_by_their_sum() {
        for (stored, rows) in [
            (&[(1, 3.0)][..], &[(-1, 3.0)][..]),
            (&[(1, 7.0), (1, 7.0), (-1, 5.0)], &[(-1, 9.0)]),
            (&[(1, 3.0), (1, 1.5)], &[(-1, 4.5), (-1, 0.0)]),
            // Nothing but a pair that ends with -1 makes a merge of all rows keep none.
            (&[(-1, 1.5)], &[(1, 1.5), (1, 0.0), (-1, 0.0)]),
            (&[(1, 2.0), (-1, 1.5)], &[(1, 1.5), (-1, 2.0)]),
        ] {
            assert_eq!(added(&[&state("a", stored)], None), rows, "{stored:?}");
        }
    }

    #[test]
    fn rows_without_exact_sums_are_taken_back_one_by_one() {
        let stored = state("a", &[(1, 0.1), (1, 0.2), (-1, 0.3)]);
        assert_eq!(added(&[&stored], Some(0.5)), [(1, 0.3), (-1, 0.1), (-1, 0.2), (1, 0.5)]);
        let huge = state("a", &[(1, 2e8), (1, 1e8)]);
        assert_eq!(added(&[&huge], None), [(-1, 1e8), (-1, 2e8)]);
        assert!(is_as_wanted(&[&state("a", &[(1, 0.5)])], Some(&wanted(0.5))));
        let only_by_luck = state("a", &[(1, 0.25 + 0.1), (1, 0.25), (-1, 0.1)]);
        assert_eq!((only_by_luck.sign_sum, only_by_luck.cost_usd), (1, 0.5));
        assert!(!is_as_wanted(&[&only_by_luck], Some(&wanted(0.5))));
    }

    #[test]
    fn rows_of_other_columns_are_taken_back_one_by_one() {
        let (a, b) = (state("a", &[(1, 1.5)]), state("b", &[(1, 2.0), (-1, 1.0), (1, 4.0)]));
        let rows = replacement(day(), &[&a, &b], Some(&wanted(1.5)));
        let shown = |entry: &Entry| (entry.sign, entry.cost_usd, entry.dimensions.clone());
        assert_eq!(
            rows.iter().map(shown).collect::<Vec<_>>(),
            [
                (1, 1.0, dims("b")),
                (-1, 1.5, dims("a")),
                (-1, 2.0, dims("b")),
                (-1, 4.0, dims("b")),
                (1, 1.5, dims("a")),
            ]
        );
    }

    #[test]
    fn right_sums_are_as_wanted_though_the_rows_contradict_each_other() {
        let rows = [(1, 2.0), (-1, 1.5), (1, 1.5), (1, 1.0), (-1, 2.5)];
        assert!(is_as_wanted(&[&state("a", &rows)], Some(&wanted(0.5))));
        assert!(!is_as_wanted(&[&state("b", &rows)], Some(&wanted(0.5))));
        assert!(!is_as_wanted(&[&state("a", &rows)], None));
        let none = [(1, 1.0), (1, 4.0), (-1, 2.0), (-1, 3.0)];
        assert!(is_as_wanted(&[&state("a", &none)], None));
        assert!(is_as_wanted(&[], None));
        assert!(!is_as_wanted(&[], Some(&wanted(0.5))));
    }

    #[test]
    fn to_take_back_is_to_meet_each_row_and_to_want_none() {
        let (a, b) = (state("a", &[(1, 1.5)]), state("b", &[(-1, 2.0)]));
        let rows = take_back(&[&a, &b]);
        let shown: Vec<_> = rows.iter().map(|row| (row.sign, row.cost_usd)).collect();
        assert_eq!(shown, [(1, 2.0), (-1, 1.5)]);
        assert_eq!((&rows[0].dimensions, &rows[1].dimensions), (&dims("b"), &dims("a")));
    }

    #[test]
    fn a_cost_below_zero_by_its_sign_alone_is_written_as_zero() {
        let exact = state("a", &[(1, 1.0), (1, 1.0), (-1, 2.0)]);
        let minus_zero = KeyState { cost_usd: -0.0, ..exact };
        let rows = replacement(day(), &[&minus_zero], Some(&wanted(1.0)));
        assert_eq!((rows[0].sign, rows[0].cost_usd.to_bits()), (-1, 0));
    }
}
