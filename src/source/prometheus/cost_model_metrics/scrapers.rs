//! Which scrapers' samples count where several scrape the same cost model.
//!
//! The replicas of an HA pair scrape a minute's values at different moments. The greater of both
//! in each minute is more than either saw: a pod would live from the first scrape that saw it to
//! the last one. So one scraper is taken for as long as it has samples, the others only in the
//! minutes in which it has none.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::ReadScrapers;
use crate::source::labels::Labels;
use crate::source::prometheus::promql::{Selector, quoted};

/// For so long two series of one node must stand side by side to be two scrapers': a node whose
/// labels change has both for the five minutes of look-back at the most.
const TOGETHER_SECONDS_MIN: f64 = 900.0;
/// Most scrapers that one expression chooses between.
const SCRAPERS_MAX: usize = 8;
/// Most series of one node that are compared.
const SERIES_MAX: usize = 32;

/// Labels that say what a series is of, or may be the cost model's own: replicas do not differ by
/// them alone.
const OWN_LABELS: &[&str] = &[
    "__name__",
    "arch",
    "container",
    "instance",
    "instance_type",
    "namespace",
    "node",
    "pod",
    "provider_id",
    "region",
    "uid",
];

/// A series of a node's price, and its first and last minute of the window, Unix seconds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) labels: Labels,
    pub(super) first: f64,
    pub(super) last: f64,
}

/// The labels by which scrapers of the same nodes differ; empty where each node has one scraper.
pub(super) fn differing_labels(lives: &[Life], cluster_label: &str) -> Vec<String> {
    let mut by_node: BTreeMap<(Option<&str>, Option<&str>), Vec<&Life>> = BTreeMap::new();
    for life in lives {
        let place = (life.labels.get(cluster_label), life.labels.get("node"));
        by_node.entry(place).or_default().push(life);
    }
    let mut differing = BTreeSet::new();
    for series in by_node.values() {
        for (index, one) in series.iter().take(SERIES_MAX).enumerate() {
            for other in series.iter().take(index) {
                let together = one.last.min(other.last) - one.first.max(other.first);
                if together >= TOGETHER_SECONDS_MIN {
                    let names = one.labels.iter().chain(other.labels.iter()).map(|(name, _)| name);
                    let differs = |name: &&str| one.labels.get(name) != other.labels.get(name);
                    differing.extend(names.filter(differs));
                }
            }
        }
    }
    let of_scrapers = differing.into_iter().filter(|name| !OWN_LABELS.contains(name));
    of_scrapers.map(str::to_owned).collect()
}

/// The values of the labels by which scrapers differ.
type Tuple = Vec<String>;

fn tuple(labels: &Labels, names: &[String]) -> Tuple {
    names.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()).collect()
}

/// Scrapers of the same cost models, the one that is taken first coming first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Scrapers {
    /// The metric that shows that a scraper has samples.
    alive: String,
    labels: Vec<String>,
    ranked: Vec<Tuple>,
    /// Metrics that each of them scrapes.
    chosen: BTreeSet<String>,
}

impl Scrapers {
    /// Ranks the scrapers of `lives` by how much they have; none where there are too many.
    pub(super) fn ranked(alive: &str, labels: Vec<String>, lives: &[Life]) -> Self {
        let mut spans: BTreeMap<Tuple, f64> = BTreeMap::new();
        for life in lives {
            *spans.entry(tuple(&life.labels, &labels)).or_default() += life.last - life.first;
        }
        let mut ranked: Vec<_> = spans.into_iter().collect();
        // Stable: those that have as much are taken in the order of their names.
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        let ranked = ranked.into_iter().map(|(tuple, _)| tuple).collect();
        Self { alive: alive.to_owned(), labels, ranked, chosen: BTreeSet::new() }
    }

    /// Whether there are more scrapers than one expression chooses between.
    pub(super) fn are_too_many(&self) -> bool {
        self.ranked.len() > SCRAPERS_MAX
    }

    /// The labels by which the scrapers differ.
    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Chooses between scrapers for a metric, of which each series of `counts` is how many a
    /// scraper has of it in a cluster: where all of them are known, and the first one has as good
    /// as all. Elsewhere all series are taken, the greatest of the same name and minute.
    pub(super) fn choose_for(&mut self, metric: &str, counts: &[(&Labels, f64)], cluster: &str) {
        let mut by_cluster: BTreeMap<Option<&str>, Vec<(usize, f64)>> = BTreeMap::new();
        for (labels, count) in counts {
            let of = tuple(labels, &self.labels);
            let Some(rank) = self.ranked.iter().position(|known| *known == of) else { return };
            by_cluster.entry(labels.get(cluster)).or_default().push((rank, *count));
        }
        let is_whole = |of: &Vec<(usize, f64)>| {
            let most = of.iter().map(|(_, count)| *count).fold(0.0, f64::max);
            of.iter().min_by_key(|(rank, _)| *rank).is_some_and(|(_, count)| count * 2.0 >= most)
        };
        if !self.are_too_many() && by_cluster.values().all(is_whole) {
            self.chosen.insert(metric.to_owned());
        }
    }

    /// The choice, for whoever reads the samples again; `None` where there is none.
    pub(super) fn as_read(&self) -> Option<ReadScrapers> {
        let is_chosen = self.ranked.len() > 1 && !self.chosen.is_empty();
        is_chosen.then(|| ReadScrapers {
            alive: self.alive.clone(),
            labels: self.labels.clone(),
            ranked: self.ranked.clone(),
            chosen: self.chosen.iter().cloned().collect(),
        })
    }

    fn matchers(&self, of: &Tuple) -> Vec<String> {
        let pairs = self.labels.iter().zip(of);
        pairs.map(|(label, value)| format!("{label}={}", quoted(value))).collect()
    }

    /// For each scraper that is chosen between, its matchers; nothing where all series are taken.
    fn choices(&self, metric: &str) -> Vec<Vec<String>> {
        let is_chosen = self.ranked.len() > 1 && self.chosen.contains(metric);
        let choices = if is_chosen { self.ranked.as_slice() } else { &[] };
        choices.iter().map(|of| self.matchers(of)).collect()
    }

    /// A metric's series at one time: of the first scraper that has samples then.
    pub(super) fn of(&self, selector: &Selector, metric: &str, extra: &[&str]) -> String {
        let with = |metric: &str, more: &[String], extra: &[&str]| {
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            selector.of(metric, &[extra, &more].concat())
        };
        let choices = self.choices(metric);
        if choices.is_empty() {
            return selector.of(metric, extra);
        }
        let on = selector.labels(&[]);
        let mut parts: Vec<String> = Vec::new();
        for (rank, choice) in choices.iter().enumerate() {
            let mut part = with(metric, choice, extra);
            for before in &choices[..rank] {
                let alive = with(&self.alive, before, &[]);
                part = format!("{part} unless on ({on}) {alive}");
            }
            parts.push(if rank == 0 { part } else { format!("({part})") });
        }
        format!("({})", parts.join(" or "))
    }

    /// A function over the range of a counter: of the first scraper that has the series.
    pub(super) fn over_time(
        &self,
        selector: &Selector,
        (function, metric): (&str, &str),
        extra: &[&str],
        range: &str,
    ) -> String {
        let choices = self.choices(metric);
        if choices.is_empty() {
            return selector.over_time(function, metric, extra, range);
        }
        let of = |choice: &Vec<String>| {
            let more: Vec<&str> = choice.iter().map(String::as_str).collect();
            selector.over_time(function, metric, &[extra, &more].concat(), range)
        };
        let parts: Vec<String> = choices.iter().map(of).collect();
        format!("({})", parts.join(&format!(" or ignoring ({}) ", self.labels.join(", "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn life(pairs: &[(&str, &str)], first: f64, last: f64) -> Life {
        Life { labels: labels(pairs), first, last }
    }

    const DAY: f64 = 86_400.0;

    fn pair() -> Vec<Life> {
        ["n1", "n2"]
            .iter()
            .flat_map(|node| {
                [("a", DAY - 3_600.0), ("b", DAY)].map(|(replica, last)| {
                    life(&[("cluster", "c"), ("node", node), ("replica", replica)], 0.0, last)
                })
            })
            .collect()
    }

    #[test]
    fn only_series_that_stand_side_by_side_are_of_two_scrapers() {
        assert_eq!(differing_labels(&pair(), "cluster"), ["replica"]);
        let renamed = [
            life(&[("node", "n1"), ("job", "old")], 0.0, 43_200.0),
            life(&[("node", "n1"), ("job", "new")], 42_960.0, DAY),
        ];
        assert!(differing_labels(&renamed, "cluster").is_empty());
        let zones = [
            life(&[("node", "n1"), ("zone", "a")], 0.0, DAY),
            life(&[("node", "n2"), ("zone", "b")], 0.0, DAY),
        ];
        assert!(differing_labels(&zones, "cluster").is_empty());
        let same_name = [
            life(&[("cluster", "x"), ("node", "n1"), ("job", "a")], 0.0, DAY),
            life(&[("cluster", "y"), ("node", "n1"), ("job", "b")], 0.0, DAY),
        ];
        assert!(differing_labels(&same_name, "cluster").is_empty());
    }

    #[test]
    fn a_node_whose_labels_change_beside_a_pair_leaves_the_pair() {
        let mut lives = Vec::new();
        for (pool, first, last) in [("old", 0.0, 40_000.0), ("new", 40_060.0, DAY)] {
            for replica in ["a", "b"] {
                let of = [("node", "n1"), ("pool", pool), ("replica", replica)];
                lives.push(life(&of, first, last));
            }
        }
        assert_eq!(differing_labels(&lives, "cluster"), ["replica"]);
    }

    #[test]
    fn the_scraper_with_most_comes_first_and_the_others_fill_its_gaps() {
        let mut scrapers = Scrapers::ranked("price", vec!["replica".into()], &pair());
        let (a, b) = (labels(&[("replica", "a")]), labels(&[("replica", "b")]));
        scrapers.choose_for("m", &[(&a, 10.0), (&b, 10.0)], "cluster");
        assert_eq!(
            scrapers.of(&Selector::default(), "m", &["x=\"y\""]),
            r#"(m{x="y",replica="b"} or (m{x="y",replica="a"} unless on (cluster) price{replica="b"}))"#
        );
        assert_eq!(
            scrapers.over_time(&Selector::default(), ("increase", "m"), &[], "1d"),
            r#"(increase(m{replica="b"}[1d]) or ignoring (replica) increase(m{replica="a"}[1d]))"#
        );
        assert_eq!(scrapers.of(&Selector::default(), "other", &[]), "other{}");
    }

    #[test]
    fn a_metric_that_others_scrape_too_or_the_first_lacks_is_not_chosen_from() {
        let of = |counts: &[(&str, f64)]| {
            let mut scrapers = Scrapers::ranked("price", vec!["replica".into()], &pair());
            let named: Vec<_> =
                counts.iter().map(|(r, n)| (labels(&[("replica", r)]), *n)).collect();
            let counts: Vec<_> = named.iter().map(|(labels, n)| (labels, *n)).collect();
            scrapers.choose_for("m", &counts, "cluster");
            !scrapers.choices("m").is_empty()
        };
        assert!(of(&[("a", 9.0), ("b", 10.0)]));
        assert!(!of(&[("a", 9.0), ("b", 10.0), ("kube-state-metrics", 1.0)]));
        assert!(!of(&[("a", 100.0), ("b", 2.0)]), "b comes first, but has next to nothing");
        assert!(of(&[("a", 2.0), ("b", 100.0)]));
    }
}
