//! Rows of one key that do not cancel out.
//!
//! A healthy key has rows that cancel out in pairs of a +1 and a -1 of the same cost, and at most
//! one row with sign +1 besides. Sums alone do not show whether it is so: rows +5, -5, +7, -5, +7
//! add up to one row of 9, until the engine merges the third and the fourth.

use std::collections::BTreeMap;

use super::entry::{Dimensions, KeyState, SignedCost};

/// What is left of `rows` once those of the same cost and of opposite signs are taken away, the
/// rows with sign +1 first.
#[must_use]
pub fn unpaired(rows: &[SignedCost]) -> Vec<SignedCost> {
    if let [row] = rows {
        return vec![*row];
    }
    let mut counts: BTreeMap<u64, i64> = BTreeMap::new();
    for row in rows {
        // -0.0 costs what 0.0 costs.
        *counts.entry((row.cost_usd + 0.0).to_bits()).or_default() += i64::from(row.sign);
    }
    let of_sign = |sign: i8| {
        counts.iter().flat_map(move |(bits, count)| {
            let row = SignedCost { sign, cost_usd: f64::from_bits(*bits) };
            // A count of the other sign is below zero here: none of this one is left.
            std::iter::repeat_n(row, usize::try_from(count * i64::from(sign)).unwrap_or(0))
        })
    };
    of_sign(1).chain(of_sign(-1)).collect()
}

impl KeyState {
    /// The state of a group of rows; `None` where they cancel out.
    #[must_use]
    pub fn of_rows(
        resource_id: String,
        date_seconds: i64,
        dimensions: Dimensions,
        rows: &[SignedCost],
    ) -> Option<Self> {
        let rest = unpaired(rows);
        let cost_usd = rest.iter().map(|row| row.cost_usd * f64::from(row.sign)).sum::<f64>() + 0.0;
        let sign_sum = rest.iter().map(|row| i64::from(row.sign)).sum();
        let unpaired = match rest.as_slice() {
            [] => return None,
            [row] if row.sign == 1 => Vec::new(),
            _ => rest,
        };
        Some(Self { resource_id, date_seconds, dimensions, cost_usd, sign_sum, unpaired })
    }

    /// The rows that do not cancel out: the live one of a healthy group.
    #[must_use]
    pub fn rows(&self) -> Vec<SignedCost> {
        if self.is_healthy() {
            vec![SignedCost { sign: 1, cost_usd: self.cost_usd }]
        } else {
            self.unpaired.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(i8, f64)]) -> Vec<SignedCost> {
        rows.iter()
            .map(|(sign, cost_usd)| SignedCost { sign: *sign, cost_usd: *cost_usd })
            .collect()
    }

    fn state(of: &[(i8, f64)]) -> Option<(f64, i64, Vec<SignedCost>)> {
        let state = KeyState::of_rows("r".into(), 0, Dimensions::default(), &rows(of))?;
        Some((state.cost_usd, state.sign_sum, state.unpaired))
    }

    #[test]
    fn rows_that_cancel_out_leave_one_live_row_or_none() {
        assert_eq!(state(&[]), None);
        assert_eq!(state(&[(1, 5.0), (-1, 5.0)]), None);
        assert_eq!(state(&[(1, 0.0), (-1, -0.0)]), None);
        assert_eq!(state(&[(1, 0.1), (-1, 0.1), (1, 0.3)]), Some((0.3, 1, vec![])));
    }

    #[test]
    fn rows_that_do_not_are_shown_however_they_add_up() {
        for (of, cost_usd, sign, rest) in [
            (&[(1, 5.0), (1, 5.0)][..], 10.0, 2, &[(1, 5.0), (1, 5.0)][..]),
            (&[(-1, 5.0)], -5.0, -1, &[(-1, 5.0)]),
            (&[(1, 5.0), (-1, 3.0)], 2.0, 0, &[(1, 5.0), (-1, 3.0)]),
            // As many dollars and rows of either sign, and not the same.
            (
                &[(1, 1.0), (1, 4.0), (-1, 2.0), (-1, 3.0)],
                0.0,
                0,
                &[(1, 1.0), (1, 4.0), (-1, 2.0), (-1, 3.0)],
            ),
            // A difference that was written twice.
            (
                &[(1, 5.0), (-1, 5.0), (1, 7.0), (-1, 5.0), (1, 7.0)],
                9.0,
                1,
                &[(1, 7.0), (1, 7.0), (-1, 5.0)],
            ),
        ] {
            assert_eq!(state(of), Some((cost_usd, sign, rows(rest))), "{of:?}");
        }
    }

    #[test]
    fn no_cost_is_zero_with_a_sign_of_its_own() {
        for of in [&[(-1, 0.0)][..], &[(1, -0.0)], &[(1, -0.0), (1, 0.0)]] {
            let (cost_usd, ..) = state(of).unwrap();
            assert_eq!(cost_usd.to_bits(), 0, "{of:?}");
        }
    }
}
