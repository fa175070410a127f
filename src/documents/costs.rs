//! A document's `total_cost` and `last_expense`: what they must be after the ledger changed.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::ledger::ResourceTotal;

use super::{CostSummary, LastExpense, PartsUpdate, StoredResource};

/// A resource's costs in the form of its document.
#[must_use]
pub fn cost_summary(total: ResourceTotal) -> CostSummary {
    let known = KnownCosts::of_ledger(Some(&total));
    CostSummary {
        id: total.resource_id,
        total_cost: known.total_usd,
        last_expense: known.last,
        parts: PartsUpdate::Keep,
        document_update: None,
    }
}

/// What a document shows, or the ledger has, of a resource's costs before its row of a day changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnownCosts {
    /// USD over all days.
    pub total_usd: f64,
    /// The last day's cost, if any.
    pub last: Option<LastExpense>,
}

impl KnownCosts {
    /// What a document shows; `None` where it shows no total.
    #[must_use]
    pub fn of_document(stored: &StoredResource) -> Option<Self> {
        Some(Self { total_usd: stored.total_cost?, last: stored.last_expense })
    }

    /// What the ledger has; `None`: nothing.
    #[must_use]
    pub fn of_ledger(total: Option<&ResourceTotal>) -> Self {
        let last = total.and_then(|one| one.last);
        Self {
            total_usd: total.map_or(0.0, |one| one.total_usd),
            last: last.map(|(date, cost)| LastExpense { date, cost }),
        }
    }
}

/// The costs of the document `id` after its row of `day` changed from `before_usd` to `after_usd`
/// (`None`: no row), both exact. `None` where what was known does not show what they are: then the
/// ledger must be asked.
#[must_use]
pub fn updated_costs(
    id: &str,
    known: KnownCosts,
    day: Day,
    (before_usd, after_usd): (Option<f64>, Option<f64>),
) -> Option<CostSummary> {
    let date = day.start_seconds();
    let last_expense = match (known.last, after_usd) {
        (last, None) if before_usd.is_none() => last,
        (Some(last), _) if last.date > date => Some(last),
        (_, Some(cost)) => Some(LastExpense { date, cost }),
        (Some(last), None) if last.date < date => Some(last),
        // The last row goes: which one is the last now?
        (Some(_) | None, None) => return None,
    };
    let total_cost = known.total_usd - before_usd.unwrap_or(0.0) + after_usd.unwrap_or(0.0);
    Some(CostSummary {
        id: id.to_owned(),
        total_cost: total_cost + 0.0,
        last_expense,
        parts: PartsUpdate::Keep,
        document_update: None,
    })
}

/// The documents whose costs are not the ledger's, and by how much they differ, USD.
#[must_use]
pub fn wrong_costs(
    documents: &[StoredResource],
    totals: Vec<ResourceTotal>,
) -> Vec<(CostSummary, f64)> {
    let by_id: BTreeMap<&str, &StoredResource> =
        documents.iter().map(|document| (document.id.as_str(), document)).collect();
    totals
        .into_iter()
        .map(cost_summary)
        .filter_map(|right| {
            let stored = by_id.get(right.id.as_str())?;
            let total = stored.total_cost.unwrap_or_default();
            let differs = total != right.total_cost || stored.last_expense != right.last_expense;
            let difference_usd = total - right.total_cost;
            differs.then_some((right, difference_usd))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        format!("2026-11-{text}").parse().unwrap()
    }

    fn stored(total_cost: f64, last: &str, cost: f64) -> StoredResource {
        let date = day(last).start_seconds();
        StoredResource {
            id: "r".into(),
            total_cost: Some(total_cost),
            last_expense: Some(LastExpense { date, cost }),
            ..StoredResource::default()
        }
    }

    fn forward(last: &str, of: &str, before: f64, after: Option<f64>) -> Option<(f64, i64, f64)> {
        let known = KnownCosts::of_document(&stored(10.0, last, 4.0))?;
        let before = (before != 0.0).then_some(before);
        let summary = updated_costs("r", known, day(of), (before, after))?;
        let expense = summary.last_expense.unwrap();
        Some((summary.total_cost, expense.date, expense.cost))
    }

    #[test]
    fn a_changed_row_moves_the_total_and_a_later_day_is_the_last() {
        let of = |text: &str| day(text).start_seconds();
        assert_eq!(forward("19", "20", 0.0, Some(2.5)), Some((12.5, of("20"), 2.5)));
        assert_eq!(forward("19", "19", 4.0, Some(5.0)), Some((11.0, of("19"), 5.0)));
        assert_eq!(forward("19", "18", 1.0, Some(0.5)), Some((9.5, of("19"), 4.0)));
        assert_eq!(forward("19", "18", 1.0, None), Some((9.0, of("19"), 4.0)));
    }

    #[test]
    fn what_the_document_does_not_show_is_asked_for() {
        assert_eq!(forward("19", "19", 4.0, None), None);
        let unknown = StoredResource { total_cost: None, ..stored(1.0, "19", 1.0) };
        assert_eq!(KnownCosts::of_document(&unknown), None);
        let new = KnownCosts { total_usd: 0.0, last: None };
        let of_new = |before, after| updated_costs("r", new, day("20"), (before, after));
        assert_eq!(of_new(Some(0.0), None), None, "a row of zero dollars goes");
        assert_eq!(of_new(None, Some(1.0)).unwrap().total_cost, 1.0);
    }

    #[test]
    fn a_new_document_starts_with_what_the_ledger_has_of_its_resource() {
        let last = (day("18").start_seconds(), 3.0);
        let total = ResourceTotal { resource_id: "r".into(), total_usd: 7.0, last: Some(last) };
        let known = KnownCosts::of_ledger(Some(&total));
        let moved = |before, after| {
            updated_costs("r", known, day("20"), (before, after)).map(|one| one.total_cost)
        };
        assert_eq!(moved(None, Some(1.5)), Some(8.5));
        assert_eq!(moved(None, None), Some(7.0), "no row came and none went");
        assert_eq!(KnownCosts::of_ledger(None), KnownCosts { total_usd: 0.0, last: None });
    }
}
