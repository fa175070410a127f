//! Chance that a seed repeats: a linear congruential generator with Knuth's constants.

/// A generator; its whole state is one word.
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    /// The next number from 0 up to but not including 1.
    pub(crate) fn share(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
