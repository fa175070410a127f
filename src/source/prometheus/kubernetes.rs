//! What kube-state-metrics say of namespaces and pods now: labels, owners, and how many pods there
//! are.

use std::collections::BTreeMap;

use crate::cost::{KubernetesFacts, ResourceKey};
use crate::service::failure::Failure;
use crate::settings::worker::LabelTags;

use super::promql::{Selector, Window};
use super::session::DaySession;
use crate::source::labels::Labels;

const NAMESPACE_LABELS: &str = "kube_namespace_labels";
const POD_LABELS: &str = "kube_pod_labels";
const POD_OWNER: &str = "kube_pod_owner";
/// How kube-state-metrics name labels.
const PREFIX: &str = "label_";
/// For how long a sample stands, seconds.
const LOOK_BACK_SECONDS: i64 = 300;

/// What is known now, by namespace and, where pods have rows, by pod.
pub(super) async fn facts(
    mut session: DaySession<'_>,
    chosen: &LabelTags,
    now_seconds: i64,
) -> Result<BTreeMap<ResourceKey, KubernetesFacts>, Failure> {
    let mut found: BTreeMap<ResourceKey, KubernetesFacts> = BTreeMap::new();
    if *chosen == LabelTags::Off {
        return Ok(found);
    }
    let has_pods = session.levels().pod;
    let now = Window { start: now_seconds - LOOK_BACK_SECONDS, end: now_seconds + 1 };
    let mut selector = session.selector();
    let names = [NAMESPACE_LABELS, POD_LABELS, POD_OWNER];
    session.resolve_cluster_names(&mut selector, &names, now).await?;
    let metrics: &[(&str, &[&str])] =
        &[(NAMESPACE_LABELS, &["namespace"]), (POD_LABELS, &["namespace", "pod"])];
    for (metric, names) in &metrics[..if has_pods { 2 } else { 1 }] {
        for series in session.at(&labels_query(&selector, metric, names, chosen), now).await? {
            let cluster = session.cluster(&series.labels).to_owned();
            if let Some(key) = key(cluster, &series.labels, names.len() == 2) {
                let known = found.entry(key).or_default();
                known.labels.get_or_insert_default().extend(labels_of(&series.labels, chosen));
            }
        }
    }
    if has_pods {
        let by = ["namespace", "pod", "owner_kind", "owner_name"];
        for series in session.at(&selector.max_by(&by, &selector.raw(POD_OWNER, &[])), now).await? {
            let cluster = session.cluster(&series.labels).to_owned();
            if let Some(key) = key(cluster, &series.labels, true) {
                found.entry(key).or_default().created_by = owner(&series.labels);
            }
        }
    }
    let pods = selector.max_by(&["namespace", "pod"], &selector.raw(POD_OWNER, &[]));
    let counted = format!("count by ({}) ({pods})", selector.labels(&["namespace"]));
    for series in session.at(&counted, now).await? {
        let cluster = session.cluster(&series.labels).to_owned();
        let count = series.points.last().map(|(_, value)| *value).filter(|value| *value >= 0.0);
        if let (Some(key), Some(count)) = (key(cluster, &series.labels, false), count) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = count as u64;
            found.entry(key).or_default().pod_count = Some(count);
        }
    }
    Ok(found)
}

/// One question for a metric's labels: those chosen, without what a scrape adds.
fn labels_query(selector: &Selector, metric: &str, names: &[&str], chosen: &LabelTags) -> String {
    let series = selector.raw(metric, &[]);
    match chosen {
        LabelTags::Named(labels) => {
            let labels: Vec<String> =
                labels.iter().map(|label| format!("{PREFIX}{label}")).collect();
            let all: Vec<&str> =
                names.iter().copied().chain(labels.iter().map(String::as_str)).collect();
            selector.max_by(&all, &series)
        }
        _ => series,
    }
}

fn key(cluster: String, labels: &Labels, is_pod: bool) -> Option<ResourceKey> {
    let name = |label: &str| labels.get(label).filter(|name| !name.is_empty()).map(str::to_owned);
    let namespace = name("namespace")?;
    if !is_pod {
        return Some(ResourceKey::Namespace { cluster, namespace });
    }
    Some(ResourceKey::Pod { cluster, namespace, pod: name("pod")? })
}

/// The chosen labels that have a value, without their prefix.
fn labels_of(labels: &Labels, chosen: &LabelTags) -> BTreeMap<String, String> {
    let is_chosen = |name: &String| match chosen {
        LabelTags::Off => false,
        LabelTags::All => true,
        LabelTags::Named(names) => names.contains(name),
    };
    labels
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_owned(), value.to_owned())))
        .filter(|(name, value)| !value.is_empty() && is_chosen(name))
        .collect()
}

/// Kind and name of a pod's owner; `<none>` stands for none.
fn owner(labels: &Labels) -> Option<(String, String)> {
    let name = |label: &str| {
        let name = labels.get(label)?;
        (!name.is_empty() && name != "<none>").then(|| name.to_owned())
    };
    Some((name("owner_kind")?, name("owner_name")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn chosen_labels_are_taken_without_their_prefix() {
        let series = labels(&[("label_app", "web"), ("label_team", ""), ("job", "ksm")]);
        let all = labels_of(&series, &LabelTags::All);
        assert_eq!(all, [("app".to_owned(), "web".to_owned())].into());
        assert_eq!(labels_of(&series, &LabelTags::of("app")), all);
        assert!(labels_of(&series, &LabelTags::of("team,job")).is_empty());
        let query = labels_query(
            &Selector::default(),
            POD_LABELS,
            &["namespace", "pod"],
            &LabelTags::of("app.io/x"),
        );
        assert_eq!(query, "max by (cluster, namespace, pod, label_app_io_x) (kube_pod_labels{})");
    }

    #[test]
    fn a_pod_without_an_owner_has_none() {
        let owned = labels(&[("owner_kind", "ReplicaSet"), ("owner_name", "web-1")]);
        assert_eq!(owner(&owned), Some(("ReplicaSet".to_owned(), "web-1".to_owned())));
        assert_eq!(owner(&labels(&[("owner_kind", "<none>"), ("owner_name", "<none>")])), None);
        assert_eq!(key("c".into(), &owned, false), None);
    }
}
