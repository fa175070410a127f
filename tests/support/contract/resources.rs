//! What every store of documents must do.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kubecost_worker::cost::{AccountId, Day, NodeFacts, ResourceKey};
use kubecost_worker::documents::document::MetaValue;
use kubecost_worker::documents::merge::{AdoptUpdate, DeleteUpdate, DocumentUpdate, SeenUpdate};
use kubecost_worker::documents::repair::Repair;
use kubecost_worker::documents::tags::TagUpdate;
use kubecost_worker::documents::{
    Change, CostSummary, DocumentInputs, LastExpense, NewDocument, ObservedResource, PartsUpdate,
    PoolOwner, ResourceDocument, ResourceStore, StoredDate, StoredResource, Written, plan_changes,
};

use super::{account, day};

/// The way past the trait.
#[async_trait]
pub(crate) trait RawDocumentAccess: Send + Sync {
    /// Writes a document in the place of the one with its `_id`, as a user or an importer would.
    async fn put(&self, document: ResourceDocument);
    /// The document with this `_id`.
    async fn get(&self, id: &str) -> Option<ResourceDocument>;
    /// Writes any JSON in the place of a document's `meta`.
    async fn put_meta(&self, id: &str, meta: serde_json::Value);
}

/// Runs the whole suite.
pub(crate) async fn resource_store_contract(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    store.check().await.unwrap();
    inserts_and_finds_by_account(store, raw, tag).await;
    keeps_what_exists(store, raw, tag).await;
    moves_times_outwards_only(store, tag).await;
    moves_the_last_seen_of_many_at_once(store, tag).await;
    fills_pool_and_owner_in_once(store, tag).await;
    separates_taken_from_own_ids(store, raw, tag).await;
    refuses_an_id_that_another_document_has(store, raw, tag).await;
    writes_costs_and_times_at_once(store, tag).await;
    sets_costs_and_counts_changes(store, tag).await;
    retires_only_its_own_that_are_unseen(store, raw, tag).await;
    hands_on_what_earlier_documents_have(store, raw, tag).await;
    changes_tags_and_what_is_known(store, raw, tag).await;
    super::odd_documents::makes_an_object_of_odd_meta(store, raw, tag).await;
    takes_many_at_once(store, tag).await;
}

pub(super) fn namespace(account: &AccountId, name: &str) -> ObservedResource {
    let key = ResourceKey::Namespace { cluster: "c".into(), namespace: name.into() };
    let cloud_resource_id = key.id(account);
    ObservedResource {
        key,
        cloud_resource_id,
        node: None,
        service: None,
        facts: NodeFacts::default(),
        kubernetes: None,
    }
}

/// A new document as the worker makes it, seen on `day`.
pub(super) fn new_document(account: &AccountId, name: &str, day: Day) -> ResourceDocument {
    let (changes, _) = plan_changes(DocumentInputs {
        account,
        day,
        now_seconds: day.start_seconds() + 600,
        observed: &[namespace(account, name)],
        stored: &[],
        taken: &BTreeSet::new(),
        seen_now: None,
        owner: None,
    });
    let Some(Change::Insert(new)) = changes.into_iter().next() else { panic!("no insert") };
    new.document
}

fn insert(document: &ResourceDocument) -> Change {
    Change::Insert(Box::new(NewDocument { document: document.clone(), costs: None }))
}

pub(super) async fn found(
    store: &dyn ResourceStore,
    document: &ResourceDocument,
) -> StoredResource {
    let ids = [document.cloud_resource_id.clone()];
    let mut found = store.find(&document.cloud_account_id, &ids).await.unwrap();
    assert_eq!(found.len(), 1, "{}", document.cloud_resource_id);
    found.remove(0)
}

async fn inserts_and_finds_by_account(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let (ours, other) = (account(tag, "insert"), account(tag, "insert-other"));
    let mut document = new_document(&ours, "sho\"p 'é", day());
    document.k8s_node = Some("node-1".into());
    document.total_cost = 0.1;
    assert_eq!(store.apply(&ours, &[]).await.unwrap().changed, 0);
    let written = store.apply(&ours, &[insert(&document)]).await.unwrap();
    assert_eq!(written, Written { changed: 1, inserted: 1 });
    assert_eq!(raw.get(&document.id).await, Some(document.clone()));
    let stored = found(store, &document).await;
    assert_eq!(stored.id, document.id);
    assert_eq!(stored.first_seen, Some(day().start_seconds()));
    assert_eq!(stored.last_seen_date, date(day()));
    assert_eq!((stored.active, stored.total_cost), (Some(true), Some(0.1)));
    assert_eq!(stored.last_expense, None);
    let ids = [document.cloud_resource_id.clone(), "unknown".into()];
    assert_eq!(store.find(&ours, &ids).await.unwrap(), [stored]);
    assert_eq!(store.find(&other, &ids).await.unwrap(), []);
    assert_eq!(store.find(&ours, &[]).await.unwrap(), []);
}

/// Skip-existing: a document made by somebody else keeps its `_id` and all that a user edited.
async fn keeps_what_exists(store: &dyn ResourceStore, raw: &dyn RawDocumentAccess, tag: &str) {
    let ours = account(tag, "exists");
    let new = new_document(&ours, "shop", day());
    let mut theirs = new_document(&ours, "shop", day());
    theirs.id = format!("{tag}-uuid");
    theirs.name = "Our shop".into();
    theirs.pool_id = Some("pool".into());
    theirs.employee_id = Some("owner".into());
    theirs.tags.insert("dGVhbQ==".into(), "blue".into());
    theirs.total_cost = 12.5;
    raw.put(theirs.clone()).await;
    assert_eq!(store.apply(&ours, &[insert(&new)]).await.unwrap().inserted, 0);
    assert_eq!(raw.get(&new.id).await, None, "a second document of one stable id");
    let update = DocumentUpdate {
        tags: TagUpdate::default(),
        id: theirs.id.clone(),
        first_seen: day().previous().start_seconds(),
        last_seen: day().end_seconds() - 1,
        activate: true,
        repair: Repair { lower_first_seen_date: Some(day().previous()), ..Repair::default() },
    };
    for changed in [1, 0] {
        let count =
            store.apply(&ours, &[Change::Update(Box::new(update.clone()))]).await.unwrap().changed;
        assert_eq!(count, changed, "a change that changes nothing is none");
    }
    let times = ResourceDocument {
        first_seen: update.first_seen,
        first_seen_date: day().previous(),
        last_seen: update.last_seen,
        ..theirs.clone()
    };
    assert_eq!(raw.get(&theirs.id).await, Some(times));
}

async fn moves_times_outwards_only(store: &dyn ResourceStore, tag: &str) {
    let ours = account(tag, "times");
    let document = ResourceDocument { active: false, ..new_document(&ours, "shop", day()) };
    store.apply(&ours, &[insert(&document)]).await.unwrap();
    let update = |first_seen, last_seen, activate, repair| {
        let id = document.id.clone();
        Change::Update(Box::new(DocumentUpdate {
            id,
            first_seen,
            last_seen,
            activate,
            repair,
            tags: TagUpdate::default(),
        }))
    };
    let start = day().start_seconds();
    let outer = Repair {
        lower_first_seen_date: Some(day().next()),
        raise_last_seen_date: Some(day().previous()),
        ..Repair::default()
    };
    store.apply(&ours, &[update(start + 500, start - 500, false, outer)]).await.unwrap();
    let stored = found(store, &document).await;
    assert_eq!((stored.first_seen, stored.last_seen), (Some(start), Some(start)));
    assert_eq!((stored.first_seen_date, stored.last_seen_date), (date(day()), date(day())));
    assert_eq!(stored.active, Some(false));
    let (earlier, later) = (day().minus(2), day().next());
    let moved = Repair {
        lower_first_seen_date: Some(earlier),
        raise_last_seen_date: Some(later),
        ..Repair::default()
    };
    let change = update(earlier.start_seconds() + 60, later.end_seconds() - 1, true, moved);
    store.apply(&ours, &[change]).await.unwrap();
    let stored = found(store, &document).await;
    assert_eq!(stored.first_seen, Some(earlier.start_seconds() + 60));
    assert_eq!(stored.first_seen_date, date(earlier));
    assert_eq!(stored.last_seen, Some(later.end_seconds() - 1));
    assert_eq!(stored.last_seen_date, date(later));
    assert_eq!(stored.active, Some(true));
}

fn date(day: Day) -> StoredDate {
    StoredDate::Date(day.start_seconds())
}

async fn moves_the_last_seen_of_many_at_once(store: &dyn ResourceStore, tag: &str) {
    let ours = account(tag, "seen");
    let documents = ["a", "b", "c"].map(|name| new_document(&ours, name, day()));
    store.apply(&ours, &documents.each_ref().map(insert)).await.unwrap();
    let at = |last_seen| {
        let ids = documents[..2].iter().map(|document| document.id.clone()).collect();
        Change::Seen(SeenUpdate { ids, last_seen })
    };
    let later = day().start_seconds() + 7_200;
    assert_eq!(store.apply(&ours, &[at(later)]).await.unwrap().changed, 2);
    assert_eq!(store.apply(&ours, &[at(later - 60)]).await.unwrap().changed, 0, "never back");
    assert_eq!(found(store, &documents[1]).await.last_seen, Some(later));
    assert_eq!(found(store, &documents[2]).await.last_seen, Some(day().start_seconds()));
    let next = day().next();
    store.apply(&ours, &[at(next.start_seconds() + 60)]).await.unwrap();
    assert_eq!(found(store, &documents[0]).await.last_seen_date, date(next));
}

async fn fills_pool_and_owner_in_once(store: &dyn ResourceStore, tag: &str) {
    let ours = account(tag, "owner");
    let document = new_document(&ours, "shop", day());
    store.apply(&ours, &[insert(&document)]).await.unwrap();
    assert!(!found(store, &document).await.has_owner);
    let owned = |pool: &str| {
        let owner = PoolOwner { pool_id: pool.to_owned(), employee_id: "e".to_owned() };
        Change::Update(Box::new(DocumentUpdate {
            tags: TagUpdate::default(),
            id: document.id.clone(),
            first_seen: document.first_seen,
            last_seen: document.last_seen,
            activate: false,
            repair: Repair { owner: Some(owner), ..Repair::default() },
        }))
    };
    assert_eq!(store.apply(&ours, &[owned("p")]).await.unwrap().changed, 1);
    assert!(found(store, &document).await.has_owner);
    assert_eq!(
        store.apply(&ours, &[owned("q")]).await.unwrap().changed,
        0,
        "it is somebody's by now"
    );
}

async fn separates_taken_from_own_ids(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let ours = account(tag, "ids");
    let live = new_document(&ours, "live", day());
    let deleted = ResourceDocument { deleted_at: 99, ..new_document(&ours, "deleted", day()) };
    let strange = ResourceDocument {
        id: format!("{tag}-strange"),
        cloud_resource_id: "i-0abc".into(),
        ..new_document(&ours, "x", day())
    };
    let others = new_document(&account(tag, "ids-other"), "live", day());
    let all = [&live, &deleted, &strange, &others];
    for document in all {
        raw.put(document.clone()).await;
    }
    let mut ids: Vec<String> = all.iter().map(|document| document.id.clone()).collect();
    let taken = BTreeSet::from_iter(ids.clone());
    ids.push(format!("{tag}-free"));
    assert_eq!(store.taken_ids(&ids).await.unwrap(), taken);
    assert_eq!(
        store.own_ids(&ours, &ids).await.unwrap(),
        BTreeSet::from([live.id.clone(), deleted.id.clone()])
    );
    assert_eq!(store.taken_ids(&[]).await.unwrap(), BTreeSet::new());
    let stable = [deleted.cloud_resource_id.clone()];
    assert_eq!(store.find(&ours, &stable).await.unwrap(), [], "a deleted document is none");
}

/// Its expenses would be read as another document's.
async fn refuses_an_id_that_another_document_has(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let ours = account(tag, "clash");
    let new = new_document(&ours, "shop", day());
    let deleted = ResourceDocument { deleted_at: 99, name: "Old".into(), ..new.clone() };
    raw.put(deleted.clone()).await;
    let failure = store.apply(&ours, &[insert(&new)]).await.unwrap_err();
    assert_eq!(failure.kind, kubecost_worker::service::failure::Kind::Conflict, "{failure}");
    assert_eq!(raw.get(&new.id).await, Some(deleted));
    let renamed = ResourceDocument { id: format!("{}.2", new.id), ..new };
    assert_eq!(store.apply(&ours, &[insert(&renamed)]).await.unwrap().changed, 1);
    assert_eq!(found(store, &renamed).await.id, renamed.id);
}

async fn sets_costs_and_counts_changes(store: &dyn ResourceStore, tag: &str) {
    let ours = account(tag, "costs");
    let documents = [new_document(&ours, "a", day()), new_document(&ours, "b", day())];
    store.apply(&ours, &documents.each_ref().map(insert)).await.unwrap();
    let last_expense = Some(LastExpense { date: day().start_seconds(), cost: 0.3 });
    let summary = |id: &str| CostSummary {
        id: id.to_owned(),
        total_cost: 0.1,
        last_expense,
        parts: PartsUpdate::Keep,
        document_update: None,
    };
    let mut summaries: Vec<_> = documents.iter().map(|document| summary(&document.id)).collect();
    summaries.push(summary("unknown"));
    assert_eq!(store.set_costs(&ours, &summaries).await.unwrap(), 2);
    assert_eq!(store.set_costs(&ours, &summaries).await.unwrap(), 0, "nothing changed");
    for document in &documents {
        let stored = found(store, document).await;
        assert_eq!((stored.total_cost, stored.last_expense), (Some(0.1), last_expense));
    }
    summaries[0] = CostSummary { last_expense: None, total_cost: 0.0, ..summaries[0].clone() };
    assert_eq!(store.set_costs(&ours, &summaries).await.unwrap(), 1);
    let stored = found(store, &documents[0]).await;
    assert_eq!((stored.total_cost, stored.last_expense), (Some(0.0), None));
    assert_eq!(store.set_costs(&ours, &[]).await.unwrap(), 0);
}

async fn writes_costs_and_times_at_once(store: &dyn ResourceStore, tag: &str) {
    let ours = account(tag, "at-once");
    let new = new_document(&ours, "a", day());
    let last_expense = Some(LastExpense { date: day().start_seconds(), cost: 0.3 });
    let costs = CostSummary {
        id: new.id.clone(),
        total_cost: 0.7,
        last_expense,
        parts: PartsUpdate::Keep,
        document_update: None,
    };
    let with = |costs: CostSummary| {
        Change::Insert(Box::new(NewDocument { document: new.clone(), costs: Some(costs) }))
    };
    assert_eq!(store.apply(&ours, &[with(costs.clone())]).await.unwrap().changed, 1);
    let stored = found(store, &new).await;
    assert_eq!((stored.total_cost, stored.last_expense), (Some(0.7), last_expense));
    assert!(costs.is_shown(&stored));
    let other = with(CostSummary { total_cost: 9.0, ..costs.clone() });
    assert_eq!(store.apply(&ours, &[other]).await.unwrap().changed, 0, "it is there");
    assert_eq!(found(store, &new).await.total_cost, Some(0.7), "and keeps its costs");
    let seen = new.last_seen + 90;
    let document_update = Some(Box::new(DocumentUpdate::seen(&new.id, seen)));
    let both = CostSummary { total_cost: 0.8, document_update, ..costs.clone() };
    assert_eq!(store.set_costs(&ours, std::slice::from_ref(&both)).await.unwrap(), 1);
    let stored = found(store, &new).await;
    assert_eq!((stored.total_cost, stored.last_seen), (Some(0.8), Some(seen)));
    assert_eq!(stored.first_seen, Some(new.first_seen));
    assert!(both.is_shown(&stored) && !costs.is_shown(&stored));
    assert_eq!(store.set_costs(&ours, &[both]).await.unwrap(), 0, "nothing changed");
}

async fn retires_only_its_own_that_are_unseen(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let (ours, other) = (account(tag, "retire"), account(tag, "retire-other"));
    let fresh = new_document(&ours, "fresh", day());
    let gone = new_document(&ours, "gone", day().previous());
    let strange = ResourceDocument {
        id: format!("{tag}-vm"),
        cloud_resource_id: "k8s-node-1".into(),
        ..new_document(&ours, "x", day().previous())
    };
    let others = new_document(&other, "gone", day().previous());
    for document in [&fresh, &gone, &strange, &others] {
        assert!(document.active);
        raw.put(document.clone()).await;
    }
    assert_eq!(store.retire(&ours, day()).await.unwrap(), 1);
    assert_eq!(store.retire(&ours, day()).await.unwrap(), 0, "nothing changed");
    for (document, active) in [(&fresh, true), (&gone, false), (&strange, true), (&others, true)] {
        let is_active = raw.get(&document.id).await.unwrap().active;
        assert_eq!(is_active, active, "{}", document.name);
    }
}

/// More than any batch, or list of parameters, of a store holds.
async fn takes_many_at_once(store: &dyn ResourceStore, tag: &str) {
    const MANY: u64 = 2_500;
    let ours = account(tag, "many");
    let documents: Vec<ResourceDocument> =
        (0..MANY).map(|number| new_document(&ours, &format!("ns-{number}"), day())).collect();
    let changes: Vec<Change> = documents.iter().map(insert).collect();
    assert_eq!(store.apply(&ours, &changes).await.unwrap().changed, MANY);
    let ids: Vec<String> = documents.iter().map(|d| d.cloud_resource_id.clone()).collect();
    assert_eq!(store.find(&ours, &ids).await.unwrap().len() as u64, MANY);
    let ids: Vec<String> = documents.iter().map(|document| document.id.clone()).collect();
    assert_eq!(store.own_ids(&ours, &ids).await.unwrap().len() as u64, MANY);
    let summaries: Vec<CostSummary> = (ids.iter())
        .map(|id| CostSummary {
            id: id.clone(),
            total_cost: 1.0,
            last_expense: None,
            parts: PartsUpdate::Keep,
            document_update: None,
        })
        .collect();
    assert_eq!(store.set_costs(&ours, &summaries).await.unwrap(), MANY);
}

/// Pool, owner and tags are set, other tags stay; a deleted document is found no more.
async fn hands_on_what_earlier_documents_have(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let ours = account(tag, "adopt");
    let mut heir = new_document(&ours, "shop", day());
    heir.tags.insert("b3du".into(), "stays".into());
    let mut old = new_document(&ours, "shop", day());
    old.id = format!("{tag}-adopt-old");
    // `printf %s namespace-shop | md5sum`.
    old.cloud_resource_id = "k8s-ns-683a5a0d78aec59f".into();
    old.pool_id = Some("pool".into());
    old.employee_id = Some("owner".into());
    old.tags.insert("dGVhbQ==".into(), "blue".into());
    raw.put(heir.clone()).await;
    raw.put(old.clone()).await;
    let own: Vec<String> =
        store.own_documents(&ours).await.unwrap().into_iter().map(|one| one.id).collect();
    assert_eq!(own, [heir.id.clone()], "the earlier one is not its own");
    let ids = [old.id.clone(), heir.id.clone()];
    assert_eq!(store.own_ids(&ours, &ids).await.unwrap(), [heir.id.clone()].into());
    let found = store.earlier_documents(&ours).await.unwrap();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((&one.id, one.pool_id.as_deref()), (&old.id, Some("pool")));
    assert_eq!(one.tags.as_ref(), Some(&old.tags));
    let update = AdoptUpdate {
        id: heir.id.clone(),
        owner: Some(PoolOwner { pool_id: "pool".into(), employee_id: "owner".into() }),
        tags: old.tags.clone(),
        makes_tags: false,
    };
    let delete = DeleteUpdate { id: old.id.clone(), at_seconds: 99 };
    let changes = [Change::Adopt(Box::new(update)), Change::Delete(delete)];
    assert_eq!(store.apply(&ours, &changes).await.unwrap().changed, 2);
    heir.pool_id = Some("pool".into());
    heir.employee_id = Some("owner".into());
    heir.tags.extend(old.tags.clone());
    assert_eq!(raw.get(&heir.id).await, Some(heir));
    let retired = raw.get(&old.id).await.unwrap();
    assert_eq!((retired.deleted_at, retired.active), (99, false));
    assert_eq!(store.earlier_documents(&ours).await.unwrap(), []);
}

/// Tags are set and removed one by one, with the record of them; `meta` and the node follow.
async fn changes_tags_and_what_is_known(
    store: &dyn ResourceStore,
    raw: &dyn RawDocumentAccess,
    tag: &str,
) {
    let ours = account(tag, "tags");
    let mut document = new_document(&ours, "shop", day());
    document.tags = [("b3du", "stays"), ("Z29uZQ==", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    document.label_tags = [("Z29uZQ==".to_owned(), "1".to_owned())].into();
    raw.put(document.clone()).await;
    let stored = found(store, &document).await;
    assert_eq!(stored.label_tags, document.label_tags);
    let set = [("dGVhbQ==".to_owned(), "blue".to_owned())];
    let update = DocumentUpdate {
        id: document.id.clone(),
        first_seen: document.first_seen,
        last_seen: document.last_seen,
        repair: Repair {
            k8s_node: Some("node-2".into()),
            set_meta: vec![("pod_count".to_owned(), MetaValue::Whole(3))],
            ..Repair::default()
        },
        tags: TagUpdate {
            set: set.clone().into(),
            unset: vec!["Z29uZQ==".to_owned()],
            record: Some(set.clone().into()),
            makes_tags: false,
        },
        ..DocumentUpdate::default()
    };
    assert_eq!(store.apply(&ours, &[Change::Update(Box::new(update))]).await.unwrap().changed, 1);
    document.tags.remove("Z29uZQ==");
    document.tags.extend(set.clone());
    document.label_tags = set.into();
    document.k8s_node = Some("node-2".into());
    document.meta.insert("pod_count".to_owned(), MetaValue::Whole(3));
    assert_eq!(raw.get(&document.id).await, Some(document.clone()));
    let stored = found(store, &document).await;
    assert_eq!(stored.meta_text("pod_count").as_deref(), Some("3"));
    assert_eq!(stored.k8s_node.as_deref(), Some("node-2"));
}
