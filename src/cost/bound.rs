//! By how much a stored number may be off from what the source would say of every moment.
//!
//! Three things are not seen: minutes without a sample (a gap costs nothing), what happens between
//! two samples (a value stands for its minute), and what rounding to 2^-24 USD takes off. The
//! derivation is in `docs/EXPLAIN.md`.

use serde::{Deserialize, Serialize};

use super::money::UNITS_PER_USD;

/// What rounding one number may take off or add, USD: half a unit.
pub const ROUNDING_USD: f64 = 0.5 / UNITS_PER_USD as f64;

/// By how much a number may be low and high, USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DayBound {
    /// What the truth may exceed it by.
    pub low_by_usd: f64,
    /// What it may exceed the truth by.
    pub high_by_usd: f64,
    /// The part of `low_by_usd` that minutes without samples make.
    pub gaps_usd: f64,
}

/// What the bound of one number rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundInputs {
    /// The highest rate while there were samples, USD per hour.
    pub rate_max: f64,
    /// Minutes that could have had samples and have none.
    pub missing_minutes: u32,
    /// Beginnings and ends of life within the day, gaps' edges not counted.
    pub edges: u32,
    /// Distance of samples, minutes: by how much a beginning or an end may be misplaced.
    pub step_minutes: f64,
    /// How many numbers were rounded on the way to it.
    pub roundings: u32,
}

/// The bound of a number: what is not seen costs at most the highest rate that was seen.
#[must_use]
pub fn bound(inputs: BoundInputs) -> DayBound {
    let a_minute = inputs.rate_max.max(0.0) / 60.0;
    let gaps_usd = a_minute * f64::from(inputs.missing_minutes);
    let between = a_minute * inputs.step_minutes * f64::from(inputs.edges)
        + ROUNDING_USD * f64::from(inputs.roundings);
    DayBound { low_by_usd: gaps_usd + between, high_by_usd: between, gaps_usd }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn gaps_and_edges_and_roundings_each_take_their_part() {
        let inputs = BoundInputs {
            rate_max: 120.0,
            missing_minutes: 5,
            edges: 3,
            step_minutes: 4.0,
            roundings: 1 << 26,
        };
        // Two dollars a minute; a rounding takes 2^-25 USD at the most.
        let (gaps_usd, of_edges, of_roundings) = (10.0, 24.0, 2.0);
        let high_by_usd = of_edges + of_roundings;
        let wanted = DayBound { low_by_usd: gaps_usd + high_by_usd, high_by_usd, gaps_usd };
        assert_eq!(bound(inputs), wanted);
        let of_credit = bound(BoundInputs { rate_max: -120.0, ..inputs });
        assert_eq!(of_credit, DayBound { low_by_usd: 2.0, high_by_usd: 2.0, gaps_usd: 0.0 });
    }

    proptest! {
        /// The goal: what a made-up resource costs lies within the bound of what its samples say.
        /// The method: it lives from one second to another at one rate, and is sampled each minute.
        #[test]
        fn the_truth_of_a_life_lies_within_the_bound(
            start in 0_i64..86_000, length in 1_i64..86_400, rate in 0.01_f64..50.0,
            gap_start in 0_i64..1_440, gap_minutes in 0_i64..200,
        ) {
            let end = (start + length).min(86_400);
            let truth = rate * (end - start) as f64 / 3_600.0;
            let in_gap = |minute: &i64| (gap_start..gap_start + gap_minutes).contains(minute);
            let alive = (0..1_440_i64).filter(|minute| (start..end).contains(&(minute * 60)));
            let (missing, seen): (Vec<_>, Vec<_>) = alive.partition(in_gap);
            let measured = rate * seen.len() as f64 / 60.0;
            let inputs = BoundInputs {
                rate_max: rate,
                missing_minutes: u32::try_from(missing.len()).unwrap(),
                edges: 2,
                step_minutes: 1.0,
                roundings: 1,
            };
            let bound = bound(inputs);
            prop_assert!(truth <= measured + bound.low_by_usd + 1e-9);
            prop_assert!(truth >= measured - bound.high_by_usd - 1e-9);
        }
    }
}
