//! What resources cost over a long history, within a server's memory.

use std::sync::Arc;

use kubecost_worker::cost::AccountId;
use kubecost_worker::ledger::LedgerReader;
use kubecost_worker::ledger::clickhouse::ClickHouseLedger;

use crate::support::servers::{Stores, clickhouse_users, clickhouse_with, mongodb, unique};

const RESOURCES: usize = 4_000;
const DAYS: usize = 180;
/// Adding up all keys at once takes half as much again.
const MEMORY_BYTES_MAX: usize = 100_000_000;

/// A ClickHouse whose user `worker` has little memory for a query.
fn with_little_memory() -> String {
    let profile = format!(
        "<profiles><little><max_memory_usage>{MEMORY_BYTES_MAX}</max_memory_usage></little>\
         </profiles><users>"
    );
    let users = clickhouse_users().replace("<users>", &profile);
    users.replace("<profile>default</profile>", "<profile>little</profile>")
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_over_a_long_history_take_little_memory() {
    let clickhouse = Arc::new(clickhouse_with(with_little_memory()));
    let stores = Stores { clickhouse, mongodb: mongodb(), database: unique("totals") };
    stores.create_database().await;
    stores.create_expenses("(cloud_account_id, date, resource_id)", "").await;
    let rows = RESOURCES * DAYS;
    stores
        .execute(&format!(
            "INSERT INTO expenses (cloud_account_id, resource_id, date, cost, sign) \
             SELECT 'a', concat('cccccccc-0000-0000-0000-', toString(number % {RESOURCES})), \
             toDateTime(1760918400 + 86400 * intDiv(number, {RESOURCES})), 0.25, 1 \
             FROM system.numbers LIMIT {rows}"
        ))
        .await;
    let mut config = stores.config();
    config.clickhouse_user = "worker".to_owned();
    config.clickhouse_password = kubecost_worker::settings::Secret::new("worker-test-password");
    let ids: Vec<String> =
        (0..RESOURCES).map(|number| format!("cccccccc-0000-0000-0000-{number}")).collect();
    let ledger = ClickHouseLedger::new(&config);
    let totals = ledger.resource_totals(&AccountId::new("a").unwrap(), &ids).await.unwrap();
    let last = 1_760_918_400 + 86_400 * (DAYS as i64 - 1);
    assert_eq!(totals.len(), RESOURCES);
    for total in totals {
        assert_eq!((total.total_usd, total.last), (45.0, Some((last, 0.25))), "{total:?}");
    }
}
