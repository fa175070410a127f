//! A day's costs from the slots of the rate journal: functions of values.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{DayCosts, PodCosts, ResourceKey};
use crate::rate_journal::{SLOT_SECONDS, SeenRate, SlotRates};

use crate::source::prometheus::gauges::keep_max;
use crate::source::prometheus::source_conflicts::TOLERANCE;

/// Adds a cost (or a rate times hours) to a day.
pub(super) fn put(costs: &mut DayCosts, rate: &SeenRate) {
    match (&rate.namespace, &rate.pod) {
        (None, _) => {
            let total = &mut costs.cluster_mut(&rate.cluster).total_usd;
            *total = Some(total.unwrap_or(0.0) + rate.usd_per_hour);
        }
        (Some(namespace), None) => {
            let total = &mut costs.namespace_mut(&rate.cluster, namespace).total_usd;
            *total = Some(total.unwrap_or(0.0) + rate.usd_per_hour);
        }
        (Some(namespace), Some(pod)) => {
            let pods = &mut costs.namespace_mut(&rate.cluster, namespace).pods;
            let known = pods.entry(pod.clone()).or_default();
            known.total_usd += rate.usd_per_hour;
            known.node = rate.node.clone().or(known.node.take());
            known.service = rate.service.clone().or(known.service.take());
        }
    }
}

/// The resource that a rate is of.
pub(super) fn key(rate: SeenRate) -> ResourceKey {
    let cluster = rate.cluster;
    match (rate.namespace, rate.pod) {
        (Some(namespace), Some(pod)) => ResourceKey::Pod { cluster, namespace, pod },
        (Some(namespace), None) => ResourceKey::Namespace { cluster, namespace },
        (None, _) => ResourceKey::Cluster { cluster },
    }
}

/// One slot's rates as a day's costs of that slot: doubled series count once, the greatest.
fn slot_costs(slot: &SlotRates) -> DayCosts {
    let hours = SLOT_SECONDS as f64 / 3_600.0;
    let mut costs = DayCosts::default();
    for rate in &slot.rates {
        let usd = rate.usd_per_hour * hours;
        match (&rate.namespace, &rate.pod) {
            (None, _) => keep_max(&mut costs.cluster_mut(&rate.cluster).total_usd, usd),
            (Some(namespace), None) => {
                keep_max(&mut costs.namespace_mut(&rate.cluster, namespace).total_usd, usd);
            }
            (Some(namespace), Some(pod)) => {
                let pods = &mut costs.namespace_mut(&rate.cluster, namespace).pods;
                let known = pods.entry(pod.clone()).or_insert_with(|| PodCosts {
                    node: rate.node.clone(),
                    service: rate.service.clone(),
                    ..PodCosts::default()
                });
                known.total_usd = known.total_usd.max(usd);
            }
        }
    }
    costs
}

/// Slots that a window may be shown for beyond its length: the next one is not there at once, and
/// is shown for as much less.
pub(super) const LATE_SLOTS_MAX: i64 = 2;
/// In so many slots at least sources must differ to be in conflict.
const DIFFERING_SLOTS_MIN: usize = 3;

/// What slots showed of a cluster for which several sources showed totals.
#[derive(Debug, Default)]
struct Several {
    slots: usize,
    differing: usize,
    /// The least and the greatest rate of the last slot in which they differed.
    rates: (f64, f64),
}

/// A day's slots, added up one after the other, in the order of time.
#[derive(Debug, Default)]
pub(super) struct SlotSums {
    /// What they cost.
    pub(super) costs: DayCosts,
    /// How many rates were no rates.
    pub(super) refused: u32,
    /// Whether rates are of the earlier exporter.
    pub(super) is_approximate: bool,
    /// Clusters whose exporters had only a part of a window.
    pub(super) incomplete: BTreeSet<String>,
    slots: BTreeMap<String, usize>,
    several: BTreeMap<String, Several>,
    /// By cluster and window's end, in how many slots the window was shown.
    shown: BTreeMap<(String, i64), i64>,
}

impl SlotSums {
    /// Leaves out the rates of clusters whose window was shown for as long as it is: an exporter
    /// that gets no new window goes on showing the last one, which is not what the time since cost.
    pub(super) fn without_stale(&mut self, slot: &mut SlotRates) {
        let mut stale = BTreeSet::new();
        for window in &slot.windows {
            let key = (window.cluster.clone(), window.end_seconds);
            let shown = self.shown.entry(key).or_default();
            *shown += 1;
            if *shown > window.length_seconds / SLOT_SECONDS + LATE_SLOTS_MAX {
                stale.insert(&window.cluster);
            }
        }
        slot.rates.retain(|rate| !stale.contains(&rate.cluster));
    }

    /// Adds a slot of the day; a pod is on the node where it was last seen with one.
    pub(super) fn add(&mut self, slot: &SlotRates) {
        self.refused = self.refused.saturating_add(slot.refused);
        self.is_approximate |= slot.is_approximate;
        let named: BTreeSet<&String> = slot.rates.iter().map(|rate| &rate.cluster).collect();
        let incomplete = slot.windows.iter().filter(|one| one.is_incomplete);
        let incomplete = incomplete.filter(|one| named.contains(&one.cluster));
        self.incomplete.extend(incomplete.map(|one| one.cluster.clone()));
        for cluster in named {
            *self.slots.entry(cluster.clone()).or_default() += 1;
        }
        self.compare(slot);
        self.add_costs(slot);
    }

    fn add_costs(&mut self, slot: &SlotRates) {
        let sum = &mut self.costs;
        for (cluster, costs) in slot_costs(slot).clusters {
            let rate =
                |namespace: Option<&String>, pod: Option<(&String, &PodCosts)>, usd| SeenRate {
                    cluster: cluster.clone(),
                    namespace: namespace.cloned(),
                    pod: pod.map(|(name, _)| name.clone()),
                    node: pod.and_then(|(_, pod)| pod.node.clone()),
                    service: pod.and_then(|(_, pod)| pod.service.clone()),
                    usd_per_hour: usd,
                };
            if let Some(usd) = costs.total_usd {
                put(sum, &rate(None, None, usd));
            }
            for (namespace, of_namespace) in &costs.namespaces {
                if let Some(usd) = of_namespace.total_usd {
                    put(sum, &rate(Some(namespace), None, usd));
                }
                for pod in &of_namespace.pods {
                    put(sum, &rate(Some(namespace), Some(pod), pod.1.total_usd));
                }
            }
        }
    }

    /// Compares the totals that several sources show of one cluster.
    fn compare(&mut self, slot: &SlotRates) {
        let mut rates: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
        for rate in slot.rates.iter().filter(|rate| rate.namespace.is_none()) {
            rates.entry(&rate.cluster).or_default().push(rate.usd_per_hour);
        }
        for (cluster, rates) in rates.into_iter().filter(|(_, rates)| rates.len() > 1) {
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            let several = self.several.entry(cluster.clone()).or_default();
            several.slots += 1;
            if most - least > TOLERANCE * most {
                several.differing += 1;
                several.rates = (least, most);
            }
        }
    }

    /// For how many minutes there are rates of each cluster.
    pub(super) fn covered(&self) -> BTreeMap<String, u32> {
        self.slots.iter().map(|(cluster, slots)| (cluster.clone(), slot_minutes(*slots))).collect()
    }

    /// Clusters for which two sources showed different totals in most slots in which there were
    /// several.
    pub(super) fn conflicts(&self) -> Vec<String> {
        let is_conflict =
            |one: &Several| one.differing >= DIFFERING_SLOTS_MIN && one.differing * 2 >= one.slots;
        let several = self.several.iter().filter(|(_, one)| is_conflict(one));
        several
            .map(|(cluster, Several { rates: (low, high), .. })| {
                format!(
                    "two sources show different costs of cluster '{cluster}': one ${low:.4} an \
                     hour and one ${high:.4}"
                )
            })
            .collect()
    }
}

pub(super) fn slot_minutes(slots: usize) -> u32 {
    u32::try_from(slots as i64 * SLOT_SECONDS / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::AccountId;
    use crate::rate_journal::SeenWindow;

    fn rate(namespace: Option<&str>, usd_per_hour: f64) -> SeenRate {
        SeenRate {
            cluster: "c".into(),
            namespace: namespace.map(Into::into),
            pod: None,
            node: None,
            service: None,
            usd_per_hour,
        }
    }

    fn slot(rates: Vec<SeenRate>) -> SlotRates {
        SlotRates {
            account: AccountId::new("a").unwrap(),
            slot_seconds: 0,
            phase: 2,
            lag_seconds: None,
            refused: 0,
            is_approximate: false,
            windows: Vec::new(),
            rates,
        }
    }

    fn sums(slots: &[SlotRates]) -> SlotSums {
        let mut sums = SlotSums::default();
        for slot in slots {
            let mut slot = slot.clone();
            sums.without_stale(&mut slot);
            sums.add(&slot);
        }
        sums
    }

    #[test]
    fn twelve_slots_are_an_hour() {
        let slots = vec![slot(vec![rate(None, 2.0), rate(Some("shop"), 1.0)]); 12];
        let costs = sums(&slots).costs;
        assert!((costs.clusters["c"].total_usd.unwrap() - 2.0).abs() < 1e-12);
        let shop = &costs.clusters["c"].namespaces["shop"];
        assert!((shop.total_usd.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn doubled_series_of_a_slot_count_once() {
        let costs = sums(&[slot(vec![rate(None, 12.0), rate(None, 12.0)])]).costs;
        assert_eq!(costs.clusters["c"].total_usd, Some(1.0));
    }

    #[test]
    fn sources_that_differ_slot_after_slot_are_in_conflict() {
        let differing = || slot(vec![rate(None, 2.0), rate(None, 3.0)]);
        let agreeing = || slot(vec![rate(None, 2.0), rate(None, 2.0)]);
        let conflicts = |slots: &[SlotRates]| sums(slots).conflicts().len();
        assert_eq!(conflicts(&[differing(), differing()]), 0);
        assert_eq!(conflicts(&[differing(), differing(), differing()]), 1);
        assert_eq!(conflicts(&[vec![differing(); 3], vec![agreeing(); 4]].concat()), 0);
    }

    #[test]
    fn a_cluster_is_covered_by_the_slots_that_tell_of_it() {
        let mut other = rate(None, 1.0);
        other.cluster = "d".into();
        let slots = [slot(vec![rate(None, 1.0), rate(Some("shop"), 1.0)]), slot(vec![other])];
        assert_eq!(sums(&slots).covered(), BTreeMap::from([("c".into(), 5), ("d".into(), 5)]));
    }

    #[test]
    fn a_window_that_stays_is_billed_for_its_length_and_the_rest_is_not_covered() {
        let of = |end_seconds: i64| SlotRates {
            windows: vec![SeenWindow {
                cluster: "c".into(),
                end_seconds,
                length_seconds: 3_600,
                is_incomplete: end_seconds == 7_200,
            }],
            ..slot(vec![rate(None, 1.0), rate(Some("shop"), 0.5)])
        };
        // It is shown for 25 slots, a little more than two hours, and then the next one.
        let slots = [vec![of(3_600); 25], vec![of(7_200); 11]].concat();
        let sums = sums(&slots);
        assert_eq!(sums.covered()["c"], (14 + 11) * 5);
        let usd = sums.costs.clusters["c"].total_usd.unwrap();
        assert!((usd - 25.0 / 12.0).abs() < 1e-12, "{usd}");
        assert_eq!(sums.incomplete, BTreeSet::from(["c".to_owned()]));
    }
}
