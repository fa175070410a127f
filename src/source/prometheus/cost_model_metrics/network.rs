//! Network traffic: bytes by direction times price, to the pod and namespace that sent them.
//!
//! The bytes are a counter. What a window adds to it is asked for at once: the server takes
//! account of resets, and a gap between two samples loses nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::service::failure::Failure;
use crate::source::labels::Labels;
use crate::source::prometheus::promql::{Selector, Window};
use crate::source::prometheus::session::DaySession;

use super::formulas::Formulas;
use super::inventory::Inventory;
use super::names::{EGRESS, INTERNET_PRICE, REGION_PRICE, ZONE_PRICE};

const GIB: &str = "1073741824";
/// Into so many parts a window is cut in which a price changes: each has its own average.
const PARTS_OF_A_CHANGE: u32 = 24;

/// Where traffic goes, by the labels of both spellings, and its price.
struct Direction {
    price: &'static str,
    matchers: &'static [&'static [&'static str]],
}

const DIRECTIONS: [Direction; 3] = [
    Direction { price: INTERNET_PRICE, matchers: &[&["internet=\"true\""]] },
    Direction {
        price: REGION_PRICE,
        matchers: &[
            &["internet!=\"true\"", "same_region=\"false\""],
            &["internet!=\"true\"", "sameRegion=\"false\""],
        ],
    },
    Direction {
        price: ZONE_PRICE,
        matchers: &[
            &[
                "internet!=\"true\"",
                "same_region!=\"false\"",
                "sameRegion!=\"false\"",
                "same_zone=\"false\"",
            ],
            &[
                "internet!=\"true\"",
                "same_region!=\"false\"",
                "sameRegion!=\"false\"",
                "sameZone=\"false\"",
            ],
        ],
    },
];

impl Direction {
    /// Bytes that a window adds by namespace and pod: of two jobs that scrape one daemon, one.
    fn bytes(&self, formulas: &Formulas, window: Window) -> String {
        let added = |matchers: &&[&str]| {
            let range = window.range();
            let scrapers = &formulas.scrapers;
            scrapers.over_time(&formulas.selector, ("increase", EGRESS), matchers, &range)
        };
        let added: Vec<String> = self.matchers.iter().map(added).collect();
        let without = ["job"].into_iter().chain(formulas.scrapers.labels().iter().map(|l| &**l));
        let without = without.collect::<Vec<_>>().join(", ");
        let once = format!("max without ({without}) ({})", added.join(" or "));
        formulas.selector.sum_by(&["namespace", "pod_name"], &once)
    }

    /// The average price of a window.
    fn price(&self, selector: &Selector, window: Window) -> String {
        let average = selector.over_time("avg_over_time", self.price, &[], &window.range());
        selector.max_by(&[], &average)
    }

    /// USD that a window's traffic costs.
    fn usd(&self, formulas: &Formulas, window: Window) -> String {
        let on = formulas.selector.labels(&[]);
        format!(
            "{} / {GIB} * on ({on}) group_left () {}",
            self.bytes(formulas, window),
            self.price(&formulas.selector, window)
        )
    }
}

/// USD by cluster, namespace and pod (`pod_name`); `missing` has what is not billed.
pub(super) async fn traffic(
    session: &mut DaySession<'_>,
    formulas: &Formulas,
    inventory: &Inventory,
    window: Window,
    missing: &mut Vec<String>,
) -> Result<BTreeMap<Labels, f64>, Failure> {
    let mut out: BTreeMap<Labels, f64> = BTreeMap::new();
    let series = inventory.count(EGRESS);
    for direction in DIRECTIONS {
        let price = direction.price;
        let unpriced = inventory.clusters_with(EGRESS).filter(|of| !inventory.has_in(of, price));
        let unpriced: BTreeSet<&str> = unpriced.collect();
        if !unpriced.is_empty() {
            let query = |piece: Window| {
                let bytes = direction.bytes(formulas, piece);
                format!("{} > 0", formulas.selector.sum_by(&[], &bytes))
            };
            let found = session.summed_whole(window, series, query).await?;
            let found = session.by_cluster(&found);
            let of = found.keys().filter(|cluster| unpriced.contains(cluster.as_str()));
            missing.extend(of.map(|cluster| {
                format!("cluster '{cluster}' has {EGRESS}, but no {price}: it is not billed")
            }));
        }
        if !inventory.has(price) {
            continue;
        }
        let changes = |piece: Window| {
            let selector = &formulas.selector;
            let changes = selector.over_time("changes", price, &[], &piece.range());
            format!("{} > 0", selector.max_by(&[], &changes))
        };
        let is_constant = session.summed_whole(window, 1, changes).await?.is_empty();
        let parts = if is_constant { 1 } else { PARTS_OF_A_CHANGE };
        for part in window.split(parts) {
            let found = session.summed_whole(part, series, |p| direction.usd(formulas, p)).await?;
            for (labels, usd) in session.own_only(found)? {
                if usd.is_finite() {
                    *out.entry(labels).or_default() += usd;
                } else {
                    session.is_partial = true;
                    session.warn(format!("{EGRESS} or {price} has samples that are no number"));
                }
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a series with these labels is matched.
    fn is_matched(matchers: &[&str], labels: &[(&str, &str)]) -> bool {
        matchers.iter().all(|matcher| {
            let (name, value) = matcher.split_once('=').unwrap();
            let (name, wants_equal) = match name.strip_suffix('!') {
                Some(name) => (name, false),
                None => (name, true),
            };
            let label = labels.iter().find(|(known, _)| *known == name).map_or("", |(_, v)| v);
            (label == value.trim_matches('"')) == wants_equal
        })
    }

    #[test]
    fn each_byte_has_one_direction_in_either_spelling() {
        for [region, zone] in [["same_region", "same_zone"], ["sameRegion", "sameZone"]] {
            let cases = [
                (["true", "false", "false"], Some(INTERNET_PRICE)),
                (["false", "false", "false"], Some(REGION_PRICE)),
                (["false", "true", "false"], Some(ZONE_PRICE)),
                (["false", "true", "true"], None),
            ];
            for (values, wanted) in cases {
                let labels = [("internet", values[0]), (region, values[1]), (zone, values[2])];
                let matched = DIRECTIONS.iter().flat_map(|direction| {
                    let of = direction.matchers.iter().filter(|m| is_matched(m, &labels));
                    of.map(|_| direction.price)
                });
                assert_eq!(matched.collect::<Vec<_>>(), Vec::from_iter(wanted), "{labels:?}");
            }
        }
    }

    #[test]
    fn bytes_of_two_jobs_are_one_and_of_two_nodes_are_two() {
        let window = Window { start: 0, end: 3_600 };
        let bytes = DIRECTIONS[0].bytes(&Formulas::default(), window);
        assert_eq!(
            bytes,
            "sum by (cluster, namespace, pod_name) (max without (job) \
             (increase(kubecost_pod_network_egress_bytes_total{internet=\"true\"}[3599500ms])))"
        );
    }
}
