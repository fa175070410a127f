//! Documents that people or importers have made odd.

use std::collections::BTreeSet;

use kubecost_worker::cost::KubernetesFacts;
use kubecost_worker::documents::document::MetaValue;
use kubecost_worker::documents::{
    Change, DocumentInputs, ObservedResource, ResourceStore, plan_changes,
};

use super::resources::{RawDocumentAccess, found, namespace, new_document};
use super::{account, day};

/// A `meta` that is no object becomes one, with what is known; it holds up nothing of the account.
pub(super) async fn makes_an_object_of_odd_meta(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let ours = account(tag, "odd-meta");
    let odd = [serde_json::Value::Null, serde_json::json!(["a"]), serde_json::json!("text")];
    for (index, meta) in odd.into_iter().enumerate() {
        let name = format!("shop-{index}");
        let mut document = new_document(&ours, &name, day());
        raw.put(document.clone()).await;
        raw.put_meta(&document.id, meta.clone()).await;
        let kubernetes = Some(KubernetesFacts { pod_count: Some(3), ..KubernetesFacts::default() });
        let observed = ObservedResource { kubernetes, ..namespace(&ours, &name) };
        let stored = found(store, &document).await;
        assert_eq!(stored.meta_text("pod_count"), None, "{meta}");
        let (changes, _) = plan_changes(DocumentInputs {
            account: &ours,
            day: day(),
            now_seconds: day().start_seconds() + 600,
            observed: &[observed],
            stored: &[stored],
            taken: &BTreeSet::new(),
            seen_now: None,
            owner: None,
        });
        assert!(matches!(changes.as_slice(), [Change::Update(_)]), "{meta}: {changes:?}");
        assert_eq!(store.apply(&ours, &changes).await.unwrap().changed, 1, "{meta}");
        document.meta = [("pod_count".to_owned(), MetaValue::Whole(3))].into();
        assert_eq!(raw.get(&document.id).await, Some(document.clone()), "{meta}");
        assert_eq!(found(store, &document).await.meta_text("pod_count").as_deref(), Some("3"));
    }
}
