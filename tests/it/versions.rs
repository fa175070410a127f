//! The ledger's contract and the migrations on other ClickHouses than the one of all tests: the
//! newest, which collapses a block's rows on their way in, and the one that is deployed.

use kubecost_worker::ledger::clickhouse::ClickHouseLedger;

use crate::contract_suites::{
    ledger_suite_as_the_fork, ledger_suite_as_upstream, stores_equal_blocks_again,
};
use crate::migrations::{an_empty_database, the_forks_table, upstreams_table};
use crate::support::servers::{Stores, deployed_clickhouse, newest_clickhouse};

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_keeps_the_ledgers_contract_in_upstreams_order() {
    ledger_suite_as_upstream(newest_clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_keeps_the_ledgers_contract_in_the_forks_order() {
    ledger_suite_as_the_fork(newest_clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_drops_no_block_that_comes_again() {
    let stores = Stores::on(newest_clickhouse(), "equal_blocks").await;
    stores.create_expenses("(cloud_account_id, date, resource_id)", "").await;
    let remember = "ALTER TABLE expenses MODIFY SETTING non_replicated_deduplication_window = 100";
    stores.execute(remember).await;
    stores_equal_blocks_again(&ClickHouseLedger::new(&stores.config())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_is_migrated_from_nothing() {
    an_empty_database(newest_clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_is_migrated_from_upstreams_table() {
    upstreams_table(newest_clickhouse()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_clickhouse_is_left_alone_where_the_forks_migrations_ran() {
    the_forks_table(newest_clickhouse()).await;
}

/// All of it on the version that is deployed. Where no image of it can be had, this says so, as
/// `tests/servers/prepare` did; the older and the newer version are tested everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_deployed_clickhouse_keeps_the_contract_and_is_migrated() {
    let server = match deployed_clickhouse() {
        Ok(server) => server,
        Err(why) => {
            println!("{why}");
            return;
        }
    };
    ledger_suite_as_upstream(server.clone()).await;
    ledger_suite_as_the_fork(server.clone()).await;
    an_empty_database(server.clone()).await;
    upstreams_table(server.clone()).await;
    the_forks_table(server).await;
}
