//! The rules, as functions of values.

use super::model::{Confidence, Kind, Recommendation};

/// Hours of a month.
pub const MONTH_HOURS: f64 = 730.0;
/// Less than this a month is not worth a change, USD.
const LEAST_USD: f64 = 1.0;
/// Days and samples that evidence must have.
const DAYS_MIN: f64 = 3.0;
const SAMPLES_MIN: f64 = 100.0;
/// Requests never go below: cores, and GiB.
const FLOORS: (f64, f64) = (0.01, 1.0 / 32.0);

/// A namespace that uses no more cores than this at any time does nothing.
const QUIET_CORES: f64 = 0.01;
/// Bytes a day that pods send who do nothing: health checks and metrics.
const QUIET_BYTES_A_DAY: f64 = 16.0 * 1_048_576.0;
/// By what share spot nodes are taken to be cheaper.
const SPOT_DISCOUNT: f64 = 0.6;
/// Fewer pods than this cannot stand in for each other.
const SPOT_PODS_MIN: f64 = 2.0;

/// How much above use requests are to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Profile {
    /// Of the CPU percentile.
    pub cpu_factor: f64,
    /// Of the memory maximum.
    pub memory_factor: f64,
}

/// Little above use.
pub const COST: Profile = Profile { cpu_factor: 1.15, memory_factor: 1.15 };
/// With room for growth.
pub const PERFORMANCE: Profile = Profile { cpu_factor: 1.5, memory_factor: 1.3 };

/// What one container of a controller requests and uses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Container {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The controller's name.
    pub controller: String,
    /// The container's name.
    pub container: String,
    /// Pods of the controller right now.
    pub pods: f64,
    /// Requested cores, of one pod.
    pub cpu_request: f64,
    /// Requested GiB, of one pod.
    pub memory_request: f64,
    /// 95th percentile of cores used, of the pod that uses most; `None`: not known.
    pub cpu_used: Option<f64>,
    /// Greatest GiB used, of the pod that uses most.
    pub memory_used: Option<f64>,
    /// USD per core and hour.
    pub cpu_price: f64,
    /// USD per GiB and hour.
    pub memory_price: f64,
    /// Samples of use.
    pub samples: f64,
    /// Days that they span.
    pub days: f64,
    /// Whether an autoscaler targets the controller.
    pub is_autoscaled: bool,
}

/// Lower requests of a container, where that saves enough and use is known for long enough.
/// Requests below use are left alone: raising them saves nothing.
#[must_use]
pub fn requests(account: &str, one: &Container, profile: Profile) -> Option<Recommendation> {
    if one.is_autoscaled || one.days < DAYS_MIN || one.samples < SAMPLES_MIN || one.pods <= 0.0 {
        return None;
    }
    let wanted = |used: Option<f64>, factor: f64, floor: f64, request: f64| {
        used.map_or(request, |used| (used * factor).max(floor).min(request))
    };
    let cpu = wanted(one.cpu_used, profile.cpu_factor, FLOORS.0, one.cpu_request);
    let memory = wanted(one.memory_used, profile.memory_factor, FLOORS.1, one.memory_request);
    let hourly =
        (one.cpu_request - cpu) * one.cpu_price + (one.memory_request - memory) * one.memory_price;
    let usd = hourly * one.pods * MONTH_HOURS;
    if usd < LEAST_USD {
        return None;
    }
    let shown = |used: Option<f64>| used.map_or("unknown".to_owned(), |used| format!("{used:.3}"));
    Some(Recommendation {
        kind: Kind::Requests,
        account: account.to_owned(),
        cluster: one.cluster.clone(),
        namespace: Some(one.namespace.clone()),
        name: format!("{}/{}/{}", one.namespace, one.controller, one.container),
        usd_per_month: usd,
        what: format!(
            "request {cpu:.3} cores instead of {:.3}, and {memory:.3} GiB instead of {:.3}",
            one.cpu_request, one.memory_request
        ),
        evidence: format!(
            "{} pods; the one that uses most used {} cores (95th percentile) and {} GiB (maximum) \
             in {:.1} days",
            one.pods,
            shown(one.cpu_used),
            shown(one.memory_used),
            one.days
        ),
        confidence: if one.days >= 7.0 { Confidence::High } else { Confidence::Medium },
        wrong_if: "a yearly or monthly peak lies outside of what was looked at, or nodes cannot be \
                   given back",
    })
}

/// What a cluster pays for and what is allocated on it, means of a day.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterUse {
    /// The cluster.
    pub cluster: String,
    /// USD per hour of all nodes.
    pub nodes_rate: f64,
    /// USD per hour of what pods are allocated.
    pub allocated_rate: f64,
    /// Nodes.
    pub nodes: f64,
}

/// Fewer nodes, where the cluster is allocated to less than a target share.
#[must_use]
pub fn idle(account: &str, one: &ClusterUse, target: f64) -> Option<Recommendation> {
    if one.nodes < 2.0 || one.nodes_rate <= 0.0 || target <= 0.0 {
        return None;
    }
    let share = (one.allocated_rate / one.nodes_rate).min(1.0);
    let needed = (share / target * one.nodes).ceil().max(1.0);
    let saved = (one.nodes - needed) / one.nodes * one.nodes_rate * MONTH_HOURS;
    if needed >= one.nodes || saved < LEAST_USD {
        return None;
    }
    Some(Recommendation {
        kind: Kind::Idle,
        account: account.to_owned(),
        cluster: one.cluster.clone(),
        namespace: None,
        name: String::new(),
        usd_per_month: saved,
        what: format!("run on {needed} nodes of the same kind instead of {}", one.nodes),
        evidence: format!(
            "{:.0} % of what the nodes cost is allocated to pods; {:.0} % is the target",
            share * 100.0,
            target * 100.0
        ),
        confidence: Confidence::Low,
        wrong_if: "it is a bound: pods may not fit on fewer nodes, or nodes are held for peaks, \
                   zones or disruption budgets",
    })
}

/// A volume that costs and that no pod mounted in the time looked at.
#[must_use]
pub fn unmounted(
    account: &str,
    (cluster, volume): (&str, &str),
    rate: f64,
    days: f64,
) -> Option<Recommendation> {
    let usd = rate * MONTH_HOURS;
    (usd >= LEAST_USD).then(|| Recommendation {
        kind: Kind::UnmountedVolume,
        account: account.to_owned(),
        cluster: cluster.to_owned(),
        namespace: None,
        name: volume.to_owned(),
        usd_per_month: usd,
        what: "take a snapshot and delete the volume".to_owned(),
        evidence: format!("no pod mounted it in {days:.0} days"),
        confidence: Confidence::Medium,
        wrong_if: "it holds data that somebody still wants",
    })
}

/// What a namespace is allocated, does and sends.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceUse {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// USD per hour of what it is allocated, mean of a day.
    pub allocated_rate: f64,
    /// The most cores that all of its containers used at one time.
    pub cores_most: f64,
    /// Bytes that its pods sent in all that time; `None`: not known.
    pub bytes_sent: Option<f64>,
    /// Days that were looked at and have samples.
    pub days: f64,
}

/// A namespace that costs, and in which nothing happens.
#[must_use]
pub fn idle_namespace(account: &str, one: &NamespaceUse) -> Option<Recommendation> {
    let usd = one.allocated_rate * MONTH_HOURS;
    let talks = one.bytes_sent.is_some_and(|bytes| bytes > QUIET_BYTES_A_DAY * one.days);
    let is_systems = one.namespace == "default" || one.namespace.starts_with("kube-");
    if is_systems || talks || one.days < DAYS_MIN || one.cores_most > QUIET_CORES || usd < LEAST_USD
    {
        return None;
    }
    let sent = one.bytes_sent.map_or("what its pods send is not known".to_owned(), |bytes| {
        format!("its pods sent {:.1} MiB", bytes / 1_048_576.0)
    });
    Some(Recommendation {
        kind: Kind::IdleNamespace,
        account: account.to_owned(),
        cluster: one.cluster.clone(),
        namespace: Some(one.namespace.clone()),
        name: one.namespace.clone(),
        usd_per_month: usd,
        what: "scale the namespace down to nothing, or delete it".to_owned(),
        evidence: format!(
            "at no time in {:.1} days did it use more than {:.3} cores; {sent}",
            one.days, one.cores_most
        ),
        confidence: if one.bytes_sent.is_some() { Confidence::Medium } else { Confidence::Low },
        wrong_if: "it stands by for something that comes rarely, or holds data",
    })
}

/// Pods of one deployment that stand beside each other, without volumes, on nodes that are paid in
/// full.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: String,
    /// The deployment's name.
    pub controller: String,
    /// Its pods.
    pub pods: f64,
    /// USD per hour of what they are allocated.
    pub allocated_rate: f64,
}

/// A hint: a deployment that may run on nodes that can be taken away.
#[must_use]
pub fn spot(account: &str, one: &Workload) -> Option<Recommendation> {
    let usd = one.allocated_rate * MONTH_HOURS * SPOT_DISCOUNT;
    if one.pods < SPOT_PODS_MIN || usd < LEAST_USD || one.namespace.starts_with("kube-") {
        return None;
    }
    Some(Recommendation {
        kind: Kind::Spot,
        account: account.to_owned(),
        cluster: one.cluster.clone(),
        namespace: Some(one.namespace.clone()),
        name: format!("{}/{}", one.namespace, one.controller),
        usd_per_month: usd,
        what: "try it on spot nodes, with a disruption budget".to_owned(),
        evidence: format!(
            "{} pods of a deployment, without volumes, on nodes that are not spot; the saving is \
             {:.0} % of what they are allocated, which spot nodes often cost less",
            one.pods,
            SPOT_DISCOUNT * 100.0
        ),
        confidence: Confidence::Low,
        wrong_if: "it is a hint: a pod may be stopped within two minutes, the discount varies, and \
                   the nodes that are left must then be given back",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn container() -> Container {
        Container {
            cluster: "c".into(),
            namespace: "shop".into(),
            controller: "web".into(),
            container: "app".into(),
            pods: 2.0,
            cpu_request: 2.0,
            memory_request: 4.0,
            cpu_used: Some(0.4),
            memory_used: Some(1.0),
            cpu_price: 0.03,
            memory_price: 0.004,
            samples: 2_000.0,
            days: 7.0,
            is_autoscaled: false,
        }
    }

    #[test]
    fn requests_go_down_to_use_and_a_little_more_and_the_saving_is_that_difference() {
        let one = requests("a", &container(), COST).unwrap();
        let hourly = (2.0 - 0.46) * 0.03 + (4.0 - 1.15) * 0.004;
        assert!((one.usd_per_month - 2.0 * hourly * 730.0).abs() < 1e-9);
        assert_eq!(one.confidence, Confidence::High);
        let roomy = requests("a", &container(), PERFORMANCE).unwrap();
        assert!(roomy.usd_per_month < one.usd_per_month);
    }

    #[test]
    fn without_enough_evidence_or_with_an_autoscaler_nothing_is_said() {
        let with = |change: &dyn Fn(&mut Container)| {
            let mut one = container();
            change(&mut one);
            requests("a", &one, COST)
        };
        assert_eq!(with(&|one| one.days = 2.9), None);
        assert_eq!(with(&|one| one.samples = 99.0), None);
        assert_eq!(with(&|one| one.is_autoscaled = true), None);
        assert_eq!(with(&|one| (one.cpu_used, one.memory_used) = (None, None)), None);
    }

    #[test]
    fn nodes_that_stand_idle_are_counted_against_a_target() {
        let mut one =
            ClusterUse { cluster: "c".into(), nodes_rate: 1.0, allocated_rate: 0.3, nodes: 10.0 };
        let found = idle("a", &one, 0.75).unwrap();
        assert!(found.what.contains("4 nodes") && (found.usd_per_month - 438.0).abs() < 1e-9);
        one.allocated_rate = 0.75;
        assert_eq!(idle("a", &one, 0.75), None);
        assert_eq!(unmounted("a", ("c", "v"), 0.001, 7.0), None);
        assert!((unmounted("a", ("c", "v"), 0.01, 7.0).unwrap().usd_per_month - 7.3).abs() < 1e-9);
    }

    #[test]
    fn a_namespace_that_does_nothing_is_named_and_one_that_talks_works_or_is_the_systems_is_not() {
        let one = NamespaceUse {
            cluster: "c".into(),
            namespace: "old".into(),
            allocated_rate: 0.1,
            cores_most: 0.002,
            bytes_sent: Some(1e6),
            days: 7.0,
        };
        let found = idle_namespace("a", &one).unwrap();
        assert!((found.usd_per_month - 73.0).abs() < 1e-9);
        assert_eq!(found.confidence, Confidence::Medium);
        let with = |change: &dyn Fn(&mut NamespaceUse)| {
            let mut one = one.clone();
            change(&mut one);
            idle_namespace("a", &one)
        };
        assert_eq!(with(&|one| one.cores_most = 0.02), None);
        assert_eq!(with(&|one| one.bytes_sent = Some(1e9)), None);
        assert_eq!(with(&|one| one.days = 1.0), None);
        assert_eq!(with(&|one| one.namespace = "kube-system".into()), None);
        assert_eq!(with(&|one| one.allocated_rate = 0.0), None);
        assert_eq!(with(&|one| one.bytes_sent = None).unwrap().confidence, Confidence::Low);
    }

    #[test]
    fn a_deployment_of_several_pods_may_be_one_for_spot_nodes() {
        let mut one = Workload {
            cluster: "c".into(),
            namespace: "shop".into(),
            controller: "web".into(),
            pods: 3.0,
            allocated_rate: 0.5,
        };
        let found = spot("a", &one).unwrap();
        assert!((found.usd_per_month - 0.5 * 730.0 * 0.6).abs() < 1e-9);
        assert_eq!(found.confidence, Confidence::Low);
        one.pods = 1.0;
        assert_eq!(spot("a", &one), None);
    }

    proptest! {
        #[test]
        fn what_is_recommended_would_have_throttled_and_killed_nobody(
            cpu_used in 0.0_f64..8.0, memory_used in 0.0_f64..32.0,
            cpu_request in 0.0_f64..8.0, memory_request in 0.0_f64..32.0,
        ) {
            let one = Container {
                cpu_used: Some(cpu_used), memory_used: Some(memory_used), cpu_request,
                memory_request, ..container()
            };
            if let Some(found) = requests("a", &one, COST) {
                let numbers: Vec<f64> =
                    found.what.split(' ').filter_map(|word| word.trim_end_matches(',').parse().ok()).collect();
                let (cpu, memory) = (numbers[0] + 0.001, numbers[2] + 0.001);
                prop_assert!(cpu >= cpu_used.min(cpu_request) && memory >= memory_used.min(memory_request));
                prop_assert!(found.usd_per_month > 0.0);
            }
        }
    }
}
