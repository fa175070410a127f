//! What the recorded cluster truly cost: integrated from its parameters, not from any metric.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;

/// A namespace and a pod.
pub(crate) type PodName = (String, String);

/// True costs over a span, USD.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    /// Nodes, volumes and load balancers.
    pub(crate) total: f64,
    /// Containers, claimed volumes and load balancers.
    pub(crate) namespaces: BTreeMap<String, f64>,
    /// Containers and mounted volumes.
    pub(crate) pods: BTreeMap<PodName, f64>,
    /// The nodes that a pod ran on.
    pub(crate) nodes: BTreeMap<PodName, Vec<String>>,
    /// Machines, by node.
    pub(crate) machines: BTreeMap<String, f64>,
    /// Volumes alone, by the pod that mounts them.
    pub(crate) volumes: BTreeMap<PodName, f64>,
    /// Volumes that somebody claims.
    pub(crate) claimed: f64,
    /// Volumes that nobody claims.
    pub(crate) unclaimed: f64,
    /// Load balancers alone, by namespace.
    pub(crate) balancers: BTreeMap<String, f64>,
    /// What containers use and request, by namespace.
    pub(crate) uses: BTreeMap<String, Use>,
}

/// Use and requests of CPU and memory, in hours of cores and of bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    pub(crate) cpu: f64,
    pub(crate) cpu_requested: f64,
    pub(crate) ram: f64,
    pub(crate) ram_requested: f64,
}

impl Use {
    /// Used over requested, of CPU and of memory; `None` of what nobody requests.
    pub(crate) fn efficiencies(self) -> [Option<f64>; 2] {
        [(self.cpu, self.cpu_requested), (self.ram, self.ram_requested)]
            .map(|(used, requested)| (requested > 0.0).then(|| used / requested))
    }

    pub(crate) fn add(&mut self, more: Self, hours: f64) {
        self.cpu += more.cpu * hours;
        self.cpu_requested += more.cpu_requested * hours;
        self.ram += more.ram * hours;
        self.ram_requested += more.ram_requested * hours;
    }
}

#[derive(Deserialize)]
struct Parameters {
    nodes: Vec<Node>,
    prices: Prices,
    pods: Vec<Pod>,
    volumes: Vec<Volume>,
    load_balancers: Vec<LoadBalancer>,
}

#[derive(Deserialize)]
struct Node {
    name: String,
    emitted: Emitted,
}

#[derive(Deserialize)]
struct Emitted {
    cpu_core_hour: f64,
    ram_gib_hour: f64,
    gpu_hour: f64,
    node_total_hour: f64,
}

#[derive(Deserialize)]
struct Prices {
    pv_gib_hour: BTreeMap<String, f64>,
    load_balancer_hour: f64,
}

#[derive(Deserialize)]
struct Pod {
    namespace: String,
    name: String,
    lives: Vec<Life>,
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Life {
    node: String,
    start: String,
    stop: Option<String>,
}

#[derive(Deserialize)]
struct Container {
    cpu_req: f64,
    ram_req: f64,
    gpu: f64,
    cpu_use: f64,
    ram_use: f64,
    phase: f64,
}

#[derive(Deserialize)]
struct Volume {
    namespace: Option<String>,
    storage_class: String,
    bytes: f64,
    pod: Option<String>,
}

#[derive(Deserialize)]
struct LoadBalancer {
    namespace: String,
    start: String,
}

fn seconds(text: &str) -> f64 {
    chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp() as f64
}

impl Container {
    /// Cores and bytes at a Unix time: the formulas that the recording states.
    fn uses(&self, time: f64) -> Use {
        let turn = std::f64::consts::TAU;
        let wave = (turn * time / 86_400.0 + self.phase).sin();
        let slow = (turn * time / 43_200.0 + self.phase).sin();
        let quick = (time / 311.0 + self.phase).sin();
        let ram = self.ram_use * (1.0 + 0.05 * slow + 0.01 * quick);
        Use {
            cpu: self.cpu_use * (1.0 + 0.4 * wave),
            cpu_requested: self.cpu_req,
            ram: (ram / 4_096.0).floor() * 4_096.0,
            ram_requested: self.ram_req,
        }
    }

    /// USD per hour on a node at a Unix time.
    fn rate(&self, node: &Emitted, time: f64) -> f64 {
        let uses = self.uses(time);
        let cpu = uses.cpu.max(uses.cpu_requested);
        let ram = uses.ram.max(uses.ram_requested) / 1_073_741_824.0;
        cpu * node.cpu_core_hour + ram * node.ram_gib_hour + self.gpu * node.gpu_hour
    }
}

/// The true costs between two Unix times, from `truth.json.gz`.
pub(crate) fn truth(fixtures: &Path, start: f64, end: f64) -> Truth {
    let packed = std::fs::File::open(fixtures.join("opencost-run/truth.json.gz")).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
    let parameters: Parameters = serde_json::from_str(&text).unwrap();
    let mut truth = Truth::default();
    for pod in &parameters.pods {
        pod_truth(pod, &parameters.nodes, (start, end), &mut truth);
    }
    let hours = (end - start) / 3_600.0;
    let machine = |n: &Node| (n.name.clone(), n.emitted.node_total_hour * hours);
    truth.machines = parameters.nodes.iter().map(machine).collect();
    truth.total += truth.machines.values().sum::<f64>();
    for volume in &parameters.volumes {
        let price = parameters.prices.pv_gib_hour[&volume.storage_class];
        let usd = volume.bytes / 1_073_741_824.0 * price * hours;
        truth.total += usd;
        let Some(namespace) = &volume.namespace else {
            truth.unclaimed += usd;
            continue;
        };
        truth.claimed += usd;
        *truth.namespaces.entry(namespace.clone()).or_default() += usd;
        if let Some(pod) = &volume.pod {
            let name = (namespace.clone(), pod.clone());
            *truth.pods.entry(name.clone()).or_default() += usd;
            *truth.volumes.entry(name).or_default() += usd;
        }
    }
    for balancer in &parameters.load_balancers {
        let lived = (end - seconds(&balancer.start).max(start)).max(0.0) / 3_600.0;
        let usd = lived * parameters.prices.load_balancer_hour;
        truth.total += usd;
        *truth.namespaces.entry(balancer.namespace.clone()).or_default() += usd;
        *truth.balancers.entry(balancer.namespace.clone()).or_default() += usd;
    }
    truth
}

/// Integrates a pod's life in steps of at most 20 seconds.
fn pod_truth(pod: &Pod, nodes: &[Node], (start, end): (f64, f64), truth: &mut Truth) {
    let name = (pod.namespace.clone(), pod.name.clone());
    for life in &pod.lives {
        let from = seconds(&life.start).max(start);
        let until = life.stop.as_deref().map_or(end, seconds).min(end);
        if until <= from {
            continue;
        }
        let node = &nodes.iter().find(|node| node.name == life.node).unwrap().emitted;
        let steps = ((until - from) / 20.0).ceil().max(1.0);
        let length = (until - from) / steps;
        let mut usd = 0.0;
        for step in 0..steps as u32 {
            let time = from + (f64::from(step) + 0.5) * length;
            usd +=
                pod.containers.iter().map(|c| c.rate(node, time)).sum::<f64>() * length / 3_600.0;
            let uses = truth.uses.entry(pod.namespace.clone()).or_default();
            pod.containers.iter().for_each(|c| uses.add(c.uses(time), length / 3_600.0));
        }
        *truth.pods.entry(name.clone()).or_default() += usd;
        *truth.namespaces.entry(pod.namespace.clone()).or_default() += usd;
        truth.nodes.entry(name.clone()).or_default().push(life.node.clone());
    }
}
