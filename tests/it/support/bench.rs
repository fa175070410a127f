//! A worker between stores that are migrated and a query layer that a test chooses.

use super::servers::Stores;
use super::worker::{Finished, run};

/// The account of most tests.
pub(crate) const ACCOUNT: &str = "aaaaaaaa-0000-0000-0000-00000000000a";
/// An account whose id sorts after [`ACCOUNT`].
pub(crate) const SECOND: &str = "bbbbbbbb-0000-0000-0000-00000000000b";
/// The one day that most tests compute.
pub(crate) const DAY: [&str; 5] = ["run", "--from", "2026-03-01", "--to", "2026-03-01"];
/// Nothing listens there.
pub(crate) const REFUSED: &str = "http://127.0.0.1:1";

/// Settings by name; the last one of a name holds.
pub(crate) type Settings = Vec<(&'static str, String)>;

/// Migrated stores.
pub(crate) struct Bench {
    /// The stores.
    pub(crate) stores: Stores,
}

impl Bench {
    /// Migrated stores with databases of their own.
    pub(crate) async fn new(prefix: &str) -> Self {
        let bench = Self { stores: Stores::new(prefix).await };
        run(&bench.stores.settings(), &["migrate"]).expect_success();
        bench
    }

    /// Settings for the stores, a query layer and [`ACCOUNT`].
    pub(crate) fn settings(&self, prometheus_url: &str) -> Settings {
        let mut settings = self.stores.settings();
        settings.push(("PROMETHEUS_URL", prometheus_url.to_owned()));
        settings.push(("ACCOUNTS", ACCOUNT.to_owned()));
        // Its default is a fixed port, which tests that run at once would fight for.
        settings.push(("METRICS_ADDR", String::new()));
        settings
    }

    /// Runs [`DAY`] against a query layer.
    pub(crate) fn run(&self, prometheus_url: &str) -> Finished {
        run(&self.settings(prometheus_url), &DAY)
    }

    /// Rows of `expenses` and documents of `cloud_resource`.
    pub(crate) async fn stored(&self) -> (u64, u64) {
        let query = self.stores.client().query("SELECT count() FROM expenses");
        (query.fetch_one::<u64>().await.unwrap(), self.documents().await)
    }

    /// Documents of `cloud_resource`.
    pub(crate) async fn documents(&self) -> u64 {
        let collection =
            self.stores.mongo().await.collection::<mongodb::bson::Document>("cloud_resource");
        collection.count_documents(mongodb::bson::doc! {}).await.unwrap()
    }
}

/// `settings` with some of them changed.
pub(crate) fn with(settings: &Settings, changes: &[(&'static str, &str)]) -> Settings {
    let mut settings = settings.clone();
    settings.extend(changes.iter().map(|(name, value)| (*name, (*value).to_owned())));
    settings
}

/// Asserts that a run ended with this code, said all `parts`, and did not panic.
pub(crate) fn ended(finished: &Finished, code: i32, parts: &[&str]) {
    let text = format!("{}\n{}", finished.stdout, finished.stderr);
    assert_eq!(finished.code, code, "{parts:?}\n{text}");
    for part in parts {
        assert!(text.contains(part), "'{part}' is missing in:\n{text}");
    }
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
}
