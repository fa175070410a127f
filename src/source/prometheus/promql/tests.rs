//! Expressions, word for word.

use super::*;
use crate::source::metric_names::{CLUSTER_TOTAL, POD_TOTAL};
use proptest::prelude::*;

#[test]
fn what_stands_for_the_first_minute_is_looked_at_and_no_offset_is_zero() {
    let bad = |start, end| Selector::default().bad_samples("m", &[], Window { start, end });
    assert!(
        bad(0, 86_400).ends_with("or (m{} offset 86399s * 0 != 0) or (m{} offset 86399s * 1 < 0)")
    );
    assert!(bad(30, 3_600).contains("m{} offset 3539s "), "the first minute is the next whole one");
    for (start, end) in [(0, 1), (1, 60)] {
        assert!(!bad(start, end).contains("offset"), "{}", bad(start, end));
    }
}

#[test]
fn the_extent_of_samples_is_that_of_all_series_together() {
    let tenant = Some(("t".to_owned(), "a".to_owned()));
    let selector = Selector { tenant, ..Selector::default() };
    let asked = selector.extent("m", &["n=\"b\""], Window { start: 0, end: 60 });
    let samples = r#"m{t="a",n="b"}[59500ms]"#;
    let sum = format!("sum by (t) (sum_over_time({samples}))");
    let least = format!("clamp_max(min by (t) (min_over_time({samples})), 0)");
    let wanted = format!(
        r#"label_replace({sum}, "extent_", "sum", "", "") or label_replace({least}, "extent_", "least", "", "")"#
    );
    assert_eq!(asked, wanted);
}

#[test]
fn of_one_pod_only_metrics_of_pods_are_narrowed() {
    let only_pod = Some(("shop".to_owned(), "we\"b".to_owned()));
    let selector = Selector { only_pod, ..Selector::default() };
    assert_eq!(selector.stored(CLUSTER_TOTAL, &[]), format!("{CLUSTER_TOTAL}{{}}"));
    let wanted = format!("{POD_TOTAL}{{a=\"b\",namespace=\"shop\",pod=\"we\\\"b\"}}");
    assert_eq!(selector.stored(POD_TOTAL, &["a=\"b\""]), wanted);
}

#[test]
fn a_day_has_1440_minutes_wherever_it_begins() {
    for shift in [0, 1, 30, 59, 60, 3_723] {
        let start = 1_795_132_800 + shift;
        assert_eq!(Window { start, end: start + 86_400 }.minutes(), 1_440, "{shift}");
    }
    assert_eq!(Window { start: 60, end: 61 }.minutes(), 1);
    assert_eq!(Window { start: 61, end: 120 }.minutes(), 0);
    assert_eq!(Window { start: 120, end: 60 }.minutes(), 0);
}

#[test]
fn the_left_bound_is_between_grid_points() {
    let window = Window { start: 86_400, end: 172_800 };
    assert_eq!(window.evaluation_time(), 172_799);
    assert_eq!(window.range(), "86399500ms");
}

#[test]
fn quotes_cannot_leave_their_string() {
    assert_eq!(quoted("a\"} or vector(1)\n\\"), r#""a\"} or vector(1)\n\\""#);
    assert_eq!(regex_escaped("a.b|c"), r"a\.b\|c");
}

#[test]
fn a_cluster_with_and_without_its_label_is_one() {
    let selector = Selector { named_and_unnamed: Some("p$1".into()), ..Selector::default() };
    assert_eq!(
        selector.raw("m", &["a=\"b\""]),
        r#"(m{a="b",cluster!=""} or label_replace(m{a="b",cluster=""}, "cluster", "p$$1", "", ""))"#
    );
    assert_eq!(selector.stored("m", &[]), "m{}");
}

#[test]
fn clusters_are_named_by_the_label_that_is_set() {
    let selector = Selector { cluster_label: Some("k8s".into()), ..Selector::default() };
    assert_eq!(selector.max_by(&["node"], "m"), "max by (k8s, node) (m)");
    assert_eq!(selector.raw("m", &[]), "m{}");
}

#[test]
fn series_without_cluster_are_named_by_their_cluster_id() {
    let mut selector = Selector { mixes_cluster_labels: true, ..Selector::default() };
    assert_eq!(
        selector.over_time("count_over_time", "m", &["a=\"b\""], "5m"),
        r#"(count_over_time(m{a="b",cluster!=""}[5m]) or label_replace(count_over_time(m{a="b",cluster=""}[5m]), "cluster", "$1", "cluster_id", "(.+)"))"#
    );
    selector.named_and_unnamed = Some("d".into());
    let raw = selector.raw("m", &[]);
    let default = raw.find(r#""cluster", "d""#).unwrap();
    assert!(default < raw.find("cluster_id").unwrap(), "the id comes last: {raw}");
}

#[test]
fn clusters_are_matched_literally() {
    let of = |names: &[&str], default_cluster| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let clusters = Some(ClusterNames::new(names, default_cluster));
        Selector { clusters, ..Selector::default() }.raw("m", &[])
    };
    assert_eq!(of(&["a.b", ""], ""), r#"m{cluster=~"a\\.b|"}"#);
    assert_eq!(of(&["a", "b"], "b"), r#"m{cluster=~"a|b|"}"#);
    assert_eq!(of(&["a", "b"], ""), r#"m{cluster=~"a|b"}"#);
}

#[test]
fn clusters_that_another_label_names_are_found_by_it() {
    let clusters = Some(ClusterNames::new(vec!["east".to_owned()], "d"));
    let selector = Selector { mixes_cluster_labels: true, clusters, ..Selector::default() };
    assert_eq!(
        selector.raw("m", &[]),
        r#"(m{cluster=~"east|",cluster!=""} or label_replace(m{cluster=~"east|",cluster="",cluster_id=~"east"}, "cluster", "$1", "cluster_id", "(.+)"))"#
    );
    let clusters = Some(ClusterNames::new(vec!["d".to_owned()], "d"));
    let default = Selector { clusters, ..selector };
    assert!(default.raw("m", &[]).contains(r#"cluster="",cluster_id=~"d|""#));
}

#[test]
fn a_selector_keeps_to_its_tenant() {
    let selector = Selector {
        tenant: Some(("tenant_id".into(), "acc".into())),
        matchers: vec!["cluster=~\"x\"".into()],
        filtered: ["m".to_owned()].into(),
        ..Selector::default()
    };
    assert_eq!(selector.raw("m", &["a=\"b\""]), r#"m{tenant_id="acc",cluster=~"x",a="b"}"#);
    assert_eq!(selector.of("m", &[]), r#"(m{tenant_id="acc",cluster=~"x"} >= 0 < +Inf)"#);
    assert_eq!(selector.labels(&["pod"]), "tenant_id, cluster, pod");
    assert_eq!(Selector::default().raw("m", &[]), "m{}");
}

#[test]
fn gauges_are_taken_by_what_their_exporter_says_of_its_window() {
    let with = |sources| Selector { sources, ..Selector::default() }.raw(CLUSTER_TOTAL, &[]);
    let end = "cloudtuner_kubecost_window_end_timestamp_seconds{}";
    let gauge = "cloudtuner_kubecost_cluster_total_cost{}";
    let ignoring = "ignoring (namespace, pod, node, service, currency, mode)";
    assert_eq!(with(Sources::All), gauge);
    assert_eq!(with(Sources::Windowless), format!("({gauge} unless {ignoring} {end})"));
    assert_eq!(with(Sources::Windowed), format!("({gauge} and {ignoring} {end})"));
    let newest = format!("{end} == on (cluster) group_left () max by (cluster) ({end})");
    assert_eq!(with(Sources::Newest), format!("({gauge} and {ignoring} ({newest}))"));
    let windowless = Selector { sources: Sources::Windowless, ..Selector::default() };
    assert_eq!(windowless.raw("other", &[]), "other{}");
}

#[test]
fn gauges_of_some_pods_are_held_against_the_windows_of_all() {
    let selector = Selector {
        matchers: vec!["pod=~\"a|b\"".into()],
        sources: Sources::Windowless,
        ..Selector::default()
    };
    assert_eq!(
        selector.raw(POD_TOTAL, &[]),
        "(cloudtuner_kubecost_pod_total_cost{pod=~\"a|b\"} unless ignoring (namespace, pod, node, \
         service, currency, mode) cloudtuner_kubecost_window_end_timestamp_seconds{})"
    );
}

#[test]
fn pieces_of_a_window_are_added_up_by_the_server() {
    let window = Window { start: 0, end: 7_200 };
    assert_eq!(integral_in_pieces("m{}", window, 1), integral("m{}", window));
    assert_eq!(
        integral_in_pieces("m{}", window, 2),
        "sum without (__piece__) (\
         label_replace(sum_over_time((m{})[3599500ms:60s] offset 3600s), \"__piece__\", \"0\", \"\", \"\") \
         or label_replace(sum_over_time((m{})[3599500ms:60s]), \"__piece__\", \"1\", \"\", \"\")) / 60"
    );
}

#[test]
fn other_currencies_are_converted_where_they_are_read() {
    let selector = Selector {
        conversions: vec![("EUR".into(), 1.25), ("J.Y".into(), 0.5)],
        offset_seconds: 120,
        ..Selector::default()
    };
    assert_eq!(
        selector.raw(POD_TOTAL, &["a=\"b\""]),
        r#"(cloudtuner_kubecost_pod_total_cost{a="b",currency!~"EUR|J\\.Y"} offset 120s or cloudtuner_kubecost_pod_total_cost{a="b",currency="EUR"} offset 120s * 1.25 or cloudtuner_kubecost_pod_total_cost{a="b",currency="J.Y"} offset 120s * 0.5)"#
    );
    assert_eq!(selector.raw("other", &[]), "other{} offset 120s");
}

proptest! {
    #[test]
    fn splitting_keeps_every_minute_once(
        start in 0i64..10_000_000, length in 1i64..200_000, count in 1u32..40,
    ) {
        let window = Window { start, end: start + length };
        let parts = window.split(count);
        let minutes: u32 = parts.iter().map(|part| part.minutes()).sum();
        prop_assert_eq!(minutes, window.minutes());
        prop_assert_eq!(parts.first().unwrap().start, window.start);
        prop_assert_eq!(parts.last().unwrap().end, window.end);
    }
}
