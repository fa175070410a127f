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
    /// `namespace/controller`.
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
        name: format!("{}/{}", one.controller, one.container),
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
        name: volume.to_owned(),
        usd_per_month: usd,
        what: "take a snapshot and delete the volume".to_owned(),
        evidence: format!("no pod mounted it in {days:.0} days"),
        confidence: Confidence::Medium,
        wrong_if: "it holds data that somebody still wants",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn container() -> Container {
        Container {
            cluster: "c".into(),
            controller: "shop/web".into(),
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
