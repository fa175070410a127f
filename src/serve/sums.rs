//! Costs of days added up over the time that is asked for.

use std::collections::BTreeMap;

use crate::cost::{Day, Efficiency, Parts, add_known_parts};

use super::costs::{AccountCosts, DayCost, NamespaceCosts};
use super::span::Span;

/// USD, and their parts where these are known of all of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) usd: f64,
    pub(super) parts: Option<Parts>,
}

impl Sum {
    fn zero() -> Self {
        Self { usd: 0.0, parts: Some(Parts::new()) }
    }

    /// Adds a share of a cost and of its parts.
    fn add(&mut self, usd: f64, parts: Option<&Parts>, share: f64) {
        let usd = usd * share;
        self.usd += usd;
        if usd != 0.0 {
            add_known_parts(&mut self.parts, parts, share);
        }
    }
}

/// Costs of the time that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    /// `None` where nothing is known.
    pub(super) total: Option<Sum>,
    /// That of the only day that is known; ratios of several days cannot be added up.
    pub(super) efficiency: Efficiency,
    /// By namespace; the empty name is what belongs to none.
    pub(super) namespaces: BTreeMap<String, (Sum, Efficiency)>,
}

impl Sums {
    /// Adds up costs; where the caller adds the ledger's rows itself, what these lack.
    pub(super) fn of(costs: &AccountCosts, span: Span, is_ledger_added: bool) -> Self {
        let adding = Adding { costs, span, is_ledger_added };
        let total = (!costs.days.is_empty()).then(|| adding.total());
        let efficiency = match costs.days.as_slice() {
            [only] => only.composition.efficiency,
            _ => Efficiency::default(),
        };
        let mut namespaces = BTreeMap::new();
        for group in &costs.namespaces {
            adding.add_namespaces(group, &mut namespaces);
        }
        namespaces.retain(|_, (sum, _): &mut (Sum, Efficiency)| sum.usd != 0.0);
        Self { total, efficiency, namespaces }
    }
}

struct Adding<'a> {
    costs: &'a AccountCosts,
    span: Span,
    is_ledger_added: bool,
}

impl Adding<'_> {
    fn share(&self, day: &DayCost) -> f64 {
        self.span.share(day.day, day.known_until_seconds())
    }

    fn total(&self) -> Sum {
        let mut total = Sum::zero();
        for day in &self.costs.days {
            if self.is_ledger_added {
                let usd = (day.usd - day.stored_usd).max(0.0);
                total.add(usd, None, self.share(day));
            } else {
                total.add(day.usd, day.composition.parts.as_ref(), self.share(day));
            }
        }
        total
    }

    /// Adds a group's costs. What the rows of a day lack by namespace adds up to what they lack
    /// altogether; of a day whose rows lack nothing, there is none.
    fn add_namespaces(
        &self,
        group: &NamespaceCosts,
        sums: &mut BTreeMap<String, (Sum, Efficiency)>,
    ) {
        let day = (group.first == group.last).then(|| self.known_day(group.first));
        let share = match day {
            // Days between the first and the last one count as a whole.
            None => 1.0,
            Some(None) => return,
            Some(Some(day)) if self.is_ledger_added && day.usd <= day.stored_usd => return,
            Some(Some(day)) => self.share(day),
        };
        let is_only_day = self.costs.days.len() == 1;
        for (name, cost) in &group.costs {
            let new = || (Sum::zero(), Efficiency::default());
            let (sum, efficiency) = sums.entry(name.clone()).or_insert_with(new);
            if self.is_ledger_added {
                sum.add(cost.usd - cost.stored_usd, None, share);
            } else {
                sum.add(cost.usd, cost.composition.parts.as_ref(), share);
            }
            if is_only_day {
                *efficiency = cost.composition.efficiency;
            }
        }
    }

    fn known_day(&self, day: Day) -> Option<&DayCost> {
        self.costs.days.iter().find(|known| known.day == day)
    }
}
