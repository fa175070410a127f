//! What an account costs on days, as values.

use std::collections::BTreeMap;

use crate::cost::{Composition, Day};
use crate::day_status::DayState;
use crate::source::Phase;

/// About what an entry of a map takes beside its name, bytes.
pub(super) const ENTRY_BYTES: usize = 120;
/// About what a part takes, bytes.
const PART_BYTES: usize = 40;

/// Where a day's costs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The rows that are stored.
    Ledger,
    /// The query layer, as the next run would store it, and the rows of other programs.
    QueryLayer,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::QueryLayer => "query-layer",
        }
    }
}

/// About how many bytes a composition takes beyond itself.
pub(super) fn composition_bytes(composition: &Composition) -> usize {
    composition.parts.as_ref().map_or(0, BTreeMap::len) * PART_BYTES
}

/// What a day costs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DayCost {
    pub(super) day: Day,
    /// USD, whoever wrote the rows.
    pub(super) usd: f64,
    /// What its rows add up to, USD, whoever wrote them.
    pub(super) stored_usd: f64,
    pub(super) origin: Origin,
    /// `None`: rows of another program, of a day that this one has no status of.
    pub(super) state: Option<DayState>,
    /// Why it is not `ok`.
    pub(super) cause: String,
    /// Up to which minute of the day its costs are known.
    pub(super) known_minutes: u32,
    pub(super) composition: Composition,
}

impl DayCost {
    /// Up to when its costs are known, Unix seconds.
    pub(super) fn known_until_seconds(&self) -> i64 {
        self.day.start_seconds() + i64::from(self.known_minutes) * 60
    }
}

/// What a namespace costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NamespaceCost {
    /// USD, whoever wrote the rows.
    pub(super) usd: f64,
    /// What its rows add up to, USD, whoever wrote them.
    pub(super) stored_usd: f64,
    pub(super) composition: Composition,
}

/// Costs by namespace over `first..=last`; what belongs to no namespace is under the empty name.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NamespaceCosts {
    pub(super) first: Day,
    pub(super) last: Day,
    pub(super) costs: BTreeMap<String, NamespaceCost>,
}

/// What an account costs on days.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AccountCosts {
    /// Days whose costs are known, in their order.
    pub(super) days: Vec<DayCost>,
    /// Days of which nothing can be known yet, and why: they are not missing.
    pub(super) waiting: Vec<(Day, String)>,
    /// The first day asked for that the account was there, as far as rows and status tell: none
    /// before it is missing. `None`: there is no row at all.
    pub(super) since: Option<Day>,
    /// Days without costs though the source had some, in their order.
    pub(super) not_stored: Vec<Day>,
    /// The reasons why days have no costs.
    pub(super) causes: Vec<String>,
    /// Costs by namespace, where they were asked for. The first day, the last one and those that
    /// are not settled are alone, so that parts of days can be taken.
    pub(super) namespaces: Vec<NamespaceCosts>,
    /// The clusters that are known to have costs.
    pub(super) clusters: Vec<String>,
    /// The phase of the newest day.
    pub(super) phase: Option<Phase>,
}

impl AccountCosts {
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        let day = |day: &DayCost| {
            size_of::<DayCost>() + day.cause.len() + composition_bytes(&day.composition)
        };
        let namespaces = self.namespaces.iter().flat_map(|group| &group.costs);
        let namespace = |(name, cost): (&String, &NamespaceCost)| {
            ENTRY_BYTES + name.len() + composition_bytes(&cost.composition)
        };
        let texts = self.causes.iter().chain(&self.clusters);
        size_of::<Self>()
            + self.days.iter().map(day).sum::<usize>()
            + namespaces.map(namespace).sum::<usize>()
            + texts.map(|text| ENTRY_BYTES + text.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_about_that_of_the_names() {
        let day: Day = "2026-11-20".parse().unwrap();
        let named = |count: usize| {
            let one = |number: usize| (format!("{number:0100}"), NamespaceCost::default());
            let costs = (0..count).map(one).collect();
            let group = NamespaceCosts { first: day, last: day, costs };
            AccountCosts { namespaces: vec![group], ..AccountCosts::default() }.bytes()
        };
        let each = (named(1_000) - named(0)) / 1_000;
        assert!((150..400).contains(&each), "{each}");
    }
}
