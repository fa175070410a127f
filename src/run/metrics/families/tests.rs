//! What a run's summary says as metrics.

use super::*;
use crate::accounts::Account;
use crate::cost::AccountId;
use crate::day_status::stored_form::tests::complete;
use crate::run::metrics::exposition::openmetrics;
use crate::run::summary::FailureSummary;
use crate::service::failure::{Failure, Hop, Kind};
use crate::source::Warning;

/// 2026-11-20 12:00:00 UTC.
const NOON: i64 = 1_795_176_000;

fn day(name: &str, state: DayState, source_usd: f64, stored_usd: f64) -> DaySummary {
    DaySummary {
        day: name.parse().unwrap(),
        state,
        cause: String::new(),
        phase: Some(2),
        covered_minutes: 360,
        expected_minutes: 720,
        lag_seconds: 3_900,
        source_total_usd: source_usd,
        stored_total_usd: stored_usd,
        rows: 3,
        rows_written: 2,
        keys_changed: 1,
        keys_healed: 0,
        documents_written: 1,
        contradictions: 2,
        warnings: Vec::new(),
        reconciliation_difference_usd: match state {
            DayState::Ok | DayState::Partial => (source_usd - stored_usd).abs(),
            _ => 0.0,
        },
    }
}

fn account(id: &str, outcome: Outcome, days: Vec<DaySummary>) -> AccountSummary {
    let account = Account::unnamed(AccountId::new(id).unwrap());
    let reconciliation_difference_usd = days.iter().map(|d| d.reconciliation_difference_usd).sum();
    AccountSummary {
        account,
        outcome,
        failure: None,
        days,
        settled_yesterday: None,
        nodes: crate::rest_api::TabNodes::default(),
        documents_retired: 0,
        days_left: 0,
        newest_day: Some(Judged {
            day: "2026-11-19".parse().unwrap(),
            spike_usd: 7.5,
            drop_usd: 0.0,
        }),
        reconciliation_differences: 0,
        reconciliation_difference_usd,
    }
}

fn run(accounts: Vec<AccountSummary>) -> RunSummary {
    let mut summary = RunSummary {
        run_id: "r".to_owned(),
        started_at: NOON,
        duration_ms: 2_500,
        dry_run: false,
        exit_code: 0,
        accounts_done: 0,
        accounts_failed: 0,
        accounts_skipped: 0,
        accounts_left: 0,
        rows_written: 0,
        documents_written: 0,
        failure: None,
        reconciliation_differences: 0,
        reconciliation_difference_usd: 0.0,
        rest_api_failures: 0,
        warnings: Vec::new(),
        accounts,
    };
    summary.finalize();
    summary
}

fn text(summary: &RunSummary, totals: &mut Totals) -> String {
    totals.add(summary);
    openmetrics(families(Some(summary), totals)).unwrap()
}

#[test]
fn yesterday_is_shown_as_it_is_stored_where_it_rests() {
    let mut status = complete(Day::of_unix(NOON).previous());
    status.stored.coverage.covered_minutes = 360;
    let settled_yesterday = Some(DaySummary::of_status(&status));
    let account = AccountSummary { settled_yesterday, ..account("a", Outcome::Ok, Vec::new()) };
    let text = text(&run(vec![account]), &mut Totals::default());
    for line in [
        "kubecost_worker_coverage_ratio{cloud_account_id=\"a\",day=\"yesterday\"} 0.25",
        "kubecost_worker_day_cost_usd{cloud_account_id=\"a\",day=\"yesterday\"} 1.0",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
}

#[test]
fn a_good_run_says_all_there_is_to_say() {
    let days = vec![
        day("2026-11-20", DayState::Ok, 12.0, 12.0),
        day("2026-11-19", DayState::Ok, 24.0, 23.5),
    ];
    let text = text(&run(vec![account("a", Outcome::Ok, days)]), &mut Totals::default());
    for line in [
        "kubecost_worker_run_last_success_timestamp_seconds 1795176002.0",
        "kubecost_worker_run_duration_seconds 2.5",
        "kubecost_worker_runs_total{outcome=\"ok\"} 1.0",
        "kubecost_worker_accounts{outcome=\"ok\"} 1.0",
        "kubecost_worker_accounts{outcome=\"failed\"} 0.0",
        "kubecost_worker_account_state{cloud_account_id=\"a\",state=\"ok\"} 1.0",
        "kubecost_worker_account_state{cloud_account_id=\"a\",state=\"no-data\"} 0.0",
        "kubecost_worker_rows_written_total 4.0",
        "kubecost_worker_documents_written_total 2.0",
        "kubecost_worker_coverage_ratio{cloud_account_id=\"a\",day=\"today\"} 0.5",
        "kubecost_worker_coverage_ratio{cloud_account_id=\"a\",day=\"yesterday\"} 0.5",
        "kubecost_worker_day_cost_usd{cloud_account_id=\"a\",day=\"yesterday\"} 23.5",
        "kubecost_worker_reconciliation_difference_usd{cloud_account_id=\"a\"} 0.5",
        "kubecost_worker_source_contradictions{cloud_account_id=\"a\"} 4.0",
        "kubecost_worker_day_anomaly_usd{cloud_account_id=\"a\",kind=\"spike\"} 7.5",
        "kubecost_worker_day_anomaly_usd{cloud_account_id=\"a\",kind=\"drop\"} 0.0",
        "kubecost_worker_source_lag_seconds{cloud_account_id=\"a\"} 3900.0",
        "expenses_last_insert_time{cloud_account_id=\"a\",cloud_account_type=\"kubernetes_cnr\"} 1795176002.0",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
    assert!(text.contains("kubecost_worker_build_info{version="), "{text}");
}

#[test]
fn a_run_succeeds_or_not_whatever_an_exit_code_makes_of_failed_accounts() {
    let failed = || account("a", Outcome::Failed, Vec::new());
    let done = || account("b", Outcome::Partial, Vec::new());
    let skipped = || account("c", Outcome::Skipped, Vec::new());
    let mut down = run(Vec::new());
    down.abort(&Failure::new(Hop::MongoDb, Kind::Unavailable, "no answer", "wait"));
    let mut stopped = run(Vec::new());
    stopped.accounts_left = 2;
    for (what, mut summary, is_success) in [
        ("one of two accounts fails", run(vec![failed(), done()]), true),
        ("all accounts fail", run(vec![failed(), failed()]), false),
        ("one fails, somebody else writes the other", run(vec![failed(), skipped()]), false),
        ("somebody else writes all of them", run(vec![skipped()]), true),
        ("there are no accounts", run(Vec::new()), true),
        ("MongoDB is down", down, false),
        ("stopped before the first account", stopped, false),
    ] {
        for exit_code in [0, 1] {
            summary.exit_code = exit_code;
            let mut totals = Totals::default();
            totals.add(&summary);
            assert_eq!(totals.last_success.is_some(), is_success, "{what}, code {exit_code}");
        }
    }
}

#[test]
fn a_failed_run_keeps_the_time_of_the_last_good_one() {
    let mut totals = Totals::default();
    text(
        &run(vec![account("a", Outcome::Ok, vec![day("2026-11-20", DayState::Ok, 1.0, 1.0)])]),
        &mut totals,
    );
    let failure =
        Failure::new(Hop::QueryLayer, Kind::BadData, "a cost below zero", "see the source");
    let mut failed = account("a", Outcome::Failed, Vec::new());
    failed.failure = Some(FailureSummary::from(&failure));
    let mut later = run(vec![failed]);
    later.started_at += 300;
    let text = text(&later, &mut totals);
    for line in [
        "kubecost_worker_run_last_success_timestamp_seconds 1795176002.0",
        "kubecost_worker_runs_total{outcome=\"failed\"} 1.0",
        "kubecost_worker_runs_total{outcome=\"ok\"} 1.0",
        "kubecost_worker_failures_total{hop=\"query-layer\",kind=\"bad-data\"} 1.0",
        "kubecost_worker_account_state{cloud_account_id=\"a\",state=\"failed\"} 1.0",
        "expenses_last_insert_time{cloud_account_id=\"a\",cloud_account_type=\"kubernetes_cnr\"} 1795176002.0",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
}

#[test]
fn no_data_is_told_from_gaps_and_a_kept_day_is_no_difference() {
    let none = account("a", Outcome::Partial, vec![day("2026-11-20", DayState::NoData, 0.0, 0.0)]);
    let gaps = account(
        "b",
        Outcome::Partial,
        vec![
            day("2026-11-20", DayState::Partial, 5.0, 5.0),
            day("2026-11-19", DayState::Late, 1.0, 9.0),
        ],
    );
    let text = text(&run(vec![none, gaps]), &mut Totals::default());
    for line in [
        "kubecost_worker_account_state{cloud_account_id=\"a\",state=\"no-data\"} 1.0",
        "kubecost_worker_account_state{cloud_account_id=\"a\",state=\"partial\"} 0.0",
        "kubecost_worker_account_state{cloud_account_id=\"b\",state=\"partial\"} 1.0",
        "kubecost_worker_reconciliation_difference_usd{cloud_account_id=\"b\"} 0.0",
    ] {
        assert!(text.lines().any(|got| got == line), "{line}\n{text}");
    }
    assert!(!text.contains("difference_usd{cloud_account_id=\"a\"}"), "{text}");
}

#[test]
fn before_the_first_run_there_is_the_version_and_no_success() {
    let text = openmetrics(families(None, &Totals::default())).unwrap();
    assert!(text.contains("build_info") && !text.contains("last_success"), "{text}");
    assert!(!text.contains("kubecost_worker_accounts"), "{text}");
}

#[test]
fn warnings_are_counted_by_what_they_are_about_and_days_by_state() {
    let mut approximate = day("2026-11-20", DayState::Approximate, 10.0, 10.0);
    approximate.warnings = vec![
        Warning::new(WarningKind::Folded, "7 resources"),
        Warning::new(WarningKind::ForeignRows, "2 rows"),
        "a".to_owned().into(),
        "b".to_owned().into(),
    ];
    let sound = day("2026-11-19", DayState::Ok, 10.0, 10.0);
    let refused = Failure::query(Kind::Currency, "in EUR".to_owned(), "give rates");
    let mut summary = run(vec![
        account("a", Outcome::Partial, vec![approximate, sound]),
        account("b", Outcome::Failed, Vec::new()),
    ]);
    summary.accounts[1].failure = Some(FailureSummary::from(&refused));
    let text = text(&summary, &mut Totals::default());
    for wanted in [
        "account_warnings{cloud_account_id=\"a\",kind=\"folded\"} 1.0",
        "account_warnings{cloud_account_id=\"a\",kind=\"foreign-rows\"} 1.0",
        "account_warnings{cloud_account_id=\"a\",kind=\"currency\"} 0.0",
        "account_warnings{cloud_account_id=\"a\",kind=\"other\"} 2.0",
        "account_warnings{cloud_account_id=\"b\",kind=\"currency\"} 1.0",
        "account_day_states{cloud_account_id=\"a\",state=\"approximate\"} 1.0",
        "account_day_states{cloud_account_id=\"a\",state=\"ok\"} 1.0",
    ] {
        let wanted = format!("kubecost_worker_{wanted}");
        assert!(text.lines().any(|line| line == wanted), "{wanted}: {text}");
    }
}
