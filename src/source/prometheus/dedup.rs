//! Integrals of series that may or may not be doubled.
//!
//! `max by` inside a subquery makes scrape replicas one, but it groups every sample of every
//! minute: measured over 25 000 pods it takes 20 times as long as the plain series. So plain series
//! are integrated first; where each group has one series, that is the same. Only groups of
//! several series (replicas, a pod that moved to another node) are asked for again with `max by`.

use std::collections::BTreeMap;

use crate::service::failure::Failure;

use crate::source::labels::Labels;
use crate::source::prometheus::promql::{ClusterNames, Selector, Window, quoted, regex_escaped};
use crate::source::prometheus::session::DaySession;

/// Most groups that are asked for again by their finest label, rather than all of them.
const NAMED_MAX: usize = 50;
/// Longest list of such labels in a query, bytes: addresses have limits.
const NAMES_BYTES_MAX: usize = 2_000;

/// A metric to integrate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Metric<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Matchers that leave out what is not wanted.
    pub(super) matchers: &'a [&'a str],
    /// Labels that name what a series is of, beside tenant and cluster; the last one is the finest.
    pub(super) labels: &'a [&'a str],
}

/// Costs by `max by` group, and what is left to be learned of doubled groups.
pub(super) struct Integrals {
    /// USD by tenant, cluster and the metric's labels.
    pub(super) costs: BTreeMap<Labels, f64>,
    /// All labels of the one series of a group; groups with several are not in it.
    pub(super) single: BTreeMap<Labels, Labels>,
    /// Selects groups that have several series; `None` when there are none.
    pub(super) doubled: Option<Selector>,
}

/// The cost of a metric over a window, each group once however often it is scraped.
pub(super) async fn integrate(
    session: &mut DaySession<'_>,
    selector: &Selector,
    metric: Metric<'_>,
    window: Window,
    series: u64,
) -> Result<Integrals, Failure> {
    let selector = &selector.in_parts();
    let rate = selector.of(metric.name, metric.matchers);
    let plain = session.integrate_each(&rate, window, series).await?;
    let mut groups: BTreeMap<Labels, Vec<(Labels, f64)>> = BTreeMap::new();
    for (labels, usd) in plain {
        groups.entry(group_of(selector, metric, &labels)).or_default().push((labels, usd));
    }
    let mut out = Integrals { costs: BTreeMap::new(), single: BTreeMap::new(), doubled: None };
    let mut doubled = Vec::new();
    for (group, mut of_group) in groups {
        match (of_group.pop(), of_group.is_empty()) {
            (Some((labels, usd)), true) => {
                out.costs.insert(group.clone(), usd);
                out.single.insert(group, labels);
            }
            _ => doubled.push(group),
        }
    }
    if doubled.is_empty() {
        return Ok(out);
    }
    let restricted = restricted(selector, metric, &doubled);
    let rate = restricted.max_by(metric.labels, &restricted.of(metric.name, metric.matchers));
    let again = session.integrate(&rate, window, series).await?;
    out.costs.extend(again.into_iter().filter(|(group, _)| !out.single.contains_key(group)));
    out.doubled = Some(restricted);
    Ok(out)
}

/// The labels that `max by` would keep.
fn group_of(selector: &Selector, metric: Metric<'_>, labels: &Labels) -> Labels {
    let tenant = selector.tenant.iter().map(|(label, _)| label.as_str());
    tenant
        .chain([selector.cluster_label()])
        .chain(metric.labels.iter().copied())
        .filter_map(|label| Some((label, labels.get(label)?)))
        .collect()
}

/// The selector, held to these groups where they are few.
fn restricted(selector: &Selector, metric: Metric<'_>, groups: &[Labels]) -> Selector {
    let finest = metric.labels.last().copied();
    let label = finest.unwrap_or(selector.cluster_label());
    let name = |group: &Labels| group.get(label).unwrap_or_default().to_owned();
    let names: Vec<String> = groups.iter().map(name).collect();
    let list = names.iter().map(|name| regex_escaped(name)).collect::<Vec<_>>().join("|");
    let mut restricted = selector.clone();
    if groups.len() > NAMED_MAX || list.len() > NAMES_BYTES_MAX {
        return restricted;
    }
    if finest.is_some() {
        restricted.matchers.push(format!("{label}=~{}", quoted(&list)));
    } else {
        // A cluster may have series that do not name it.
        let default_cluster = selector.named_and_unnamed.as_deref().unwrap_or_default();
        restricted.clusters = Some(ClusterNames::new(names, default_cluster));
    }
    restricted
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Metric<'_> = Metric { name: "m", matchers: &[], labels: &["namespace", "pod"] };

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_group_is_what_max_by_would_keep() {
        let selector = Selector { tenant: Some(("t".into(), "a".into())), ..Selector::default() };
        let series = labels(&[("t", "a"), ("pod", "p"), ("namespace", "n"), ("replica", "1")]);
        let group = labels(&[("t", "a"), ("pod", "p"), ("namespace", "n")]);
        assert_eq!(group_of(&selector, PODS, &series), group);
    }

    #[test]
    fn few_names_are_asked_for_by_name_and_many_all_at_once() {
        let name = |n: usize| labels(&[("pod", &format!("p.{n}"))]);
        let few = restricted(&Selector::default(), PODS, &[name(1), name(2)]);
        assert_eq!(few.matchers, [r#"pod=~"p\\.1|p\\.2""#]);
        let many: Vec<_> = (0..NAMED_MAX + 1).map(name).collect();
        assert!(restricted(&Selector::default(), PODS, &many).matchers.is_empty());
    }

    #[test]
    fn a_cluster_that_some_series_do_not_name_is_asked_for_with_these() {
        let total = Metric { labels: &[], ..PODS };
        let groups = [labels(&[("cluster", "a")])];
        let asked = |selector: &Selector| {
            let restricted = restricted(selector, total, &groups);
            (restricted.of("m", &[]), restricted.matchers.len())
        };
        assert_eq!(asked(&Selector::default()), (r#"m{cluster=~"a"}"#.to_owned(), 0));
        let both = Selector { named_and_unnamed: Some("a".into()), ..Selector::default() };
        let of_both = r#"(m{cluster=~"a|",cluster!=""} or label_replace(m{cluster=~"a|",cluster=""}, "cluster", "a", "", ""))"#;
        assert_eq!(asked(&both).0, of_both);
        let mixed = Selector { mixes_cluster_labels: true, ..Selector::default() };
        assert!(asked(&mixed).0.contains(r#"cluster="",cluster_id=~"a""#), "{}", asked(&mixed).0);
    }

    #[test]
    fn a_list_of_names_is_asked_for_up_to_its_limits() {
        let asked = |names: &[Labels]| restricted(&Selector::default(), PODS, names).matchers.len();
        let names: Vec<_> = (0..NAMED_MAX).map(|n| labels(&[("pod", &n.to_string())])).collect();
        assert_eq!(asked(&names), 1);
        let of_bytes = |bytes: usize| [labels(&[("pod", &"p".repeat(bytes))])];
        assert_eq!(asked(&of_bytes(NAMES_BYTES_MAX)), 1);
        assert_eq!(asked(&of_bytes(NAMES_BYTES_MAX + 1)), 0);
    }
}
