//! How the series of an account name their clusters, and which metrics each cluster has.
//!
//! One query counts the series of all metrics by both labels that may name a cluster. What follows
//! from it is decided here, without a server.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{Limits, OverLimit};
use crate::service::failure::{Failure, Kind};
use crate::settings::cluster_label::{CLUSTER, CLUSTER_ID, ClusterLabel};

use crate::source::labels::Labels;
use crate::source::metric_names::pod_label;
use crate::source::prometheus::promql::{Selector, Window, quoted};

/// A label for a metric's name: aggregations drop `__name__` itself.
const METRIC: &str = "metric_name_";
/// How many series of a metric a resource may have: scrape replicas, containers, label changes.
const SERIES_PER_RESOURCE_MAX: u64 = 5;
/// As many resources may always be read, if not stored: a lower limit is for rows, and whether it is
/// kept to is known once resources without rows are left out and small ones are folded.
const RESOURCES_READ_MIN: usize = 50_000;
/// Most clusters that a sentence names.
const NAMED_MAX: usize = 5;

/// How many series of a metric a cluster has.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counted {
    /// The metric.
    pub(super) metric: String,
    /// The cluster: at first the label's value, after [`Naming::name`] its name.
    pub(super) cluster: String,
    /// The value of `cluster_id`.
    cluster_id: String,
    /// Series with a sample in the window.
    pub(super) series: u64,
}

impl Counted {
    /// The counts of a reply to [`query`].
    pub(super) fn all(found: &BTreeMap<Labels, f64>, cluster_label: &str) -> Vec<Self> {
        let one = |(labels, count): (&Labels, &f64)| {
            let label = |name: &str| labels.get(name).unwrap_or_default().to_owned();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let series = *count as u64;
            let (metric, cluster) = (label(METRIC), label(cluster_label));
            Self { metric, cluster, cluster_id: label(CLUSTER_ID), series }
        };
        found.iter().map(one).collect()
    }
}

/// Metrics that one query can count, with what selects them: those of pods apart, where only one
/// pod's are wanted, for a query about several metrics has the same matchers for all of them.
pub(super) fn countable<'m>(
    selector: &Selector,
    metrics: &[&'m str],
) -> Vec<(Selector, Vec<&'m str>)> {
    if selector.only_pod.is_none() {
        return vec![(selector.clone(), metrics.to_vec())];
    }
    let mut by_label: BTreeMap<Option<&str>, Vec<&str>> = BTreeMap::new();
    for metric in metrics {
        by_label.entry(pod_label(metric)).or_default().push(metric);
    }
    let narrowed = |label: Option<&str>| {
        let of_pod = label.into_iter().flat_map(|label| selector.pod_matchers(label));
        let matchers = selector.matchers.iter().cloned().chain(of_pod).collect();
        Selector { matchers, ..selector.clone() }
    };
    by_label.into_iter().map(|(label, metrics)| (narrowed(label), metrics)).collect()
}

/// Counts the series of metrics by what names their clusters.
pub(super) fn query(selector: &Selector, metrics: &[&str], window: Window) -> String {
    let any_of = format!("__name__=~{}", quoted(&metrics.join("|")));
    let stored = selector.stored("", &[&any_of]);
    // Of these functions only this one keeps the metrics' names, and so the series apart.
    let last = format!("last_over_time({stored}[{}])", window.range());
    let named = format!("label_replace({last}, \"{METRIC}\", \"$1\", \"__name__\", \"(.+)\")");
    let more = [METRIC, CLUSTER_ID];
    let wanted = if selector.cluster_label() == CLUSTER_ID { &more[..1] } else { &more[..] };
    format!("count by ({}) ({named})", selector.labels(wanted))
}

/// How many series each of the metrics has, of all clusters together.
pub(super) fn by_metric(metrics: &[&str], counted: &[Counted]) -> BTreeMap<String, u64> {
    let mut series: BTreeMap<String, u64> =
        metrics.iter().map(|metric| ((*metric).to_owned(), 0)).collect();
    for one in counted {
        *series.entry(one.metric.clone()).or_default() += one.series;
    }
    series
}

/// Sees that an account has no more clusters and series than its limits allow, before it is asked
/// for their values.
///
/// # Errors
/// When it has more.
pub(super) fn enforce_limits(counted: &[Counted], limits: Limits) -> Result<(), Failure> {
    let clusters: BTreeSet<(&str, &str)> =
        counted.iter().map(|one| (one.cluster.as_str(), one.cluster_id.as_str())).collect();
    if clusters.len() > limits.clusters_max {
        let over = OverLimit::Clusters { found: clusters.len(), max: limits.clusters_max };
        return Err(too_large(&over.to_string()));
    }
    let series = by_metric(&[], counted);
    let resources = limits.resources_max.max(RESOURCES_READ_MIN);
    let max = (resources as u64).saturating_mul(SERIES_PER_RESOURCE_MAX);
    match series.into_iter().find(|(_, count)| *count > max) {
        Some((metric, count)) => Err(too_large(&format!(
            "it has {count} series of {metric}, more than {SERIES_PER_RESOURCE_MAX} for each of \
             {resources} resources (MAX_RESOURCES)"
        ))),
        None => Ok(()),
    }
}

fn too_large(why: &str) -> Failure {
    Failure::query(
        Kind::BadData,
        format!("the account's day is too large: {why}"),
        "see what writes these series under the account's id; raise the limit if they are right",
    )
}

/// How clusters are named in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Naming {
    /// All series are named by `cluster_id`.
    is_by_id: bool,
    /// Series with `cluster` are named by it, the others by `cluster_id`.
    is_mixed: bool,
    /// The default cluster, where there are also series that name it.
    named_and_unnamed: Option<String>,
    /// Why the clusters cannot be told apart.
    pub(super) conflict: Option<String>,
}

/// Decides how clusters are named, from the setting and what there is.
pub(super) fn decide(setting: &ClusterLabel, default_cluster: &str, counted: &[Counted]) -> Naming {
    let mut naming = Naming::default();
    let unnamed = || counted.iter().filter(|one| one.cluster.is_empty());
    let ids: BTreeSet<&str> =
        unnamed().map(|one| one.cluster_id.as_str()).filter(|id| !id.is_empty()).collect();
    let has_named = counted.iter().any(|one| !one.cluster.is_empty());
    match setting {
        ClusterLabel::Auto if !ids.is_empty() => {
            naming.is_mixed = has_named;
            naming.is_by_id = !has_named;
        }
        ClusterLabel::Named(label) if label == CLUSTER && ids.len() > 1 => {
            let named: Vec<String> =
                ids.iter().take(NAMED_MAX).map(|id| format!("'{id}'")).collect();
            naming.conflict = Some(format!(
                "the series without the label {CLUSTER} are of {} clusters by their label \
                 {CLUSTER_ID} ({}), which must not be added up as one: set CLUSTER_LABEL=auto, or \
                 {CLUSTER_ID}",
                ids.len(),
                named.join(", ")
            ));
        }
        _ => {}
    }
    let name = |one: &Counted| naming.stored_name(one).to_owned();
    let names: BTreeSet<String> = counted.iter().map(name).collect();
    if !default_cluster.is_empty() && names.contains("") && names.contains(default_cluster) {
        naming.named_and_unnamed = Some(default_cluster.to_owned());
    }
    naming
}

impl Naming {
    fn stored_name<'c>(&self, of: &'c Counted) -> &'c str {
        let falls_back = (self.is_mixed && of.cluster.is_empty()) || self.is_by_id;
        if falls_back { &of.cluster_id } else { &of.cluster }
    }

    /// Has a selector name clusters like this.
    pub(super) fn apply(&self, selector: &mut Selector) {
        selector.named_and_unnamed.clone_from(&self.named_and_unnamed);
        selector.mixes_cluster_labels = self.is_mixed;
        if self.is_by_id {
            selector.cluster_label = Some(CLUSTER_ID.to_owned());
        }
    }

    /// Gives counts the names of their clusters.
    pub(super) fn name(&self, counted: &mut [Counted], default_cluster: &str) {
        for one in counted {
            let name = self.stored_name(one).to_owned();
            one.cluster = if name.is_empty() { default_cluster.to_owned() } else { name };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(pairs: &[(&str, &str)]) -> Vec<Counted> {
        let one = |(cluster, id): &(&str, &str)| Counted {
            metric: "m".into(),
            cluster: (*cluster).into(),
            cluster_id: (*id).into(),
            series: 1,
        };
        pairs.iter().map(one).collect()
    }

    fn names(setting: &ClusterLabel, default: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        let mut counted = counted(pairs);
        decide(setting, default, &counted).name(&mut counted, default);
        counted.into_iter().map(|one| one.cluster).collect()
    }

    #[test]
    fn metrics_of_pods_are_counted_apart_where_one_pod_is_wanted() {
        let metrics = ["a", "container_cpu_allocation", "kubecost_pod_network_egress_bytes_total"];
        let all = Selector::default();
        assert_eq!(countable(&all, &metrics)[0].1, metrics);
        let one = Selector { only_pod: Some(("shop".into(), "web-1".into())), ..all };
        let queries: Vec<String> = countable(&one, &metrics)
            .iter()
            .map(|(selector, metrics)| query(selector, metrics, Window { start: 0, end: 60 }))
            .collect();
        assert!(!queries[0].contains("web-1"), "{}", queries[0]);
        assert!(queries[1].contains(r#"namespace="shop",pod="web-1",__name__"#), "{}", queries[1]);
        assert!(queries[2].contains(r#"namespace="shop",pod_name="web-1""#), "{}", queries[2]);
    }

    #[test]
    fn two_ids_under_no_cluster_are_a_conflict_and_one_is_not() {
        let cluster = ClusterLabel::default();
        let conflict = |pairs| decide(&cluster, "", &counted(pairs)).conflict;
        let found = conflict(&[("", "east"), ("", "west"), ("prod", "north")]).unwrap();
        for part in ["2 clusters", "'east', 'west'", "CLUSTER_LABEL=auto"] {
            assert!(found.contains(part), "{found}");
        }
        assert_eq!(conflict(&[("", "east"), ("", ""), ("prod", "north")]), None);
        assert_eq!(conflict(&[("a", "east"), ("b", "west")]), None);
        assert_eq!(
            decide(&ClusterLabel::Auto, "", &counted(&[("", "a"), ("", "b")])).conflict,
            None
        );
    }

    #[test]
    fn auto_takes_the_id_where_there_is_no_cluster() {
        let mixed = [("prod", "x"), ("", "east"), ("", "")];
        assert_eq!(names(&ClusterLabel::Auto, "d", &mixed), ["prod", "east", "d"]);
        assert_eq!(names(&ClusterLabel::default(), "d", &mixed), ["prod", "d", "d"]);
        let naming = decide(&ClusterLabel::Auto, "", &counted(&mixed));
        assert!(naming.is_mixed && !naming.is_by_id, "{naming:?}");
        let mut selector = Selector::default();
        decide(&ClusterLabel::Auto, "", &counted(&[("", "a")])).apply(&mut selector);
        assert_eq!(selector.cluster_label(), "cluster_id");
        assert!(!selector.mixes_cluster_labels);
    }

    #[test]
    fn the_default_cluster_is_one_with_the_cluster_of_its_name() {
        let of = |default: &str, pairs: &[(&str, &str)]| {
            decide(&ClusterLabel::Auto, default, &counted(pairs)).named_and_unnamed
        };
        assert_eq!(of("prod", &[("prod", ""), ("", "")]), Some("prod".to_owned()));
        assert_eq!(of("prod", &[("prod", ""), ("", "east")]), None);
        assert_eq!(of("east", &[("", ""), ("", "east")]), Some("east".to_owned()));
        assert_eq!(of("", &[("prod", ""), ("", "")]), None);
    }

    #[test]
    fn one_query_counts_all_metrics_by_both_labels() {
        let selector = Selector { tenant: Some(("t".into(), "a".into())), ..Selector::default() };
        assert_eq!(
            query(&selector, &["m", "n"], Window { start: 0, end: 60 }),
            r#"count by (t, cluster, metric_name_, cluster_id) (label_replace(last_over_time({t="a",__name__=~"m|n"}[59500ms]), "metric_name_", "$1", "__name__", "(.+)"))"#
        );
    }
}
