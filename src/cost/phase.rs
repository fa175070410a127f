//! Which of the two kinds of metrics a day's costs come from.

/// Which metrics a day's costs come from. An account uses one phase per day.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The raw cost-model metrics (`container_cpu_allocation`, `node_cpu_hourly_cost`, ...).
    Raw,
    /// The allocation exporter's `cloudtuner_kubecost_*` gauges.
    Exporter,
}

impl Phase {
    /// The phase's number, as the integration's guides count.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Raw => 1,
            Self::Exporter => 2,
        }
    }

    /// The phase of a number, 1 or 2.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Raw),
            2 => Some(Self::Exporter),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn a_phase_is_known_by_its_number_and_others_by_none() {
        assert_eq!((Phase::Raw.number(), Phase::Exporter.number()), (1, 2));
        assert_eq!(
            [0, 1, 2, 3].map(Phase::of_number),
            [None, Some(Phase::Raw), Some(Phase::Exporter), None]
        );
    }
}
