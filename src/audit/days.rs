//! What is wrong with days as a whole: their status against the ledger, and whether it is finished.

use std::collections::BTreeMap;

use crate::cost::{AccountId, Day};
use crate::day_status::DayStatus;
use crate::run::reconcile::DayDifference;

use super::day_record::{backfill_command, is_open};
use super::kinds::{Finding, FindingKind, RepairedBy, StoredState};

/// Days that no run computes again by itself, and whose costs are still to be computed.
pub(super) fn unfinished_days(account: &AccountId, stored: &StoredState) -> Vec<Finding> {
    let Some(caught_up_from) = stored.caught_up_from else { return Vec::new() };
    let old = stored.statuses.range(..caught_up_from).map(|(_, status)| status);
    old.filter(|status| is_open(status)).map(|status| unfinished(account, status)).collect()
}

fn unfinished(account: &AccountId, status: &DayStatus) -> Finding {
    let attempt = &status.attempt;
    let state = attempt.state.as_str();
    let what = if attempt.cause.is_empty() {
        format!("the day was not over when it was computed ({state})")
    } else {
        format!("its costs are still to be computed ({state}): {}", attempt.cause)
    };
    finding(account, FindingKind::DayUnfinished, status.day, 0.0, what)
}

/// Days whose rows are not what was stored. Where rows of the day are to be repaired or adopted, that
/// comes first: it writes what is left into the day's status. `rows` are the findings about rows.
pub(super) fn differing_days(
    account: &AccountId,
    stored: &StoredState,
    rows: &[Finding],
) -> Vec<Finding> {
    let mut repaired: BTreeMap<Day, RepairedBy> = BTreeMap::new();
    for (day, by) in rows.iter().filter_map(|row| Some((row.day?, row.repaired_by))) {
        let first = repaired.entry(day).or_insert(by);
        *first = by.min(*first);
    }
    let one = |difference: &DayDifference| {
        let by = repaired.get(&difference.day).copied().unwrap_or(RepairedBy::Backfill);
        Finding { repaired_by: by, ..differing(account, difference) }
    };
    stored.differences.iter().map(one).collect()
}

fn differing(account: &AccountId, difference: &DayDifference) -> Finding {
    let DayDifference { day, status_usd, ledger_usd, status_rows, ledger_rows } = *difference;
    let command = backfill_command(account, day, day);
    let what = format!(
        "the ledger has ${ledger_usd} in {ledger_rows} rows, but ${status_usd} in {status_rows} \
         rows were stored; the day has to be computed again: {command}"
    );
    finding(account, FindingKind::LedgerDiffers, day, status_usd - ledger_usd, what)
}

fn finding(account: &AccountId, kind: FindingKind, day: Day, usd: f64, what: String) -> Finding {
    Finding::of_no_row(account, kind, ("", Some(day)), usd, what)
}

/// Leaves the costs of documents to the backfill of the days that are wrong: the ledger lacks costs of
/// these, and a document that was set to the ledger's would hide that.
pub(super) fn keep_document_costs(findings: &mut [Finding]) {
    let is_wrong = |one: &Finding| one.kind.is_of_day() && one.repaired_by != RepairedBy::Fix;
    if !findings.iter().any(is_wrong) {
        return;
    }
    for one in findings.iter_mut().filter(|one| one.kind.is_of_document_cost()) {
        one.repaired_by = RepairedBy::Backfill;
        one.what
            .push_str("; it stays until the days are right whose rows differ or are unfinished");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::day_status::DayState;
    use crate::day_status::stored_form::tests::complete;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    fn account() -> AccountId {
        AccountId::new("a").unwrap()
    }

    #[test]
    fn open_days_that_no_run_looks_after_are_named_with_their_cause() {
        let mut pending = complete(day("2026-08-01"));
        (pending.attempt.is_pending, pending.attempt.state) = (true, DayState::Failed);
        pending.attempt.cause = "audit x began".to_owned();
        let mut running = complete(day("2026-08-02"));
        running.attempt.is_settled = false;
        let mut recent = pending.clone();
        recent.day = day("2026-11-01");
        let days = [pending, running, complete(day("2026-08-03")), recent];
        let stored = StoredState {
            statuses: days.map(|status| (status.day, status)).into(),
            caught_up_from: Some(day("2026-10-16")),
            ..StoredState::default()
        };
        let found = unfinished_days(&account(), &stored);
        let named: Vec<String> = found.iter().map(|one| one.day.unwrap().to_string()).collect();
        assert_eq!(named, ["2026-08-01", "2026-08-02"]);
        assert!(found[0].what.ends_with("(failed): audit x began"), "{}", found[0].what);
        assert!(found[1].what.contains("was not over"), "{}", found[1].what);
    }

    fn of_kind(kind: FindingKind, on: &str) -> Finding {
        finding(&account(), kind, day(on), 1.0, "why".to_owned())
    }

    #[test]
    fn a_day_that_differs_is_backfilled_unless_its_rows_are_repaired_first() {
        let difference = |on: &str| DayDifference {
            day: day(on),
            status_usd: 240.0,
            ledger_usd: 96.5,
            status_rows: 2,
            ledger_rows: 1,
        };
        let days = ["2026-08-01", "2026-08-02", "2026-08-03"];
        let differences = days.map(difference).to_vec();
        let stored = StoredState { differences, ..StoredState::default() };
        let rows = [
            of_kind(FindingKind::EarlierWorker, "2026-08-02"),
            of_kind(FindingKind::Sign, "2026-08-02"),
            of_kind(FindingKind::EarlierWorker, "2026-08-03"),
        ];
        let found = differing_days(&account(), &stored, &rows);
        let by: Vec<RepairedBy> = found.iter().map(|one| one.repaired_by).collect();
        assert_eq!(by, [RepairedBy::Backfill, RepairedBy::Fix, RepairedBy::Adopt]);
        assert_eq!(found[0].usd, 143.5);
        let what = &found[0].what;
        assert!(what.contains("$96.5 in 1 rows, but $240 in 2 rows were stored"), "{what}");
        assert!(what.contains("backfill --from 2026-08-01 --to 2026-08-01"), "{what}");
    }

    #[test]
    fn documents_keep_their_costs_while_a_day_is_wrong() {
        use FindingKind::{DayUnfinished, DocumentCost, DocumentUnreadable, DocumentWithoutRows};
        let by = |days: &[Finding]| {
            let documents = [DocumentCost, DocumentWithoutRows, DocumentUnreadable];
            let documents = documents.map(|kind| of_kind(kind, "2026-08-01"));
            let mut all = [days, &documents[..]].concat();
            keep_document_costs(&mut all);
            all[days.len()..].iter().map(|one| one.repaired_by).collect::<Vec<_>>()
        };
        let fix = RepairedBy::Fix;
        let kept = [RepairedBy::Backfill, RepairedBy::Backfill, fix];
        assert_eq!(by(&[]), [fix; 3]);
        assert_eq!(by(&[of_kind(DayUnfinished, "2026-08-01")]), kept);
        let mut differs = of_kind(FindingKind::LedgerDiffers, "2026-08-01");
        assert_eq!(by(&[differs.clone()]), kept);
        // The repair of the day's rows writes what is left into its status.
        differs.repaired_by = fix;
        assert_eq!(by(&[differs]), [fix; 3]);
    }
}
