//! What costs are made of: CPU, RAM and the like, as a source says it of a resource's whole.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A part of a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// CPU that is allocated.
    Cpu,
    /// Memory that is allocated.
    Ram,
    /// GPUs that are allocated.
    Gpu,
    /// Volumes.
    Pv,
    /// Traffic.
    Network,
    /// Load balancers.
    #[serde(rename = "lb")]
    LoadBalancer,
    /// What of machines is allocated to nobody.
    Idle,
    /// What no other part explains: management, shared and external costs, and what the source
    /// does not divide.
    Other,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Cpu,
        Self::Ram,
        Self::Gpu,
        Self::Pv,
        Self::Network,
        Self::LoadBalancer,
        Self::Idle,
        Self::Other,
    ];

    /// Its key in documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Ram => "ram",
            Self::Gpu => "gpu",
            Self::Pv => "pv",
            Self::Network => "network",
            Self::LoadBalancer => "lb",
            Self::Idle => "idle",
            Self::Other => "other",
        }
    }
}

/// USD by part; a part that is not known is not there.
pub type Parts = BTreeMap<Part, f64>;

/// What a source says of what a resource's whole is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Breakdown {
    /// USD by part.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: Parts,
    /// What of these parts is idle, where the source counts that among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub idle_of: Parts,
    /// CPU used over CPU requested, a ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_efficiency: Option<f64>,
    /// Memory used over memory requested, a ratio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ram_efficiency: Option<f64>,
}

/// Adds a share of the parts of one cost to those of a sum.
pub fn add_parts(sum: &mut Parts, more: &Parts, share: f64) {
    for (part, usd) in more {
        *sum.entry(*part).or_insert(0.0) += usd * share;
    }
}

/// The same where parts may not be known: those of a sum are while those of each of its costs are.
pub fn add_known_parts(sum: &mut Option<Parts>, more: Option<&Parts>, share: f64) {
    match (sum.as_mut(), more) {
        (Some(sum), Some(more)) => add_parts(sum, more, share),
        _ => *sum = None,
    }
}

impl Breakdown {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds USD to a part.
    pub fn add(&mut self, part: Part, usd: f64) {
        *self.parts.entry(part).or_insert(0.0) += usd;
    }

    /// Adds the parts of another stretch of the day. Efficiencies are those of whole days.
    pub fn add_up(&mut self, more: &Self) {
        let both = [(&mut self.parts, &more.parts), (&mut self.idle_of, &more.idle_of)];
        for (parts, more) in both {
            add_parts(parts, more, 1.0);
        }
    }

    /// Multiplies every part.
    pub fn scale(&mut self, factor: f64) {
        self.parts.values_mut().chain(self.idle_of.values_mut()).for_each(|usd| *usd *= factor);
    }

    /// The parts with what is idle as a part of its own; those that are no numbers are left out.
    pub(super) fn divided(&self) -> Parts {
        let mut parts = self.parts.clone();
        parts.retain(|_, usd| usd.is_finite());
        for (part, idle) in &self.idle_of {
            if let (Some(usd), true) = (parts.get_mut(part), *idle > 0.0 && idle.is_finite()) {
                let idle = idle.min(*usd);
                *usd -= idle;
                *parts.entry(Part::Idle).or_insert(0.0) += idle;
            }
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Part = Part::Cpu;
    const RAM: Part = Part::Ram;

    #[test]
    fn a_part_has_one_name_in_all_forms() {
        for part in Part::ALL {
            let json = serde_json::to_value(part).unwrap();
            assert_eq!(json, part.as_str());
        }
    }

    #[test]
    fn a_sum_has_of_each_cost_its_share() {
        let mut sum = Parts::from([(CPU, 1.0)]);
        add_parts(&mut sum, &[(CPU, 4.0), (RAM, 6.0)].into(), 0.5);
        assert_eq!(sum, [(CPU, 3.0), (RAM, 3.0)].into());
    }

    #[test]
    fn parts_of_a_sum_are_known_while_those_of_all_its_costs_are() {
        let mut sum = Some(Parts::from([(CPU, 1.0)]));
        let more = Parts::from([(CPU, 4.0)]);
        add_known_parts(&mut sum, Some(&more), 0.5);
        assert_eq!(sum, Some([(CPU, 3.0)].into()));
        add_known_parts(&mut sum, None, 1.0);
        assert_eq!(sum, None);
        add_known_parts(&mut sum, Some(&more), 1.0);
        assert_eq!(sum, None);
    }

    #[test]
    fn stretches_of_a_day_add_up_and_are_scaled() {
        let mut whole = Breakdown::default();
        assert!(whole.is_empty());
        whole.add(CPU, 1.0);
        whole.add(CPU, 2.0);
        assert!(!whole.is_empty());
        let more = Breakdown {
            parts: [(CPU, 5.0), (RAM, 2.0)].into(),
            idle_of: [(CPU, 4.0)].into(),
            cpu_efficiency: Some(0.5),
            ram_efficiency: None,
        };
        whole.add_up(&more);
        whole.scale(0.5);
        let wanted = Breakdown {
            parts: [(CPU, 4.0), (RAM, 1.0)].into(),
            idle_of: [(CPU, 2.0)].into(),
            ..Breakdown::default()
        };
        assert_eq!(whole, wanted);
    }

    #[test]
    fn idle_is_a_part_of_its_own_and_no_more_than_what_it_is_of() {
        let divided = |parts: &[(Part, f64)], idle_of: &[(Part, f64)]| {
            let of = |parts: &[(Part, f64)]| parts.iter().copied().collect();
            let whole =
                Breakdown { parts: of(parts), idle_of: of(idle_of), ..Breakdown::default() };
            whole.divided().into_iter().collect::<Vec<_>>()
        };
        let parts = [(CPU, 3.0), (RAM, 2.0), (Part::Idle, 1.0)];
        assert_eq!(
            divided(&parts, &[(CPU, 1.0), (RAM, 5.0), (Part::Pv, 9.0)]),
            [(CPU, 2.0), (RAM, 0.0), (Part::Idle, 4.0)]
        );
        for nothing in [0.0, -1.0, f64::INFINITY, f64::NAN] {
            assert_eq!(divided(&parts[..2], &[(CPU, nothing)]), parts[..2], "{nothing}");
        }
        assert_eq!(divided(&[(CPU, f64::NAN), (RAM, 2.0)], &[(CPU, 1.0)]), [(RAM, 2.0)]);
    }
}
