//! A pod's number by its own series alone: an account may have tens of thousands of others.
//!
//! A pod's row is all of its cost, so nothing else of the day has a part in it. The arithmetic above
//! it is that of the stored rows. Where the pod's number does not come out bit for bit, or the day
//! is not simple enough, the whole day is read instead.

use crate::cost::{AccountId, Breakdown, Cost, Day, ResourceKey};
use crate::day_status::{ClusterCoverage, DayStatus};
use crate::documents::merge::candidate_ids;
use crate::ledger::KeyState;
use crate::run::day::inputs::CostedDay;
use crate::service::failure::Failure;
use crate::source::Phase;

use super::model::{Step, Wanted};
use super::number::{DayRead, ExplainStores, Found, subject};

/// The number of a pod, if that is what is wanted and its own series are enough for it.
pub(super) async fn found(
    stores: &ExplainStores<'_>,
    read: &DayRead<'_>,
    wanted: &Wanted,
) -> Result<Option<Found>, Failure> {
    let Some((phase, coverage)) = read.status.as_ref().and_then(simple) else { return Ok(None) };
    let cluster = coverage.cluster.as_str();
    let account = &read.account.id;
    let names = stores.names.names(account, &candidates(account, wanted, cluster)).await?;
    let Ok((key, Some(document))) = subject(read.account, &of_cluster(wanted, cluster), &names)
    else {
        return Ok(None);
    };
    let ResourceKey::Pod { namespace, pod, .. } = &key else { return Ok(None) };
    let name = (namespace.as_str(), pod.as_str());
    let now_seconds = read.at_seconds(&key);
    let asked = stores.source.pod_costs(read.account, name, read.day, phase, now_seconds);
    let Some(source) = asked.await? else { return Ok(None) };
    // What was covered when the pods were written is not stored.
    let is_older = now_seconds < read.now_seconds;
    if !is_older && source.minutes_of(cluster) != coverage.covered_minutes {
        return Ok(None);
    }
    let mut costed = CostedDay::of(source, stores.settings.levels, stores.settings.gap_policy);
    let stored = read.stored(key.clone(), Some(document), stores.settings);
    let stored_usd: f64 = stored.states.iter().map(|state| state.cost_usd).sum();
    let line = costed.roll.lines.iter().find(|line| line.key == key);
    if line.is_none_or(|line| line.cost.usd().to_bits() != stored_usd.to_bits()) {
        return Ok(None);
    }
    forget_others(&mut costed, (cluster, namespace, pod));
    let steps_above = steps_above(account, read.day, (cluster, namespace), &read.states);
    let costed = Some(costed);
    Ok(Some(Found { stored, costed, phase: Some(phase), steps_above, now_seconds }))
}

/// Totals of a cluster and of namespaces of which one pod was asked for are no totals.
fn forget_others(costed: &mut CostedDay, (cluster, namespace, pod): (&str, &str, &str)) {
    let costs = &mut costed.source.costs;
    costs.clusters.retain(|name, _| name == cluster);
    for of_cluster in costs.clusters.values_mut() {
        (of_cluster.total_usd, of_cluster.breakdown) = (None, Breakdown::default());
        of_cluster.nodes.clear();
        of_cluster.namespaces.retain(|name, _| name == namespace);
        for of_namespace in of_cluster.namespaces.values_mut() {
            (of_namespace.total_usd, of_namespace.breakdown) = (None, Breakdown::default());
            of_namespace.pods.retain(|name, _| name == pod);
        }
    }
}

/// The stored phase, and the day's only cluster: rows do not say which of several they are of.
fn simple(status: &DayStatus) -> Option<(Phase, &ClusterCoverage)> {
    match status.stored.coverage.clusters.as_slice() {
        [only] => Some((status.stored.phase?, only)),
        _ => None,
    }
}

/// The `_id`s that the wanted document may have.
fn candidates(account: &AccountId, wanted: &Wanted, cluster: &str) -> Vec<String> {
    let stable = match wanted {
        Wanted::Names { namespace: Some(namespace), pod: Some(pod), .. } => ResourceKey::Pod {
            cluster: cluster.to_owned(),
            namespace: namespace.clone(),
            pod: pod.clone(),
        }
        .id(account),
        Wanted::Names { .. } => return Vec::new(),
        Wanted::Resource(id) => id.clone(),
    };
    candidate_ids(account, &stable).chain([stable.clone()]).collect()
}

fn of_cluster(wanted: &Wanted, cluster: &str) -> Wanted {
    match wanted.clone() {
        Wanted::Names { cluster: None, namespace, pod } => {
            Wanted::Names { cluster: Some(cluster.to_owned()), namespace, pod }
        }
        other => other,
    }
}

/// The pod's namespace and its cluster, by what is stored.
fn steps_above(
    account: &AccountId,
    day: Day,
    (cluster, namespace): (&str, &str),
    states: &[KeyState],
) -> Vec<Step> {
    let midnight = day.start_seconds();
    let rows: Vec<&KeyState> = states.iter().filter(|row| row.date_seconds == midnight).collect();
    let step = |key: ResourceKey, rows: Vec<&KeyState>| -> Step {
        let own: Vec<String> = candidate_ids(account, &key.id(account)).collect();
        let (own, beneath): (Vec<&KeyState>, Vec<&KeyState>) =
            rows.into_iter().partition(|row| own.contains(&row.resource_id));
        // Exact: multiples of 2^-24 far below 2^29.
        let usd = |rows: &[&KeyState]| rows.iter().map(|row| row.cost_usd).sum::<f64>() + 0.0;
        let (row_usd, beneath_usd) = (usd(&own), usd(&beneath));
        let is_some = |row: &&&KeyState| Cost::from_usd(row.cost_usd).is_ok_and(|c| !c.is_zero());
        Step {
            level: key.level().as_str(),
            name: key.namespace().unwrap_or(key.cluster()).to_owned(),
            source_usd: None,
            rounded_usd: row_usd + beneath_usd,
            beneath_usd,
            row_usd,
            rows_beneath: beneath.iter().filter(is_some).count(),
            is_of_rows: true,
        }
    };
    let of_namespace = |row: &&&KeyState| row.dimensions.namespace.as_deref() == Some(namespace);
    let in_namespace = rows.iter().filter(of_namespace).copied().collect();
    let (cluster, namespace) = (cluster.to_owned(), namespace.to_owned());
    let namespace = ResourceKey::Namespace { cluster: cluster.clone(), namespace };
    vec![step(namespace, in_namespace), step(ResourceKey::Cluster { cluster }, rows)]
}
