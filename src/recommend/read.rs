//! Reading what recommendations rest on: about ten questions an account.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::service::failure::{Failure, Hop, Kind};
use crate::source::metric_names::{
    CPU_ALLOCATION, CPU_PRICE, CPU_USED, NODE_TOTAL, RAM_ALLOCATION, RAM_PRICE, RAM_USED,
    REQUESTED, VOLUME_CLAIMS, VOLUME_PRICE,
};
use crate::source::prometheus::client::PromClient;
use crate::source::prometheus::promql::Selector;
use crate::source::prometheus::reply::Series;

use super::controllers::{controller, deployment};
use super::model::{Missing, Recommendations};
use super::rules::{
    ClusterUse, Container, NamespaceUse, Profile, Workload, idle, idle_namespace, requests, spot,
    unmounted,
};

const CAPACITY: &str = "kube_persistentvolume_capacity_bytes";
/// Of cAdvisor.
const SENT: &str = "container_network_transmit_bytes_total";
/// Of the cost model: 1 for a spot node.
const IS_SPOT: &str = "kubecost_node_is_spot";
const AUTOSCALER: &str = "kube_horizontalpodautoscaler_info";
const GIB: f64 = 1_073_741_824.0;
const FORWARD: &str = "let the customer's remote_write keep it (write_relabel_configs)";
/// Distance of the samples of use, seconds.
const USE_STEP: &str = "5m";
const USE_STEP_SECONDS: f64 = 300.0;

/// Answers one question with numbers.
#[async_trait]
pub trait MetricReader: Send + Sync {
    /// The series of an instant query.
    ///
    /// # Errors
    /// When the query layer cannot be asked.
    async fn ask(&self, query: &str, time: i64) -> Result<Vec<Series>, Failure>;
}

#[async_trait]
impl MetricReader for PromClient {
    async fn ask(&self, query: &str, time: i64) -> Result<Vec<Series>, Failure> {
        let answer =
            self.instant(query, time).await.map_err(|no_answer| no_answer.into_failure())?;
        // What a store that is away would have said may be the evidence against an advice.
        if let Some(warning) = answer.warnings.first() {
            return Err(Failure::new(
                Hop::QueryLayer,
                Kind::BadReply,
                format!("the answer is not whole: {warning}"),
                "see which of the query layer's stores is away, and ask again",
            ));
        }
        Ok(answer.series)
    }
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The account.
    pub account: String,
    /// Selects its series.
    pub selector: Selector,
    /// How far back, days.
    pub lookback_days: u32,
    /// How much above use requests are to be.
    pub profile: Profile,
    /// To which share nodes may be allocated.
    pub node_target: f64,
    /// Now, Unix seconds.
    pub now_seconds: i64,
}

/// What could cost less in an account.
///
/// # Errors
/// When the query layer cannot be asked.
pub async fn recommend(
    reader: &dyn MetricReader,
    scope: &Scope,
) -> Result<Recommendations, Failure> {
    let mut out = Recommendations::default();
    let asking = Asking { reader, scope };
    asking.requests(&mut out).await?;
    asking.idle(&mut out).await?;
    asking.volumes(&mut out).await?;
    asking.workloads(&mut out).await?;
    out.recommendations.sort_by(|a, b| b.usd_per_month.total_cmp(&a.usd_per_month));
    Ok(out)
}

struct Asking<'a> {
    reader: &'a dyn MetricReader,
    scope: &'a Scope,
}

/// Cluster, namespace, pod and container.
type Place = [String; 4];

/// What containers request and use: cores, bytes, and samples of bytes used.
struct Used {
    cpu_requests: BTreeMap<Place, f64>,
    memory_requests: BTreeMap<Place, f64>,
    cpu: BTreeMap<Place, f64>,
    memory: BTreeMap<Place, f64>,
    samples: BTreeMap<Place, f64>,
}

type Prices = (BTreeMap<String, f64>, BTreeMap<String, f64>);
type Scaled = std::collections::BTreeSet<(String, String, String)>;

/// What each controller's containers request and use. Pods that are gone count for what they used,
/// as the next ones may use it again; requests are those of now.
fn by_controller(used: &Used, prices: &Prices, scaled: &Scaled) -> BTreeMap<Place, Container> {
    let mut out: BTreeMap<Place, Container> = BTreeMap::new();
    let all = [&used.cpu_requests, &used.memory_requests, &used.cpu, &used.memory, &used.samples];
    let places: std::collections::BTreeSet<&Place> = all.iter().flat_map(|of| of.keys()).collect();
    for place in places {
        let [cluster, namespace, pod, container] = place;
        let controller = controller(pod);
        let key = [cluster.clone(), namespace.clone(), controller.clone(), container.clone()];
        let one = out.entry(key).or_insert_with(|| Container {
            cluster: cluster.clone(),
            namespace: namespace.clone(),
            container: container.clone(),
            cpu_price: prices.0.get(cluster).copied().unwrap_or(0.0),
            memory_price: prices.1.get(cluster).copied().unwrap_or(0.0),
            is_autoscaled: scaled.contains(&(
                cluster.clone(),
                namespace.clone(),
                controller.clone(),
            )),
            controller,
            ..Container::default()
        });
        let gib = |bytes: &BTreeMap<Place, f64>| bytes.get(place).map(|bytes| bytes / GIB);
        let requests = (used.cpu_requests.get(place), gib(&used.memory_requests));
        if requests.0.is_some() || requests.1.is_some() {
            one.pods += 1.0;
        }
        one.cpu_request = one.cpu_request.max(requests.0.copied().unwrap_or(0.0));
        one.memory_request = one.memory_request.max(requests.1.unwrap_or(0.0));
        one.cpu_used = greater(one.cpu_used, used.cpu.get(place).copied());
        one.memory_used = greater(one.memory_used, gib(&used.memory));
        one.samples += used.samples.get(place).copied().unwrap_or(0.0);
    }
    for one in out.values_mut() {
        // Pods that came one after another are as long a history as one that stayed.
        one.days = one.samples / one.pods.max(1.0) * USE_STEP_SECONDS / 86_400.0;
    }
    out
}

impl Asking<'_> {
    async fn ask(&self, query: &str) -> Result<Vec<Series>, Failure> {
        self.reader.ask(query, self.scope.now_seconds).await
    }

    fn of(&self, metric: &str, matchers: &[&str]) -> String {
        self.scope.selector.stored(metric, matchers)
    }

    fn cluster(&self, series: &Series) -> String {
        series.label(self.scope.selector.cluster_label()).to_owned()
    }

    /// A query's values by container.
    async fn by_place(&self, query: &str) -> Result<BTreeMap<Place, f64>, Failure> {
        let place = |one: &Series| {
            let label = |name: &str| one.label(name).to_owned();
            [self.cluster(one), label("namespace"), label("pod"), label("container")]
        };
        let series = self.ask(query).await?;
        Ok(series.iter().filter_map(|one| Some((place(one), one.value()?))).collect())
    }

    fn miss(&self, out: &mut Recommendations, metric: &'static str, lacks: &'static str) {
        out.missing.push(Missing {
            account: self.scope.account.clone(),
            metric,
            lacks,
            fix: FORWARD,
        });
    }

    async fn requests(&self, out: &mut Recommendations) -> Result<(), Failure> {
        let used = self.used().await?;
        for (metric, is_missing) in [
            (REQUESTED, used.cpu_requests.is_empty() && used.memory_requests.is_empty()),
            (CPU_USED, used.cpu.is_empty()),
            (RAM_USED, used.memory.is_empty()),
        ] {
            if is_missing {
                self.miss(out, metric, "requests against use");
            }
        }
        if used.memory.is_empty() && used.cpu.is_empty() {
            return Ok(());
        }
        let prices = (self.price(CPU_PRICE).await?, self.price(RAM_PRICE).await?);
        let scaled = self.autoscaled().await?;
        let by_controller = by_controller(&used, &prices, &scaled);
        let account = &self.scope.account;
        let found = by_controller.values();
        out.recommendations
            .extend(found.filter_map(|one| requests(account, one, self.scope.profile)));
        Ok(())
    }

    /// What containers request and use.
    async fn used(&self) -> Result<Used, Failure> {
        let range = format!("{}d", self.scope.lookback_days);
        let by = ["namespace", "pod", "container"];
        let max_by = |expression: &str| self.scope.selector.max_by(&by, expression);
        let real = ["container!=\"\"", "container!=\"POD\""];
        let request =
            |resource: &str| max_by(&self.of(REQUESTED, &[&format!("resource=\"{resource}\"")]));
        let cpu = max_by(&format!("rate({}[{USE_STEP}])", self.of(CPU_USED, &real)));
        let memory = self.of(RAM_USED, &real);
        let samples = format!("count_over_time(({})[{range}:{USE_STEP}])", max_by(&memory));
        Ok(Used {
            cpu_requests: self.by_place(&request("cpu")).await?,
            memory_requests: self.by_place(&request("memory")).await?,
            cpu: self
                .by_place(&format!("quantile_over_time(0.95, ({cpu})[{range}:{USE_STEP}])"))
                .await?,
            memory: self.by_place(&max_by(&format!("max_over_time({memory}[{range}])"))).await?,
            samples: self.by_place(&samples).await?,
        })
    }

    /// Namespaces in which nothing happens, and deployments that may run on spot nodes.
    async fn workloads(&self, out: &mut Recommendations) -> Result<(), Failure> {
        let allocated = self.ask(&self.allocated_by(&["namespace"])).await?;
        if allocated.is_empty() {
            self.miss(out, CPU_ALLOCATION, "idle namespaces and spot candidates");
            return Ok(());
        }
        self.namespaces(&allocated, out).await?;
        self.spot(out).await
    }

    async fn namespaces(
        &self,
        allocated: &[Series],
        out: &mut Recommendations,
    ) -> Result<(), Failure> {
        let selector = &self.scope.selector;
        let range = format!("{}d", self.scope.lookback_days);
        let real = ["container!=\"\"", "container!=\"POD\""];
        let rates = format!("rate({}[{USE_STEP}])", self.of(CPU_USED, &real));
        let rates = selector.max_by(&["namespace", "pod", "container"], &rates);
        let cores = selector.sum_by(&["namespace"], &rates);
        let over = |function: &str| format!("{function}(({cores})[{range}:{USE_STEP}])");
        let most = self.ask(&over("max_over_time")).await?;
        if most.is_empty() {
            self.miss(out, CPU_USED, "idle namespaces");
            return Ok(());
        }
        let counts = self.ask(&over("count_over_time")).await?;
        let sent = format!("increase({}[{range}])", self.of(SENT, &[]));
        let sent = selector.max_by(&["namespace", "pod", "interface"], &sent);
        let sent = self.ask(&selector.sum_by(&["namespace"], &sent)).await?;
        if sent.is_empty() {
            self.miss(out, SENT, "traffic of idle namespaces");
        }
        let of = |list: &[Series], like: &Series| {
            let is_like = |one: &&Series| {
                self.cluster(one) == self.cluster(like)
                    && one.label("namespace") == like.label("namespace")
            };
            list.iter().find(is_like).and_then(Series::value)
        };
        for one in allocated {
            let (Some(cores_most), Some(samples)) = (of(&most, one), of(&counts, one)) else {
                continue;
            };
            let namespace = NamespaceUse {
                cluster: self.cluster(one),
                namespace: one.label("namespace").to_owned(),
                allocated_rate: one.value().unwrap_or(0.0),
                cores_most,
                // No series of a namespace where others have them: it has no network.
                bytes_sent: (!sent.is_empty()).then(|| of(&sent, one).unwrap_or(0.0)),
                days: samples * USE_STEP_SECONDS / 86_400.0,
            };
            out.recommendations.extend(idle_namespace(&self.scope.account, &namespace));
        }
        Ok(())
    }

    async fn spot(&self, out: &mut Recommendations) -> Result<(), Failure> {
        let selector = &self.scope.selector;
        if self.ask(&self.of(IS_SPOT, &[])).await?.is_empty() {
            self.miss(out, IS_SPOT, "spot candidates");
            return Ok(());
        }
        let claims = self.of(VOLUME_CLAIMS, &[]);
        let with_claims = selector.max_by(&[], &claims);
        if self.ask(&with_claims).await?.is_empty() {
            self.miss(out, VOLUME_CLAIMS, "spot candidates");
            return Ok(());
        }
        let by = ["node", "namespace", "pod"];
        let on_spot = format!("{} > 0", selector.max_by(&["node"], &self.of(IS_SPOT, &[])));
        let claims = selector.max_by(&["namespace", "pod"], &claims);
        let (node, pod) = (selector.labels(&["node"]), selector.labels(&["namespace", "pod"]));
        let rates = self.priced_by(&by);
        let of_cluster = selector.labels(&[]);
        let query = format!(
            "{rates} and on ({of_cluster}) {with_claims} unless on ({node}) ({on_spot}) unless on \
             ({pod}) {claims}"
        );
        let mut found: BTreeMap<[String; 3], Workload> = BTreeMap::new();
        for one in self.ask(&query).await? {
            let Some(controller) = deployment(one.label("pod")) else { continue };
            let (cluster, namespace) = (self.cluster(&one), one.label("namespace").to_owned());
            let key = [cluster.clone(), namespace.clone(), controller.clone()];
            let workload = found.entry(key).or_insert_with(|| Workload {
                cluster,
                namespace,
                controller,
                pods: 0.0,
                allocated_rate: 0.0,
            });
            workload.pods += 1.0;
            workload.allocated_rate += one.value().unwrap_or(0.0);
        }
        out.recommendations.extend(found.values().filter_map(|one| spot(&self.scope.account, one)));
        Ok(())
    }

    /// USD per hour of what containers are allocated, by labels.
    fn priced_by(&self, by: &[&str]) -> String {
        let selector = &self.scope.selector;
        let on = selector.labels(&["node"]);
        let container = ["node", "namespace", "pod", "container"];
        let priced = |amount: &str, divisor: f64, price: &str| {
            let amounts = selector.max_by(&container, &self.of(amount, &[]));
            let prices = selector.max_by(&["node"], &self.of(price, &[]));
            let product = format!("{amounts} / {divisor} * on ({on}) group_left () {prices}");
            selector.sum_by(by, &product)
        };
        let cpu = priced(CPU_ALLOCATION, 1.0, CPU_PRICE);
        format!("({cpu} + {})", priced(RAM_ALLOCATION, GIB, RAM_PRICE))
    }

    /// The same, the mean of a day.
    fn allocated_by(&self, by: &[&str]) -> String {
        format!("avg_over_time({}[1d:5m])", self.priced_by(by))
    }

    /// The mean price of a resource by cluster.
    async fn price(&self, metric: &str) -> Result<BTreeMap<String, f64>, Failure> {
        let labels = self.scope.selector.labels(&[]);
        let series = self.ask(&format!("avg by ({labels}) ({})", self.of(metric, &[]))).await?;
        Ok(series.iter().filter_map(|one| Some((self.cluster(one), one.value()?))).collect())
    }

    async fn autoscaled(&self) -> Result<Scaled, Failure> {
        let series = self.ask(&self.of(AUTOSCALER, &[])).await?;
        let target = |one: &Series| {
            let label = |name: &str| one.label(name).to_owned();
            (self.cluster(one), label("namespace"), label("scaletargetref_name"))
        };
        Ok(series.iter().map(target).collect())
    }

    async fn idle(&self, out: &mut Recommendations) -> Result<(), Failure> {
        let selector = &self.scope.selector;
        let nodes = selector.max_by(&["node"], &self.of(NODE_TOTAL, &[]));
        let labels = selector.labels(&[]);
        let day = |expression: &str| format!("avg_over_time(({expression})[1d:5m])");
        let rates = self.ask(&day(&selector.sum_by(&[], &nodes))).await?;
        if rates.is_empty() {
            self.miss(out, NODE_TOTAL, "idle nodes");
            return Ok(());
        }
        let counts = self.ask(&format!("count by ({labels}) ({nodes})")).await?;
        let allocated = self.ask(&self.allocated_by(&[])).await?;
        let of = |list: &[Series], cluster: &str| {
            list.iter().find(|one| self.cluster(one) == cluster).and_then(Series::value)
        };
        for one in &rates {
            let cluster = self.cluster(one);
            let Some(allocated_rate) = of(&allocated, &cluster) else {
                self.miss(out, CPU_ALLOCATION, "idle nodes");
                continue;
            };
            let of_cluster = ClusterUse {
                nodes_rate: one.value().unwrap_or(0.0),
                allocated_rate,
                nodes: of(&counts, &cluster).unwrap_or(0.0),
                cluster,
            };
            let found = idle(&self.scope.account, &of_cluster, self.scope.node_target);
            out.recommendations.extend(found);
        }
        Ok(())
    }

    async fn volumes(&self, out: &mut Recommendations) -> Result<(), Failure> {
        let selector = &self.scope.selector;
        let volume = ["persistentvolume"];
        let prices = selector.max_by(&volume, &self.of(VOLUME_PRICE, &[]));
        if self.ask(&prices).await?.is_empty() {
            self.miss(out, VOLUME_PRICE, "volumes that nobody mounts");
            return Ok(());
        }
        let sizes = selector.max_by(&volume, &self.of(CAPACITY, &[]));
        if self.ask(&sizes).await?.is_empty() {
            self.miss(out, CAPACITY, "volumes that nobody mounts");
            return Ok(());
        }
        let days = self.scope.lookback_days;
        // Claims that are not forwarded, or only since lately, are no evidence that nobody mounts a
        // volume; nor is there any about a volume that is younger than the time looked at.
        let first_day = |metric: &str| {
            let offset = if days > 1 { format!(" offset {}d", days - 1) } else { String::new() };
            format!("max_over_time({}[1d]{offset})", self.of(metric, &[]))
        };
        let clusters = selector.max_by(&[], &first_day(VOLUME_CLAIMS));
        if self.ask(&clusters).await?.is_empty() {
            self.miss(out, VOLUME_CLAIMS, "volumes that nobody mounts");
            return Ok(());
        }
        let on = selector.labels(&volume);
        let of_cluster = selector.labels(&[]);
        let before = selector.max_by(&volume, &first_day(VOLUME_PRICE));
        let mounted = format!("max_over_time({}[{days}d])", self.of(VOLUME_CLAIMS, &[]));
        let mounted = selector.max_by(&volume, &mounted);
        let query = format!(
            "{sizes} / {GIB} * on ({on}) {prices} and on ({on}) {before} and on ({of_cluster}) \
             {clusters} unless on ({on}) {mounted}"
        );
        for one in self.ask(&query).await? {
            let (cluster, name) = (self.cluster(&one), one.label("persistentvolume").to_owned());
            let rate = one.value().unwrap_or(0.0);
            let days = f64::from(days);
            let account = &self.scope.account;
            out.recommendations.extend(unmounted(account, (&cluster, &name), rate, days));
        }
        Ok(())
    }
}

fn greater(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    #[async_trait]
    impl MetricReader for Silent {
        async fn ask(&self, _: &str, _: i64) -> Result<Vec<Series>, Failure> {
            Ok(Vec::new())
        }
    }

    #[tokio::test]
    async fn a_metric_that_is_missing_is_named_with_what_it_is_needed_for() {
        let scope = Scope {
            account: "a".into(),
            selector: Selector::default(),
            lookback_days: 7,
            profile: super::super::rules::COST,
            node_target: 0.75,
            now_seconds: 0,
        };
        let found = recommend(&Silent, &scope).await.unwrap();
        let named: Vec<_> = found.missing.iter().map(|one| one.metric).collect();
        assert_eq!(
            named,
            [REQUESTED, CPU_USED, RAM_USED, NODE_TOTAL, VOLUME_PRICE, CPU_ALLOCATION]
        );
        assert_eq!(found.recommendations, []);
    }
}
