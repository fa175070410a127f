//! What is wrong with days as a whole, by their status.

use crate::cost::AccountId;
use crate::day_status::DayStatus;

use super::day_record::is_open;
use super::kinds::{Finding, FindingKind, StoredState};

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
    let kind = FindingKind::DayUnfinished;
    Finding {
        account: account.clone(),
        kind,
        repaired_by: kind.repaired_by(),
        resource_id: String::new(),
        date_seconds: None,
        day: Some(status.day),
        usd: 0.0,
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Day;
    use crate::day_status::DayState;
    use crate::day_status::stored_form::tests::complete;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
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
        let account = AccountId::new("a").unwrap();
        let found = unfinished_days(&account, &stored);
        let named: Vec<String> = found.iter().map(|one| one.day.unwrap().to_string()).collect();
        assert_eq!(named, ["2026-08-01", "2026-08-02"]);
        assert!(found[0].what.ends_with("(failed): audit x began"), "{}", found[0].what);
        assert!(found[1].what.contains("was not over"), "{}", found[1].what);
    }
}
