//! The keys of rows: the names of what a row is of, joined by slashes.
//!
//! Names of namespaces and pods hold no slash, those of clusters may: EKS' are ARNs,
//! `arn:aws:eks:eu-west-1:111122223333:cluster/prod-1`. So keys are split from their end.

use std::collections::BTreeSet;

use super::row::{AllocationSet, Row};
use crate::cost::costs::is_special;

const IDLE: &str = "__idle__";

/// Cluster and namespace of a key `namespace` or `cluster/namespace`; the cluster is `None` where
/// the key has none.
#[must_use]
pub fn of_namespace(key: &str) -> (Option<&str>, &str) {
    match key.rsplit_once('/') {
        Some((cluster, namespace)) => (named(cluster), namespace),
        None => (None, key),
    }
}

/// Cluster, namespace and pod of a key `namespace/pod` or `cluster/namespace/pod`; `None` for what
/// is no pod.
#[must_use]
pub fn of_pod(key: &str) -> Option<(Option<&str>, &str, &str)> {
    let (rest, pod) = key.rsplit_once('/')?;
    let (cluster, namespace) = of_namespace(rest);
    (!is_special(namespace) && !is_special(pod)).then_some((cluster, namespace, pod))
}

/// The cluster that a row names, in its key or its properties.
#[must_use]
pub fn cluster_of<'a>(row: &'a Row, aggregate: &str) -> Option<&'a str> {
    let of_key = match row.key.strip_suffix(IDLE).and_then(|rest| rest.strip_suffix('/')) {
        Some(cluster) => named(cluster),
        None if aggregate.ends_with("pod") => {
            row.key.rsplit_once('/').and_then(|(rest, _)| of_namespace(rest).0)
        }
        None => of_namespace(&row.key).0,
    };
    of_key.or_else(|| row.cluster.as_deref().and_then(named))
}

fn named(cluster: &str) -> Option<&str> {
    (!is_special(cluster)).then_some(cluster)
}

/// The clusters that rows name.
#[must_use]
pub fn clusters<'a>(rows: impl IntoIterator<Item = &'a Row>, aggregate: &str) -> BTreeSet<&'a str> {
    rows.into_iter().filter_map(|row| cluster_of(row, aggregate)).collect()
}

/// Leaves in sets what is of one cluster: servers that do not know the filter answer for all.
///
/// # Errors
/// The name of another cluster, where there are costs that may be of either.
pub fn keep_cluster(
    sets: &mut [AllocationSet],
    cluster: &str,
    aggregate: &str,
) -> Result<(), String> {
    for set in sets {
        let others = clusters(&set.rows, aggregate).into_iter().find(|name| *name != cluster);
        let others = others.map(str::to_owned);
        let is_shared = |row: &Row| cluster_of(row, aggregate).is_none() && row.costs.total != 0.0;
        if let Some(other) = others {
            if set.rows.iter().any(is_shared) {
                return Err(other);
            }
            set.rows.retain(|row| cluster_of(row, aggregate) == Some(cluster));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocation_api::Costs;

    const ARN: &str = "arn:aws:eks:eu-west-1:111122223333:cluster/prod-1";

    fn row(key: &str, cluster: Option<&str>) -> Row {
        let costs = Costs { total: 1.0, ..Costs::default() };
        Row { key: key.into(), cluster: cluster.map(Into::into), costs, ..Row::default() }
    }

    #[test]
    fn a_name_with_slashes_is_one_name() {
        assert_eq!(of_namespace(&format!("{ARN}/shop")), (Some(ARN), "shop"));
        assert_eq!(of_namespace("gke_p/eu/c/shop"), (Some("gke_p/eu/c"), "shop"));
        assert_eq!(of_namespace("shop"), (None, "shop"));
        assert_eq!(of_namespace("/lost"), (None, "lost"));
        assert_eq!(of_pod(&format!("{ARN}/shop/web-0")), Some((Some(ARN), "shop", "web-0")));
        assert_eq!(of_pod("shop/web-0"), Some((None, "shop", "web-0")));
        for none in ["__idle__", "__unmounted__/__unmounted__", &format!("{ARN}/__idle__"), "shop"]
        {
            assert_eq!(of_pod(none), None, "{none}");
        }
    }

    #[test]
    fn idle_rows_name_their_cluster_whatever_rows_are_made_by() {
        let idle = row(&format!("{ARN}/__idle__"), None);
        assert_eq!(cluster_of(&idle, "cluster,namespace"), Some(ARN));
        assert_eq!(cluster_of(&idle, "cluster,namespace,pod"), Some(ARN));
        assert_eq!(cluster_of(&row("__idle__", Some("one")), "namespace"), Some("one"));
        assert_eq!(cluster_of(&row("__idle__", None), "namespace"), None);
        assert_eq!(cluster_of(&row("shop/web", None), "namespace,pod"), None);
    }

    #[test]
    fn one_cluster_of_several_is_kept_and_shared_costs_are_refused() {
        let of = |keys: &[&str]| AllocationSet {
            window: None,
            rows: keys.iter().map(|key| row(key, None)).collect(),
        };
        let kept = |mut sets: Vec<AllocationSet>| {
            keep_cluster(&mut sets, ARN, "cluster,namespace").map(|()| sets.remove(0).rows.len())
        };
        let (shop, idle) = (format!("{ARN}/shop"), format!("{ARN}/__idle__"));
        assert_eq!(kept(vec![of(&[&shop, &idle, "two/shop", "two/__idle__"])]), Ok(2));
        assert_eq!(kept(vec![of(&[&shop, "__idle__"])]), Ok(2), "there is no other cluster");
        assert_eq!(kept(vec![of(&[&shop, "two/shop", "__idle__"])]), Err("two".to_owned()));
        assert_eq!(kept(vec![of(&["two/shop"])]), Ok(0));
    }
}
