//! Several scrapers of one cost model, and clusters that come during a day.

use super::{ACCOUNT, C, Done, Series, WHOLE, node, pod, put};
use crate::support::metrics::History;
use crate::support::remote_write::Scraper;
use crate::support::servers::{PrometheusVersion, Server, prometheus};
use crate::support::world::{DAY, HOUR, MARCH, MINUTE, source};

/// Jobs of 17 minutes, one after another with 3 minutes between, on a node for itself, seen by
/// two replicas that look 20 seconds before and after the cost model's loop at second 30.
async fn straddled(server: &Server, replicas: &[(&str, i64)], gap: (i64, i64)) {
    let mut scrapers: Vec<_> = replicas.iter().map(|of| (of, Scraper::new(server))).collect();
    let base = format!("tenant_id=\"{ACCOUNT}\",{C}");
    for minute in -1..DAY / MINUTE {
        for ((replica, second), scraper) in &mut scrapers {
            let time = MARCH + minute * MINUTE + *second;
            let looped = (time - 30).div_euclid(MINUTE) * MINUTE + 30;
            let labels = format!("{base},replica=\"{replica}\"");
            let mut shown = Vec::new();
            let mut add =
                |series: Vec<Series<'_>>| {
                    shown.extend(series.into_iter().map(|(metric, own, _, value)| {
                        (format!("{metric}{{{labels},{own}}}"), value)
                    }));
                };
            if !(*replica == "p-0" && (gap.0..gap.1).contains(&time)) {
                add(node("n1", WHOLE));
                add(pod("n1", "core", "always", WHOLE));
                add(vec![("node_total_hourly_cost", "node=\"n1\"".into(), WHOLE, 3.0)]);
                let slot = (looped - MARCH).div_euclid(20 * MINUTE);
                if (looped - MARCH).rem_euclid(20 * MINUTE) < 17 * MINUTE {
                    add(pod("n1", "batch", &format!("job-{slot}"), WHOLE));
                }
            }
            scraper.scrape(time, &shown).await;
        }
    }
    for (_, scraper) in &mut scrapers {
        scraper.send().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_looks_before_and_after_the_loop_bills_a_job_once() {
    let none = (0, 0);
    let silent = (MARCH + 9 * HOUR, MARCH + 12 * HOUR);
    for (replicas, gap) in
        [(&[("p-0", 10), ("p-1", 50)][..], none), (&[("p-0", 50), ("p-1", 10)][..], silent)]
    {
        let data = tempfile::tempdir().unwrap();
        let server = prometheus(PrometheusVersion::Two, data.path());
        straddled(&server, replicas, gap).await;
        let done = Done::over(&server, &[]);
        assert_eq!(done.day["state"], "ok", "{}", done.day);
        // 72 jobs of 17 minutes at $1 an hour.
        let (jobs, wanted) = (done.usd()["batch/"], 72.0 * 17.0 / 60.0);
        assert!((jobs / wanted - 1.0).abs() < 0.005, "{jobs} instead of {wanted}");
        assert!((done.total() - 72.0).abs() < 0.01, "{}", done.total());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_that_changes_on_half_of_the_nodes_loses_no_node() {
    let mut series = Vec::new();
    for (name, pool) in [("n1", "a"), ("n2", "b")] {
        for (metric, value) in [
            ("node_cpu_hourly_cost", 0.25),
            ("node_ram_hourly_cost", 0.125),
            ("node_total_hourly_cost", 3.0),
        ] {
            for replica in ["p-0", "p-1"] {
                let labels = format!("node=\"{name}\",pool=\"{pool}\",replica=\"{replica}\"");
                series.push((metric, labels, WHOLE, value));
            }
        }
        series.extend(pod(name, "shop", &format!("web-{name}"), WHOLE));
    }
    let mut history = History::default();
    put(&mut history, C, &series);
    let done = Done::over(&source(&[history]), &[]);
    done.expect(&[("shop/", 48.0), ("c", 96.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gaps_are_scaled_and_the_hours_before_a_clusters_birth_are_not() {
    let born = MARCH + 6 * HOUR;
    let mut series = node("n1", (born, WHOLE.1));
    series.extend(pod("n1", "shop", "web-1", (born, WHOLE.1)));
    let mut history = History::default();
    put(&mut history, C, &series);
    let silent = |t: i64| !(MARCH + 12 * HOUR..MARCH + 15 * HOUR).contains(&t);
    let mut gappy = node("n2", WHOLE);
    gappy.extend(pod("n2", "shop", "web-2", WHOLE));
    for (metric, labels, life, value) in gappy {
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster=\"d\",{labels}");
        history.every_minute(metric, &labels, 0, life, |t| silent(t).then_some(value));
    }
    let source = source(&[history]);
    let done = Done::over(&source, &[("GAP_POLICY", "scale")]);
    // Eighteen hours of one, and a whole day of the other: of its gap, five minutes of look-back
    // are no gap.
    let total = done.total();
    assert!((total - (18.0 + 24.0)).abs() < 1e-6, "{total} {}", done.warnings());
    assert!(done.warnings().contains("'d' by"), "{}", done.warnings());
    assert!((Done::over(&source, &[]).total() - (18.0 + 21.0)).abs() < 0.1);
}
