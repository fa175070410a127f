//! What a made-up cluster truly costs: integrated from what runs in it, second by second where
//! anything changes, and from no metric.

use std::collections::BTreeMap;

use super::world::{Cluster, Node, Pod, Span, Steps, Volume};

/// USD.
#[derive(Clone, Debug, Default)]
pub(super) struct Bill {
    pub(super) total: f64,
    pub(super) namespaces: BTreeMap<String, f64>,
    pub(super) pods: BTreeMap<(String, String), f64>,
    pub(super) classes: BTreeMap<String, f64>,
}

impl Bill {
    pub(super) fn add(&mut self, other: &Self) {
        self.total += other.total;
        for (name, usd) in &other.namespaces {
            *self.namespaces.entry(name.clone()).or_default() += usd;
        }
        for (name, usd) in &other.pods {
            *self.pods.entry(name.clone()).or_default() += usd;
        }
        for (name, usd) in &other.classes {
            *self.classes.entry(name.clone()).or_default() += usd;
        }
    }
}

/// The integral of a rate per hour over a span in which it changes at these times only.
fn integral(span: Span, changes: &[&Steps], rate: impl Fn(i64) -> f64) -> f64 {
    let mut cuts: Vec<i64> = changes.iter().flat_map(|steps| &steps.0).map(|(t, _)| *t).collect();
    cuts.retain(|time| span.from < *time && *time < span.until);
    cuts.extend([span.from, span.until]);
    cuts.sort_unstable();
    let parts = cuts.windows(2).map(|ends| Span { from: ends[0], until: ends[1] });
    parts.map(|part| part.hours() * rate(part.from)).sum()
}

fn containers(pod: &Pod, node: &Node, span: Span) -> f64 {
    let of = |c: &super::world::Container| {
        let changes = [&c.cores, &c.gib, &node.core_usd, &node.gib_usd, &node.gpu_usd];
        integral(c.life.within(span), &changes, |t| {
            c.cores.at(t) * node.core_usd.at(t)
                + c.gib.at(t) * node.gib_usd.at(t)
                + c.gpus * node.gpu_usd.at(t)
        })
    };
    pod.containers.iter().map(of).sum()
}

/// What each of a volume's pods costs by it, and what is left while none mounts it.
fn shares(volume: &Volume, pods: &[Pod], span: Span) -> (Vec<(usize, f64)>, f64) {
    let lives: Vec<Span> = volume.pods.iter().map(|index| pods[*index].life).collect();
    let ends = lives.iter().flat_map(|life| [(life.from, 0.0), (life.until, 0.0)]).collect();
    let ends = Steps(ends);
    let rate = volume.gib * volume.usd;
    let mounting = |t: i64| lives.iter().filter(|life| life.has(t)).count();
    let share = |index: &usize| {
        let life = pods[*index].life.within(span);
        (*index, integral(life, &[&ends], |t| rate / mounting(t) as f64))
    };
    let unmounted = integral(span, &[&ends], |t| if mounting(t) == 0 { rate } else { 0.0 });
    (volume.pods.iter().map(share).collect(), unmounted)
}

/// What a cluster costs in a span.
pub(super) fn bill(cluster: &Cluster, span: Span) -> Bill {
    let mut bill = Bill::default();
    let mut of_pod = vec![0.0; cluster.pods.len()];
    for (pod, usd) in cluster.pods.iter().zip(&mut of_pod) {
        *usd += containers(pod, &cluster.nodes[pod.node], span);
        let seconds = pod.life.within(span).hours() * 3_600.0;
        for (direction, rate) in &pod.traffic {
            let sent = seconds * rate * cluster.egress_usd(*direction);
            *usd += sent;
            bill.total += sent;
        }
    }
    for volume in &cluster.volumes {
        let (of_pods, unmounted) = shares(volume, &cluster.pods, span);
        for (index, usd) in of_pods {
            of_pod[index] += usd;
        }
        *bill.namespaces.entry(volume.namespace.to_owned()).or_default() += unmounted;
        bill.total += span.hours() * volume.gib * volume.usd;
    }
    for (pod, usd) in cluster.pods.iter().zip(of_pod).filter(|(_, usd)| *usd > 0.0) {
        *bill.namespaces.entry(pod.namespace.to_owned()).or_default() += usd;
        *bill.classes.entry(pod.class.to_owned()).or_default() += usd;
        *bill.pods.entry((pod.namespace.to_owned(), pod.name.clone())).or_default() += usd;
    }
    for node in &cluster.nodes {
        let changes = [&node.core_usd, &node.gib_usd, &node.gpu_usd];
        bill.total += integral(node.life.within(span), &changes, |t| {
            node.cores * node.core_usd.at(t)
                + node.gib * node.gib_usd.at(t)
                + node.gpus * node.gpu_usd.at(t)
        });
    }
    for (namespace, usd) in &cluster.balancers {
        *bill.namespaces.entry((*namespace).to_owned()).or_default() += usd * span.hours();
        bill.total += usd * span.hours();
    }
    bill.total += cluster.management * span.hours();
    bill
}
