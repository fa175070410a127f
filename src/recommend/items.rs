//! Recommendations in the form of CloudTuner's items. Pure.

use std::collections::BTreeMap;

use crate::accounts::{ACCOUNT_TYPE, Account};
use crate::cost::ResourceKey;
use crate::documents::StoredResource;
use crate::recommendations::{Item, Named, Set};

use super::model::{Kind, Recommendation};

/// The resource whose document a recommendation is shown at: its namespace's, else its cluster's.
#[must_use]
pub fn resource(one: &Recommendation) -> ResourceKey {
    let cluster = one.cluster.clone();
    match (&one.namespace, one.kind) {
        (Some(namespace), _) => ResourceKey::Namespace { cluster, namespace: namespace.clone() },
        _ => ResourceKey::Cluster { cluster },
    }
}

/// The sets of an account, one of each kind: a kind of which nothing is found has an empty one.
#[must_use]
pub fn sets(
    account: &Account,
    found: &[Recommendation],
    documents: &[StoredResource],
    (before, now_seconds): (&[Set], i64),
) -> Vec<Set> {
    let by_id: BTreeMap<&str, &StoredResource> =
        documents.iter().map(|one| (one.cloud_resource_id.as_str(), one)).collect();
    let item = |one: &Recommendation| {
        let key = resource(one);
        let cloud_resource_id = key.id(&account.id);
        let document = by_id.get(cloud_resource_id.as_str());
        let named = |id: Option<&String>| id.map(|id| Named { id: id.clone() });
        Item {
            resource_id: document.map(|document| document.id.clone()),
            resource_name: key.namespace().unwrap_or(key.cluster()).to_owned(),
            cloud_resource_id,
            region: None,
            cloud_account_id: account.id.clone(),
            cloud_type: ACCOUNT_TYPE.to_owned(),
            cloud_account_name: account.name.clone().unwrap_or_else(|| account.id.to_string()),
            owner: named(document.and_then(|one| one.employee_id.as_ref())),
            pool: named(document.and_then(|one| one.pool_id.as_ref())),
            is_excluded: false,
            saving: one.usd_per_month,
            detected_at: now_seconds,
            kind: one.kind.as_str().to_owned(),
            cluster: one.cluster.clone(),
            subject: one.name.clone(),
            what: one.what.clone(),
            evidence: one.evidence.clone(),
            confidence: one.confidence.as_str().to_owned(),
            wrong_if: one.wrong_if.to_owned(),
        }
    };
    let of_kind = |kind: Kind| {
        let module = kind.module();
        let items = found.iter().filter(|one| one.kind == kind).map(item).collect();
        let known = before.iter().find(|set| set.module == module);
        Set::new(&account.id, module, now_seconds, items).after(known)
    };
    Kind::ALL.into_iter().map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::AccountId;
    use crate::recommend::model::Confidence;

    #[test]
    fn an_item_lies_at_its_namespaces_document_and_a_kind_without_any_has_an_empty_set() {
        let account = Account { id: AccountId::new("a").unwrap(), name: Some("Shop".into()) };
        let one = Recommendation {
            kind: Kind::Requests,
            account: "a".into(),
            cluster: "c".into(),
            namespace: Some("shop".into()),
            name: "shop/web/app".into(),
            usd_per_month: 12.5,
            what: String::new(),
            evidence: String::new(),
            confidence: Confidence::High,
            wrong_if: "",
        };
        let id = resource(&one).id(&account.id);
        let document = StoredResource {
            id: "u-1".into(),
            cloud_resource_id: id.clone(),
            pool_id: Some("p".into()),
            ..StoredResource::default()
        };
        let made = sets(&account, std::slice::from_ref(&one), &[document], (&[], 77));
        assert_eq!(made.len(), Kind::ALL.len());
        let items: Vec<&Item> = made.iter().flat_map(|set| &set.data).collect();
        let [item] = items[..] else { panic!("{items:?}") };
        assert_eq!((item.resource_id.as_deref(), &item.cloud_resource_id), (Some("u-1"), &id));
        assert_eq!(
            (item.saving, item.detected_at, item.cloud_type.as_str()),
            (12.5, 77, "kubernetes_cnr")
        );
        assert_eq!(item.pool, Some(Named { id: "p".into() }));
        assert_eq!(
            (item.cloud_account_name.as_str(), item.resource_name.as_str()),
            ("Shop", "shop")
        );
        let later = sets(&account, &[one], &[], (&made, 99));
        let requests = later.iter().find(|set| !set.data.is_empty()).unwrap();
        assert_eq!((requests.created_at, requests.data[0].detected_at), (99, 77));
    }
}
