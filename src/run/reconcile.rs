//! Whether three agree: what the source said, what MongoDB's records and documents say, and what
//! ClickHouse has.
//!
//! A day's record in MongoDB holds the source's total and the total that was stored, equal to the
//! last bit for costs are exact. Every run compares the records of all days that it looks after
//! with the ledger's totals, which one query gives; a day where they differ becomes due again. The
//! documents' side is `total_cost`, which goes over all days: it is compared with the ledger by
//! account, see `worker/documents.rs`.

use std::collections::BTreeMap;

use crate::cost::Day;
use crate::day_status::AccountDay;
use crate::ledger::DayTotal;

/// A day whose record and ledger disagree.
#[derive(Clone, Debug, PartialEq)]
pub struct DayDifference {
    /// The day.
    pub day: Day,
    /// What the record says is stored, rows of other programs included, USD.
    pub recorded_usd: f64,
    /// What the ledger has, USD.
    pub ledger_usd: f64,
    /// As many live rows as the record says there are.
    pub recorded_rows: i64,
    /// As many as there are.
    pub ledger_rows: i64,
}

/// The days whose record and ledger disagree. A day that is marked as being written is left out:
/// it is due anyway.
#[must_use]
pub fn differences(records: &BTreeMap<Day, AccountDay>, totals: &[DayTotal]) -> Vec<DayDifference> {
    let totals: BTreeMap<Day, &DayTotal> = totals.iter().map(|total| (total.day, total)).collect();
    records
        .values()
        .filter(|record| !record.pending)
        .filter_map(|record| {
            let total = totals.get(&record.day);
            let (ledger_usd, ledger_rows) = total.map_or((0.0, 0), |t| (t.total_usd, t.rows));
            let difference = DayDifference {
                day: record.day,
                recorded_usd: record.stored_total_usd + record.foreign_total_usd,
                ledger_usd,
                recorded_rows: i64::try_from(record.rows).unwrap_or(i64::MAX) + record.foreign_rows,
                ledger_rows,
            };
            difference.is_one(record.foreign_rows != 0).then_some(difference)
        })
        .collect()
}

impl DayDifference {
    /// Costs of ours are exact in any order of addition; those of other programs are not.
    fn is_one(&self, has_foreign_rows: bool) -> bool {
        const FOREIGN_NOISE_USD: f64 = 1e-6;
        let off = (self.ledger_usd - self.recorded_usd).abs();
        let is_off = if has_foreign_rows { off > FOREIGN_NOISE_USD } else { off != 0.0 };
        is_off || self.recorded_rows != self.ledger_rows
    }
}

/// By how much what is stored of a day differs from what its record says, USD.
#[must_use]
pub fn difference_usd(record: &AccountDay, stored_usd: f64, rows: u64) -> f64 {
    if record.pending || (stored_usd == record.stored_total_usd && rows == record.rows) {
        return 0.0;
    }
    (stored_usd - record.stored_total_usd).abs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::days::tests::record;

    fn day() -> Day {
        "2026-11-19".parse().unwrap()
    }

    fn found(record: AccountDay, totals: &[DayTotal]) -> Vec<DayDifference> {
        differences(&BTreeMap::from([(record.day, record)]), totals)
    }

    fn total(total_usd: f64, rows: i64) -> DayTotal {
        DayTotal { day: day(), total_usd, rows }
    }

    #[test]
    fn agreement_is_to_the_last_bit() {
        assert_eq!(found(record(day()), &[total(1.0, 1)]), []);
        let next = f64::from_bits(1.0_f64.to_bits() + 1);
        assert_eq!(found(record(day()), &[total(next, 1)]).len(), 1);
    }

    #[test]
    fn a_lost_row_and_a_doubled_row_are_differences() {
        let lost = found(record(day()), &[]);
        assert_eq!((lost[0].ledger_usd, lost[0].ledger_rows), (0.0, 0));
        assert_eq!(found(record(day()), &[total(1.0, 2)]).len(), 1);
    }

    #[test]
    fn rows_of_others_that_are_known_are_no_difference() {
        let known = AccountDay { foreign_rows: 2, foreign_total_usd: 0.3, ..record(day()) };
        assert_eq!(found(known.clone(), &[total(1.0 + 0.1 + 0.2, 3)]), []);
        assert_eq!(found(known, &[total(1.0 + 0.1, 2)]).len(), 1);
    }

    #[test]
    fn a_day_that_is_being_written_is_due_anyway() {
        let pending = AccountDay { pending: true, ..record(day()) };
        assert_eq!(found(pending, &[total(7.0, 3)]), []);
    }
}
