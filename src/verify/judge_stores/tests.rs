//! Judgements on the stores.

use super::*;
use crate::day_status::OtherRows;
use crate::verify::HopState;

/// 2026-11-20 12:00:00 UTC.
const NOW: i64 = 1_795_176_000;

#[test]
fn an_account_must_be_live_and_of_the_type() {
    let facts =
        |kind: &str, deleted_at| Ok(Some(AccountFacts { kind: kind.to_owned(), deleted_at }));
    assert_eq!(account(&facts("kubernetes_cnr", Some(0))).state, HopState::Ok);
    for (facts, part) in [
        (Ok(None), "no document"),
        (facts("aws_cnr", Some(0)), "'aws_cnr'"),
        (facts("kubernetes_cnr", Some(NOW)), "is deleted"),
        (facts("kubernetes_cnr", None), "nobody finds it"),
    ] {
        let finding = account(&facts);
        assert!(finding.state == HopState::Broken && finding.what.contains(part), "{finding:?}");
    }
}

#[test]
fn clocks_apart_are_named() {
    assert_eq!(mongodb(&Ok(Some(NOW + 5)), NOW).state, HopState::Ok);
    assert!(mongodb(&Ok(Some(NOW + 500)), NOW).cause.contains("clock"));
}

#[test]
fn rows_are_held_against_their_records() {
    let today = Day::of_unix(NOW);
    let mut status = crate::day_status::stored_form::tests::complete(today);
    (status.stored.rows, status.stored.total_usd) = (3, 12.5);
    status.attempt.at_seconds = NOW - 60;
    let good = RowFacts {
        days: vec![(today, 3, 12.5)],
        statuses: vec![status.clone()],
        ..RowFacts::default()
    };
    assert_eq!(rows(&Ok(good.clone()), NOW).state, HopState::Ok);
    let mut with_others = good.clone();
    with_others.statuses[0].other_rows = OtherRows { rows: 1, total_usd: 2.5 };
    with_others.days[0] = (today, 4, 15.0);
    assert_eq!(rows(&Ok(with_others), NOW).state, HopState::Ok, "others' rows are recorded too");
    let in_state = |state| {
        let mut status = status.clone();
        status.attempt.state = state;
        RowFacts { statuses: vec![status], ..good.clone() }
    };
    let mut half_written = in_state(DayState::Failed);
    half_written.statuses[0].attempt.is_pending = true;
    assert_eq!(rows(&Ok(half_written.clone()), NOW).state, HopState::Ok);
    half_written.days[0].2 = 11.0;
    let (late, failed) = (in_state(DayState::Late), in_state(DayState::Failed));
    let mut old = status.clone();
    old.attempt.at_seconds = NOW - 10_000;
    for (facts, part) in [
        (RowFacts { days: vec![(today, 3, 11.0)], ..good.clone() }, "another program"),
        (half_written, "ended in the middle"),
        (RowFacts { days: vec![], ..good.clone() }, "dropped"),
        (late, "less of the day"),
        (failed, "contradicts itself"),
        (RowFacts { contradictory: 2, ..good.clone() }, "two writers"),
        (RowFacts { orphans: 1, ..good.clone() }, "no cost of them"),
        (RowFacts { statuses: vec![old], ..good.clone() }, "stands still"),
        (RowFacts { statuses: vec![], ..good }, "another program wrote"),
        (RowFacts::default(), "no run has stored"),
    ] {
        let finding = rows(&Ok(facts), NOW);
        assert!(finding.state == HopState::Broken && finding.cause.contains(part), "{finding:?}");
    }
}
