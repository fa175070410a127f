//! Compares the source, MongoDB's day status and documents, and ClickHouse's rows.
//!
//! A day's status holds the source's total and the total that was stored, equal because costs are
//! exact, but for the noise that rows of importers leave in sums (`cost::money::NOISE_USD`). For the accounts that a run reconciles (`run::order`), it compares the
//! status of all days within `CATCH_UP_DAYS` with the ledger's totals, and all documents'
//! `total_cost`; for the others, in a run over due days, only today and yesterday. One query gives
//! the ledger's totals; a day where they differ becomes due again.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::cost::money::NOISE_USD;
use crate::day_status::DayStatus;
use crate::documents::costs::wrong_costs;
use crate::documents::{CostSummary, StoredResource};
use crate::ledger::{DayTotal, ResourceTotal};
use crate::service::usd::Usd;

/// A day whose status and ledger disagree.
#[derive(Clone, Debug, PartialEq)]
pub struct DayDifference {
    /// The day.
    pub day: Day,
    /// What the status has as stored, rows of other programs included, USD.
    pub status_usd: f64,
    /// What the ledger has, USD.
    pub ledger_usd: f64,
    /// Live rows by the status.
    pub status_rows: i64,
    /// Live rows in the ledger.
    pub ledger_rows: i64,
}

/// The days whose status and ledger disagree. A day that is marked as being written is left out:
/// it is due anyway.
#[must_use]
pub fn differences(statuses: &BTreeMap<Day, DayStatus>, totals: &[DayTotal]) -> Vec<DayDifference> {
    let totals: BTreeMap<Day, &DayTotal> = totals.iter().map(|total| (total.day, total)).collect();
    statuses
        .values()
        .filter_map(|status| difference(status, totals.get(&status.day).copied()))
        .collect()
}

/// How the ledger differs from the status of a day that is settled. Other days are looked at in the
/// source anyway.
#[must_use]
pub fn settled_difference(status: &DayStatus, total: Option<&DayTotal>) -> Option<DayDifference> {
    difference(status, total).filter(|_| status.attempt.is_settled)
}

fn difference(status: &DayStatus, total: Option<&DayTotal>) -> Option<DayDifference> {
    if status.attempt.is_pending {
        return None;
    }
    let (ledger_usd, ledger_rows) = total.map_or((0.0, 0), |t| (t.total_usd, t.rows));
    let own_rows = i64::try_from(status.stored.rows).unwrap_or(i64::MAX);
    let difference = DayDifference {
        day: status.day,
        status_usd: status.stored.total_usd + status.other_rows.total_usd,
        ledger_usd,
        status_rows: own_rows.saturating_add(status.other_rows.rows),
        ledger_rows,
    };
    difference.is_significant(status.other_rows.rows != 0).then_some(difference)
}

impl DayDifference {
    /// Why the day is not complete and what to run, before the cause that its status has.
    #[must_use]
    pub fn cause(&self, status: &DayStatus) -> String {
        let Self { ledger_rows, status_rows, .. } = self;
        status.before_cause(format!(
            "the ledger has ${:.4} of this day (rows: {ledger_rows}), its status ${:.4} (rows: \
             {status_rows}): {} writes it again",
            Usd(self.ledger_usd),
            Usd(self.status_usd),
            status.run_command()
        ))
    }

    /// This program's costs are exact in any order of addition; those of others are not, and leave
    /// noise where they were taken back.
    fn is_significant(&self, has_other_rows: bool) -> bool {
        const OTHERS_NOISE_USD: f64 = 1e-6;
        let off = (self.ledger_usd - self.status_usd).abs();
        let is_off = if has_other_rows { off > OTHERS_NOISE_USD } else { off >= NOISE_USD };
        is_off || self.status_rows != self.ledger_rows
    }
}

/// By how much what is stored of a day differs from its status, USD.
#[must_use]
pub fn difference_usd(status: &DayStatus, stored_usd: f64) -> f64 {
    if status.attempt.is_pending {
        return 0.0;
    }
    (stored_usd - status.stored.total_usd).abs()
}

/// What is to be put right at an account's end, after its days.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountEnd {
    /// Documents that were last seen before this day become inactive.
    pub retire_before: Option<Day>,
    /// Costs to set in documents that differ from the ledger.
    pub costs: Vec<CostSummary>,
    /// By how much they differ, USD.
    pub difference_usd: f64,
}

/// Decides about an account's end. `differing` are documents and the ledger's totals of them where
/// their sums differ. Documents are retired only where today is known to be stored.
#[must_use]
pub fn account_end(
    today: Day,
    is_today_stored: bool,
    differing: Option<(Vec<StoredResource>, Vec<ResourceTotal>)>,
) -> AccountEnd {
    let wrong =
        differing.map_or_else(Vec::new, |(documents, totals)| wrong_costs(&documents, totals));
    AccountEnd {
        retire_before: is_today_stored.then(|| today.previous()),
        difference_usd: wrong.iter().map(|(_, off_usd)| off_usd.abs()).sum(),
        costs: wrong.into_iter().map(|(summary, _)| summary).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::OtherRows;
    use crate::day_status::stored_form::tests::complete;

    fn day() -> Day {
        "2026-11-19".parse().unwrap()
    }

    fn found(status: DayStatus, totals: &[DayTotal]) -> Vec<DayDifference> {
        differences(&BTreeMap::from([(status.day, status)]), totals)
    }

    fn total(total_usd: f64, rows: i64) -> DayTotal {
        DayTotal { day: day(), total_usd, rows }
    }

    #[test]
    fn agreement_is_to_the_last_unit_of_costs() {
        assert_eq!(found(complete(day()), &[total(1.0, 1)]), []);
        let next = 1.0 + 2.0 * NOISE_USD;
        assert_eq!(found(complete(day()), &[total(next, 1)]).len(), 1);
    }

    #[test]
    fn the_noise_of_others_rows_that_were_taken_back_is_no_difference() {
        let mut status = complete(day());
        status.stored.total_usd = 10.0;
        let noisy: f64 = (10.0 + 6.1) - 6.1;
        assert!(noisy > 10.0, "the sum is inexact");
        assert_eq!(found(status.clone(), &[total(noisy, 1)]), []);
        assert_eq!(found(status, &[total(noisy, 2)]).len(), 1);
    }

    #[test]
    fn a_lost_row_and_a_doubled_row_are_differences() {
        let lost = found(complete(day()), &[]);
        assert_eq!((lost[0].ledger_usd, lost[0].ledger_rows), (0.0, 0));
        assert_eq!(found(complete(day()), &[total(1.0, 2)]).len(), 1);
    }

    #[test]
    fn rows_of_others_that_are_known_are_no_difference() {
        let other_rows = OtherRows { rows: 2, total_usd: 0.3 };
        let known = DayStatus { other_rows, ..complete(day()) };
        assert_eq!(found(known.clone(), &[total(1.0 + 0.1 + 0.2, 3)]), []);
        assert_eq!(found(known, &[total(1.0 + 0.1, 2)]).len(), 1);
    }

    #[test]
    fn a_day_that_is_being_written_is_due_anyway() {
        let mut pending = complete(day());
        pending.attempt.is_pending = true;
        assert_eq!(found(pending, &[total(7.0, 3)]), []);
    }

    #[test]
    fn a_settled_day_that_differs_names_what_to_run() {
        let (mut status, day) = (complete(day()), day());
        let command = format!("kubecost-worker run --from {day} --to {day} --account a");
        let found = settled_difference(&status, Some(&total(2.5, 3))).unwrap();
        assert_eq!(
            found.cause(&status),
            format!(
                "the ledger has $2.5000 of this day (rows: 3), its status $1.0000 (rows: 1): \
                 {command} writes it again"
            )
        );
        "9 of 1440 min".clone_into(&mut status.attempt.cause);
        assert!(found.cause(&status).ends_with(" writes it again; 9 of 1440 min"));
        assert!(settled_difference(&status, None).is_some(), "all rows are gone");
        assert_eq!(settled_difference(&status, Some(&total(1.0, 1))), None);
        status.attempt.is_settled = false;
        assert_eq!(settled_difference(&status, None), None);
    }

    #[test]
    fn costs_of_others_may_differ_by_the_noise_of_their_sums() {
        let of_others = |off_usd: f64| {
            let other_rows = OtherRows { rows: 1, total_usd: 0.0 };
            let mut status = DayStatus { other_rows, ..complete(day()) };
            status.stored.total_usd = 0.0;
            found(status, &[total(off_usd, 2)]).len()
        };
        assert_eq!([of_others(1e-6), of_others(-1e-6), of_others(2e-6)], [0, 0, 1]);
    }

    #[test]
    fn a_days_difference_is_what_is_stored_more_or_less_than_its_status_has() {
        let mut status = complete(day());
        assert_eq!([1.0, 1.5, 0.25].map(|usd| difference_usd(&status, usd)), [0.0, 0.5, 0.75]);
        status.attempt.is_pending = true;
        assert_eq!(difference_usd(&status, 1.5), 0.0);
    }

    #[test]
    fn an_account_ends_with_the_costs_that_the_ledger_has_and_retires_after_a_stored_today() {
        assert_eq!(account_end(day(), false, None), AccountEnd::default());
        assert_eq!(account_end(day(), true, None).retire_before, Some(day().previous()));
        let document = |id: &str, usd: f64| StoredResource {
            id: id.into(),
            total_cost: Some(usd),
            ..StoredResource::default()
        };
        let total = |id: &str, total_usd: f64| ResourceTotal {
            resource_id: id.into(),
            total_usd,
            last: None,
        };
        let documents = vec![document("a", 1.0), document("b", 2.0), document("c", 3.0)];
        let totals = vec![total("a", 1.5), total("b", 1.75), total("c", 3.0)];
        let end = account_end(day(), false, Some((documents, totals)));
        assert_eq!(end.difference_usd, 0.75);
        let set: Vec<_> = end.costs.iter().map(|one| (one.id.as_str(), one.total_cost)).collect();
        assert_eq!(set, [("a", 1.5), ("b", 1.75)]);
    }
}
