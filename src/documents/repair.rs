//! What of a stored document readers cannot use, and the change that puts it right.
//!
//! Version 0.1.0 wrote dates as numbers, nulls where keys must be absent, and names in a pod's
//! `meta` that readers fail on. Such documents are repaired in place by `migrate` and by any run
//! that meets one. Nothing that a user may have edited is touched.

use crate::cost::resource_id::has_own_form;
use crate::cost::{Day, Level, ResourceKey};

use super::document::{MetaValue, PoolOwner, REFUSED_POD_META_KEYS, meta};
use super::stored::{StoredDate, StoredResource};

/// A change to one document: only these keys, and only where they still are as they were read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repair {
    /// `_first_seen_date` to write, where it is no date.
    pub first_seen_date: Option<Day>,
    /// `_last_seen_date` to write, where it is no date.
    pub last_seen_date: Option<Day>,
    /// The latest that `_first_seen_date` may be, where it is a later date.
    pub lower_first_seen_date: Option<Day>,
    /// The earliest that `_last_seen_date` may be, where it is an earlier date.
    pub raise_last_seen_date: Option<Day>,
    /// Keys that are null and shall be absent.
    pub unset_nulls: Vec<&'static str>,
    /// Whether `is_environment` is false and shall be absent.
    pub unset_environment: bool,
    /// Keys of `meta` that shall be absent.
    pub unset_meta: Vec<&'static str>,
    /// Keys of `meta` to write.
    pub set_meta: Vec<(String, MetaValue)>,
    /// Whether `meta` is no object, and becomes one of the keys to write.
    pub makes_meta: bool,
    /// `k8s_cluster` to write at the top level.
    pub k8s_cluster: Option<String>,
    /// `k8s_node` to write: where the resource is now.
    pub k8s_node: Option<String>,
    /// Pool and owner, where the document has neither.
    pub owner: Option<PoolOwner>,
}

impl Repair {
    /// Whether version 0.1.0 wrote the document.
    #[must_use]
    pub fn is_of_version_0_1_0(&self) -> bool {
        self.first_seen_date.is_some()
            || self.last_seen_date.is_some()
            || !self.unset_nulls.is_empty()
            || !self.unset_meta.is_empty()
    }

    /// Whether it is made only where what is wrong is still wrong.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.first_seen_date.is_some()
            || self.last_seen_date.is_some()
            || !self.unset_nulls.is_empty()
            || self.unset_environment
            || self.owner.is_some()
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a run knows of a resource that it repairs the document of.
#[derive(Clone, Copy, Debug)]
pub struct KnownNames<'a> {
    /// Which resource it is.
    pub key: &'a ResourceKey,
    /// Its node, for pods.
    pub node: Option<&'a str>,
    /// Its service, for pods.
    pub service: Option<&'a str>,
}

/// The repair of a stored document, which is empty where it needs none. `names` is `None` where
/// only the document itself is known, as in `migrate`; a pod's new `meta` then takes its names from
/// the old keys of [`StoredResource::meta`].
#[must_use]
pub fn repair(
    stored: &StoredResource,
    names: Option<KnownNames<'_>>,
    owner: Option<&PoolOwner>,
) -> Repair {
    let mut out = Repair::default();
    repair_dates(stored, &mut out);
    if has_own_form(&stored.cloud_resource_id) {
        out.unset_nulls.clone_from(&stored.null_keys);
        out.unset_environment = stored.has_false_environment;
        if !stored.has_owner
            && let Some(owner) = owner
        {
            out.unset_nulls.retain(|key| !super::document::OWNER_KEYS.contains(key));
            out.owner = Some(owner.clone());
        }
        if stored.level() == Some(Level::Pod) {
            repair_pod_meta(stored, names, &mut out);
        }
        if stored.k8s_cluster.is_none() {
            let known = names.map(|names| names.key.cluster().to_owned());
            let old = || ["cluster", "k8s_cluster"].iter().find_map(|key| stored.meta_text(key));
            out.k8s_cluster = known.or_else(old);
        }
    }
    out
}

/// Dates follow the times in seconds: those are right even where the dates are not.
fn repair_dates(stored: &StoredResource, out: &mut Repair) {
    let first = stored.first_seen.map(Day::of_unix);
    let last = stored.last_seen.map(Day::of_unix);
    match stored.first_seen_date {
        StoredDate::Date(date) => {
            out.lower_first_seen_date = first.filter(|day| day.start_seconds() < date);
        }
        _ => out.first_seen_date = first,
    }
    match stored.last_seen_date {
        StoredDate::Date(date) => {
            out.raise_last_seen_date = last.filter(|day| day.start_seconds() > date);
        }
        _ => out.last_seen_date = last,
    }
}

/// A pod's `meta` gets the keys that readers know in the place of those that they fail on.
fn repair_pod_meta(stored: &StoredResource, names: Option<KnownNames<'_>>, out: &mut Repair) {
    let has = |key: &str| stored.meta.contains_key(key);
    out.unset_meta = REFUSED_POD_META_KEYS.into_iter().filter(|key| has(key)).collect();
    if out.unset_meta.is_empty() {
        return;
    }
    let new = match names {
        Some(names) => meta(names.key, names.node, names.service),
        None => [("cluster", "k8s_cluster"), ("namespace", "k8s_namespace"), ("pod", "name")]
            .into_iter()
            .filter_map(|(old, new)| {
                Some((new.to_owned(), MetaValue::Text(stored.meta_text(old)?)))
            })
            .collect(),
    };
    out.set_meta = new.into_iter().filter(|(key, _)| !has(key)).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: i64 = 1_795_132_800;

    fn pod() -> ResourceKey {
        let [cluster, namespace, pod] = ["c", "n", "p"].map(str::to_owned);
        ResourceKey::Pod { cluster, namespace, pod }
    }

    /// A pod's document as version 0.1.0 wrote it.
    fn old() -> StoredResource {
        let meta = ["cluster", "namespace", "pod"];
        StoredResource {
            id: "k8s-pod-0123456789abcdef".into(),
            cloud_resource_id: "k8s-pod-0123456789abcdef".into(),
            resource_type: Some("K8s Pod".into()),
            first_seen: Some(MIDNIGHT),
            last_seen: Some(MIDNIGHT + 90_000),
            first_seen_date: StoredDate::NotADate,
            last_seen_date: StoredDate::NotADate,
            active: Some(true),
            null_keys: vec!["cluster_id", "cluster_type_id", "pool_id", "employee_id"],
            has_false_environment: true,
            meta: meta.map(|key| (key.to_owned(), Some(format!("the {key}")))).into(),
            ..StoredResource::default()
        }
    }

    fn in_run(stored: &StoredResource, owner: Option<&PoolOwner>) -> Repair {
        let key = pod();
        let names = KnownNames { key: &key, node: Some("node-1"), service: None };
        repair(stored, Some(names), owner)
    }

    #[test]
    fn a_document_of_version_0_1_0_gets_dates_and_absent_keys_and_names_that_readers_know() {
        let made = in_run(&old(), None);
        assert_eq!(made.first_seen_date, Some(Day::of_unix(MIDNIGHT)));
        assert_eq!(made.last_seen_date, Some(Day::of_unix(MIDNIGHT + 90_000)));
        assert_eq!(made.unset_nulls, old().null_keys);
        assert!(made.unset_environment);
        assert_eq!(made.unset_meta, ["cluster", "namespace", "pod"]);
        let keys: Vec<_> = made.set_meta.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["k8s_cluster", "k8s_namespace", "k8s_node", "name"]);
        assert_eq!(made.k8s_cluster.as_deref(), Some("c"));
        assert_eq!(made.owner, None);
    }

    #[test]
    fn without_a_run_the_names_come_from_the_old_keys() {
        let made = repair(&old(), None, None);
        let set = |key: &str, value: &str| (key.to_owned(), MetaValue::from(value));
        let wanted = [
            set("k8s_cluster", "the cluster"),
            set("k8s_namespace", "the namespace"),
            set("name", "the pod"),
        ];
        assert_eq!(made.set_meta, wanted);
        assert_eq!(made.k8s_cluster.as_deref(), Some("the cluster"));
    }

    #[test]
    fn pool_and_owner_are_filled_in_only_where_the_document_has_neither() {
        let owner = PoolOwner { pool_id: "pool".into(), employee_id: "owner".into() };
        let made = in_run(&old(), Some(&owner));
        assert_eq!(made.owner, Some(owner.clone()));
        assert_eq!(made.unset_nulls, ["cluster_id", "cluster_type_id"]);
        let owned = StoredResource { has_owner: true, null_keys: vec![], ..old() };
        assert_eq!(in_run(&owned, Some(&owner)).owner, None);
    }

    #[test]
    fn a_document_that_readers_see_needs_no_repair() {
        let right = StoredResource {
            first_seen_date: StoredDate::Date(MIDNIGHT),
            last_seen_date: StoredDate::Date(MIDNIGHT + 86_400),
            null_keys: vec![],
            has_false_environment: false,
            has_owner: true,
            k8s_cluster: Some("c".into()),
            meta: [("name".to_owned(), Some("p".to_owned()))].into(),
            ..old()
        };
        assert!(in_run(&right, None).is_empty());
        let late = StoredResource {
            first_seen_date: StoredDate::Date(MIDNIGHT + 2 * 86_400),
            last_seen_date: StoredDate::Date(MIDNIGHT),
            ..right
        };
        let made = in_run(&late, None);
        assert_eq!(made.lower_first_seen_date, Some(Day::of_unix(MIDNIGHT)));
        assert_eq!(made.raise_last_seen_date, Some(Day::of_unix(MIDNIGHT + 86_400)));
    }

    #[test]
    fn of_a_strange_document_only_dates_are_repaired() {
        let strange = StoredResource { cloud_resource_id: "i-0abc".into(), ..old() };
        let wanted = Repair {
            first_seen_date: Some(Day::of_unix(MIDNIGHT)),
            last_seen_date: Some(Day::of_unix(MIDNIGHT + 90_000)),
            ..Repair::default()
        };
        assert_eq!(in_run(&strange, None), wanted);
    }
}
