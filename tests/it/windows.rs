//! A window is billed once, however long its gauges are shown: gauges are of windows, and a day's
//! cost is that of the windows which cover it.

use crate::support::exporters::{
    AT, Case, LIFE, Windowed, assert_share, between, closed, day, labels, rate,
};
use crate::support::metrics::History;
use crate::support::world::{DAY, HOUR, MARCH};

const EXACT: f64 = 1e-6;
const COVERED: &str = "cloudtuner_kubecost_window_covered_seconds";
const UNKNOWN: &str = "cloudtuner_kubecost_window_unknown_rows";

fn hour(number: i64) -> i64 {
    MARCH + number * HOUR
}

fn exporter<'a>(length: i64, end: &'a dyn Fn(i64) -> i64) -> Windowed<'a> {
    Windowed { more: "", life: LIFE, length, end, is_total: false }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_shown_for_hours_costs_once_and_windows_never_shown_are_named() {
    let mut history = History::default();
    // Hour 9 costs $100; it is shown from 10:03 to 13:03, so hours 10 and 11 are never shown.
    let jobs = |start: i64, end: i64| if start == hour(9) { 100.0 } else { rate(2.0)(start, end) };
    let end = |time: i64| {
        let stuck = hour(10) + 180..hour(13) + 180;
        if stuck.contains(&time) { hour(10) } else { closed(time, HOUR) }
    };
    exporter(HOUR, &end).put(&mut history, &[("jobs", &jobs)]);
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    let first = day(&summary, "2026-03-01");
    assert_share(case.total(MARCH), 21.0 * 2.0 + 100.0, EXACT);
    assert_eq!((&first["state"], &first["covered_minutes"]), (&"partial".into(), &1_320.into()));
    let cause = first["cause"].as_str().unwrap();
    assert!(cause.contains("03-01 10:00 to 03-01 12:00"), "{cause}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_of_a_job_costs_the_same_after_whatever_its_window_falls_to() {
    // Exporters look again at windows that fell: the dear hour is shown for 67 minutes, the next
    // one for 53. Each day has such an hour.
    let mut history = History::default();
    let dear = |start: i64| start.rem_euclid(DAY) == 3 * HOUR;
    let jobs = |start: i64, end: i64| if dear(start) { 60.0 } else { rate(1.0)(start, end) };
    let end = |time: i64| {
        let usual = closed(time, HOUR);
        let is_doubted = dear(usual - 2 * HOUR) && time - usual < 600;
        if is_doubted { usual - HOUR } else { usual }
    };
    exporter(HOUR, &end).put(&mut history, &[("jobs", &jobs), ("__idle__", &rate(0.5))]);
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    assert_eq!(day(&summary, "2026-03-01")["state"], "ok", "{summary}");
    assert_share(case.stored(MARCH)["jobs"], 23.0 + 60.0, EXACT);
    assert_share(case.total(MARCH), 95.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_any_length_in_either_mode_cost_the_same() {
    for hours in [1, 6, 24] {
        for is_total in [false, true] {
            let mut history = History::default();
            let end = |time: i64| closed(time, hours * HOUR);
            let exporter = Windowed { is_total, ..exporter(hours * HOUR, &end) };
            let night = between(hour(30), hour(34), 3.0);
            let (shop, idle) = (rate(1.5), rate(0.5));
            exporter.put(&mut history, &[("shop", &shop), ("night", &night), ("__idle__", &idle)]);
            let case = Case::new(history, &[]);
            case.store.run(&["run", "--at", AT]).expect_success();
            assert_share(case.total(MARCH), 48.0, EXACT);
            assert_share(case.total(MARCH + DAY), 60.0, EXACT);
            assert_share(case.stored(MARCH + DAY)["night"], 12.0, EXACT);
            assert_share(case.stored(MARCH)["shop"], 36.0, EXACT);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mode_that_is_changed_at_noon_is_followed() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    let noon = hour(12);
    for (is_total, life) in [(true, (LIFE.0, noon)), (false, (noon, LIFE.1))] {
        let exporter = Windowed { is_total, life, ..exporter(4 * HOUR, &end) };
        let exporter = Windowed { end: &|time| closed(time, 4 * HOUR), ..exporter };
        exporter.put(&mut history, &[("shop", &rate(2.0))]);
    }
    let case = Case::new(history, &[]);
    case.first_day().expect_success();
    assert_share(case.total(MARCH), 48.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_across_midnight_is_split_over_its_days() {
    let mut history = History::default();
    // Six hours long, ending at 03:00, 09:00, 15:00 and 21:00.
    let end = |time: i64| closed(time - 3 * HOUR, 6 * HOUR) + 3 * HOUR;
    let burst = between(hour(21), hour(27), 8.0);
    exporter(6 * HOUR, &end).put(&mut history, &[("shop", &rate(1.0)), ("burst", &burst)]);
    let case = Case::new(history, &[]);
    case.store.run(&["run", "--at", AT]).expect_success();
    assert_share(case.total(MARCH), 24.0 + 24.0, EXACT);
    assert_share(case.total(MARCH + DAY), 24.0 + 24.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_an_hour_late_and_a_restart_change_nothing() {
    let mut history = History::default();
    let jobs = |start: i64, end: i64| {
        rate(if start.div_euclid(HOUR) % 2 == 0 { 1.0 } else { 9.0 })(start, end)
    };
    let idle = rate(1.0);
    let (prompt, late) = (|time: i64| closed(time, HOUR), |time: i64| closed(time - 2_400, HOUR));
    let restart = hour(9) + 1_500;
    type Delay<'a> = &'a dyn Fn(i64) -> i64;
    let replicas: [(&str, (i64, i64), Delay<'_>); 3] = [
        (",instance=\"a:1\"", (LIFE.0, restart), &prompt),
        (",instance=\"b:1\"", (restart + 120, LIFE.1), &prompt),
        (",instance=\"late:1\"", LIFE, &late),
    ];
    for (more, life, end) in replicas {
        Windowed { more, life, ..exporter(HOUR, end) }
            .put(&mut history, &[("jobs", &jobs), ("__idle__", &idle)]);
    }
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    assert_eq!(day(&summary, "2026-03-01")["state"], "ok", "{summary}");
    assert_share(case.stored(MARCH)["jobs"], 120.0, EXACT);
    assert_share(case.total(MARCH), 144.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_first_window_is_not_over_waits_for_it() {
    for (hours, at) in [(1, "00:30"), (4, "02:30"), (24, "12:00")] {
        let mut history = History::default();
        let end = |time: i64| closed(time, hours * HOUR);
        exporter(hours * HOUR, &end).put(&mut history, &[("shop", &rate(1.0))]);
        let case = Case::new(history, &[]);
        let at = format!("2026-03-02T{at}:00Z");
        let summary = case.store.run(&["run", "--at", &at]).expect_success().summary();
        let today = day(&summary, "2026-03-02");
        let cause = today["cause"].as_str().unwrap();
        assert!(cause.contains("the source lags by"), "{hours}: {today}");
        assert_share(case.total(MARCH), 24.0, EXACT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_that_renames_the_exporters_namespaces_is_refused() {
    for label in ["exported_namespace", "exported_pod"] {
        let mut history = History::default();
        let end = |time: i64| closed(time, HOUR);
        exporter(HOUR, &end).put(&mut history, &[]);
        let renamed =
            labels(&format!(",namespace=\"monitoring\",pod=\"exporter-1\",{label}=\"x\""));
        let metric = "cloudtuner_kubecost_namespace_total_cost";
        history.every_minute(metric, &renamed, 0, LIFE, |_| Some(1.0));
        let case = Case::new(history, &[("LEVELS", "cluster,namespace,pod")]);
        let refused = case.first_day();
        assert_eq!(refused.code, 1, "{}", refused.stdout);
        let summary = refused.summary().to_string();
        assert!(summary.contains(label) && summary.contains("honor"), "{summary}");
        assert!(case.stored(MARCH).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_of_a_window_of_unknown_length_are_refused() {
    let mut history = History::default();
    let metric = |name: &str| format!("cloudtuner_kubecost_{name}");
    history.every_minute(&metric("cluster_total_cost"), &labels(""), 0, LIFE, |_| Some(24.0));
    let mode = labels(",mode=\"total\"");
    history.every_minute(&metric("exporter_build_info"), &mode, 0, LIFE, |_| Some(1.0));
    let case = Case::new(history, &[]);
    let refused = case.first_day();
    assert_eq!(refused.code, 1, "{}", refused.stdout);
    let summary = refused.summary().to_string();
    assert!(summary.contains("'prod'") && summary.contains("METRIC_MODE"), "{summary}");
    assert!(case.stored(MARCH).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_whose_window_is_shown_on_the_next_day_alone_is_billed() {
    let mut history = History::default();
    let end = |time: i64| closed(time, DAY);
    let life = (MARCH + DAY + HOUR / 2, MARCH + DAY + 4 * HOUR);
    let exporter = Windowed { life, ..exporter(DAY, &end) };
    exporter.put(&mut history, &[("shop", &rate(2.0))]);
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    assert_share(case.total(MARCH), 48.0, EXACT);
    assert_eq!(day(&summary, "2026-03-01")["state"], "ok", "{summary}");
}

/// Puts how much of the window that is shown the costs are of, seconds, and how many of its rows
/// have no cost.
fn put_coverage(
    history: &mut History,
    (exporter, more): (&Windowed<'_>, &str),
    covered: &dyn Fn(i64, i64) -> i64,
    unknown: &dyn Fn(i64) -> i64,
) {
    let of = |time: i64| (exporter.end)(time) - exporter.length;
    let labels = labels(more);
    history.every_minute(COVERED, &labels, 0, exporter.life, |time| {
        Some(covered(of(time), time) as f64)
    });
    history.every_minute(UNKNOWN, &labels, 0, exporter.life, |time| Some(unknown(of(time)) as f64));
}

/// OpenCost's own Prometheus was away from 20:35 to 21:25.
fn outage(start: i64) -> i64 {
    if start == hour(20) || start == hour(21) { 2_100 } else { HOUR }
}

#[tokio::test(flavor = "multi_thread")]
async fn minutes_that_a_window_lacks_are_not_covered_and_named() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    let jobs = |start: i64, _: i64| outage(start) as f64 / HOUR as f64;
    let exporter = exporter(HOUR, &end);
    exporter.put(&mut history, &[("jobs", &jobs)]);
    put_coverage(&mut history, (&exporter, ""), &|start, _| outage(start), &|_| 0);
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    let first = day(&summary, "2026-03-01");
    assert_share(case.total(MARCH), 24.0 - 50.0 / 60.0, EXACT);
    assert_eq!((&first["state"], &first["covered_minutes"]), (&"partial".into(), &1_390.into()));
    let cause = first["cause"].as_str().unwrap();
    for part in ["35 of 60 min of 03-01 20:00 to 03-01 21:00", "03-01 21:00 to 03-01 22:00"] {
        assert!(cause.contains(part), "{cause}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_became_whole_while_it_was_shown_is_covered() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    let exporter = exporter(HOUR, &end);
    exporter.put(&mut history, &[("jobs", &rate(1.0))]);
    let late = |start: i64, time: i64| {
        if start == hour(7) && time < hour(8) + 2_400 { 900 } else { HOUR }
    };
    put_coverage(&mut history, (&exporter, ""), &late, &|_| 0);
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    let first = day(&summary, "2026-03-01");
    assert_eq!((&first["state"], &first["covered_minutes"]), (&"ok".into(), &1_440.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_with_rows_that_have_no_cost_makes_its_day_partial() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    let exporter = exporter(HOUR, &end);
    exporter.put(&mut history, &[("jobs", &rate(1.0))]);
    let unknown = |start: i64| if start == hour(5) { 3 } else { 0 };
    put_coverage(&mut history, (&exporter, ""), &|_, _| HOUR, &unknown);
    let case = Case::new(history, &[]);
    let summary = case.store.run(&["run", "--at", AT]).expect_success().summary();
    let (first, second) = (day(&summary, "2026-03-01"), day(&summary, "2026-03-02"));
    assert_eq!((&first["state"], &first["covered_minutes"]), (&"partial".into(), &1_440.into()));
    assert_eq!(second["state"], "ok", "{summary}");
    let text = summary.to_string();
    assert!(text.contains("3 rows of 03-01 05:00 to 03-01 06:00"), "{text}");
    assert_share(case.total(MARCH), 24.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_better_of_two_replicas_says_what_is_covered() {
    let mut history = History::default();
    let end = |time: i64| closed(time, HOUR);
    for (more, from) in [(",instance=\"a:1\"", 25), (",instance=\"b:1\"", 0)] {
        let exporter = Windowed { more, ..exporter(HOUR, &end) };
        let jobs =
            |start: i64, _: i64| if start == hour(5) { 1.0 - from as f64 / 60.0 } else { 1.0 };
        exporter.put(&mut history, &[("jobs", &jobs)]);
        let covered = |start: i64, _| if start == hour(5) { HOUR - from * 60 } else { HOUR };
        put_coverage(&mut history, (&exporter, more), &covered, &|_| i64::from(from > 0));
    }
    let case = Case::new(history, &[]);
    let summary = case.first_day().expect_success().summary();
    assert_eq!(day(&summary, "2026-03-01")["state"], "ok", "{summary}");
    assert_share(case.total(MARCH), 24.0, EXACT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_window_across_midnight_is_covered_as_the_window_is() {
    let mut history = History::default();
    let end = |time: i64| closed(time - 3 * HOUR, 6 * HOUR) + 3 * HOUR;
    let exporter = exporter(6 * HOUR, &end);
    exporter.put(&mut history, &[("shop", &rate(1.0))]);
    let covered = |start: i64, _| if start == hour(21) { 4 * HOUR } else { 6 * HOUR };
    put_coverage(&mut history, (&exporter, ""), &covered, &|_| 0);
    let case = Case::new(history, &[]);
    let summary = case.store.run(&["run", "--at", AT]).expect_success().summary();
    for name in ["2026-03-01", "2026-03-02"] {
        assert_eq!(day(&summary, name)["covered_minutes"], 1_380, "{summary}");
    }
}
