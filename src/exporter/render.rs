//! Gauges as text: OpenMetrics 1.0.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::accepted::AnswerFacts;
use super::snapshot::{Efficiencies, Node, Snapshot};
use crate::allocation_api::Costs;
use crate::settings::exporter::{MetricMode, PodLabels};

/// Everything that one scrape shows.
#[derive(Clone, Debug)]
pub struct View {
    /// The label `tenant_id`.
    pub tenant: Arc<str>,
    /// The label `cluster`.
    pub cluster: Arc<str>,
    /// The label `currency` of gauges of cost.
    pub currency: Arc<str>,
    /// What gauges of cost say.
    pub mode: MetricMode,
    /// Further labels of pods.
    pub pod_labels: PodLabels,
    /// Whether pods have gauges at all.
    pub has_pods: bool,
    /// Whether nodes have gauges at all.
    pub has_nodes: bool,
    /// The last good answer, unless it is stale.
    pub snapshot: Option<Arc<Snapshot>>,
    /// What is known of the last good answer, stale or not.
    pub answer: Option<AnswerFacts>,
    /// Seconds since the end of its window.
    pub data_age_seconds: Option<i64>,
    /// Whether the last poll gave a window that is accepted; `None` before the first poll.
    pub is_success: Option<bool>,
    /// How long the last poll took, seconds.
    pub duration_seconds: f64,
    /// Polls that gave nothing to accept, by reason.
    pub errors: BTreeMap<&'static str, u64>,
    /// Odd values of the source, by reason.
    pub odd_values: BTreeMap<&'static str, u64>,
    /// Which product answers, once known.
    pub product: Option<&'static str>,
}

type Labels<'a> = Vec<(&'a str, &'a str)>;

struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        series: &mut dyn FnMut(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series(&mut metric)
    }

    fn one(&mut self, name: &str, help: &str, labels: &Labels<'_>, value: f64) -> fmt::Result {
        self.gauge(name, help, &mut |metric| put(metric, labels, value))
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &Labels<'_>,
        counts: &BTreeMap<&'static str, u64>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in counts {
            let mut labels = labels.clone();
            labels.push(("reason", reason));
            metric.encode_family(&labels)?.encode_counter::<Labels<'_>, u64, u64>(count, None)?;
        }
        Ok(())
    }
}

fn put(metric: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: f64) -> fmt::Result {
    metric.encode_family(labels)?.encode_gauge(&value)
}

type CostPart = (&'static str, fn(&Costs) -> f64);
type NodePart = (&'static str, fn(&Node) -> Option<f64>);
type EfficiencyPart = (&'static str, fn(&Efficiencies) -> Option<f64>);

const CLUSTER_COSTS: [CostPart; 6] = [
    ("total", |c| c.total),
    ("cpu", |c| c.cpu),
    ("ram", |c| c.ram),
    ("pv", |c| c.pv),
    ("network", |c| c.network),
    ("lb", |c| c.lb),
];
const NAMESPACE_COSTS: [CostPart; 4] =
    [("total", |c| c.total), ("cpu", |c| c.cpu), ("ram", |c| c.ram), ("pv", |c| c.pv)];
const POD_COSTS: [CostPart; 3] = [("total", |c| c.total), ("cpu", |c| c.cpu), ("ram", |c| c.ram)];
const NODE_COSTS: [NodePart; 4] = [
    ("total", |n| Some(n.costs.total)),
    ("cpu", |n| Some(n.costs.cpu)),
    ("ram", |n| Some(n.costs.ram)),
    ("idle", |n| n.idle),
];
const EFFICIENCIES: [EfficiencyPart; 3] =
    [("cpu", |e| e.cpu), ("ram", |e| e.ram), ("total", |e| e.total)];

impl View {
    fn base(&self) -> Labels<'_> {
        vec![("tenant_id", &*self.tenant), ("cluster", &*self.cluster)]
    }

    /// The labels of gauges of cost.
    fn of_cost(&self) -> Labels<'_> {
        let mut labels = self.base();
        labels.push(("currency", &*self.currency));
        labels
    }

    /// The metrics as OpenMetrics.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn openmetrics(&self) -> Result<String, fmt::Error> {
        let series = self.snapshot.as_ref().map_or(0, |s| {
            s.namespaces.len() * 7
                + s.pods.len() * POD_COSTS.len()
                + s.nodes.len() * NODE_COSTS.len()
        });
        let mut text = String::with_capacity(4_096 + series * 160);
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Shown(self.clone())));
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }

    fn write(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder };
        if let Some(snapshot) = &self.snapshot {
            self.costs(&mut writer, snapshot)?;
        }
        self.health(&mut writer)
    }

    fn costs(&self, writer: &mut Writer<'_>, snapshot: &Snapshot) -> fmt::Result {
        let (factor, unit) = match self.mode {
            MetricMode::Rate => (1.0 / snapshot.window.hours(), "USD per hour"),
            MetricMode::Total => (1.0, "USD per window"),
        };
        let (base, of_cost) = (self.base(), self.of_cost());
        for (part, cost) in CLUSTER_COSTS {
            let name = format!("cloudtuner_kubecost_cluster_{part}_cost");
            let help = format!("Cost of the cluster ({part}), {unit}.");
            writer.one(&name, &help, &of_cost, cost(&snapshot.cluster) * factor)?;
        }
        for (part, ratio) in EFFICIENCIES {
            let Some(ratio) = ratio(&snapshot.efficiencies) else { continue };
            let name = format!("cloudtuner_kubecost_cluster_{part}_efficiency");
            let help = format!("Used of requested by all namespaces ({part}), per cent.");
            writer.one(&name, &help, &base, ratio * 100.0)?;
        }
        for (part, cost) in NAMESPACE_COSTS {
            let name = format!("cloudtuner_kubecost_namespace_{part}_cost");
            let help = format!("Cost of a namespace ({part}), {unit}.");
            writer.gauge(&name, &help, &mut |metric| {
                snapshot.namespaces.iter().try_for_each(|namespace| {
                    let mut labels = of_cost.clone();
                    labels.push(("namespace", &namespace.name));
                    put(metric, &labels, cost(&namespace.costs) * factor)
                })
            })?;
        }
        for (part, ratio) in EFFICIENCIES {
            let name = format!("cloudtuner_kubecost_namespace_{part}_efficiency");
            let help = format!("Used of requested by a namespace ({part}), per cent.");
            writer.gauge(&name, &help, &mut |metric| {
                snapshot.namespaces.iter().try_for_each(|namespace| {
                    let Some(ratio) = ratio(&namespace.efficiencies) else { return Ok(()) };
                    let mut labels = base.clone();
                    labels.push(("namespace", &namespace.name));
                    put(metric, &labels, ratio * 100.0)
                })
            })?;
        }
        if self.has_nodes {
            self.nodes(writer, snapshot, factor, unit)?;
        }
        if self.has_pods { self.pods(writer, snapshot, factor, unit) } else { Ok(()) }
    }

    fn nodes(
        &self,
        writer: &mut Writer<'_>,
        snapshot: &Snapshot,
        factor: f64,
        unit: &str,
    ) -> fmt::Result {
        let base = self.of_cost();
        for (part, cost) in NODE_COSTS {
            let name = format!("cloudtuner_kubecost_node_{part}_cost");
            let help = format!("Cost of a node ({part}), {unit}.");
            writer.gauge(&name, &help, &mut |metric| {
                snapshot.nodes.iter().try_for_each(|node| {
                    let Some(cost) = cost(node) else { return Ok(()) };
                    let mut labels = base.clone();
                    labels.push(("node", &node.name));
                    put(metric, &labels, cost * factor)
                })
            })?;
        }
        Ok(())
    }

    fn pods(
        &self,
        writer: &mut Writer<'_>,
        snapshot: &Snapshot,
        factor: f64,
        unit: &str,
    ) -> fmt::Result {
        let base = self.of_cost();
        for (part, cost) in POD_COSTS {
            let name = format!("cloudtuner_kubecost_pod_{part}_cost");
            let help = format!("Cost of a pod ({part}), {unit}.");
            writer.gauge(&name, &help, &mut |metric| {
                snapshot.pods.iter().try_for_each(|pod| {
                    let mut labels = base.clone();
                    labels.push(("namespace", &pod.namespace));
                    labels.push(("pod", &pod.name));
                    if let Some(node) = pod.node.as_deref().filter(|_| self.pod_labels.node) {
                        labels.push(("node", node));
                    }
                    let service = pod.service.as_deref().filter(|_| self.pod_labels.service);
                    if let Some(service) = service {
                        labels.push(("service", service));
                    }
                    put(metric, &labels, cost(&pod.costs) * factor)
                })
            })?;
        }
        Ok(())
    }

    /// What the costs are of.
    fn window(&self, writer: &mut Writer<'_>, base: &Labels<'_>) -> fmt::Result {
        if let Some(answer) = self.answer {
            let AnswerFacts { window, unknown_rows, .. } = answer;
            for (name, help, value) in [
                (
                    "window_end_timestamp_seconds",
                    "End of the window that the costs are of, Unix time.",
                    window.end as f64,
                ),
                (
                    "window_seconds",
                    "Length of the window that the costs are of.",
                    window.seconds() as f64,
                ),
                (
                    "window_covered_seconds",
                    "How much of that window the source has data of.",
                    answer.covered_seconds() as f64,
                ),
                (
                    "window_unknown_rows",
                    "Rows of that window whose cost is not known, or only in part: it is missing.",
                    unknown_rows as f64,
                ),
            ] {
                writer.one(&format!("cloudtuner_kubecost_{name}"), help, base, value)?;
            }
        }
        let Some(age) = self.data_age_seconds else { return Ok(()) };
        writer.one(
            "cloudtuner_kubecost_data_age_seconds",
            "Time since the end of the window that the costs are of.",
            base,
            age as f64,
        )
    }

    fn health(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let base = self.base();
        self.window(writer, &base)?;
        writer.one(
            "cloudtuner_kubecost_exporter_scrape_success",
            "1 when the last poll of the allocation API gave a window that is accepted, else 0.",
            &base,
            if self.is_success == Some(true) { 1.0 } else { 0.0 },
        )?;
        if self.is_success.is_some() {
            writer.one(
                "cloudtuner_kubecost_exporter_scrape_duration_seconds",
                "How long the last poll of the allocation API took.",
                &base,
                self.duration_seconds,
            )?;
        }
        writer.counters(
            "cloudtuner_kubecost_exporter_scrape_errors",
            "Polls that gave nothing to accept, by reason.",
            &base,
            &self.errors,
        )?;
        writer.counters(
            "cloudtuner_kubecost_exporter_odd_values",
            "Odd values in replies of the allocation API, by reason.",
            &base,
            &self.odd_values,
        )?;
        writer.one(
            "cloudtuner_kubecost_exporter_series_folded",
            "Namespaces and pods whose costs are summed as __other__.",
            &base,
            self.snapshot.as_ref().map_or(0.0, |snapshot| snapshot.folded as f64),
        )?;
        let mut labels = base.clone();
        labels.push(("version", env!("CARGO_PKG_VERSION")));
        labels.push(("mode", self.mode.as_str()));
        labels.push(("source", self.product.unwrap_or("unknown")));
        // A receiver may put another tenant_id over this one: it shows for which account this is.
        labels.push(("account", &*self.tenant));
        let help = "1; the labels are version, mode of the cost gauges, source and account.";
        writer.one("cloudtuner_kubecost_exporter_build_info", help, &labels, 1.0)
    }
}

/// Hands a view to the library's registry.
#[derive(Debug)]
struct Shown(View);

impl prometheus_client::collector::Collector for Shown {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.write(encoder)
    }
}
