//! The ledger has one currency: costs of another are converted by a known rate, or refused.

use std::io::Write as _;

use crate::support::exporters::{
    ACCOUNT, Case, Earlier, LIFE, Windowed, assert_share, closed, labels, rate,
};
use crate::support::metrics::History;
use crate::support::world::{HOUR, MARCH};

fn exporter(history: &mut History, more: &str, usd: f64) {
    let end = |time: i64| closed(time, HOUR);
    let exporter = Windowed { more: "", life: LIFE, length: HOUR, end: &end, is_total: false };
    let cost = rate(usd);
    Windowed { more, ..exporter }.put(history, &[("shop", &cost)]);
}

fn rates(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn costs_of_another_currency_are_refused_by_name() {
    let mut history = History::default();
    exporter(&mut history, ",currency=\"EUR\"", 1.0);
    let case = Case::new(history, &[]);
    let refused = case.first_day();
    assert_eq!(refused.code, 1);
    let summary = refused.summary().to_string();
    for part in ["EUR", "USD", "'prod'", "EXCHANGE_RATES_FILE"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    assert!(case.stored(MARCH).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledgers_own_currency_is_what_it_is_set_to() {
    let mut history = History::default();
    exporter(&mut history, ",currency=\"EUR\"", 1.0);
    let case = Case::new(history, &[("CURRENCY", "EUR")]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 24.0, 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_currencies_add_up_by_the_days_rate_only() {
    let history = || {
        let mut history = History::default();
        let metric = "cloudtuner_kubecost_cluster_total_cost";
        let other = format!("tenant_id=\"{ACCOUNT}\",cluster=\"us-1\",currency=\"USD\"");
        history.every_minute(metric, &other, 0, LIFE, |_| Some(2.0));
        exporter(&mut history, ",currency=\"EUR\"", 1.0);
        history
    };
    let late = rates("[EUR]\n2026-03-02 = 1.5\n");
    let case = Case::new(history(), &[("EXCHANGE_RATES_FILE", late.path().to_str().unwrap())]);
    assert_eq!(case.first_day().code, 1);
    assert!(case.stored(MARCH).is_empty());
    let known = rates("[EUR]\n2026-02-01 = 1.25\n2026-03-02 = 1.5\n");
    let case = Case::new(history(), &[("EXCHANGE_RATES_FILE", known.path().to_str().unwrap())]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 24.0 * (1.25 + 2.0), 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exporter_that_is_told_its_currency_at_noon_costs_once() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    let noon = MARCH + 12 * HOUR + 60;
    let cost = rate(2.0);
    for (more, life) in [("", (LIFE.0, noon)), (",currency=\"USD\"", (noon, LIFE.1))] {
        let exporter = Windowed { more, life, length: HOUR, end: &end, is_total: false };
        exporter.put(&mut history, &[("shop", &cost)]);
    }
    let case = Case::new(history, &[]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 48.0, 1e-6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_exporters_currency_is_converted_too() {
    let mut history = History::default();
    let cost = rate(2.0);
    let earlier = Earlier {
        more: ",currency=\"GBP\"",
        life: LIFE,
        hours: 1,
        has_info: true,
        has_zeros: true,
        shows_idle: true,
    };
    earlier.put(&mut history, &[("shop", &cost)], &[]);
    let file = rates("[GBP]\n2026-02-01 = 1.25\n");
    let case = Case::new(history, &[("EXCHANGE_RATES_FILE", file.path().to_str().unwrap())]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 60.0, 1e-4);
    assert!(case.url().starts_with("http") && labels("").contains(ACCOUNT));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_currency_that_comes_on_the_next_day_is_none_of_this_one() {
    let mut history = History::default();
    let changed = MARCH + 33 * HOUR;
    for (more, life) in [("", (LIFE.0, changed)), (",currency=\"EUR\"", (changed, LIFE.1))] {
        let end = |time: i64| closed(time, HOUR);
        let cost = rate(1.0);
        Windowed { more, life, length: HOUR, end: &end, is_total: false }
            .put(&mut history, &[("shop", &cost)]);
    }
    let known = rates("[EUR]\n2026-03-02 = 1.5\n");
    let case = Case::new(history, &[("EXCHANGE_RATES_FILE", known.path().to_str().unwrap())]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 24.0, 1e-6);
}
