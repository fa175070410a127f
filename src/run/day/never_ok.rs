//! No day is `ok` whose dollars are wrong: every fault that a source can show, at random.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::cost::{DayCosts, Level, Levels, PodCosts};
use crate::day_status::DayState;
use crate::settings::worker::GapPolicy;
use crate::source::{Phase, SourceDay};

use super::inputs::{CostedDay, name_missed_clusters};
use super::verdict::{StoredDay, Verdict, verdict};

/// A cluster's truth: what is idle, and what each namespace costs, USD.
type Truth = Vec<(f64, Vec<f64>)>;

/// What may be wrong with a day's answer. Shares are of what is there.
#[derive(Clone, Copy, Debug)]
enum Fault {
    None,
    /// A cluster has no sample for some of the minutes.
    MinutesLost(u32),
    /// A store is away without a word, and a cluster with it.
    ClusterLost,
    /// A store is away, and the server says so.
    AnswerPartial(f64),
    /// A namespace's gauge shows more than it costs: stale, doubled, or of another unit.
    NamespaceTimes(f64),
    /// A pod's gauge shows more than it costs, such as 24 times with a window of a day.
    PodTimes(f64),
    /// A namespace that is gone is still shown.
    NamespaceStale(f64),
    /// A cost that is none.
    NamespaceIs(f64),
    /// A cluster's whole is no cost.
    ClusterIs(f64),
    /// A name that cannot be one.
    NameRefused,
    /// Two sources show one cluster.
    TwoSources(f64),
    /// A metric is missing, and what it would bill.
    MetricMissing(f64),
    /// Averages over other times than the day.
    Approximate(f64),
}

fn fault() -> impl Strategy<Value = Fault> {
    let share = || 0.011..1.0_f64;
    let times = || prop_oneof![1.0..1.02_f64, 1.0..30.0_f64];
    let no_cost = || prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-5.0)];
    prop_oneof![
        Just(Fault::None),
        (1..1_440_u32).prop_map(Fault::MinutesLost),
        Just(Fault::ClusterLost),
        share().prop_map(Fault::AnswerPartial),
        times().prop_map(Fault::NamespaceTimes),
        times().prop_map(Fault::PodTimes),
        (0.0..5.0_f64).prop_map(Fault::NamespaceStale),
        no_cost().prop_map(Fault::NamespaceIs),
        no_cost().prop_map(Fault::ClusterIs),
        Just(Fault::NameRefused),
        share().prop_map(Fault::TwoSources),
        share().prop_map(Fault::MetricMissing),
        share().prop_map(Fault::Approximate),
    ]
}

fn cluster(index: usize) -> String {
    format!("c{index}")
}

fn namespace(index: usize) -> String {
    format!("n{index}")
}

/// What a faultless source shows. Pods have half of their namespace each.
fn shown(truth: &Truth) -> SourceDay {
    let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
    for (at, (idle, namespaces)) in truth.iter().enumerate() {
        let total = idle + namespaces.iter().sum::<f64>();
        source.costs.cluster_mut(&cluster(at)).total_usd = Some(total);
        for (number, usd) in namespaces.iter().enumerate() {
            let of = source.costs.namespace_mut(&cluster(at), &namespace(number));
            of.total_usd = Some(*usd);
            for pod in ["p0", "p1"] {
                let costs = PodCosts { total_usd: usd / 2.0, ..PodCosts::default() };
                of.pods.insert(pod.to_owned(), costs);
            }
        }
    }
    source.cover_all(1_440);
    source
}

/// Loses a share of all costs of a cluster.
fn lose(costs: &mut DayCosts, share: f64) {
    let Some(of) = costs.clusters.get_mut("c0") else { return };
    let less = |usd: &mut f64| *usd *= 1.0 - share;
    of.total_usd.iter_mut().for_each(less);
    for namespace in of.namespaces.values_mut() {
        namespace.total_usd.iter_mut().for_each(less);
        namespace.pods.values_mut().for_each(|pod| less(&mut pod.total_usd));
    }
}

/// The answer with the fault, and with what the adapters say of it.
fn spoil(source: &mut SourceDay, fault: Fault) {
    let shop = namespace(0);
    match fault {
        Fault::None => {}
        Fault::MinutesLost(minutes) => {
            lose(&mut source.costs, f64::from(minutes) / 1_440.0);
            let mut clusters = source.clusters.clone();
            clusters.insert(cluster(0), 1_440 - minutes);
            source.cover(clusters);
        }
        Fault::ClusterLost => {
            source.costs.clusters.remove("c0");
            source.cover_all(if source.costs.clusters.is_empty() { 0 } else { 1_440 });
        }
        Fault::AnswerPartial(share) => {
            lose(&mut source.costs, share);
            source.is_partial = true;
        }
        Fault::NamespaceTimes(times) => {
            let of = source.costs.namespace_mut("c0", &shop);
            of.total_usd = of.total_usd.map(|usd| usd * times);
        }
        Fault::PodTimes(times) => {
            let of = source.costs.namespace_mut("c0", &shop);
            of.pods.values_mut().for_each(|pod| pod.total_usd *= times);
        }
        Fault::NamespaceStale(usd) => {
            source.costs.namespace_mut("c0", "gone").total_usd = Some(usd);
        }
        Fault::NamespaceIs(usd) => {
            source.costs.namespace_mut("c0", &shop).total_usd = Some(usd);
        }
        Fault::ClusterIs(usd) => source.costs.cluster_mut("c0").total_usd = Some(usd),
        Fault::NameRefused => {
            if let Some(of) = source.costs.clusters.get_mut("c0")
                && let Some(costs) = of.namespaces.remove(&shop)
            {
                of.namespaces.insert("a\u{1f}b".to_owned(), costs);
            }
        }
        Fault::TwoSources(share) => {
            lose(&mut source.costs, share);
            source.conflicts.push("two sources show cluster 'c0'".to_owned());
        }
        Fault::MetricMissing(share) => {
            lose(&mut source.costs, share);
            source.missing.push("pv_hourly_cost of cluster 'c0'".to_owned());
        }
        Fault::Approximate(share) => {
            lose(&mut source.costs, share);
            source.approximations.push("averages of 24 hours".to_owned());
        }
    }
}

/// By how much a sum may be off on a day that is `ok`.
fn is_near(usd: f64, truth: f64) -> bool {
    (usd - truth).abs() <= 0.01 * truth.abs() + 0.002
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_day_is_ok_whose_dollars_are_missing_or_invented(
        truth in prop::collection::vec(
            (0.0..50.0_f64, prop::collection::vec(0.05..50.0_f64, 1..5)), 1..4),
        fault in fault(),
        is_stored in any::<bool>(),
    ) {
        let mut source = shown(&truth);
        spoil(&mut source, fault);
        let before: BTreeSet<String> = (0..truth.len()).map(cluster).collect();
        name_missed_clusters(&mut source, &before);
        let levels = Levels::ALL;
        let costed = CostedDay::of(source, levels, GapPolicy::None);
        let whole: f64 = truth.iter().map(|(idle, of)| idle + of.iter().sum::<f64>()).sum();
        let stored = StoredDay { status: None, total_usd: if is_stored { whole } else { 0.0 } };
        let found = verdict(&costed.source, &costed.roll, stored, 0.2, false);
        let is_ok = matches!(&found, Verdict::Store { state: DayState::Ok, .. });
        if let Fault::None = fault {
            prop_assert!(is_ok, "{found:?}");
        }
        if !is_ok {
            return Ok(());
        }
        prop_assert!(is_near(costed.roll.total.usd(), whole), "{fault:?}: {found:?}");
        if let Fault::NamespaceTimes(_) = fault {
            // Below its cluster's whole, nothing shows that it took a part of what is idle.
            return Ok(());
        }
        for (at, (_, namespaces)) in truth.iter().enumerate() {
            for (number, usd) in namespaces.iter().enumerate() {
                let lines = costed.roll.lines.iter().filter(|line| {
                    line.key.cluster() == cluster(at)
                        && line.key.namespace() == Some(&namespace(number))
                        && line.key.level() != Level::Cluster
                });
                let sum: f64 = lines.map(|line| line.cost.usd()).sum();
                // Scaled down to its cluster's whole, a namespace may lose what that allows.
                let slack = 0.011 * whole;
                prop_assert!(
                    is_near(sum, *usd) || (sum - usd).abs() <= slack,
                    "{fault:?}: namespace {number} of cluster {at} has ${sum}, costs ${usd}"
                );
            }
        }
    }
}
