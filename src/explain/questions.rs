//! The questions behind a number, as PromQL that anyone can paste. Pure.

use crate::allocation_api::{Idle, Request, Window as Span};
use crate::cost::{AccountId, Day, ResourceKey};
use crate::settings::cluster_label::{CLUSTER, CLUSTER_ID, ClusterLabel};
use crate::source::metric_names::{
    CLUSTER_TOTAL, CPU_ALLOCATION, CPU_PRICE, NAMESPACE_TOTAL, NODE_TOTAL, POD_TOTAL,
    RAM_ALLOCATION, RAM_PRICE, VOLUME_CLAIMS, VOLUME_PRICE, WINDOW_END, WINDOW_SECONDS,
};
use crate::source::prometheus::promql::{
    Selector, Window, integral, minutes_present, quoted, regex_escaped,
};
use crate::source::{Phase, ReadPart, Reading};

use super::model::{Question, Raw};

const GIB: &str = "1073741824";
const HOUR_SECONDS: i64 = 3_600;
/// How long a sample stands in an instant query, seconds: Prometheus' default.
const LOOKBACK_SECONDS: i64 = 300;

/// Which query layer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// A server that understands PromQL.
    Prometheus,
    /// Metroculus.
    Metroculus,
    /// Kubecost's or OpenCost's allocation API.
    AllocationApi,
}

/// What a number's series are selected by.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who is asked.
    pub layer: Layer,
    /// The account.
    pub account: AccountId,
    /// Label and account.
    pub tenant: Option<(String, String)>,
    /// The label that names clusters.
    pub cluster_label: ClusterLabel,
    /// The cluster of series without one.
    pub default_cluster: String,
    /// The number.
    pub key: ResourceKey,
    /// The metrics.
    pub phase: Phase,
    /// The day.
    pub day: Day,
    /// Up to when, Unix seconds.
    pub now_seconds: i64,
    /// How the source was read.
    pub reading: Reading,
}

impl Asked {
    /// What is asked for where nothing but the layer is known yet.
    #[must_use]
    pub fn of_layer(layer: Layer, account: AccountId, (day, now_seconds): (Day, i64)) -> Self {
        Self {
            layer,
            account,
            tenant: None,
            cluster_label: ClusterLabel::Named(CLUSTER.to_owned()),
            default_cluster: String::new(),
            // What the number is of, and its phase, are known when the stores were read.
            key: ResourceKey::Cluster { cluster: String::new() },
            phase: Phase::Exporter,
            day,
            now_seconds,
            reading: Reading::default(),
        }
    }

    /// The part of the day that counts.
    #[must_use]
    pub fn window(&self) -> Window {
        let end = self.day.end_seconds().min(self.now_seconds + 1);
        Window { start: self.day.start_seconds(), end: end.max(self.day.start_seconds()) }
    }

    fn label(&self) -> &str {
        match &self.cluster_label {
            ClusterLabel::Named(label) => label,
            ClusterLabel::Auto => self.reading.cluster_label.as_deref().unwrap_or(CLUSTER),
        }
    }

    /// The labels that may name a cluster, the first that a series has counting.
    fn cluster_labels(&self) -> Vec<String> {
        let also = self.cluster_label == ClusterLabel::Auto && self.label() == CLUSTER;
        let also = also.then(|| CLUSTER_ID.to_owned());
        std::iter::once(self.label().to_owned()).chain(also).collect()
    }

    /// Selects the account's series of the number's cluster.
    fn selector(&self) -> Selector {
        let cluster = self.key.cluster();
        let mut words = vec![regex_escaped(cluster)];
        // Series without the label may be the cluster's by another label.
        let is_open = self.cluster_label == ClusterLabel::Auto && self.label() == CLUSTER;
        if cluster == self.default_cluster || is_open {
            words.push(String::new());
        }
        let matcher = format!("{}=~{}", self.label(), quoted(&words.join("|")));
        Selector {
            tenant: self.tenant.clone(),
            matchers: vec![matcher],
            cluster_label: Some(self.label().to_owned()),
            ..Selector::default()
        }
    }

    /// Matchers of the namespace and the pod.
    fn matchers(&self) -> Vec<String> {
        let namespace = self.key.namespace().map(|name| format!("namespace={}", quoted(name)));
        let pod = self.key.pod().map(|name| format!("pod={}", quoted(name)));
        namespace.into_iter().chain(pod).collect()
    }

    fn labels(&self) -> &'static [&'static str] {
        match (self.key.namespace(), self.key.pod()) {
            (None, _) => &[],
            (Some(_), None) => &["namespace"],
            (Some(_), Some(_)) => &["namespace", "pod"],
        }
    }

    /// The rates that make the number, USD per hour, each with its name.
    #[must_use]
    pub fn rates(&self) -> Vec<(&'static str, String)> {
        let selector = self.selector();
        let own = self.matchers();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        if self.phase == Phase::Exporter {
            let stored = selector.stored(self.total_metric(), &own);
            let rate = selector.max_by(self.labels(), &stored);
            return vec![("total", rate)];
        }
        if self.key.namespace().is_none() {
            let nodes = selector.max_by(&["node"], &selector.stored(NODE_TOTAL, &[]));
            return vec![("nodes", selector.sum_by(&[], &nodes))];
        }
        let container = ["node", "namespace", "pod", "container"];
        let priced = |amount: &str, divisor: &str, price: &str| {
            let amounts = selector.max_by(&container, &selector.stored(amount, &own));
            let prices = selector.max_by(&["node"], &selector.stored(price, &[]));
            let on = selector.labels(&["node"]);
            let product = format!("{amounts} / {divisor} * on ({on}) group_left () {prices}");
            selector.sum_by(self.labels(), &product)
        };
        let claims = selector.max_by(
            &["namespace", "pod", "persistentvolume", "persistentvolumeclaim"],
            &selector.stored(VOLUME_CLAIMS, &own),
        );
        let prices = selector.max_by(&["persistentvolume"], &selector.stored(VOLUME_PRICE, &[]));
        let on = selector.labels(&["persistentvolume"]);
        let volumes = format!("{claims} / {GIB} * on ({on}) group_left () {prices}");
        vec![
            ("cpu", priced(CPU_ALLOCATION, "1", CPU_PRICE)),
            ("ram", priced(RAM_ALLOCATION, GIB, RAM_PRICE)),
            ("volumes", selector.sum_by(self.labels(), &volumes)),
        ]
    }

    /// The questions behind the number.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        match self.layer {
            Layer::Prometheus => self.in_promql(),
            Layer::Metroculus => vec![self.of_metroculus()],
            Layer::AllocationApi => {
                self.reading.parts.iter().map(|part| self.of_set(part)).collect()
            }
        }
    }

    fn of_metroculus(&self) -> Question {
        let window = self.window();
        let total = self.total_metric();
        let query = format!(
            "/metroculus/v2/kubecost_metrics?cloud_account_id={}&metrics={total},{WINDOW_END},\
             {WINDOW_SECONDS}&start_date={}&end_date={}",
            self.account, window.start, window.end
        );
        Question {
            what: "rates, each noted in the journal every 5 minutes".into(),
            query,
            time: None,
        }
    }

    /// The reply of which a number is a row, or with other parts the sum of rows.
    fn of_set(&self, part: &ReadPart) -> Question {
        let window = Span::new(part.start, part.end);
        let aggregate =
            if self.key.pod().is_some() { "namespace,pod" } else { "cluster,namespace" };
        let step_hours = Some(window.seconds() / HOUR_SECONDS);
        let request = Request {
            window,
            step_hours,
            aggregate,
            idle: Idle::Separate,
            is_idle_by_node: false,
            resolution: None,
        };
        let parameters: Vec<String> =
            request.parameters().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = format!("/model/allocation?{}", parameters.join("&"));
        Question { what: "rows of a set (OpenCost: /allocation)".into(), query, time: None }
    }

    fn total_metric(&self) -> &'static str {
        match (self.key.namespace(), self.key.pod()) {
            (None, _) => CLUSTER_TOTAL,
            (Some(_), None) => NAMESPACE_TOTAL,
            (Some(_), Some(_)) => POD_TOTAL,
        }
    }

    fn in_promql(&self) -> Vec<Question> {
        let window = self.window();
        let time = Some(window.evaluation_time());
        let mut out = Vec::new();
        for (what, rate) in self.rates() {
            let what = format!("{what}, USD of the day");
            out.push(Question { what, query: integral(&rate, window), time });
        }
        if let Some((_, rate)) = self.rates().first() {
            let what = "minutes with samples".to_owned();
            out.push(Question { what, query: minutes_present(rate, window), time });
        }
        if self.phase == Phase::Exporter {
            let what = "ends of windows, where the exporter has them".to_owned();
            let query = self.selector().stored(WINDOW_END, &[]);
            out.push(Question { what, query, time });
        }
        out
    }

    /// The sum of all rates, for the table of hours: a part without samples is nothing.
    #[must_use]
    pub fn rate(&self) -> String {
        let rates = self.rates();
        if let [(_, only)] = rates.as_slice() {
            return only.clone();
        }
        // Added up over a label that keeps parts apart, for a part that is missing must not take
        // the others with it.
        let parts: Vec<String> = rates
            .iter()
            .map(|(name, rate)| format!("label_replace({rate}, \"part\", \"{name}\", \"\", \"\")"))
            .collect();
        self.selector().sum_by(self.labels(), &parts.join(" or "))
    }

    /// Where the raw samples are.
    #[must_use]
    pub fn raw(&self) -> Raw {
        let window = self.window();
        Raw {
            method: match (self.layer, self.phase) {
                (Layer::Prometheus, Phase::Exporter) => "phase-2",
                (Layer::Prometheus, Phase::Raw) => "phase-1",
                (Layer::Metroculus, _) => "metroculus",
                (Layer::AllocationApi, _) => "allocation-api",
            },
            tenant: self.tenant.clone(),
            cluster_labels: self.cluster_labels(),
            default_cluster: self.default_cluster.clone(),
            start: window.start,
            end: window.end,
            step_seconds: 60,
            lookback_seconds: LOOKBACK_SECONDS,
            reading: self.reading.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(phase: Phase) -> Asked {
        Asked {
            layer: Layer::Prometheus,
            account: AccountId::new("a").unwrap(),
            reading: Reading::default(),
            tenant: Some(("tenant_id".into(), "a".into())),
            cluster_label: ClusterLabel::default(),
            default_cluster: String::new(),
            key: ResourceKey::Pod {
                cluster: "c.1".into(),
                namespace: "n\"s".into(),
                pod: "p".into(),
            },
            phase,
            day: "2026-11-20".parse().unwrap(),
            now_seconds: 1_795_219_200,
        }
    }

    #[test]
    fn a_question_selects_its_number_alone_and_quotes_its_names() {
        let questions = asked(Phase::Exporter).questions();
        assert_eq!(
            questions[0].query,
            "sum_over_time((max by (tenant_id, cluster, namespace, pod) \
             (cloudtuner_kubecost_pod_total_cost{tenant_id=\"a\",cluster=~\"c\\\\.1\",\
             namespace=\"n\\\"s\",pod=\"p\"}))[86399500ms:60s]) / 60"
        );
        assert_eq!(questions[0].time, Some(1_795_219_199));
    }

    #[test]
    fn raw_metrics_are_asked_for_in_parts_that_add_up() {
        let asked = asked(Phase::Raw);
        let parts: Vec<_> = asked.rates().into_iter().map(|(name, _)| name).collect();
        assert_eq!(parts, ["cpu", "ram", "volumes"]);
        assert_eq!(asked.rate().matches("label_replace").count(), 3);
    }
}
