//! A worker over a SQLite file, between a made-up REST API and a made-up Prometheus.

#[path = "../it/support/embedded.rs"]
#[expect(dead_code, reason = "what looks into the store is for other tests")]
mod embedded;
#[path = "../it/support/fake_prometheus.rs"]
pub(crate) mod fake_prometheus;
#[path = "../it/support/http.rs"]
#[expect(dead_code, reason = "what was asked is for other tests")]
pub(crate) mod http;
mod pty;
#[path = "../it/support/worker.rs"]
pub(crate) mod worker;

use axum::response::Response;

use embedded::SqliteStore;
use fake_prometheus::{Question, question, series, tenant, vector};
use http::{Asked, FakeServer, json};

pub(crate) use pty::{OnTerminal, on_terminal};

/// The accounts' ids; the first two have names.
pub(crate) const ACCOUNTS: [&str; 3] = [
    "aaaaaaaa-0000-4000-8000-00000000000a",
    "bbbbbbbb-0000-4000-8000-00000000000b",
    "cccccccc-0000-4000-8000-00000000000c",
];
/// The account of which the query layer has no sample.
pub(crate) const EMPTY: &str = ACCOUNTS[1];

/// A worker's world.
pub(crate) struct World {
    /// The settings.
    pub(crate) settings: Vec<(&'static str, String)>,
    store: SqliteStore,
    _servers: [FakeServer; 2],
}

impl World {
    /// A query layer that answers what a test wants where the test wants it.
    pub(crate) async fn start(
        odd: impl Fn(&Asked) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        let prometheus = fake_prometheus::start(move |asked| odd(asked).or_else(|| none(asked)));
        let (prometheus, rest) = (prometheus.await, FakeServer::start(rest).await);
        let more = [
            ("PROMETHEUS_URL", prometheus.url.as_str()),
            ("ACCOUNTS", "rest"),
            ("REST_URL", rest.url.as_str()),
            ("CLUSTER_SECRET", "secret"),
            ("METRICS_ADDR", ""),
        ];
        let store = SqliteStore::new(&[], &more);
        Self { settings: store.settings.clone(), store, _servers: [prometheus, rest] }
    }

    /// The store itself.
    pub(crate) fn store(&self) -> rusqlite::Connection {
        self.store.open()
    }

    /// Runs the worker, with pipes for its output.
    pub(crate) fn run(&self, arguments: &[&str]) -> worker::Finished {
        worker::run(&self.settings, arguments)
    }

    /// Runs the worker on a terminal of 80 columns.
    pub(crate) fn on_terminal(&self, arguments: &[&str]) -> OnTerminal {
        on_terminal(&self.settings, arguments)
    }
}

/// The one account that has nothing.
fn none(asked: &Asked) -> Option<Response> {
    (tenant(asked) == EMPTY).then(|| match question(asked) {
        Question::Presence => {
            json(r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned())
        }
        _ => vector(&[]),
    })
}

/// A cluster's costs, with this one namespace in it.
pub(crate) fn costs(asked: &Asked, namespace: &str, usd: f64) -> Option<Response> {
    let tenant = tenant(asked);
    if tenant == EMPTY {
        return None;
    }
    let of = |labels: &str, usd: f64| Some(vector(&[series(&tenant, labels, &usd.to_string())]));
    match question(asked) {
        Question::ClusterCost => of(r#""cluster":"prod""#, usd * 60.0 + 60.0),
        Question::NamespaceCost => {
            of(&format!(r#""cluster":"prod","namespace":"{namespace}""#), usd * 60.0)
        }
        _ => None,
    }
}

fn rest(asked: &Asked) -> Response {
    let account = |index: usize, name: &str| {
        let id = ACCOUNTS[index];
        format!(r#"{{"id":"{id}","name":"{name}","type":"kubernetes_cnr","deleted_at":0}}"#)
    };
    json(match asked.path.as_str() {
        "/restapi/v2/organizations" => {
            r#"{"organizations":[{"id":"o","deleted_at":0}]}"#.to_owned()
        }
        _ => format!(
            r#"{{"cloud_accounts":[{},{},{}]}}"#,
            account(0, "Production in Frankfurt, all clusters"),
            account(1, "Staging"),
            account(2, "")
        ),
    })
}
