//! How CloudTuner's REST API reads Metroculus: its header, its time-out, its two shapes.

use std::time::Duration;

use serde_json::Value;

pub(crate) const SECRET: &str = "a-cluster-secret";

/// What the reader makes of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Read {
    /// USD.
    Cost(f64),
    /// The service knows nothing.
    Nothing,
    /// A status other than success, with the error's code.
    Refused(u16, String),
}

/// The reader.
pub(crate) struct RestReader {
    http: reqwest::Client,
    url: String,
}

impl RestReader {
    pub(crate) fn new(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
        Self { http: http.build().unwrap(), url: url.to_owned() }
    }

    /// Status and body of a page. Whatever the status, the body must be JSON.
    pub(crate) async fn get(&self, path: &str, secret: Option<&str>) -> (u16, Value) {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(secret) = secret {
            request = request.header("Secret", secret);
        }
        Self::read(request, path).await
    }

    /// The same, posted.
    pub(crate) async fn post(&self, path: &str) -> (u16, Value) {
        Self::read(self.http.post(format!("{}{path}", self.url)), path).await
    }

    /// Status and body of a page that is no JSON.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let reply = self.http.get(format!("{}{path}", self.url)).send().await.unwrap();
        (reply.status().as_u16(), reply.text().await.unwrap())
    }

    async fn read(request: reqwest::RequestBuilder, path: &str) -> (u16, Value) {
        let reply = request.send().await.unwrap();
        let status = reply.status().as_u16();
        assert_eq!(reply.headers()["content-type"], "application/json", "{path}");
        (status, serde_json::from_str(&reply.text().await.unwrap()).unwrap())
    }

    pub(crate) async fn page(&self, page: &str, asked: &str) -> (u16, Value) {
        self.get(&format!("/metroculus/v2/{page}?{asked}"), Some(SECRET)).await
    }

    /// The costs of an account in [`start`, `end`), as read first from `summary`, then flat.
    pub(crate) async fn cost(&self, account: &str, (start, end): (i64, i64)) -> Read {
        let asked = format!("cloud_account_id={account}&start_date={start}&end_date={end}");
        let (status, reply) = self.page("kubecost_cluster_costs", &asked).await;
        if status != 200 {
            let code = reply["error"]["error_code"].as_str().unwrap();
            return Read::Refused(status, code.to_owned());
        }
        let (nested, flat) = (&reply["summary"]["total_cost"], &reply["total_cost"]);
        assert_eq!(nested, flat, "both shapes say the same");
        nested.as_f64().or_else(|| flat.as_f64()).map_or(Read::Nothing, Read::Cost)
    }
}
