//! How amounts of money are shown.

/// An amount with so many decimals. One that rounds to zero has no sign: `-0.0000` reads as a loss.
#[must_use]
pub fn usd(amount: f64, decimals: usize) -> String {
    let shown = format!("{amount:.decimals$}");
    let is_zero = !shown.contains(|c: char| c.is_ascii_digit() && c != '0');
    match shown.strip_prefix('-') {
        Some(digits) if is_zero && amount.is_finite() => digits.to_owned(),
        _ => shown,
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
            assert_eq!(usd(amount, 4), "0.0000", "{amount:e}");
        }
        assert_eq!(usd(-0.4, 0), "0");
        assert_eq!(usd(-0.000_06, 4), "-0.0001");
        assert_eq!(usd(-10.0, 2), "-10.00");
        assert_eq!(usd(1_234.567_89, 4), "1234.5679");
        assert_eq!(usd(f64::NEG_INFINITY, 2), "-inf");
    }

    #[test]
    fn large_amounts_have_cents_alone() {
        assert_eq!((decimals_for(99_999.9), decimals_for(100_000.0)), (4, 2));
        assert_eq!(decimals_for(-2e6), 2);
    }
}
