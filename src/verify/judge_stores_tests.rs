//! Judgements on the stores.

use super::*;
use crate::verify::State;

/// 2026-11-20 12:00:00 UTC.
const NOW: i64 = 1_795_176_000;

#[test]
fn an_account_must_be_live_and_of_our_type() {
    let facts =
        |kind: &str, deleted_at| Ok(Some(AccountFacts { kind: kind.to_owned(), deleted_at }));
    assert_eq!(account(&facts("kubernetes_cnr", Some(0))).state, State::Ok);
    for (facts, part) in [
        (Ok(None), "no document"),
        (facts("aws_cnr", Some(0)), "'aws_cnr'"),
        (facts("kubernetes_cnr", Some(NOW)), "is deleted"),
        (facts("kubernetes_cnr", None), "nobody finds it"),
    ] {
        let finding = account(&facts);
        assert!(finding.state == State::Broken && finding.what.contains(part), "{finding:?}");
    }
}

#[test]
fn clocks_apart_are_told() {
    assert_eq!(mongodb(&Ok(Some(NOW + 5)), NOW).state, State::Ok);
    assert!(mongodb(&Ok(Some(NOW + 500)), NOW).cause.contains("clock"));
}

#[test]
fn rows_are_held_against_their_records() {
    let today = Day::of_unix(NOW);
    let mut record = crate::run::days::tests::record(today);
    (record.rows, record.stored_total_usd, record.updated_at) = (3, 12.5, NOW - 60);
    let good = RowFacts {
        days: vec![(today, 3, 12.5)],
        records: vec![record.clone()],
        ..RowFacts::default()
    };
    assert_eq!(rows(&Ok(good.clone()), NOW).state, State::Ok);
    let in_state =
        |state| RowFacts { records: vec![AccountDay { state, ..record.clone() }], ..good.clone() };
    let mut half_written = in_state(DayState::Failed);
    half_written.records[0].pending = true;
    assert_eq!(rows(&Ok(half_written), NOW).state, State::Ok);
    let (late, failed) = (in_state(DayState::Late), in_state(DayState::Failed));
    let mut old = record;
    old.updated_at = NOW - 10_000;
    for (facts, part) in [
        (RowFacts { days: vec![(today, 3, 11.0)], ..good.clone() }, "another program"),
        (RowFacts { days: vec![], ..good.clone() }, "dropped"),
        (late, "less of the day"),
        (failed, "contradicts itself"),
        (RowFacts { contradictory: 2, ..good.clone() }, "two writers"),
        (RowFacts { orphans: 1, ..good.clone() }, "no cost of them"),
        (RowFacts { records: vec![old], ..good.clone() }, "stands still"),
        (RowFacts { records: vec![], ..good }, "another program wrote"),
        (RowFacts::default(), "no run has stored"),
    ] {
        let finding = rows(&Ok(facts), NOW);
        assert!(finding.state == State::Broken && finding.cause.contains(part), "{finding:?}");
    }
}
