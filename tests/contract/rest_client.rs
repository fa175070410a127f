//! What the client asks of the REST API for reading: accounts, pools and owners.

use std::sync::Arc;
use std::time::Duration;

use kubecost_worker::cost::AccountId;
use kubecost_worker::rest_api::{
    AccountOwner, CloudAccounts, PoolSource, ResolvedOwner, RestClient, RestLimits, SentStatus,
};
use kubecost_worker::service::failure::Kind;
use kubecost_worker::settings::{Endpoint, Secret};
use serde_json::json;

use crate::rest_api::documents::MemoryDocuments;
use crate::rest_api::world::{Made, set};
use crate::rest_api::{FakeRestApi, SECRET, World};

/// A time when the fake's account was made, Unix seconds.
pub(crate) const NOW: i64 = 1_795_000_000;

/// An account's id.
pub(crate) fn account(id: &str) -> AccountId {
    AccountId::new(id).unwrap()
}

/// A client that does not wait long.
pub(crate) fn client(url: &str) -> RestClient {
    let limits = RestLimits {
        request_timeout: Duration::from_secs(10),
        bulk_timeout: Duration::from_secs(20),
        retries_max: 3,
        retry_delay: Duration::from_millis(1),
    };
    client_with(url, limits)
}

/// A client with these limits.
pub(crate) fn client_with(url: &str, limits: RestLimits) -> RestClient {
    let url = url.replace("http://", "http://user:pass2@");
    let endpoint = Endpoint::parse(&url).unwrap();
    RestClient::with_limits(endpoint, &Secret::new(SECRET), limits).unwrap()
}

/// The fake with organization `o` and account `a`, what was made with the two, and its documents.
pub(crate) struct Setup {
    pub(crate) fake: FakeRestApi,
    pub(crate) root: Made,
    pub(crate) own: Made,
    pub(crate) documents: Arc<MemoryDocuments>,
}

/// A new [`Setup`].
pub(crate) async fn setup() -> Setup {
    let mut world = World::at(NOW);
    let root = world.add_organization("o");
    let own = world.add_account("o", "a", "kubernetes_cnr");
    let documents = Arc::new(MemoryDocuments::default());
    let fake = FakeRestApi::start(world, documents.clone()).await;
    Setup { fake, root, own, documents }
}

#[tokio::test]
async fn the_listing_has_what_the_status_and_the_importer_need() {
    let Setup { fake, .. } = setup().await;
    fake.world().add_account("o", "aws", "aws_cnr");
    fake.world().add_account("o", "b", "kubernetes_cnr");
    set(&mut fake.world().accounts, "b", "auto_import", json!(false));
    set(&mut fake.world().accounts, "b", "last_import_at", json!(NOW - 9));
    set(&mut fake.world().accounts, "b", "last_import_attempt_at", json!(NOW));
    set(&mut fake.world().accounts, "b", "last_import_attempt_error", json!("down"));
    let client = client(&fake.url);
    let accounts = client.cloud_accounts().await.unwrap();
    let [a, b] = &accounts[..] else { panic!("{accounts:?}") };
    assert_eq!((a.id.as_str(), a.name.as_deref()), ("a", Some("Account a")));
    assert_eq!((a.auto_import, a.organization_id.as_deref()), (Some(true), Some("o")));
    assert_eq!((a.status(), a.pool_id.as_deref()), (None, None), "nothing was imported yet");
    assert_eq!((b.auto_import, b.last_import_at), (Some(false), Some(NOW - 9)));
    let failed = SentStatus { sent_seconds: NOW, error: Some("down".to_owned()) };
    assert_eq!(b.status(), Some(failed));
    set(&mut fake.world().accounts, "b", "last_import_at", json!(NOW));
    let b = client.cloud_account(&account("b")).await.unwrap();
    assert_eq!(b.status(), Some(SentStatus { sent_seconds: NOW, error: None }));
}

#[tokio::test]
async fn an_accounts_resources_belong_to_its_own_pool_and_that_pools_default_owner() {
    let Setup { fake, own, .. } = setup().await;
    let found = client(&fake.url).pool_owner(&account("a")).await.unwrap();
    let (pool_id, employee_id) = (own.pool_id, own.owner_id);
    assert_eq!(found, Some(ResolvedOwner { pool_id, employee_id, source: PoolSource::Account }));
    assert!(!fake.asked().iter().any(|asked| asked.path.ends_with("/pools")), "users only");
}

#[tokio::test]
async fn where_the_own_pool_or_its_owner_is_gone_it_is_the_root_pool_and_its_owner() {
    let Setup { fake, root, own, .. } = setup().await;
    let client = client(&fake.url);
    let wanted = ResolvedOwner {
        pool_id: root.pool_id.clone(),
        employee_id: root.owner_id.clone(),
        source: PoolSource::Root,
    };
    set(&mut fake.world().employees, &own.owner_id, "deleted_at", json!(5));
    assert_eq!(client.pool_owner(&account("a")).await.unwrap().as_ref(), Some(&wanted));
    set(&mut fake.world().employees, &own.owner_id, "deleted_at", json!(0));
    set(&mut fake.world().pools, &own.pool_id, "default_owner_id", json!(null));
    assert_eq!(client.pool_owner(&account("a")).await.unwrap().as_ref(), Some(&wanted));
    set(&mut fake.world().pools, &own.pool_id, "deleted_at", json!(5));
    assert_eq!(client.pool_owner(&account("a")).await.unwrap(), Some(wanted));
    set(&mut fake.world().employees, &root.owner_id, "deleted_at", json!(5));
    assert_eq!(client.pool_owner(&account("a")).await.unwrap(), None, "no owner exists");
    set(&mut fake.world().organizations, "o", "pool_id", json!(null));
    assert_eq!(client.pool_owner(&account("a")).await.unwrap(), None, "no root pool");
}

#[tokio::test]
async fn an_account_that_there_is_not_is_named() {
    let Setup { fake, .. } = setup().await;
    let failure = client(&fake.url).pool_owner(&account("nobody")).await.unwrap_err();
    assert_eq!(failure.kind, Kind::BadReply, "{failure}");
    assert!(failure.what.contains("nobody") && failure.what.contains("OE0002"), "{failure}");
    assert!(failure.fix.contains("kubecost-worker accounts"), "{failure}");
}
