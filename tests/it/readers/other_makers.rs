//! Documents of other makers, edited by users or deleted, beside the worker's own.
//!
//! One account over two days at constant rates: cluster 10 USD/h, of which `shop` 6 and `web` 2.5,
//! so a day is 240 = 144 + 60 + 36 of the cluster itself.

use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document, doc};

use kubecost_worker::cost::{AccountId, ResourceKey};
use kubecost_worker::documents::merge::candidate_ids;

use super::check::{OWNER, POOL};
use crate::support::ask::{assert_live, live};
use crate::support::bulk_made::{Belongs, bulk_made};
use crate::support::readers::{CleanExpenses, Filter, Readers};
use crate::support::servers::{Server, Stores};
use crate::support::three_accounts::Expected;
use crate::support::worker::run;
use crate::support::world::{DAY, HOUR, MARCH, constant};

const ACCOUNT: &str = "5a5a5a5a-0000-0000-0000-0000000000e1";
const DAYS: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-02"];

struct World {
    stores: Stores,
    settings: Vec<(&'static str, String)>,
    _source: Server,
}

impl World {
    async fn new() -> Self {
        let life = (MARCH, MARCH + 2 * DAY);
        let source = constant(ACCOUNT, life, 10.0, &[("shop", 6.0), ("web", 2.5)]);
        let stores = Stores::new("readers_others").await;
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", source.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, _source: source }
    }

    async fn collection(&self) -> mongodb::Collection<Document> {
        self.stores.mongo().await.collection("cloud_resource")
    }

    fn readers(&self) -> Readers<'_> {
        Readers::new(&self.stores, &[ACCOUNT]).with_people(&[POOL], &[OWNER])
    }

    async fn page(&self) -> CleanExpenses {
        self.readers().clean_expenses(&both_days()).await
    }

    /// The live document of `shop`.
    async fn shop(&self) -> Document {
        let filter = doc! {"k8s_namespace": "shop", "deleted_at": 0};
        self.collection().await.find_one(filter).await.unwrap().unwrap()
    }
}

fn both_days() -> Filter {
    Filter::days(MARCH, MARCH + 2 * DAY - 1)
}

fn namespace(name: &str) -> Expected {
    let key = ResourceKey::Namespace { cluster: "prod".to_owned(), namespace: name.to_owned() };
    let resource_type = "K8s Namespace";
    Expected { account: ACCOUNT, key, resource_type, node: None, service: None, days: [0.0; 3] }
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_of_other_makers_keep_their_ids_and_their_users_edits_over_ten_runs() {
    let world = World::new().await;
    let belongs = Belongs { pool: POOL, owner: OWNER };
    let uuid = "0c7e9f2e-5d0b-4f0c-9a55-6a1f2f0f9f10";
    let object_id = ObjectId::parse_str("65f0c0ffee65f0c0ffee65f0").unwrap();
    let mut shop = bulk_made(&namespace("shop"), uuid, belongs, MARCH + 2 * HOUR);
    shop.insert("meta", doc! {"note": "kept"});
    let mut web = bulk_made(&namespace("web"), uuid, belongs, MARCH + 2 * HOUR);
    web.insert("_id", object_id);
    web.insert("name", "what web is to us");
    let edited = [shop, web];
    world.collection().await.insert_many(&edited).await.unwrap();
    for _ in 0..10 {
        run(&world.settings, &DAYS).expect_success();
    }
    let page = world.page().await;
    assert_eq!(page.total_cost, 480.0);
    let cost = |id: &str| page.rows.iter().find(|row| row.id == id).unwrap().cost;
    assert_eq!((cost(uuid), cost(&object_id.to_hex())), (288.0, 120.0));
    assert_eq!(page.total_count, 3, "nothing stands beside what was there: {page:?}");
    let noted = both_days().meta(&["note"]);
    assert_eq!(world.readers().clean_expenses(&noted).await.total_count, 1);
    assert!(world.readers().available_filters(&both_days()).await.meta.contains("note"));
    for before in edited {
        let filter = doc! {"_id": before.get("_id").unwrap()};
        let after = world.collection().await.find_one(filter).await.unwrap().unwrap();
        for field in ["name", "pool_id", "employee_id", "tags", "meta", "applied_rules"] {
            assert_eq!(after.get(field), before.get(field), "{field} of {after}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ui_shows_beside_a_resource_follows_the_ledger() {
    let world = World::new().await;
    run(&world.settings, &DAYS).expect_success();
    let shop = world.shop().await;
    assert_eq!(shop.get_str("name"), Ok("Namespace: shop"));
    assert_eq!(shop.get_f64("total_cost"), Ok(288.0));
    let last = shop.get_document("last_expense").unwrap();
    assert_eq!(last.get_i64("date"), Ok(MARCH + DAY));
    assert_eq!(last.get_f64("cost"), Ok(144.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_with_our_id_does_not_block_and_stays_deleted() {
    let world = World::new().await;
    run(&world.settings, &DAYS).expect_success();
    let mut deleted = world.shop().await;
    let old = deleted.get_str("_id").unwrap().to_owned();
    deleted.insert("deleted_at", MARCH + 3 * DAY);
    // Not an update: the stand-in for MongoDB would keep the old value in its unique index.
    let collection = world.collection().await;
    collection.delete_one(doc! {"_id": &old}).await.unwrap();
    collection.insert_one(&deleted).await.unwrap();
    run(&world.settings, &DAYS).expect_success();
    let new = world.shop().await.get_str("_id").unwrap().to_owned();
    assert_ne!(new, old);
    let page = world.page().await;
    let shop = page.rows.iter().find(|row| row.id == new).unwrap();
    assert_eq!((shop.cost, page.total_cost), (288.0, 480.0), "{page:?}");
    let after = collection.find_one(doc! {"_id": &old}).await.unwrap().unwrap();
    assert_eq!(after.get("deleted_at"), Some(&Bson::Int64(MARCH + 3 * DAY)));
    // No dollar is there twice: the deleted document's rows were taken back.
    let day = |start| [(start, "", 36.0), (start, "shop", 144.0), (start, "web", 60.0)];
    let wanted: Vec<_> = day(MARCH).into_iter().chain(day(MARCH + DAY)).collect();
    assert_live(&live(&world.stores, ACCOUNT).await, &wanted);
    assert_eq!(run(&world.settings, &DAYS).expect_success().summary()["rows_written"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_made_fails_its_account_and_is_not_taken_for_another_worker() {
    let world = World::new().await;
    run(&world.settings, &DAYS).expect_success();
    let mut deleted = world.shop().await;
    let stable_id = deleted.get_str("cloud_resource_id").unwrap().to_owned();
    let collection = world.collection().await;
    collection.delete_one(doc! {"_id": deleted.get("_id").unwrap()}).await.unwrap();
    // Every _id that a document of ours may get is held by a deleted one.
    let account = AccountId::new(ACCOUNT).unwrap();
    for (index, id) in candidate_ids(&account, &stable_id).enumerate() {
        deleted.insert("_id", id);
        deleted.insert("deleted_at", MARCH + 3 * DAY + i64::try_from(index).unwrap());
        collection.insert_one(&deleted).await.unwrap();
    }
    let failed = run(&world.settings, &DAYS);
    assert_eq!(failed.code, 1, "{}", failed.stdout);
    let summary = failed.summary();
    assert_eq!(summary["accounts_failed"], 1, "{summary}");
    let what = summary["accounts"][0]["failure"]["what"].as_str().unwrap();
    assert!(what.contains(&stable_id), "{what}");
}
