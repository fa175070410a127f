//! How amounts of money are shown.

use std::fmt;

/// An amount in texts for people: width and decimals as of a number, as in `{:>12.4}`. One that
/// rounds to zero has no sign: `-0.0000` reads as a loss.
#[derive(Clone, Copy, Debug)]
pub struct Usd(pub f64);

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            f.precision().map_or(self.0.to_string(), |decimals| format!("{:.decimals$}", self.0));
        let is_zero = self.0.is_finite() && !shown.contains(|c: char| ('1'..='9').contains(&c));
        fmt::Display::fmt(if is_zero { &0.0 } else { &self.0 }, f)
    }
}

/// As many decimals as amounts up to `most` leave room for in a column of a table.
#[must_use]
pub fn decimals_for(most: f64) -> usize {
    if most.abs() < 100_000.0 { 4 } else { 2 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_to_zero_has_no_sign() {
        for amount in [0.0, -0.0, -0.000_04, 0.000_04, f64::MIN_POSITIVE, -f64::EPSILON] {
            assert_eq!(format!("{:.4}", Usd(amount)), "0.0000", "{amount:e}");
        }
        assert_eq!(format!("{:.0}", Usd(-0.4)), "0");
        assert_eq!(Usd(-0.0).to_string(), "0");
        assert_eq!(format!("{:.4}", Usd(-0.000_06)), "-0.0001");
        assert_eq!(format!("{:.2}", Usd(-10.0)), "-10.00");
        assert_eq!(format!("{:.4}", Usd(1_234.567_89)), "1234.5679");
        assert_eq!(format!("{:>9.2}", Usd(-0.001)), "     0.00");
        assert_eq!(format!("{:.2}", Usd(f64::NEG_INFINITY)), "-inf");
    }

    #[test]
    fn large_amounts_have_cents_alone() {
        assert_eq!((decimals_for(99_999.9), decimals_for(100_000.0)), (4, 2));
        assert_eq!(decimals_for(-2e6), 2);
    }
}
