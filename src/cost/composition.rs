//! What costs are made of, as it is kept and answered.

use super::breakdown::{Breakdown, Parts};

/// Used over requested, ratios; `None` where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Efficiency {
    /// Of CPU.
    pub cpu: Option<f64>,
    /// Of memory.
    pub ram: Option<f64>,
}

impl Efficiency {
    /// Those that a source says of a resource's whole.
    #[must_use]
    pub fn of(whole: &Breakdown) -> Self {
        Self::known(whole.cpu_efficiency, whole.ram_efficiency)
    }

    /// These ratios, where they are numbers.
    #[must_use]
    pub fn known(cpu: Option<f64>, ram: Option<f64>) -> Self {
        let ratio = |ratio: Option<f64>| ratio.filter(|ratio| ratio.is_finite());
        Self { cpu: ratio(cpu), ram: ratio(ram) }
    }
}

/// What costs are made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Composition {
    /// USD by part, together all of the cost; `None` where that is not known of all of it.
    pub parts: Option<Parts>,
    /// How much of what was requested was used.
    pub efficiency: Efficiency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_efficiency_that_is_no_number_is_not_known() {
        let whole = Breakdown {
            cpu_efficiency: Some(0.5),
            ram_efficiency: Some(f64::NAN),
            ..Breakdown::default()
        };
        assert_eq!(Efficiency::of(&whole), Efficiency { cpu: Some(0.5), ram: None });
        let known = Efficiency::known(Some(f64::INFINITY), Some(0.25));
        assert_eq!(known, Efficiency { cpu: None, ram: Some(0.25) });
    }
}
