//! Which label names a cluster.

use super::{ACCOUNT, Done, WHOLE, node, pod, put};
use crate::support::metrics::History;
use crate::support::world::source;

/// Two clusters that only `cluster_id` tells apart, each with a node of this name at $3.
fn two_clusters(label: &str, nodes: [&str; 2]) -> History {
    let mut history = History::default();
    for (cluster, name) in ["east", "west"].into_iter().zip(nodes) {
        let mut series = node(name, WHOLE);
        series.push(("node_total_hourly_cost", format!("node=\"{name}\""), WHOLE, 3.0));
        series.extend(pod(name, "shop", "web-1", WHOLE));
        series.push((
            "kubecost_cluster_management_cost",
            "provisioner_name=\"EKS\"".into(),
            WHOLE,
            0.1,
        ));
        put(&mut history, &format!("{label}=\"{cluster}\""), &series);
    }
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ids_under_no_cluster_are_refused_and_the_setting_is_named() {
    for nodes in [["a", "b"], ["a", "a"]] {
        let done = Done::over(&source(&[two_clusters("cluster_id", nodes)]), &[]);
        assert_eq!((done.code, done.day["state"].as_str()), (1, Some("failed")), "{}", done.day);
        for part in ["'east'", "'west'", "CLUSTER_LABEL"] {
            assert!(done.cause().contains(part), "{}", done.cause());
        }
        assert_eq!(done.total(), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_label_that_is_set_tells_clusters_apart() {
    let each = [("shop/", 48.0), ("east", 50.4), ("west", 50.4)];
    for (label, setting) in
        [("cluster_id", "auto"), ("cluster_id", "cluster_id"), ("k8s", "k8s"), ("cluster", "auto")]
    {
        let source = source(&[two_clusters(label, ["a", "a"])]);
        let done = Done::over(&source, &[("CLUSTER_LABEL", setting)]);
        assert_eq!((done.code, done.day["state"].as_str()), (0, Some("ok")), "{}", done.day);
        done.expect(&each);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_with_and_without_their_label_are_told_apart_together() {
    let mut history = two_clusters("cluster_id", ["a", "a"]);
    let mut series = node("a", WHOLE);
    series.extend(pod("a", "shop", "web-1", WHOLE));
    put(&mut history, "cluster=\"north\",cluster_id=\"cluster-one\"", &series);
    let source = source(&[history]);
    let done = Done::over(&source, &[("CLUSTER_LABEL", "auto")]);
    assert_eq!((done.code, done.day["state"].as_str()), (0, Some("ok")), "{}", done.day);
    done.expect(&[("shop/", 72.0), ("east", 50.4), ("west", 50.4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gauges_are_named_by_the_label_that_is_set_too() {
    let mut history = History::default();
    for (cluster, usd) in [("east", 2.0), ("west", 3.0)] {
        let labels = format!("tenant_id=\"{ACCOUNT}\",cluster_id=\"{cluster}\"");
        let metric = "cloudtuner_kubecost_cluster_total_cost";
        history.every_minute(metric, &labels, 0, WHOLE, |_| Some(usd));
    }
    let source = source(&[history]);
    let done = Done::over(&source, &[("PHASE", "2")]);
    assert_eq!((done.code, done.day["state"].as_str()), (1, Some("failed")), "{}", done.day);
    let done = Done::over(&source, &[("PHASE", "2"), ("CLUSTER_LABEL", "auto")]);
    assert_eq!(done.code, 0, "{}", done.day);
    done.expect(&[("east", 48.0), ("west", 72.0)]);
}
