//! Worlds whose stored numbers are recomputed: one for each way in which a source is read.

use std::any::Any;

use rusqlite::Connection;

use crate::accuracy::recorded_prometheus;
use crate::simulated;
use crate::support::embedded::SqliteStore;

use super::{answers, gauges};

/// Shortly after the recorded days.
const RECORDED_AT: &str = "2026-11-21T04:10:00Z";
const RECORDED: &str = "bc55eb8c-5db2-4c32-b976-2df0edb0619a";

/// Stored numbers, and where their raw samples are.
pub(super) struct World {
    pub(super) name: &'static str,
    /// Settings with which they are explained.
    pub(super) settings: Vec<(&'static str, String)>,
    /// Account, day and resource of each number.
    pub(super) numbers: Vec<(String, String, String)>,
    /// When they are explained.
    pub(super) at: String,
    /// Options of the script.
    pub(super) options: Vec<String>,
    /// Servers and files that have to stay.
    pub(super) _kept: Box<dyn Any + Send + Sync>,
}

/// Account, day and resource of all live rows.
pub(super) fn numbers(store: &Connection) -> Vec<(String, String, String)> {
    let sql = "SELECT cloud_account_id, date(date, 'unixepoch'), resource_id FROM expenses \
               GROUP BY 1, 2, 3 HAVING sum(sign) > 0 ORDER BY 1, 2, 3";
    let mut statement = store.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    rows.unwrap().map(Result::unwrap).collect()
}

impl World {
    /// What is in an embedded store, over a Prometheus.
    pub(super) fn of(
        name: &'static str,
        store: SqliteStore,
        at: &str,
        url: &str,
        kept: impl Any + Send + Sync,
    ) -> Self {
        let mut settings = store.settings.clone();
        settings.push(("RUST_LOG", "error".to_owned()));
        let numbers = numbers(&store.open());
        assert!(!numbers.is_empty(), "{name}");
        let options = vec!["--prometheus".to_owned(), url.to_owned()];
        let _kept = Box::new((store, kept));
        Self { name, settings, numbers, at: at.to_owned(), options, _kept }
    }
}

/// Two recorded days of raw metrics, one of them with a gap.
fn recorded() -> World {
    let (data, prometheus) = recorded_prometheus();
    let settings = [
        ("PROMETHEUS_URL", prometheus.url.as_str()),
        ("TENANT_LABEL", ""),
        ("DEFAULT_CLUSTER", "test-cluster"),
        ("LEVELS", "cluster,namespace,pod"),
        ("PHASE", "1"),
    ];
    let store = SqliteStore::new(&[RECORDED], &settings);
    let days = ["run", "--at", RECORDED_AT, "--from", "2026-11-19", "--to", "2026-11-20"];
    let ran = store.run(&days).summary();
    assert_eq!(ran["accounts"][0]["days"][0]["state"], "ok", "{ran}");
    assert_eq!(ran["accounts"][0]["days"][1]["state"], "partial", "{ran}");
    let url = prometheus.url.clone();
    World::of("raw metrics, recorded", store, RECORDED_AT, &url, (data, prometheus))
}

/// A day of made-up customers: pairs of replicas, traffic, volumes priced under another label.
async fn customers() -> World {
    let (server, store, at) = simulated::a_day_stored(7).await;
    let url = server.url.clone();
    World::of("raw metrics, made up", store, &at, &url, server)
}

/// How many worlds there are.
pub(super) const COUNT: usize = 12;

/// One of them.
pub(super) async fn world(number: usize) -> World {
    match number {
        0 => gauges::plain("gauges by the minute", &[]),
        1 => gauges::plain("gauges, scaled over gaps", &[("GAP_POLICY", "scale")]),
        2 => gauges::forced(),
        3 => gauges::windows("windows of an hour", 1, false),
        4 => gauges::windows("totals of three hours", 3, true),
        5 => gauges::averages(),
        6 => recorded(),
        7 => customers().await,
        8 => answers::journal().await,
        9 => answers::history().await,
        10 => answers::sets("allocation API", answers::WHOLE_HOURS).await,
        11 => answers::sets("allocation API with a gap", answers::WITH_A_GAP).await,
        _ => panic!("there is no world {number}"),
    }
}
