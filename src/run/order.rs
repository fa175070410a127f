//! In which order an account's due days are worked on.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::Day;
use crate::day_status::{AccountDay, DayState};

/// Today, then the oldest day that is due, then yesterday and the others, the newest first: where
/// the newest days use up the account's time, each run still works off one of the old ones. Days
/// that failed before are tried last among the old, so that one that fails in every run does not
/// hold up the others.
pub(super) fn work_order(
    due: &BTreeSet<Day>,
    today: Day,
    records: &BTreeMap<Day, AccountDay>,
) -> Vec<Day> {
    let has_failed =
        |day: &Day| records.get(day).is_some_and(|r| r.state == DayState::Failed && !r.pending);
    let is_old = |day: &&Day| **day < today.previous();
    let oldest = due.iter().filter(is_old).min_by_key(|day| (has_failed(day), **day)).copied();
    let mut order: Vec<Day> =
        due.iter().rev().filter(|day| Some(**day) != oldest).copied().collect();
    if let Some(oldest) = oldest {
        let after_today = order.iter().take_while(|day| **day >= today).count();
        order.insert(after_today, oldest);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::days::tests::record;

    fn day(text: &str) -> Day {
        format!("2026-11-{text}").parse().unwrap()
    }

    fn order(due: &[&str], failed: &[&str]) -> Vec<String> {
        let due = due.iter().map(|text| day(text)).collect();
        let failed = failed.iter().map(|text| {
            let day = day(text);
            (day, AccountDay { state: DayState::Failed, ..record(day) })
        });
        let order = work_order(&due, day("20"), &failed.collect());
        order.iter().map(|day| day.to_string()[8..].to_owned()).collect()
    }

    #[test]
    fn the_oldest_day_comes_right_after_today() {
        assert_eq!(order(&["20", "19", "18", "17", "12"], &[]), ["20", "12", "19", "18", "17"]);
        assert_eq!(order(&["20", "19"], &[]), ["20", "19"]);
        assert_eq!(order(&["20", "19", "18"], &[]), ["20", "18", "19"]);
        assert_eq!(order(&["18", "12"], &[]), ["12", "18"]);
    }

    #[test]
    fn a_day_that_failed_before_does_not_hold_up_the_others() {
        let due = ["20", "19", "18", "17", "12"];
        assert_eq!(order(&due, &["12"]), ["20", "17", "19", "18", "12"]);
        assert_eq!(order(&due, &["12", "17", "18"]), ["20", "12", "19", "18", "17"]);
    }

    #[test]
    fn a_day_that_was_left_half_written_did_not_fail_by_itself() {
        let due = [day("20"), day("19"), day("18"), day("12")].into();
        let half = AccountDay { state: DayState::Failed, pending: true, ..record(day("12")) };
        let records = BTreeMap::from([(half.day, half)]);
        assert_eq!(work_order(&due, day("20"), &records)[1], day("12"));
    }
}
