//! From rows to gauges: the costs of an accepted window by cluster, namespace and pod.

use std::collections::BTreeMap;

use crate::allocation_api::{Costs, Fault, Faults, Idle, Row, Window};
use crate::cost::costs::is_special;

/// The name under which costs are summed that have no series of their own.
pub const OTHER: &str = "__other__";
/// The name of what the source gives no namespace.
const UNALLOCATED: &str = "__unallocated__";
/// Longest name of a namespace or a service (RFC 1123 label).
const LABEL_BYTES_MAX: usize = 63;
/// Longest name of a pod or a node (RFC 1123 subdomain).
const SUBDOMAIN_BYTES_MAX: usize = 253;

/// Used over requested, ratios; absent where they are unknown or mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Efficiencies {
    /// CPU.
    pub cpu: Option<f64>,
    /// Memory.
    pub ram: Option<f64>,
    /// Both, weighted by cost.
    pub total: Option<f64>,
}

/// A namespace, or a special row in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Namespace {
    /// The label value.
    pub name: Box<str>,
    /// USD in the window.
    pub costs: Costs,
    /// How well it uses what it requests.
    pub efficiencies: Efficiencies,
}

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    /// The label value `namespace`.
    pub namespace: Box<str>,
    /// The label value `pod`.
    pub name: Box<str>,
    /// Its node, if known.
    pub node: Option<Box<str>>,
    /// Its service, if known.
    pub service: Option<Box<str>>,
    /// USD in the window.
    pub costs: Costs,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The label value.
    pub name: Box<str>,
    /// USD in the window, idle cost included.
    pub costs: Costs,
    /// What of it is allocated to nobody; `None` where idle costs are not asked for.
    pub idle: Option<f64>,
}

/// The gauges of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The window.
    pub window: Window,
    /// All rows summed, special ones included, USD in the window.
    pub cluster: Costs,
    /// Efficiencies over all namespaces.
    pub efficiencies: Efficiencies,
    /// Namespaces and special rows, by name. Their totals add up to the cluster's.
    pub namespaces: Vec<Namespace>,
    /// Pods by namespace and name.
    pub pods: Vec<Pod>,
    /// Nodes by name.
    pub nodes: Vec<Node>,
    /// How many namespaces and pods are in `__other__`.
    pub folded: usize,
}

impl Snapshot {
    /// Sums the rows of a window keyed by namespace. A row of idle cost beside shared idle cost is
    /// what could not be shared.
    #[must_use]
    pub fn of_namespaces(window: Window, rows: &[Row], idle: Idle, faults: &mut Faults) -> Self {
        let mut by_name = BTreeMap::<&str, Vec<&Row>>::new();
        let mut has_idle = false;
        for row in rows {
            if row.is_idle() {
                has_idle = true;
                if idle == Idle::None {
                    faults.add(Fault::IdleTwice, &row.key);
                    continue;
                }
            }
            by_name.entry(namespace_label(&row.key, faults)).or_default().push(row);
        }
        if idle == Idle::Separate && !has_idle {
            faults.add(Fault::IdleMissing, "");
        }
        let mut cluster = Costs::default();
        let mut namespaces = Vec::with_capacity(by_name.len());
        for (name, rows) in &by_name {
            let mut costs = Costs::default();
            rows.iter().for_each(|row| costs.add(&row.costs));
            cluster.add(&costs);
            let efficiencies =
                if is_special(name) { Efficiencies::default() } else { efficiencies(rows) };
            namespaces.push(Namespace { name: (*name).into(), costs, efficiencies });
        }
        let workloads: Vec<&Row> = by_name
            .iter()
            .filter(|(name, _)| !is_special(name))
            .flat_map(|(_, rows)| rows.iter().copied())
            .collect();
        let efficiencies = efficiencies(&workloads);
        Self {
            window,
            cluster,
            efficiencies,
            namespaces,
            pods: Vec::new(),
            nodes: Vec::new(),
            folded: 0,
        }
    }
}

/// The pods of rows keyed by namespace and pod. What is no pod stays with its namespace's gauge;
/// names that Kubernetes does not allow are summed as one pod `__other__`.
#[must_use]
pub fn pods(rows: Vec<Row>, faults: &mut Faults) -> Vec<Pod> {
    let mut pods = Vec::with_capacity(rows.len());
    let mut refused = Costs::default();
    for row in rows {
        let Some((namespace, name)) = row.key.rsplit_once('/') else { continue };
        let namespace = namespace.rsplit('/').next().unwrap_or(namespace);
        if is_special(namespace) || is_special(name) {
            continue;
        }
        if !is_label(namespace) || !is_subdomain(name) {
            faults.add(Fault::BadName, &row.key);
            refused.add(&row.costs);
            continue;
        }
        pods.push(Pod {
            namespace: namespace.into(),
            name: name.into(),
            node: row.node.filter(|node| is_subdomain(node)),
            service: row.service.filter(|service| is_label(service)),
            costs: row.costs,
        });
    }
    if refused != Costs::default() {
        pods.push(other_pod(refused));
    }
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    pods
}

/// The nodes of rows keyed by node: `allocated` without idle cost, `whole` with each node's own
/// shared among what runs on it; empty where idle costs are not asked for. Rows of no node, such as
/// volumes that nobody mounts, are left out.
#[must_use]
pub fn nodes(allocated: &[Row], whole: &[Row], faults: &mut Faults) -> Vec<Node> {
    let mut by_name: BTreeMap<&str, (Costs, Costs)> = BTreeMap::new();
    for (is_whole, row) in
        allocated.iter().map(|row| (false, row)).chain(whole.iter().map(|row| (true, row)))
    {
        let name = row.key.rsplit('/').next().unwrap_or(&row.key);
        if is_special(name) || row.is_idle() {
            continue;
        }
        if !is_subdomain(name) {
            faults.add(Fault::BadName, &row.key);
            continue;
        }
        let (without, with) = by_name.entry(name).or_default();
        if is_whole { with.add(&row.costs) } else { without.add(&row.costs) }
    }
    let one = |(name, (without, with)): (&str, (Costs, Costs))| {
        // A node on which nothing runs, or one that only one of the two replies has.
        let is_whole_known = with.total != 0.0 || without.total == 0.0;
        let has_idle = !whole.is_empty() && is_whole_known;
        Node {
            name: name.into(),
            costs: if has_idle { with } else { without },
            idle: has_idle.then_some((with.total - without.total).max(0.0)),
        }
    };
    by_name.into_iter().map(one).collect()
}

/// The pod in which the costs of many are summed.
pub(super) fn other_pod(costs: Costs) -> Pod {
    Pod { namespace: OTHER.into(), name: OTHER.into(), node: None, service: None, costs }
}

/// The label of a row: its last segment, or the special one of its segments.
fn namespace_label<'a>(key: &'a str, faults: &mut Faults) -> &'a str {
    let special = key.split('/').find(|s| !s.is_empty() && is_special(s));
    if let Some(special) = special.filter(|s| is_special_label(s)) {
        return special;
    }
    let last = key.rsplit('/').next().unwrap_or(key);
    if last.is_empty() {
        UNALLOCATED
    } else if is_label(last) {
        last
    } else {
        faults.add(Fault::BadName, key);
        OTHER
    }
}

fn is_special_label(text: &str) -> bool {
    text.len() <= LABEL_BYTES_MAX && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Whether a text is an RFC 1123 label: what Kubernetes allows as a namespace.
fn is_label(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty()
        && text.len() <= LABEL_BYTES_MAX
        && text.bytes().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is an RFC 1123 subdomain: what Kubernetes allows as a pod or a node.
fn is_subdomain(text: &str) -> bool {
    text.len() <= SUBDOMAIN_BYTES_MAX
        && text.split('.').all(|part| {
            let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            !part.is_empty()
                && part.bytes().all(fits)
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}

/// Efficiencies of several rows together, as the API has them for rows that it sums itself: what
/// was used over what was requested. A single row's own are taken as they are.
fn efficiencies(rows: &[&Row]) -> Efficiencies {
    if let [row] = rows {
        return Efficiencies {
            cpu: row.cpu_efficiency,
            ram: row.ram_efficiency,
            total: row.total_efficiency,
        };
    }
    let cpu = efficiency(
        rows,
        |row| row.costs.cpu,
        |row| row.cpu_efficiency,
        |row| row.usage.map(|usage| (usage.cpu_used, usage.cpu_requested)),
    );
    let ram = efficiency(
        rows,
        |row| row.costs.ram,
        |row| row.ram_efficiency,
        |row| row.usage.map(|usage| (usage.ram_used, usage.ram_requested)),
    );
    let cost = |part: fn(&Costs) -> f64| rows.iter().map(|row| part(&row.costs)).sum::<f64>();
    let (cpu_cost, ram_cost) = (cost(|c| c.cpu), cost(|c| c.ram));
    let total = match (cpu, ram) {
        (Some(cpu), Some(ram)) if cpu_cost + ram_cost > 0.0 => {
            Some((cpu * cpu_cost + ram * ram_cost) / (cpu_cost + ram_cost))
        }
        _ => None,
    };
    Efficiencies { cpu, ram, total }
}

/// One resource's efficiency over rows; by cost where usage is not told.
fn efficiency(
    rows: &[&Row],
    cost: impl Fn(&Row) -> f64,
    ratio: impl Fn(&Row) -> Option<f64>,
    usage: impl Fn(&Row) -> Option<(f64, f64)>,
) -> Option<f64> {
    let relevant: Vec<_> = rows.iter().filter(|row| cost(row) > 0.0).collect();
    if let Some(usages) = relevant.iter().map(|row| usage(row)).collect::<Option<Vec<_>>>() {
        let used: f64 = usages.iter().map(|(used, _)| used).sum();
        let requested: f64 = usages.iter().map(|(_, requested)| requested).sum();
        if requested > 0.0 {
            return Some(used / requested);
        }
    }
    let weighted: f64 = relevant.iter().map(|row| cost(row) * ratio(row).unwrap_or(0.0)).sum();
    let weight: f64 = relevant.iter().filter(|row| ratio(row).is_some()).map(|row| cost(row)).sum();
    (weight > 0.0).then(|| weighted / weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start: 0, end: 3_600 };

    fn row(key: &str, total: f64) -> Row {
        let costs = Costs { total, cpu: total, ..Costs::default() };
        Row { key: key.into(), costs, ..Row::default() }
    }

    fn names(snapshot: &Snapshot) -> Vec<&str> {
        snapshot.namespaces.iter().map(|namespace| &*namespace.name).collect()
    }

    #[test]
    fn namespaces_and_special_rows_add_up_to_the_cluster() {
        let rows = [row("shop", 1.0), row("__idle__", -0.5), row("__unmounted__", 0.25)];
        let mut faults = Faults::default();
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows, Idle::Separate, &mut faults);
        assert_eq!(names(&snapshot), ["__idle__", "__unmounted__", "shop"]);
        assert_eq!(snapshot.cluster.total, 0.75);
        assert_eq!(faults, Faults::default());
    }

    #[test]
    fn split_idle_is_one_series_and_empty_keys_are_unallocated() {
        let rows = [row("one/__idle__", 1.0), row("two/__idle__", 2.0), row("", 4.0)];
        let mut faults = Faults::default();
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows, Idle::Separate, &mut faults);
        assert_eq!(names(&snapshot), ["__idle__", "__unallocated__"]);
        assert_eq!(snapshot.namespaces[0].costs.total, 3.0);
    }

    #[test]
    fn idle_cost_that_was_not_asked_for_is_left_out() {
        let rows = [row("shop", 3.0), row("__idle__", 1.0)];
        let mut faults = Faults::default();
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows, Idle::SharedWeighted, &mut faults);
        assert_eq!((snapshot.cluster.total, faults.count(Fault::IdleTwice)), (4.0, 0));
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows, Idle::None, &mut faults);
        assert_eq!((snapshot.cluster.total, faults.count(Fault::IdleTwice)), (3.0, 1));
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows[..1], Idle::Separate, &mut faults);
        assert_eq!((snapshot.cluster.total, faults.count(Fault::IdleMissing)), (3.0, 1));
    }

    #[test]
    fn names_that_kubernetes_does_not_allow_keep_their_cost_but_not_their_label() {
        let long = "x".repeat(64);
        let rows = [row("Shop", 1.0), row("a\"b\n", 2.0), row(&long, 4.0), row("__Evil\"__", 8.0)];
        let mut faults = Faults::default();
        let snapshot = Snapshot::of_namespaces(WINDOW, &rows, Idle::None, &mut faults);
        assert_eq!((names(&snapshot), snapshot.cluster.total), (vec![OTHER], 15.0));
        assert_eq!(faults.count(Fault::BadName), 4);
        let found = pods(vec![row("shop/web.0", 1.0), row("shop/web_0", 2.0)], &mut faults);
        assert_eq!(found.len(), 2);
        assert_eq!((&*found[0].name, found[0].costs.total), (OTHER, 2.0));
    }

    #[test]
    fn a_nodes_idle_cost_is_what_it_has_more_with_its_own_shared() {
        let allocated = [row("a", 1.0), row("b", 2.0), row("", 4.0), row("__idle__", 9.0)];
        let whole = [row("a", 4.0), row("b", 1.5), row("c/d", 3.0), row("N!", 1.0)];
        let mut faults = Faults::default();
        let of = |found: Vec<Node>| -> Vec<(String, f64, Option<f64>)> {
            found.into_iter().map(|n| (n.name.to_string(), n.costs.total, n.idle)).collect()
        };
        let name = |name: &str| name.to_owned();
        let wanted =
            [(name("a"), 4.0, Some(3.0)), (name("b"), 1.5, Some(0.0)), (name("d"), 3.0, Some(3.0))];
        assert_eq!(of(nodes(&allocated, &whole, &mut faults)), wanted);
        assert_eq!(faults.count(Fault::BadName), 1);
        let without = of(nodes(&allocated, &[], &mut faults));
        assert_eq!(without, [(name("a"), 1.0, None), (name("b"), 2.0, None)]);
    }

    #[test]
    fn efficiency_of_several_rows_is_what_was_used_of_what_was_requested() {
        let usage = |used, requested| {
            Some(crate::allocation_api::row::Usage {
                cpu_used: used,
                cpu_requested: requested,
                ..Default::default()
            })
        };
        let rows = [
            Row { usage: usage(1.0, 4.0), cpu_efficiency: Some(0.25), ..row("a", 1.0) },
            Row { usage: usage(1.0, 1.0), cpu_efficiency: Some(1.0), ..row("b", 1.0) },
        ];
        let all: Vec<&Row> = rows.iter().collect();
        assert_eq!(efficiencies(&all).cpu, Some(0.4));
        let untold = rows.clone().map(|row| Row { usage: None, ..row });
        assert_eq!(efficiencies(&untold.iter().collect::<Vec<_>>()).cpu, Some(0.625));
        assert_eq!(efficiencies(&[]).cpu, None);
    }
}
