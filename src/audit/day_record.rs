//! The status of a day whose rows a repair takes back, as a function of the one before.
//!
//! Before the first row the day is marked as pending, so that a repair that breaks off leaves a mark.
//! After the last one the status has the new sums. The day stays open until its costs are computed
//! again: by a run, or by a backfill where it is older than `CATCH_UP_DAYS`.

use crate::cost::{AccountId, Day};
use crate::day_status::{Attempt, DayState, DayStatus, OtherRows, StoredCosts};

/// The audit that repairs a day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repairer<'a> {
    pub(super) run_id: &'a str,
    /// Unix seconds.
    pub(super) now_seconds: i64,
}

/// The command that computes these days of an account again.
#[must_use]
pub fn backfill_command(account: &AccountId, first: Day, last: Day) -> String {
    format!("kubecost-worker backfill --from {first} --to {last} --account {account}")
}

impl Repairer<'_> {
    /// The status before the first row is taken back. It keeps the sums of before, which guards
    /// compare with.
    pub(super) fn pending(self, before: &DayStatus) -> DayStatus {
        let command = backfill_command(&before.account, before.day, before.day);
        let cause = format!(
            "audit {} began to take back rows of this day and has not ended: {command}",
            self.run_id
        );
        DayStatus { attempt: self.attempt(DayState::Failed, cause, true), ..before.clone() }
    }

    /// The status once the rows are taken back: `rows` rows of this program are left, of
    /// `total_usd`.
    ///
    /// Where these are what was stored, no cost of this program is missing, and the day is as it
    /// was. A day that was left half written before stays so: its documents are still to be counted.
    pub(super) fn repaired(
        self,
        account: &AccountId,
        day: Day,
        before: Option<DayStatus>,
        (rows, total_usd): (u64, f64),
        other_rows: OtherRows,
    ) -> DayStatus {
        let is_new = before.is_none();
        let before = before.unwrap_or_else(|| DayStatus::empty(account, day));
        let stored = &before.stored;
        let is_as_stored = stored.rows == rows && stored.total_usd.to_bits() == total_usd.to_bits();
        if before.attempt.is_pending {
            return DayStatus { other_rows, ..self.pending(&before) };
        }
        if is_as_stored && !is_new {
            return DayStatus { other_rows, ..before };
        }
        let command = backfill_command(account, day, day);
        let cause = format!(
            "audit took back rows of this day, and its costs are not computed again yet: {command}"
        );
        let attempt = self.attempt(DayState::Partial, cause, false);
        // Pods keep their rows only where none of them is missing.
        let stored =
            StoredCosts { total_usd, rows, pods_at: None, pods_read_at: None, ..before.stored };
        DayStatus { stored, other_rows, attempt, ..before }
    }

    fn attempt(self, state: DayState, cause: String, is_pending: bool) -> Attempt {
        Attempt {
            state,
            cause,
            is_pending,
            is_settled: false,
            run_id: self.run_id.to_owned(),
            at_seconds: self.now_seconds,
        }
    }
}

/// Whether a day's costs are still to be computed: a run or a repair of it did not end, or it was
/// not over when it was last computed.
#[must_use]
pub fn is_open(status: &DayStatus) -> bool {
    status.attempt.is_pending || !status.attempt.is_settled
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::stored_form::tests::complete;

    const BY: Repairer<'_> = Repairer { run_id: "x", now_seconds: 7 };

    fn day() -> Day {
        "2026-11-19".parse().unwrap()
    }

    fn repaired(before: Option<DayStatus>, left: (u64, f64)) -> DayStatus {
        let others = OtherRows { rows: 2, total_usd: 0.5 };
        BY.repaired(&AccountId::new("a").unwrap(), day(), before, left, others)
    }

    #[test]
    fn a_pending_day_keeps_its_sums_and_names_the_command() {
        let pending = BY.pending(&complete(day()));
        assert_eq!(pending.stored, complete(day()).stored);
        let attempt = pending.attempt;
        assert_eq!((attempt.state, attempt.is_settled), (DayState::Failed, false));
        assert!(attempt.is_pending && attempt.cause.contains("audit x began"), "{attempt:?}");
        let command = "kubecost-worker backfill --from 2026-11-19 --to 2026-11-19 --account a";
        assert!(attempt.cause.ends_with(command), "{attempt:?}");
    }

    #[test]
    fn a_day_that_lost_rows_has_the_new_sums_and_is_open() {
        for before in [Some(complete(day())), None] {
            let status = repaired(before, (0, 0.0));
            assert_eq!((status.stored.rows, status.stored.total_usd), (0, 0.0));
            assert_eq!(status.other_rows.rows, 2);
            assert_eq!(status.attempt.state, DayState::Partial);
            assert!(is_open(&status) && !status.attempt.is_pending);
            assert!(status.attempt.cause.contains("kubecost-worker backfill"));
        }
    }

    #[test]
    fn a_day_that_has_what_was_stored_is_as_it_was() {
        let status = repaired(Some(complete(day())), (1, 1.0));
        assert_eq!(status.attempt, complete(day()).attempt);
        assert_eq!(status.other_rows.rows, 2);
    }

    #[test]
    fn a_day_that_was_left_half_written_stays_so_with_its_sums() {
        let before = BY.pending(&complete(day()));
        let status = repaired(Some(before.clone()), (0, 0.0));
        assert_eq!((status.stored, status.attempt), (before.stored, before.attempt));
    }
}
