//! A made-up customer: what runs in its clusters, from when to when, and at what price.

use super::chance::Chance;

pub(super) const MINUTE: i64 = 60;
pub(super) const HOUR: i64 = 3_600;
pub(super) const DAY: i64 = 86_400;
const GIB: f64 = 1_073_741_824.0;

/// From one Unix second up to another, which is not in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: i64,
    pub(super) until: i64,
}

impl Span {
    pub(super) fn has(self, time: i64) -> bool {
        (self.from..self.until).contains(&time)
    }

    /// The seconds of this span that lie in another one.
    pub(super) fn within(self, other: Self) -> Self {
        let from = self.from.max(other.from);
        Self { from, until: self.until.min(other.until).max(from) }
    }

    pub(super) fn hours(self) -> f64 {
        (self.until - self.from) as f64 / HOUR as f64
    }
}

/// A value that changes at times.
#[derive(Clone, Debug)]
pub(super) struct Steps(pub(super) Vec<(i64, f64)>);

impl Steps {
    pub(super) fn constant(value: f64) -> Self {
        Self(vec![(i64::MIN, value)])
    }

    pub(super) fn at(&self, time: i64) -> f64 {
        self.0.iter().rev().find(|(since, _)| *since <= time).map_or(0.0, |(_, value)| *value)
    }
}

/// A node.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) life: Span,
    pub(super) cores: f64,
    pub(super) gib: f64,
    pub(super) gpus: f64,
    /// USD per core, GiB and GPU, each an hour.
    pub(super) core_usd: Steps,
    pub(super) gib_usd: Steps,
    pub(super) gpu_usd: Steps,
    /// When its other labels change, if they do.
    pub(super) relabelled: Option<i64>,
}

/// A container of a pod.
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) life: Span,
    pub(super) cores: Steps,
    pub(super) gib: Steps,
    pub(super) gpus: f64,
}

/// Where traffic goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Internet,
    Region,
    Zone,
    Near,
}

/// A pod.
pub(super) struct Pod {
    /// What is special about it.
    pub(super) class: &'static str,
    pub(super) namespace: &'static str,
    pub(super) name: String,
    pub(super) node: usize,
    pub(super) life: Span,
    pub(super) containers: Vec<Container>,
    /// Bytes a second.
    pub(super) traffic: Vec<(Direction, f64)>,
}

/// A volume, and the pods that mount it while they live.
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) gib: f64,
    /// USD per GiB and hour.
    pub(super) usd: f64,
    pub(super) namespace: &'static str,
    pub(super) pods: Vec<usize>,
}

/// One cluster.
pub(super) struct Cluster {
    pub(super) name: &'static str,
    pub(super) span: Span,
    pub(super) nodes: Vec<Node>,
    pub(super) pods: Vec<Pod>,
    pub(super) volumes: Vec<Volume>,
    /// Load balancers: namespace and USD an hour.
    pub(super) balancers: Vec<(&'static str, f64)>,
    /// USD an hour.
    pub(super) management: f64,
    /// USD per GiB to the internet, other regions, other zones.
    pub(super) egress_usd: [f64; 3],
    /// When the daemons that meter traffic start anew.
    pub(super) resets: Vec<i64>,
    /// Whether labels are spelt `sameZone` rather than `same_zone`.
    pub(super) is_camel: bool,
}

impl Cluster {
    pub(super) fn egress_usd(&self, direction: Direction) -> f64 {
        match direction {
            Direction::Internet => self.egress_usd[0] / GIB,
            Direction::Region => self.egress_usd[1] / GIB,
            Direction::Zone => self.egress_usd[2] / GIB,
            Direction::Near => 0.0,
        }
    }
}

fn container(name: &'static str, life: Span, cores: f64, gib: f64) -> Container {
    let (cores, gib) = (Steps::constant(cores), Steps::constant(gib));
    Container { name, life, cores, gib, gpus: 0.0 }
}

fn node(name: String, life: Span, chance: &mut Chance) -> Node {
    Node {
        name,
        life,
        cores: 8.0,
        gib: 32.0,
        gpus: 0.0,
        core_usd: Steps::constant(chance.real(0.02, 0.04)),
        gib_usd: Steps::constant(chance.real(0.002, 0.006)),
        gpu_usd: Steps::constant(0.0),
        relabelled: None,
    }
}

/// Makes a cluster, step by step.
struct Maker<'c> {
    chance: &'c mut Chance,
    cluster: Cluster,
}

/// Nodes that live throughout, by their places in the list.
const PLAIN: usize = 0;
const SPOT: usize = 1;
const GPU: usize = 2;
const RELABELLED: usize = 3;

impl Maker<'_> {
    fn nodes(&mut self) {
        let span = self.cluster.span;
        for name in ["plain", "spot", "gpu", "relabelled"] {
            let made = node(format!("{name}-1"), span, self.chance);
            self.cluster.nodes.push(made);
        }
        let hours = (span.from..span.until).step_by(HOUR as usize);
        let mut price = |low, high| {
            // A price changes some time in the hour, not on it.
            let step = |hour| (hour + self.chance.whole(0, HOUR), self.chance.real(low, high));
            let mut steps: Vec<_> = hours.clone().map(step).collect();
            steps[0].0 = i64::MIN;
            Steps(steps)
        };
        let (core_usd, gib_usd) = (price(0.005, 0.03), price(0.001, 0.004));
        let spot = &mut self.cluster.nodes[SPOT];
        (spot.core_usd, spot.gib_usd) = (core_usd, gib_usd);
        let gpu = &mut self.cluster.nodes[GPU];
        (gpu.gpus, gpu.gpu_usd) = (4.0, Steps::constant(self.chance.real(0.4, 0.9)));
        let middle = span.from + (span.until - span.from) / 2;
        let changes = middle + self.chance.whole(0, 6 * HOUR);
        self.cluster.nodes[RELABELLED].relabelled = Some(changes);
    }

    fn pod(
        &mut self,
        class: &'static str,
        namespace: &'static str,
        node: usize,
        life: Span,
    ) -> &mut Pod {
        let life = life.within(self.cluster.nodes[node].life);
        let name = format!("{class}-{}", self.cluster.pods.len());
        let (cores, gib) = (self.chance.real(0.1, 1.2), self.chance.real(0.2, 3.0));
        let containers = vec![container("main", life, cores, gib)];
        let traffic = Vec::new();
        let pod = Pod { class, namespace, name, node, life, containers, traffic };
        self.cluster.pods.push(pod);
        self.cluster.pods.last_mut().unwrap()
    }

    /// Pods that live throughout, and what is special about some of them.
    fn lasting(&mut self) {
        let span = self.cluster.span;
        for namespace in ["shop", "shop", "shop", "batch", "core", "core"] {
            self.pod("steady", namespace, PLAIN, span);
        }
        for _ in 0..3 {
            self.pod("on-spot", "spot", SPOT, span);
            self.pod("on-relabelled", "core", RELABELLED, span);
            self.resized(span);
        }
        for namespace in ["training", "shop"] {
            let from = span.from + self.chance.whole(0, 8 * HOUR);
            let pod = self.pod("with-gpu", namespace, GPU, Span { from, ..span });
            pod.containers[0].gpus = 1.0;
        }
        for namespace in ["edge", "shop", "edge"] {
            let rates = [Direction::Internet, Direction::Region, Direction::Zone, Direction::Near]
                .map(|direction| (direction, self.chance.real(2e4, 3e5)));
            self.pod("sender", namespace, PLAIN, span).traffic = rates.to_vec();
        }
    }

    /// A pod whose containers are given more and less while it runs.
    fn resized(&mut self, span: Span) {
        let (mut time, mut cores, mut gib) = (span.from, Vec::new(), Vec::new());
        while time < span.until {
            cores.push((time, self.chance.real(0.1, 2.0)));
            gib.push((time, self.chance.real(0.2, 4.0)));
            time += self.chance.whole(HOUR, 9 * HOUR);
        }
        let pod = self.pod("resized", "core", PLAIN, span);
        (pod.containers[0].cores, pod.containers[0].gib) = (Steps(cores), Steps(gib));
    }

    /// Pods that come and go: jobs with traffic, pods with an init container, and nodes of forty
    /// minutes with what runs on them.
    fn brief(&mut self) {
        let span = self.cluster.span;
        let mut time = span.from - HOUR;
        while time < span.until {
            time += self.chance.whole(2 * MINUTE, 8 * MINUTE);
            let until = time + self.chance.whole(12 * MINUTE, 26 * MINUTE);
            let rate = self.chance.real(5e3, 5e4);
            let life = Span { from: time, until }.within(span);
            self.pod("job", "batch", PLAIN, life).traffic = vec![(Direction::Internet, rate)];
        }
        let mut time = span.from - HOUR;
        while time < span.until {
            time += self.chance.whole(6 * MINUTE, 18 * MINUTE);
            let until = time + self.chance.whole(35 * MINUTE, 70 * MINUTE);
            let starts = time + self.chance.whole(4 * MINUTE, 9 * MINUTE);
            let life = Span { from: time, until }.within(span);
            let pod = self.pod("with-init", "builds", PLAIN, life);
            let init = Span { from: time, until: starts }.within(life);
            pod.containers[0].life = Span { from: starts, until }.within(life);
            pod.containers.push(container("init", init, 1.5, 0.5));
        }
        let mut time = span.from - HOUR;
        while time < span.until {
            time += self.chance.whole(8 * MINUTE, 18 * MINUTE);
            let until = time + self.chance.whole(38 * MINUTE, 42 * MINUTE);
            let number = self.cluster.nodes.len();
            let life = Span { from: time, until }.within(span);
            let made = node(format!("brief-{number}"), life, self.chance);
            self.cluster.nodes.push(made);
            self.pod("on-brief-node", "bursts", number, life);
        }
    }

    /// Volumes: of one pod, shared by pods of two namespaces, and mounted by nobody at times.
    fn volumes(&mut self) {
        let span = self.cluster.span;
        let lone = self.cluster.pods.len();
        self.pod("with-volume", "data", PLAIN, span);
        let shared = self.cluster.pods.len();
        self.pod("sharer", "data", PLAIN, span);
        self.pod("sharer", "reports", PLAIN, span);
        let mut sharers = vec![shared, shared + 1];
        let mut time = span.from;
        while time < span.until {
            time += self.chance.whole(HOUR, 4 * HOUR);
            let until = time + self.chance.whole(HOUR, 3 * HOUR);
            sharers.push(self.cluster.pods.len());
            self.pod("sharer", "reports", PLAIN, Span { from: time, until }.within(span));
        }
        let at_times = self.cluster.pods.len();
        let from = span.from + self.chance.whole(2 * HOUR, 9 * HOUR);
        self.pod("with-volume", "data", PLAIN, Span { from, ..span });
        for (name, pods) in [("lone", vec![lone]), ("shared", sharers), ("idle", vec![at_times])] {
            let (gib, usd) = (self.chance.real(100.0, 900.0), self.chance.real(0.00005, 0.0003));
            let name = format!("pv-{name}-{}", self.cluster.name);
            self.cluster.volumes.push(Volume { name, gib, usd, namespace: "data", pods });
        }
    }
}

/// The daemons start anew once a day.
fn resets(span: Span, chance: &mut Chance) -> Vec<i64> {
    let days = (span.from..span.until).step_by(DAY as usize);
    days.map(|day| day + chance.whole(0, DAY)).collect()
}

/// A cluster by chance, over whole days.
pub(super) fn cluster(name: &'static str, span: Span, seed: u64) -> Cluster {
    let mut chance = Chance::new(seed);
    let cluster = Cluster {
        name,
        span,
        nodes: Vec::new(),
        pods: Vec::new(),
        volumes: Vec::new(),
        balancers: vec![("shop", 0.025), ("edge", chance.real(0.01, 0.05))],
        management: 0.1,
        egress_usd: [0.09, 0.02, 0.01],
        resets: resets(span, &mut chance),
        is_camel: chance.whole(0, 2) == 0,
    };
    let mut maker = Maker { chance: &mut chance, cluster };
    maker.nodes();
    maker.lasting();
    maker.brief();
    maker.volumes();

    maker.cluster
}
