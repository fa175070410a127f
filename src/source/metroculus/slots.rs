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

/// Adds up slots; a pod is on the node where it was last seen with one.
pub(super) fn summed(slots: &[SlotRates]) -> DayCosts {
    let mut sum = DayCosts::default();
    for slot in slots {
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
                put(&mut sum, &rate(None, None, usd));
            }
            for (namespace, of_namespace) in &costs.namespaces {
                if let Some(usd) = of_namespace.total_usd {
                    put(&mut sum, &rate(Some(namespace), None, usd));
                }
                for pod in &of_namespace.pods {
                    put(&mut sum, &rate(Some(namespace), Some(pod), pod.1.total_usd));
                }
            }
        }
    }
    sum
}

/// For how many minutes there are slots with rates of each cluster.
pub(super) fn covered(slots: &[SlotRates]) -> BTreeMap<String, u32> {
    let mut slots_of: BTreeMap<String, usize> = BTreeMap::new();
    for slot in slots {
        let named: BTreeSet<&String> = slot.rates.iter().map(|rate| &rate.cluster).collect();
        for cluster in named {
            *slots_of.entry(cluster.clone()).or_default() += 1;
        }
    }
    slots_of.into_iter().map(|(cluster, slots)| (cluster, slot_minutes(slots))).collect()
}

/// Clusters for which two sources showed different totals in most slots in which there were
/// several.
pub(super) fn conflicts(slots: &[SlotRates]) -> Vec<String> {
    const SLOTS_MIN: usize = 3;
    let mut seen: BTreeMap<&String, (usize, usize, f64, f64)> = BTreeMap::new();
    for slot in slots {
        let mut rates: BTreeMap<&String, Vec<f64>> = BTreeMap::new();
        for rate in slot.rates.iter().filter(|rate| rate.namespace.is_none()) {
            rates.entry(&rate.cluster).or_default().push(rate.usd_per_hour);
        }
        for (cluster, rates) in rates.into_iter().filter(|(_, rates)| rates.len() > 1) {
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(0.0, f64::max);
            let (several, differing, low, high) = seen.entry(cluster).or_default();
            *several += 1;
            if most - least > TOLERANCE * most {
                *differing += 1;
                (*low, *high) = (least, most);
            }
        }
    }
    seen.into_iter()
        .filter(|(_, (several, differing, ..))| {
            *differing >= SLOTS_MIN && differing * 2 >= *several
        })
        .map(|(cluster, (_, _, low, high))| {
            format!(
                "two sources show different costs of cluster '{cluster}': one ${low:.4} an hour and \
                 one ${high:.4}"
            )
        })
        .collect()
}

pub(super) fn slot_minutes(slots: usize) -> u32 {
    u32::try_from(slots as i64 * SLOT_SECONDS / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::AccountId;

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
        let account = AccountId::new("a").unwrap();
        SlotRates { account, slot_seconds: 0, phase: 2, lag_seconds: None, refused: 0, rates }
    }

    #[test]
    fn twelve_slots_are_an_hour() {
        let slots = vec![slot(vec![rate(None, 2.0), rate(Some("shop"), 1.0)]); 12];
        let costs = summed(&slots);
        assert!((costs.clusters["c"].total_usd.unwrap() - 2.0).abs() < 1e-12);
        let shop = &costs.clusters["c"].namespaces["shop"];
        assert!((shop.total_usd.unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn doubled_series_of_a_slot_count_once() {
        let costs = summed(&[slot(vec![rate(None, 12.0), rate(None, 12.0)])]);
        assert_eq!(costs.clusters["c"].total_usd, Some(1.0));
    }

    #[test]
    fn sources_that_differ_slot_after_slot_are_in_conflict() {
        let differing = || slot(vec![rate(None, 2.0), rate(None, 3.0)]);
        let agreeing = || slot(vec![rate(None, 2.0), rate(None, 2.0)]);
        assert!(conflicts(&[differing(), differing()]).is_empty());
        assert_eq!(conflicts(&[differing(), differing(), differing()]).len(), 1);
        let rare = [vec![differing(); 3], vec![agreeing(); 4]].concat();
        assert!(conflicts(&rare).is_empty());
    }

    #[test]
    fn a_cluster_is_covered_by_the_slots_that_tell_of_it() {
        let mut other = rate(None, 1.0);
        other.cluster = "d".into();
        let slots = [slot(vec![rate(None, 1.0), rate(Some("shop"), 1.0)]), slot(vec![other])];
        assert_eq!(covered(&slots), BTreeMap::from([("c".into(), 5), ("d".into(), 5)]));
    }
}
