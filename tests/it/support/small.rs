//! A small account on real servers: one day and a half of two namespaces, quick to compute.

use std::sync::Arc;

use kubecost_worker::cost::resource_id::document_id;
use kubecost_worker::cost::{AccountId, ResourceKey};
use tempfile::TempDir;

use super::metrics::History;
use super::servers::{PrometheusVersion, Server, Stores, prometheus};
use super::worker::run;

/// The account.
pub(crate) const ACCOUNT: &str = "eeeeeeee-0000-0000-0000-00000000000e";
/// 2026-03-01 00:00:00 UTC.
pub(crate) const START: i64 = 1_772_323_200;
/// When the runs of these tests are: long after the end of the first day, in the second.
pub(crate) const AT: &str = "2026-03-02T12:00:30Z";
const HALF_DAY: i64 = 43_200;

/// The servers, and what leads to them.
pub(crate) struct Small {
    /// The stores.
    pub(crate) stores: Stores,
    /// The worker's settings.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The query layer.
    pub(crate) prometheus: Arc<Server>,
    data: Arc<TempDir>,
}

impl Small {
    /// Servers with history and a schema, and nothing stored yet.
    pub(crate) async fn new(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    /// The same, with more history of the account.
    pub(crate) async fn with(name: &str, more: impl FnOnce(&mut History)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut history = History::default();
        // The first minute of a day is covered by the sample of the minute before.
        let whole = (START - 60, START + 3 * HALF_DAY);
        let labels = |more: &str| format!("tenant_id=\"{ACCOUNT}\",cluster=\"c\"{more}");
        let total = "cloudtuner_kubecost_cluster_total_cost";
        history.every_minute(total, &labels(""), 7, whole, |_| Some(10.0));
        for (namespace, rate) in [("shop", 6.0), ("pay", 1.5)] {
            let labels = labels(&format!(",namespace=\"{namespace}\""));
            let metric = "cloudtuner_kubecost_namespace_total_cost";
            history.every_minute(metric, &labels, 7, whole, |_| Some(rate));
        }
        more(&mut history);
        history.write_blocks(data.path());
        let prometheus = Arc::new(prometheus(PrometheusVersion::Two, data.path()));
        Self::reading(Stores::new(name).await, prometheus, Arc::new(data))
    }

    /// The same history, with other stores in which nothing is stored yet.
    pub(crate) async fn beside(&self, name: &str) -> Self {
        self.over(Stores::new(name).await)
    }

    /// The same history, with these stores.
    pub(crate) fn over(&self, stores: Stores) -> Self {
        Self::reading(stores, Arc::clone(&self.prometheus), Arc::clone(&self.data))
    }

    fn reading(stores: Stores, prometheus: Arc<Server>, data: Arc<TempDir>) -> Self {
        let mut settings = stores.settings();
        settings.push(("PROMETHEUS_URL", prometheus.url.clone()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        run(&settings, &["migrate"]).expect_success();
        Self { stores, settings, prometheus, data }
    }

    /// What a setting is.
    pub(crate) fn setting(&self, name: &str) -> String {
        self.settings.iter().find(|(known, _)| *known == name).unwrap().1.clone()
    }

    /// The settings with some of them changed.
    pub(crate) fn with_settings(
        &self,
        changes: &[(&'static str, &str)],
    ) -> Vec<(&'static str, String)> {
        let mut settings = self.settings.clone();
        settings.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        settings.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
        settings
    }

    /// The id of a namespace's resource.
    pub(crate) fn id(namespace: &str) -> String {
        let account = AccountId::new(ACCOUNT).unwrap();
        let (cluster, namespace) = ("c".to_owned(), namespace.to_owned());
        let stable = ResourceKey::Namespace { cluster, namespace }.id(&account);
        document_id(&account, &stable, 1)
    }

    /// Adds a row as another program would, dated `seconds` after the first day's midnight.
    pub(crate) async fn insert_raw(&self, id: &str, seconds: i64, cost: f64, sign: i8) {
        let date = START + seconds;
        let columns = "cloud_account_id, resource_id, date, cost, sign, k8s_namespace";
        let statement = format!(
            "INSERT INTO expenses ({columns}) VALUES \
             ('{ACCOUNT}', '{id}', toDateTime({date}), {cost}, {sign}, 'raw_row')"
        );
        self.stores.execute(&statement).await;
    }

    /// What is stored, one line a key: date, namespace, costs to the last bit, signs.
    pub(crate) async fn stored(&self) -> Vec<(u32, String, u64, i64)> {
        // Of a ClickHouse that was started again, the settings have the address.
        let client = self.stores.client().with_url(self.setting("CLICKHOUSE_URL"));
        let rows = client
            .query(
                "SELECT toUInt32(date), resource_id, sum(cost * sign), sum(toInt64(sign)) \
                 FROM expenses GROUP BY date, resource_id \
                 HAVING sum(toInt64(sign)) != 0 OR sum(cost * sign) != 0 \
                 ORDER BY date, resource_id",
            )
            .fetch_all::<(u32, String, f64, i64)>()
            .await
            .unwrap();
        rows.into_iter().map(|row| (row.0, row.1, row.2.to_bits(), row.3)).collect()
    }
}
