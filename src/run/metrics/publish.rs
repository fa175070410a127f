//! Leaves the metrics of a run that ends: in a file, at a Pushgateway, or both.
//!
//! Nothing here makes a run fail: what cannot be left is a warning.

use std::path::Path;
use std::time::Duration;

use url::Url;

use crate::run::RunSummary;
use crate::service::failure::{Failure, Hop, Kind, REPORT};
use crate::service::metrics::{Sample, TEXT, samples, to_text_format};
use crate::service::whole_file::write_keeping_mode;
use crate::service::{http, proxy};
use crate::settings::Endpoint;
use crate::settings::auth::Auth;
use crate::settings::worker::{MetricsConfig, Shard};

use crate::run::metrics::exposition::{openmetrics, totals};
use crate::run::metrics::families::{Totals, families};

/// The Pushgateway's group, with the shard when there are several.
const JOB: &str = "kubecost-worker";
/// How long the Pushgateway may take for one request.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest page of a Pushgateway that is read.
const PAGE_BYTES_MAX: u64 = 32 << 20;

/// Leaves the run's metrics where the settings want them. A dry run leaves none: it did nothing.
pub async fn publish(config: &MetricsConfig, shard: Shard, summary: &RunSummary) {
    if summary.dry_run {
        return;
    }
    if let Some(path) = &config.textfile
        && let Err(failure) = to_file(path, summary)
    {
        tracing::warn!(%failure, "the metrics were not left in the file");
    }
    if let Some(gateway) = &config.pushgateway
        && let Err(failure) = push(gateway, shard, summary).await
    {
        tracing::warn!(%failure, "the metrics were not pushed");
    }
}

/// The page after a run, in the Prometheus text format.
fn page(mut before: Totals, summary: &RunSummary) -> Result<String, Failure> {
    before.add(summary);
    let text = openmetrics(families(Some(summary), &before)).map_err(|error| {
        Failure::new(
            Hop::Worker,
            Kind::Internal,
            format!("metrics cannot be written: {error}"),
            REPORT,
        )
    })?;
    Ok(to_text_format(&text))
}

/// Writes the file as a whole, so that a collector never reads half of it.
fn to_file(path: &Path, summary: &RunSummary) -> Result<(), Failure> {
    let failed = |error: &std::io::Error| {
        let what = format!("METRICS_TEXTFILE '{}': {error}", path.display());
        let fix = "see that its directory exists and may be written to";
        Failure::new(Hop::Worker, Kind::Unavailable, what, fix)
    };
    let before = match std::fs::read_to_string(path) {
        Ok(text) => totals(&samples(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Totals::default(),
        Err(error) => return Err(failed(&error)),
    };
    write_keeping_mode(path, &page(before, summary)?).map_err(|error| failed(&error))
}

/// Puts the group anew. What it says now is read first, for counters to go on.
async fn push(gateway: &Endpoint, shard: Shard, summary: &RunSummary) -> Result<(), Failure> {
    let client = http::client(PUSH_TIMEOUT)?;
    let auth = Auth::in_address(gateway);
    let tell = |error| {
        let what = format!("METRICS_PUSHGATEWAY_URL {}", gateway.redacted());
        http::transport_failure(Hop::Worker, &what, error)
    };
    let asked = auth.apply(client.get(gateway.join("metrics"))).send().await.map_err(tell)?;
    let body = http::read_bounded(asked, PAGE_BYTES_MAX, Hop::Worker).await?;
    let before = before(&String::from_utf8_lossy(&body), shard);
    let request = client.put(group(gateway, shard)).header("Content-Type", TEXT);
    let reply = auth.apply(request).body(page(before, summary)?).send().await.map_err(tell)?;
    if reply.status().is_success() {
        return Ok(());
    }
    if let Some(failure) = proxy::refusal(Hop::Worker, "METRICS_PUSHGATEWAY_URL", &reply) {
        return Err(failure);
    }
    let what = format!("{} answered {}", gateway.redacted(), reply.status());
    let fix = "see that METRICS_PUSHGATEWAY_URL is a Pushgateway, and its log";
    Err(Failure::new(Hop::Worker, Kind::BadReply, what, fix))
}

/// Workers of several shards must not put over each other's metrics.
fn group(gateway: &Endpoint, shard: Shard) -> Url {
    let path = format!("metrics/job/{JOB}");
    if shard.count == 1 {
        return gateway.join(&path);
    }
    gateway.join(&format!("{path}/shard/{}", shard.index))
}

fn before(page: &str, shard: Shard) -> Totals {
    let name = if shard.count == 1 { String::new() } else { shard.index.to_string() };
    let is_ours = |sample: &&Sample| sample.label("job") == JOB && sample.label("shard") == name;
    totals(samples(page).iter().filter(is_ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Shard = Shard { count: 1, index: 0 };

    #[test]
    fn each_shard_has_a_group_of_its_own() {
        let gateway = Endpoint::parse("http://gateway:9091/push").unwrap();
        let path = |shard| group(&gateway, shard).path().to_owned();
        assert_eq!(path(ONE), "/push/metrics/job/kubecost-worker");
        let second = Shard { count: 3, index: 2 };
        assert_eq!(path(second), "/push/metrics/job/kubecost-worker/shard/2");
    }

    #[test]
    fn only_the_own_group_of_a_gateway_goes_on() {
        let page = "kubecost_worker_rows_written_total{instance=\"\",job=\"kubecost-worker\"} 5\n\
                    kubecost_worker_rows_written_total{job=\"kubecost-worker\",shard=\"1\"} 7\n\
                    kubecost_worker_rows_written_total{job=\"other\"} 9\n";
        assert_eq!(before(page, ONE).rows, 5.0);
        assert_eq!(before(page, Shard { count: 2, index: 1 }).rows, 7.0);
        assert_eq!(before(page, Shard { count: 2, index: 0 }).rows, 0.0);
    }
}
