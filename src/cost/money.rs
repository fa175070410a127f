//! Exact money.
//!
//! Stores keep costs as `Float64`. Sums of arbitrary floats depend on their order, so `+a -a +b`
//! need not be `b`. Every cost is therefore rounded, once, to a multiple of 2^-24 USD (0.06
//! microdollars): such numbers, and every sum of them up to 2^29 USD, are represented exactly in
//! a `Float64`, whatever the order of addition.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Fractions of a dollar in one [`Cost`] unit: 2^24.
pub const UNITS_PER_USD: i64 = 1 << 24;
/// The largest cost of one key, USD: 2^29, so that 53 bits hold it exactly.
pub const COST_USD_MAX: f64 = 536_870_912.0;
/// A difference of sums below this is none, USD: half of a [`Cost`] unit, 2^-25. Own costs differ by
/// whole units or not at all. After an importer's inexact rows were taken back, sums over them keep
/// the noise of their rounding until ClickHouse merges the rows away.
pub const NOISE_USD: f64 = 1.0 / 33_554_432.0;

/// Whether two sums of costs are the same but for [`NOISE_USD`].
#[must_use]
pub fn is_same_usd(one: f64, other: f64) -> bool {
    (one - other).abs() < NOISE_USD
}

/// An amount of USD, a multiple of 2^-24. Remainders may be negative while they are computed;
/// what is stored never is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cost(i64);

/// A number that is no cost.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum BadCost {
    /// Not a number, or infinite.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    /// Below zero: no source has negative rates for a namespace or a pod.
    #[error("{0} is negative")]
    Negative(f64),
    /// Above [`COST_USD_MAX`].
    #[error("{0} is above {COST_USD_MAX} USD")]
    TooLarge(f64),
}

impl Cost {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// Rounds `usd` to the nearest multiple of 2^-24 (half to even).
    ///
    /// # Errors
    /// [`BadCost`] when `usd` is not finite, below zero or above [`COST_USD_MAX`].
    pub fn from_usd(usd: f64) -> Result<Self, BadCost> {
        if !usd.is_finite() {
            return Err(BadCost::NotFinite(usd));
        }
        if usd < 0.0 {
            return Err(BadCost::Negative(usd));
        }
        if usd > COST_USD_MAX {
            return Err(BadCost::TooLarge(usd));
        }
        // The product is exact (a power of two) and below 2^53.
        #[expect(clippy::cast_possible_truncation, reason = "bounded just above")]
        Ok(Self((usd * UNITS_PER_USD as f64).round_ties_even() as i64))
    }

    /// The amount in USD, without any rounding.
    #[must_use]
    pub fn usd(self) -> f64 {
        self.0 as f64 / UNITS_PER_USD as f64
    }

    /// The amount in units of 2^-24 USD.
    #[must_use]
    pub fn units(self) -> i64 {
        self.0
    }

    /// This amount times `part` over `whole`, rounded down; nothing where there is no whole.
    #[must_use]
    pub(super) fn times(self, part: Self, whole: Self) -> Self {
        let product = i128::from(self.0) * i128::from(part.0);
        let quotient = product.checked_div_euclid(i128::from(whole.0)).unwrap_or(0);
        Self(i64::try_from(quotient).unwrap_or(i64::MAX))
    }

    /// Whether there is no money in it.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Cost {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Debug for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}", self.usd())
    }
}

impl serde::Serialize for Cost {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.usd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_are_no_cost_are_refused() {
        assert_eq!(Cost::from_usd(-0.01), Err(BadCost::Negative(-0.01)));
        assert!(matches!(Cost::from_usd(f64::NAN), Err(BadCost::NotFinite(_))));
        assert!(matches!(Cost::from_usd(f64::INFINITY), Err(BadCost::NotFinite(_))));
        assert_eq!(Cost::from_usd(1e25), Err(BadCost::TooLarge(1e25)));
        assert_eq!(Cost::from_usd(-0.0), Ok(Cost::ZERO));
        let above = COST_USD_MAX + 1.0;
        assert_eq!(Cost::from_usd(above), Err(BadCost::TooLarge(above)));
        assert_eq!(Cost::from_usd(COST_USD_MAX).map(Cost::usd), Ok(COST_USD_MAX));
    }

    #[test]
    fn a_unit_is_two_to_the_minus_24_usd_and_halves_go_to_the_even_one() {
        let unit = 2.0_f64.powi(-24);
        let usd = |units: f64| Cost::from_usd(units * unit).unwrap().usd() / unit;
        assert_eq!([0.4, 0.5, 0.6, 1.0, 1.5, 2.5].map(usd), [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
        assert_eq!(Cost::from_usd(1.0).unwrap(), Cost(16_777_216));
    }

    #[test]
    fn only_what_is_below_zero_is_negative_and_only_zero_is_zero() {
        let cent = Cost::from_usd(0.01).unwrap();
        let of = |cost: Cost| (cost.is_zero(), cost.is_negative());
        assert_eq!(of(cent), (false, false));
        assert_eq!(of(Cost::ZERO), (true, false));
        assert_eq!(of(cent - cent), (true, false));
        assert_eq!(of(Cost::ZERO - cent), (false, true));
    }

    #[test]
    fn sums_and_differences_are_those_of_the_amounts() {
        let [one, two] = [1.5, 2.25].map(|usd| Cost::from_usd(usd).unwrap());
        let mut sum = one;
        sum += two;
        assert_eq!([one + two, sum, [one, two].into_iter().sum()].map(Cost::usd), [3.75; 3]);
        assert_eq!([one - two, two - one].map(Cost::usd), [-0.75, 0.75]);
    }

    #[test]
    fn a_share_is_rounded_down() {
        assert_eq!(Cost(10).times(Cost(2), Cost(3)), Cost(6));
        assert_eq!(Cost(10).times(Cost(2), Cost::ZERO), Cost::ZERO);
        let most = Cost::from_usd(COST_USD_MAX).unwrap();
        assert_eq!(most.times(most, most), most);
    }

    #[test]
    fn amounts_are_shown_in_usd() {
        let cost = Cost::from_usd(2.5).unwrap();
        assert_eq!(format!("{cost:?}"), "$2.5");
        assert_eq!(serde_json::to_string(&cost).unwrap(), "2.5");
    }

    proptest! {
        #[test]
        fn rounding_moves_a_cost_by_at_most_half_a_unit(usd in 0.0..COST_USD_MAX) {
            let cost = Cost::from_usd(usd).unwrap();
            prop_assert!((cost.usd() - usd).abs() <= 0.5 / UNITS_PER_USD as f64);
            prop_assert_eq!(Cost::from_usd(cost.usd()).unwrap(), cost);
        }

        #[test]
        fn float_sums_are_exact_in_any_order(
            amounts in prop::collection::vec(0.0..100_000.0f64, 1..200),
            seed in any::<u64>(),
        ) {
            let costs: Vec<Cost> =
                amounts.iter().map(|usd| Cost::from_usd(*usd).unwrap()).collect();
            let exact: Cost = costs.iter().copied().sum();
            let mut shuffled: Vec<f64> = costs.iter().map(|cost| cost.usd()).collect();
            let length = shuffled.len() as u64;
            for index in 0..shuffled.len() {
                let other = (seed.wrapping_mul(index as u64 + 7) % length) as usize;
                shuffled.swap(index, other);
            }
            prop_assert_eq!(shuffled.iter().sum::<f64>(), exact.usd());
        }

        /// The smallest difference that costs can have is one, whatever the sum.
        #[test]
        fn sums_that_differ_by_a_unit_are_not_the_same(usd in 0.0..1e8f64) {
            let one = Cost::from_usd(usd).unwrap().usd();
            prop_assert!(!is_same_usd(one, one + 2.0 * NOISE_USD));
            prop_assert!(is_same_usd(one, one) && is_same_usd(one + 6.1 - 6.1, one));
        }

        #[test]
        fn replacing_a_cost_leaves_the_new_one_bit_for_bit(
            a in 0.0..1e8f64, b in 0.0..1e8f64,
        ) {
            let (a, b) = (Cost::from_usd(a).unwrap().usd(), Cost::from_usd(b).unwrap().usd());
            prop_assert_eq!((a - a + b).to_bits(), b.to_bits());
            prop_assert_eq!((a + b - a).to_bits(), b.to_bits());
        }
    }
}
