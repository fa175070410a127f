//! Sizes of a bench, as its caller wants them.

/// A number that the environment may set.
pub(crate) fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}
