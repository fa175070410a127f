//! `expenses` on several servers: shards and replicas under a `Distributed` table, and replicas
//! alone, reached through a proxy that gives each request another server.

use std::collections::BTreeMap;
use std::time::Duration;

use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::ledger::clickhouse::ClickHouseLedger;
use kubecost_worker::ledger::{Dimensions, Entry, LedgerReader, LedgerWriter};
use kubecost_worker::settings::worker::CloudTunerConfig;
use kubecost_worker::settings::{Endpoint, Secret};

use crate::contract_suites::stores_equal_blocks_again;
use crate::support::cluster::{Cluster, Service};
use crate::support::metrics::History;
use crate::support::servers::{Server, expire_leases, mongodb, unique};
use crate::support::worker::{Finished, run};
use crate::support::world::{DAY, MARCH, gauges, source};

const ACCOUNTS: usize = 8;
const COLUMNS: &str = "cloud_account_id String, resource_id String, date DateTime, cost Float64, \
                       sign Int8, k8s_namespace Nullable(String), k8s_node Nullable(String), \
                       k8s_service Nullable(String)";
const ORDER: &str = "PARTITION BY toYYYYMM(date) ORDER BY (cloud_account_id, date, resource_id)";

/// (account, date, namespace or empty): USD and signs.
type Sums = BTreeMap<(String, u32, String), (f64, i64)>;

fn account(index: usize) -> String {
    format!("cccccccc-0000-0000-0000-00000000000{index}")
}

/// USD per hour of an account's cluster; its namespaces cost 6 and 1.5.
fn rate(index: usize) -> f64 {
    10.0 + index as f64
}

/// The hour of the second day at which run `number` is.
fn hour(number: i64) -> i64 {
    6 + 2 * number
}

/// What is to be stored after run `number`: a whole day, and the second one's minutes so far.
fn wanted(number: i64) -> Sums {
    let hours = [(MARCH, 24.0), (MARCH + DAY, (60 * hour(number) + 1) as f64 / 60.0)];
    let mut sums = Sums::new();
    for index in 0..ACCOUNTS {
        for (date, hours) in hours {
            for (namespace, rate) in [("", rate(index) - 7.5), ("pay", 1.5), ("shop", 6.0)] {
                let key = (account(index), u32::try_from(date).unwrap(), namespace.to_owned());
                sums.insert(key, (rate * hours, 1));
            }
        }
    }
    sums
}

/// A cluster with the tables of a test, and the worker's settings that lead to it.
struct World {
    cluster: Cluster,
    service: Service,
    settings: Vec<(&'static str, String)>,
    /// Servers whose sums together are all, for each of the replicas of their shards.
    views: Vec<Vec<usize>>,
    /// The replicated table.
    table: String,
    _servers: Vec<std::sync::Arc<Server>>,
}

impl World {
    /// Two shards of two replicas under a Distributed table.
    async fn distributed(profile: &'static str) -> Self {
        let world = Self::new(profile, &[1, 2, 3, 4], "expenses_local").await;
        for server in 1..=4 {
            let engine = "ENGINE = Distributed(grid, default, expenses_local, \
                          cityHash64(resource_id))";
            let statement = format!("CREATE TABLE expenses ({COLUMNS}) {engine}");
            world.cluster.execute(server, &statement).await;
        }
        Self { views: vec![vec![1, 3], vec![2, 4], vec![1, 4]], ..world }.migrated()
    }

    /// Two replicas, and no table above them.
    async fn replicated(profile: &'static str) -> Self {
        let world = Self::new(profile, &[1, 2], "expenses").await;
        Self { views: vec![vec![1], vec![2]], ..world }.migrated()
    }

    async fn new(profile: &'static str, numbers: &[usize], table: &str) -> Self {
        let cluster = Cluster::start(profile);
        for number in numbers {
            let engine = "ENGINE = ReplicatedCollapsingMergeTree('/tables/{shard}/expenses', \
                          '{replica}', sign)";
            let statement = format!("CREATE TABLE {table} ({COLUMNS}) {engine} {ORDER}");
            cluster.execute(*number, &statement).await;
        }
        let service = Service::before(&cluster, numbers).await;
        let mut history = History::default();
        for index in 0..ACCOUNTS {
            let life = (MARCH, MARCH + 2 * DAY);
            let namespaces = [("shop", 6.0), ("pay", 1.5)];
            gauges(&mut history, &account(index), life, |_| Some(rate(index)), &namespaces);
        }
        let (prometheus, mongodb) = (std::sync::Arc::new(source(&[history])), mongodb());
        let accounts: Vec<String> = (0..ACCOUNTS).map(account).collect();
        let settings = vec![
            ("PROMETHEUS_URL", prometheus.url.clone()),
            ("ACCOUNTS", accounts.join(",")),
            ("MONGO_URL", mongodb.url.clone()),
            ("MONGO_DATABASE", unique("replicas")),
            ("CLICKHOUSE_URL", service.url.clone()),
        ];
        let table = table.to_owned();
        let _servers = vec![prometheus, mongodb];
        Self { cluster, service, settings, views: Vec::new(), table, _servers }
    }

    fn migrated(self) -> Self {
        tokio::task::block_in_place(|| run(&self.settings, &["migrate"])).expect_success();
        self
    }

    fn run(&self, number: i64) -> Finished {
        run(&self.settings, &["--at", &at(number), "run"])
    }

    /// Time passes: leases expire that a run left behind as it did not know what became of a write.
    async fn leases_expire(&self) {
        let setting = |name: &str| self.settings.iter().find(|(known, _)| *known == name).unwrap();
        expire_leases(&setting("MONGO_URL").1, &setting("MONGO_DATABASE").1).await;
    }

    /// What the servers of a view hold of the replicated table.
    async fn sums(&self, view: &[usize]) -> Sums {
        let mut sums = Sums::new();
        for server in view {
            let sql = format!(
                "SELECT cloud_account_id, toUInt32(date), ifNull(k8s_namespace, ''), \
                 sum(cost * sign), sum(toInt64(sign)) FROM {} \
                 GROUP BY cloud_account_id, date, k8s_namespace",
                self.table
            );
            let rows = self.cluster.client(*server).query(&sql);
            for row in rows.fetch_all::<(String, u32, String, f64, i64)>().await.unwrap() {
                let sum = sums.entry((row.0, row.1, row.2)).or_default();
                sum.0 += row.3;
                sum.1 += row.4;
            }
        }
        sums
    }

    /// Asserts that every replica comes to show what run `number` stored.
    async fn all_show(&self, number: i64) {
        for view in &self.views {
            let mut got = Sums::new();
            for _ in 0..100 {
                got = self.sums(view).await;
                if is_near(&got, &wanted(number)) {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(is_near(&got, &wanted(number)), "servers {view:?}: {got:?}");
        }
    }

    /// The five runs, each of which succeeds.
    async fn five_runs(&self) {
        for number in 1..=5 {
            let done = tokio::task::block_in_place(|| self.run(number)).expect_success();
            assert!(done.summary()["rows_written"].as_u64() > Some(0));
            self.all_show(number).await;
        }
        let used = self.service.used();
        assert!(used.iter().all(|requests| *requests > 20), "{used:?}");
    }
}

fn at(number: i64) -> String {
    format!("2026-03-02T{:02}:00:30Z", hour(number))
}

fn is_near(got: &Sums, wanted: &Sums) -> bool {
    got.len() == wanted.len()
        && got.iter().zip(wanted).all(|(got, wanted)| {
            got.0 == wanted.0 && got.1.1 == wanted.1.1 && (got.1.0 - wanted.1.0).abs() < 1e-6
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn five_runs_over_shards_and_replicas_store_each_row_once() {
    World::distributed("").await.five_runs().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_runs_over_two_replicas_store_each_row_once() {
    World::replicated("").await.five_runs().await;
}

/// A replica that has stopped to fetch is asked every other time, and is never accepted.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_is_not_read() {
    let world = World::replicated("").await;
    tokio::task::block_in_place(|| world.run(1)).expect_success();
    world.all_show(1).await;
    world.cluster.execute(2, "SYSTEM STOP FETCHES").await;
    for number in 2..=4 {
        let done = tokio::task::block_in_place(|| world.run(number));
        // Rows may have gone to the one that does not send them on: then nothing can be read.
        assert!([0, 1].contains(&done.code), "{}", done.stderr);
        world.leases_expire().await;
    }
    world.cluster.execute(2, "SYSTEM START FETCHES").await;
    let mut codes = Vec::new();
    for number in [5, 6] {
        codes.push(tokio::task::block_in_place(|| world.run(number)).code);
        world.leases_expire().await;
    }
    assert_eq!(codes[1], 0, "{codes:?}");
    world.all_show(6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_drop_no_block_that_comes_again() {
    let world = World::replicated("").await;
    stores_equal_blocks_again(&ledger(&world.service.url)).await;
}

/// A replica takes each insert over at the very moment at which it is asked.
async fn no_answer_lacks_rows(world: World) {
    const ROWS: i64 = 100;
    let (account, day) = (AccountId::new(account(0)).unwrap(), Day::of_unix(MARCH));
    let writer = ledger(world.cluster.url(1));
    let readers = [(); 4].map(|()| ledger(world.cluster.url(2)));
    for number in 1..=ROWS {
        let entry = Entry {
            resource_id: format!("r{number}"),
            date_seconds: day.start_seconds(),
            cost_usd: 1.0,
            sign: 1,
            dimensions: Dimensions::default(),
        };
        writer.append(&account, day, &[entry]).await.unwrap();
        let reads = readers.iter().map(|reader| reader.day_totals(&account, day, day));
        for totals in futures_util::future::join_all(reads).await {
            assert_eq!(totals.unwrap().iter().map(|total| total.rows).sum::<i64>(), number);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_taking_rows_over_does_not_answer_without_them() {
    no_answer_lacks_rows(World::replicated("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_shards_that_are_taking_rows_over_do_not_answer_without_them() {
    no_answer_lacks_rows(World::distributed("").await).await;
}

/// The ledger that a server's table is.
fn ledger(url: &str) -> ClickHouseLedger {
    ClickHouseLedger::new(&CloudTunerConfig {
        mongo_url: Secret::new(""),
        mongo_database: String::new(),
        resources_collection: None,
        clickhouse: Endpoint::parse(url).unwrap(),
        clickhouse_database: "default".to_owned(),
        clickhouse_user: "default".to_owned(),
        clickhouse_password: Secret::new(""),
    })
}

async fn a_replica_is_killed(world: World) {
    tokio::task::block_in_place(|| world.run(1)).expect_success();
    let inserts = world.service.inserts();
    let settings = world.settings.clone();
    let killed = tokio::task::spawn_blocking(move || run(&settings, &["--at", &at(2), "run"]));
    world.service.inserts_reach(inserts + 1).await;
    tokio::task::block_in_place(|| world.cluster.kill(2));
    let killed = killed.await.unwrap();
    assert!([0, 1].contains(&killed.code), "{}", killed.stderr);
    tokio::task::block_in_place(|| world.cluster.revive(2));
    world.cluster.answers(2).await;
    world.leases_expire().await;
    tokio::task::block_in_place(|| world.run(3));
    world.leases_expire().await;
    tokio::task::block_in_place(|| world.run(4)).expect_success();
    world.all_show(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_of_a_shard_that_is_killed_in_a_run_loses_and_doubles_nothing() {
    a_replica_is_killed(World::distributed("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_killed_in_a_run_loses_and_doubles_nothing() {
    a_replica_is_killed(World::replicated("").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sharding_key_that_scatters_rows_is_refused_with_what_to_set() {
    let world = World::new("", &[1, 2, 3, 4], "expenses_local").await;
    let engine = "ENGINE = Distributed(grid, default, expenses_local, rand())";
    for server in 1..=4 {
        let statement = format!("CREATE TABLE expenses ({COLUMNS}) {engine}");
        world.cluster.execute(server, &statement).await;
    }
    let world = world.migrated();
    let refused = tokio::task::block_in_place(|| world.run(1));
    assert_eq!(refused.code, 3, "{}", refused.stdout);
    assert!(refused.stderr.contains("rand() scatters rows"), "{}", refused.stderr);
    assert!(refused.stderr.contains("cityHash64(resource_id)"), "{}", refused.stderr);
    assert_eq!(world.sums(&[1, 2, 3, 4]).await, Sums::new());
}
