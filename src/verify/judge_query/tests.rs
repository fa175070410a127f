//! Judgements on the query layer.

use super::*;
use crate::verify::HopState;

const NOW: i64 = 1_795_176_000;

fn of(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(id, time)| ((*id).to_owned(), *time)).collect()
}

fn judged(facts: TenantFacts, source: Option<&TargetFacts>, forced: Option<Phase>) -> HopFinding {
    let known = vec!["a".to_owned(), "b".to_owned()];
    let question = TenantQuestion { account: "a", known: &known, forced, source, now_seconds: NOW };
    tenant(&Ok(facts), question)
}

#[test]
fn a_tenant_is_there_old_or_absent() {
    let fresh = TenantFacts { gauges: of(&[("a", NOW - 30)]), ..TenantFacts::default() };
    assert_eq!(judged(fresh, None, None), HopFinding::ok("phase 2, newest sample 30 s old"));
    let old = TenantFacts { gauges: of(&[("a", NOW - 7_300)]), ..TenantFacts::default() };
    assert!(judged(old, None, None).cause.contains("have stopped"));
    let none = judged(TenantFacts::default(), None, None);
    assert!(none.cause.contains("sends nothing"), "{none:?}");
    let others = TenantFacts { gauges: of(&[("b", NOW), ("x", NOW)]), ..TenantFacts::default() };
    let mismatch = judged(others, None, None);
    assert!(mismatch.what.contains("'x'") && mismatch.cause.contains("header"), "{mismatch:?}");
    let accounts_only = TenantFacts { gauges: of(&[("b", NOW)]), ..TenantFacts::default() };
    assert!(judged(accounts_only, None, None).cause.contains("sends nothing"));
}

#[test]
fn gauges_that_do_not_arrive_are_blamed_on_the_keep_regex() {
    let source = TargetFacts { gauge_tenants: vec!["a".to_owned()], ..TargetFacts::default() };
    let raw = TenantFacts { raw: of(&[("a", NOW)]), ..TenantFacts::default() };
    assert!(judged(raw.clone(), Some(&source), None).cause.contains("keep-regex"));
    assert!(judged(TenantFacts::default(), Some(&source), None).cause.contains("keep-regex"));
    assert!(judged(raw.clone(), None, Some(Phase::Exporter)).what.contains("PHASE=2"));
    assert_eq!(judged(raw, None, None).state, HopState::Ok);
}

#[test]
fn an_exporter_of_another_account_is_seen_under_the_account_s_header() {
    let fresh = TenantFacts { gauges: of(&[("a", NOW)]), ..TenantFacts::default() };
    let with = |ids: &[&str]| TenantFacts {
        exporters_of: ids.iter().map(|id| (*id).to_owned()).collect(),
        ..fresh.clone()
    };
    let found = judged(with(&["b"]), None, None);
    assert!(found.what.contains("'b'") && found.cause.contains("TENANT_ID"), "{found:?}");
    assert_eq!(judged(with(&["a", "b"]), None, None).state, HopState::Broken, "one of two");
    assert_eq!(judged(with(&["a"]), None, None).state, HopState::Ok);
    assert_eq!(judged(with(&[]), None, None).state, HopState::Ok, "earlier exporters");
}

#[test]
fn renamed_labels_of_the_metrics_that_are_read_are_named() {
    let renamed = |name: &str| vec![name.to_owned()];
    let gauges = TenantFacts {
        gauges: of(&[("a", NOW)]),
        renamed: renamed("cloudtuner_kubecost_namespace_total_cost"),
        ..TenantFacts::default()
    };
    let found = judged(gauges.clone(), None, None);
    assert!(found.fix.contains("honor_labels: true"), "{found:?}");
    let raw = TenantFacts {
        raw: of(&[("a", NOW)]),
        renamed: renamed("container_cpu_allocation"),
        ..TenantFacts::default()
    };
    assert!(judged(raw.clone(), None, None).what.contains("container_cpu_allocation"));
    let unread = TenantFacts { renamed: raw.renamed, ..gauges };
    assert_eq!(judged(unread, None, None).state, HopState::Ok);
}

#[test]
fn windows_are_fresh_old_or_of_the_future() {
    let judged = |end: i64| lag(&Ok(vec![(end, 3_600)]), Some(Phase::Exporter), NOW);
    assert_eq!(judged(NOW - 3_900).state, HopState::Ok);
    assert!(judged(NOW - 20_000).cause.contains("old answer"));
    assert!(judged(NOW + 3_600).cause.contains("clock"));
    assert_eq!(lag(&Ok(Vec::new()), Some(Phase::Raw), NOW).state, HopState::Ok);
}

#[test]
fn a_clock_that_is_off_is_seen_by_the_server_s_date() {
    let result = |server| Ok(InstantResult { series: Vec::new(), server_seconds: server });
    assert_eq!(reachable(&result(Some(NOW - 60)), NOW).state, HopState::Ok);
    assert_eq!(reachable(&result(None), NOW).state, HopState::Ok);
    assert!(reachable(&result(Some(NOW + 600)), NOW).cause.contains("clock"));
}
