//! Settings beside the job itself: which share of the accounts, the worker's own metrics, and the
//! hops that only `verify` looks at.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::accounts::shard::Shard;

use super::auth::{Auth, auth};
use super::parse::Reader;
use super::secret::{Endpoint, Secret};

/// Most workers that accounts may be spread among.
const SHARDS_MAX: u64 = 1_000;

/// What lies beside the job.
#[derive(Clone, Debug)]
pub struct OperationConfig {
    /// Which share of the accounts is this worker's.
    pub shard: Shard,
    /// Where its own metrics go.
    pub metrics: MetricsConfig,
    /// Hops that only `verify` looks at.
    pub hops: HopsConfig,
}

/// Where the worker's own metrics go.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// Where `schedule` serves them.
    pub listen: Option<SocketAddr>,
    /// The file that `run` leaves them in.
    pub textfile: Option<PathBuf>,
    /// The Pushgateway that `run` puts them to.
    pub pushgateway: Option<Endpoint>,
}

/// Hops that only `verify` looks at; each may be left out.
#[derive(Clone, Debug)]
pub struct HopsConfig {
    /// The customer's allocation exporter.
    pub exporter: Option<Endpoint>,
    /// The customer's Prometheus.
    pub source: Option<(Endpoint, Auth)>,
    /// What remote_write sends to.
    pub diproxy: Option<(Endpoint, Auth)>,
    /// CloudTuner's metrics service.
    pub metroculus: Option<Endpoint>,
    /// CloudTuner's REST API.
    pub rest: Option<Endpoint>,
    /// The header `Secret` of both, if set.
    pub secret: Option<Secret>,
    /// A user's token for the REST API, if set.
    pub rest_token: Option<Secret>,
}

/// Reads the settings; what is wrong is noted in the reader.
pub(super) fn operation(reader: &mut Reader<'_>) -> OperationConfig {
    OperationConfig { shard: shard(reader), metrics: metrics(reader), hops: hops(reader) }
}

fn shard(reader: &mut Reader<'_>) -> Shard {
    let count = reader.number("SHARD_COUNT", 1, SHARDS_MAX);
    let index = reader.number("JOB_COMPLETION_INDEX", 0, SHARDS_MAX);
    // Without shards an index that some Job set for other reasons means nothing.
    if count > 1 && index >= count {
        let what = format!("'{index}' is not below SHARD_COUNT, which is {count}");
        reader.error("JOB_COMPLETION_INDEX", &what);
    }
    Shard { count, index: if count > 1 { index } else { 0 } }
}

fn metrics(reader: &mut Reader<'_>) -> MetricsConfig {
    let address = given(reader, "METRICS_ADDR");
    let listen = address.and_then(|text| {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            let what = format!("'{text}' is no address; an example: 0.0.0.0:9091");
            reader.error("METRICS_ADDR", &what);
        }
        parsed
    });
    MetricsConfig {
        listen,
        textfile: given(reader, "METRICS_TEXTFILE").map(PathBuf::from),
        pushgateway: endpoint(reader, "METRICS_PUSHGATEWAY_URL"),
    }
}

fn hops(reader: &mut Reader<'_>) -> HopsConfig {
    let mut known = |name: &str| {
        let endpoint = endpoint(reader, &format!("{name}_URL"));
        let auth = auth(reader, name, endpoint.as_ref());
        endpoint.map(|endpoint| (endpoint, auth))
    };
    let (source, diproxy) = (known("SOURCE_PROMETHEUS"), known("DIPROXY"));
    HopsConfig {
        exporter: endpoint(reader, "EXPORTER_URL"),
        source,
        diproxy,
        metroculus: endpoint(reader, "METROCULUS_URL"),
        rest: endpoint(reader, "REST_URL"),
        secret: reader.secret("CLUSTER_SECRET"),
        rest_token: reader.secret("REST_TOKEN"),
    }
}

/// A text that is set and not empty: charts set what they have no value for to nothing.
fn given(reader: &mut Reader<'_>, name: &str) -> Option<String> {
    reader.text(name).filter(|text| !text.is_empty())
}

fn endpoint(reader: &mut Reader<'_>, name: &str) -> Option<Endpoint> {
    given(reader, name).and_then(|_| reader.endpoint(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;
    use crate::settings::worker::SETTINGS;

    fn read(pairs: &[(&str, &str)]) -> (OperationConfig, Vec<String>) {
        let mut raw = RawSettings::of(SETTINGS, pairs);
        let config = operation(&mut Reader::new(SETTINGS, &mut raw));
        (config, raw.errors.iter().map(|e| format!("{}: {}", e.name, e.what)).collect())
    }

    #[test]
    fn without_settings_there_is_one_shard_and_only_schedule_shows_metrics() {
        let (config, errors) = read(&[]);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(config.shard, Shard { count: 1, index: 0 });
        assert_eq!(config.metrics.listen, Some(SocketAddr::from(([0, 0, 0, 0], 9_091))));
        assert!(config.metrics.textfile.is_none() && config.metrics.pushgateway.is_none());
        assert!(config.hops.exporter.is_none() && config.hops.diproxy.is_none());
    }

    #[test]
    fn nothing_switches_off() {
        let (config, errors) =
            read(&[("METRICS_ADDR", ""), ("METRICS_TEXTFILE", ""), ("EXPORTER_URL", "")]);
        assert_eq!(errors, Vec::<String>::new());
        assert!(config.metrics.listen.is_none() && config.metrics.textfile.is_none());
    }

    #[test]
    fn an_index_outside_the_shards_is_refused_and_one_without_shards_is_not() {
        for (count, index, part) in [
            ("3", "3", "JOB_COMPLETION_INDEX: '3' is not below"),
            ("3", "x", "JOB_COMPLETION_INDEX: 'x' is no whole number"),
            ("0", "0", "SHARD_COUNT: '0' is no whole number from 1"),
        ] {
            let (_, errors) = read(&[("SHARD_COUNT", count), ("JOB_COMPLETION_INDEX", index)]);
            assert!(errors.iter().any(|error| error.contains(part)), "{errors:?}");
        }
        let (config, errors) = read(&[("SHARD_COUNT", "1"), ("JOB_COMPLETION_INDEX", "7")]);
        assert_eq!((config.shard.index, errors.len()), (0, 0));
        let (config, _) = read(&[("SHARD_COUNT", "3"), ("JOB_COMPLETION_INDEX", "2")]);
        assert_eq!(config.shard, Shard { count: 3, index: 2 });
    }

    #[test]
    fn what_is_no_address_is_named() {
        let (_, errors) = read(&[
            ("METRICS_ADDR", "9091"),
            ("METRICS_PUSHGATEWAY_URL", "gateway:9091"),
            ("DIPROXY_USER", "u"),
        ]);
        let text = errors.join("\n");
        for part in ["METRICS_ADDR: '9091'", "METRICS_PUSHGATEWAY_URL: ", "DIPROXY_PASSWORD: "] {
            assert!(text.contains(part), "{text}");
        }
    }
}
