//! Chance that a seed repeats: SplitMix64, so that a failing case is one number.

/// A generator; its whole state is one word.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// The generator of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        u32::try_from(self.next() % u64::from(bound.max(1))).unwrap()
    }

    /// Whether something happens that happens `per_mille` times in a thousand.
    pub(crate) fn happens(&mut self, per_mille: u32) -> bool {
        self.below(1_000) < per_mille
    }

    /// A generator of its own, for something that runs beside this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }
}
