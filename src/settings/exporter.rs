//! The settings of `kubecost-allocation-exporter`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::allocation_api::Idle;
use crate::cost::AccountId;

use super::parse::Reader;
use super::raw::{ConfigErrors, RawSettings, Setting, plain, secret};
use super::secret::Endpoint;
use super::worker::Auth;

/// Every setting of the exporter: the one place that names them.
pub const SETTINGS: &[Setting] = &[
    plain(
        "KUBECOST_URL",
        None,
        "Address of Kubecost or OpenCost; which of them it is, is found out",
    ),
    plain("KUBECOST_USER", None, "User name for basic authentication at KUBECOST_URL"),
    secret("KUBECOST_PASSWORD", "Password for basic authentication at KUBECOST_URL"),
    secret("KUBECOST_TOKEN", "Bearer token for KUBECOST_URL"),
    plain("KUBECOST_CA_FILE", None, "PEM file of the certificates to trust at KUBECOST_URL"),
    plain("TENANT_ID", None, "Label tenant_id: the id of the CloudTuner cloud account"),
    plain("CLUSTER_NAME", None, "Label cluster: the cluster's name"),
    plain("SCRAPE_INTERVAL", Some("60"), "How often the allocation API is asked"),
    plain(
        "WINDOW",
        Some("1h"),
        "Length of the window asked for: 1h, 2h, 3h, 4h, 6h, 8h, 12h or 1d",
    ),
    plain("METRIC_MODE", Some("rate"), "rate: USD per hour; total: USD per window"),
    plain("INCLUDE_IDLE", Some("true"), "Whether the cost of unused capacity is part of the costs"),
    plain(
        "SHARE_IDLE",
        Some("false"),
        "false: idle is a namespace __idle__; true or weighted: shared by cost; even: shared equally (Kubecost only)",
    ),
    plain("POD_METRICS", Some("false"), "Whether pods have gauges: one more request a poll"),
    plain("POD_LABELS", Some(""), "Further labels of pods: a comma list of node, service"),
    plain("STALE_AFTER", Some("3h"), "How long the last good answer stands when no new one comes"),
    plain(
        "MAX_SERIES",
        Some("10000"),
        "Most cost series; the smallest beyond it are summed as __other__",
    ),
    plain("RESOLUTION", Some(""), "Grid OpenCost cuts times to, such as 1m; empty: its own (5m)"),
    plain("REQUEST_TIMEOUT", Some("30s"), "Time for one request to the allocation API"),
    plain("MAX_REPLY_BYTES", Some("33554432"), "Largest reply that is read, decompressed"),
    plain("LISTEN_ADDR", Some("0.0.0.0:19090"), "Address that metrics are served on"),
    plain("METRICS_TLS_CERT_FILE", None, "PEM file of the certificate chain, to serve HTTPS"),
    plain("METRICS_TLS_KEY_FILE", None, "PEM file of the private key, to serve HTTPS"),
    plain("LOG_FORMAT", Some("text"), "text or json, on standard error; RUST_LOG sets the level"),
];

/// What a gauge of cost says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricMode {
    /// USD per hour.
    Rate,
    /// USD in the window.
    Total,
}

impl MetricMode {
    /// `rate` or `total`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Total => "total",
        }
    }
}

/// Which labels pods have beside their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodLabels {
    /// The node.
    pub node: bool,
    /// The service.
    pub service: bool,
}

/// Certificate and key to serve HTTPS with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServingTls {
    /// PEM file of the certificate chain.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

/// Validated settings of the exporter.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    /// The allocation API's address.
    pub endpoint: Endpoint,
    /// How it knows us.
    pub auth: Auth,
    /// Certificates to trust there, if not the system's.
    pub ca_file: Option<PathBuf>,
    /// The label `tenant_id`.
    pub tenant: AccountId,
    /// The label `cluster`.
    pub cluster: String,
    /// How often the API is asked.
    pub interval: Duration,
    /// Length of the window, seconds.
    pub window_seconds: i64,
    /// What gauges say.
    pub mode: MetricMode,
    /// What to do with idle cost.
    pub idle: Idle,
    /// Whether pods have gauges.
    pub has_pods: bool,
    /// Further labels of pods.
    pub pod_labels: PodLabels,
    /// How long the last good answer stands.
    pub stale_after: Duration,
    /// Most cost series.
    pub series_max: usize,
    /// The grid to which the server shall cut times.
    pub resolution: Option<&'static str>,
    /// Time for one request.
    pub timeout: Duration,
    /// Largest reply, bytes.
    pub reply_bytes_max: usize,
    /// Where metrics are served.
    pub listen: SocketAddr,
    /// Certificate and key to serve with, if over HTTPS.
    pub tls: Option<ServingTls>,
    /// Whether log lines are JSON.
    pub logs_json: bool,
}

impl ExporterConfig {
    /// Validates raw settings.
    ///
    /// # Errors
    /// All errors at once, each naming its setting.
    pub fn validate(mut raw: RawSettings) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(SETTINGS, &mut raw);
        let endpoint = reader.required_endpoint("KUBECOST_URL", "it is where costs come from");
        let tenant = tenant(&mut reader);
        let listen = listen(&mut reader);
        let seconds = Duration::from_secs;
        let config = endpoint.zip(tenant).zip(listen).map(|((endpoint, tenant), listen)| Self {
            auth: auth(&mut reader, &endpoint),
            endpoint,
            ca_file: reader.text("KUBECOST_CA_FILE").map(PathBuf::from),
            tenant,
            cluster: reader.required_text("CLUSTER_NAME", "the costs need a cluster's name"),
            interval: reader.duration("SCRAPE_INTERVAL", seconds(1), seconds(3_600)),
            window_seconds: window_seconds(&mut reader),
            mode: mode(&mut reader),
            idle: idle(&mut reader),
            has_pods: reader.flag("POD_METRICS"),
            pod_labels: pod_labels(&mut reader),
            stale_after: reader.duration("STALE_AFTER", seconds(60), seconds(30 * 86_400)),
            series_max: number(&mut reader, "MAX_SERIES", 100, 1_000_000),
            resolution: resolution(&mut reader),
            timeout: reader.duration("REQUEST_TIMEOUT", seconds(1), seconds(600)),
            reply_bytes_max: number(&mut reader, "MAX_REPLY_BYTES", 65_536, 1 << 31),
            listen,
            tls: tls(&mut reader),
            logs_json: reader
                .choice("LOG_FORMAT", &[("text", false), ("json", true)])
                .unwrap_or(false),
        });
        match config {
            Some(config) if raw.errors.is_empty() => Ok(config),
            _ => Err(ConfigErrors(raw.errors)),
        }
    }
}

fn tenant(reader: &mut Reader<'_>) -> Option<AccountId> {
    let text = reader.required_text("TENANT_ID", "costs belong to a CloudTuner cloud account");
    if text.is_empty() {
        return None;
    }
    AccountId::new(text).map_err(|error| reader.error("TENANT_ID", &error.to_string())).ok()
}

fn listen(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.text("LISTEN_ADDR").unwrap_or_default();
    let address = text.parse().ok();
    if address.is_none() {
        let what = format!("'{text}' is no address and port; an example: 0.0.0.0:19090");
        reader.error("LISTEN_ADDR", &what);
    }
    address
}

fn number(reader: &mut Reader<'_>, name: &str, least: u64, most: u64) -> usize {
    usize::try_from(reader.number(name, least, most)).unwrap_or(usize::MAX)
}

fn auth(reader: &mut Reader<'_>, endpoint: &Endpoint) -> Auth {
    let user = reader.text("KUBECOST_USER");
    let password = reader.secret("KUBECOST_PASSWORD");
    let token = reader.secret("KUBECOST_TOKEN");
    let in_url = endpoint.credentials().cloned();
    let ways = [user.is_some(), token.is_some(), in_url.is_some()];
    if ways.iter().filter(|way| **way).count() > 1 {
        let what = "is one of several ways to authenticate that are set: keep one of \
                    KUBECOST_USER, KUBECOST_TOKEN and credentials in KUBECOST_URL";
        reader.error("KUBECOST_USER", what);
    }
    match (user, password, token, in_url) {
        (Some(user), Some(password), ..) => Auth::Basic(user, password),
        (Some(_), None, ..) => {
            reader.error("KUBECOST_PASSWORD", "is not set, but KUBECOST_USER is");
            Auth::None
        }
        (None, Some(_), ..) => {
            reader.error("KUBECOST_USER", "is not set, but KUBECOST_PASSWORD is");
            Auth::None
        }
        (None, None, Some(token), _) => Auth::Bearer(token),
        (None, None, None, Some((user, password))) => Auth::Basic(user, password),
        (None, None, None, None) => Auth::None,
    }
}

/// Windows start at multiples of their length; only lengths that divide a day start at midnight.
fn window_seconds(reader: &mut Reader<'_>) -> i64 {
    let window = reader.duration("WINDOW", Duration::from_secs(1), Duration::from_secs(86_400));
    let seconds = window.as_secs();
    if seconds < 3_600 || !seconds.is_multiple_of(3_600) || 86_400 % seconds != 0 {
        reader.error("WINDOW", "is not one of 1h, 2h, 3h, 4h, 6h, 8h, 12h and 1d");
    }
    i64::try_from(seconds).unwrap_or(3_600)
}

fn mode(reader: &mut Reader<'_>) -> MetricMode {
    reader
        .choice("METRIC_MODE", &[("rate", MetricMode::Rate), ("total", MetricMode::Total)])
        .unwrap_or(MetricMode::Rate)
}

fn idle(reader: &mut Reader<'_>) -> Idle {
    let is_included = reader.flag("INCLUDE_IDLE");
    let ways = [
        ("false", Idle::Separate),
        ("true", Idle::SharedWeighted),
        ("weighted", Idle::SharedWeighted),
        ("even", Idle::SharedEven),
    ];
    let idle = reader.choice("SHARE_IDLE", &ways).unwrap_or(Idle::Separate);
    if is_included {
        return idle;
    }
    if idle != Idle::Separate {
        // Both servers ignore the wish to share what is not included, without a word.
        reader.error("SHARE_IDLE", "shares idle cost, but INCLUDE_IDLE=false leaves it out");
    }
    Idle::None
}

fn pod_labels(reader: &mut Reader<'_>) -> PodLabels {
    let text = reader.text("POD_LABELS").unwrap_or_default();
    let mut labels = PodLabels::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "node" => labels.node = true,
            "service" => labels.service = true,
            other => reader.error("POD_LABELS", &format!("'{other}' is neither node nor service")),
        }
    }
    labels
}

fn resolution(reader: &mut Reader<'_>) -> Option<&'static str> {
    let ways = [
        ("", None),
        ("1m", Some("1m")),
        ("2m", Some("2m")),
        ("5m", Some("5m")),
        ("10m", Some("10m")),
    ];
    reader.choice("RESOLUTION", &ways).flatten()
}

fn tls(reader: &mut Reader<'_>) -> Option<ServingTls> {
    let certificate = reader.text("METRICS_TLS_CERT_FILE").map(PathBuf::from);
    let key = reader.text("METRICS_TLS_KEY_FILE").map(PathBuf::from);
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(ServingTls { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            reader.error("METRICS_TLS_KEY_FILE", "is not set, but METRICS_TLS_CERT_FILE is");
            None
        }
        (None, Some(_)) => {
            reader.error("METRICS_TLS_CERT_FILE", "is not set, but METRICS_TLS_KEY_FILE is");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: [(&str, &str); 3] =
        [("KUBECOST_URL", "http://k:9090"), ("TENANT_ID", "a-1"), ("CLUSTER_NAME", "one")];

    fn with(pairs: &[(&str, &str)]) -> Result<ExporterConfig, ConfigErrors> {
        let all: Vec<_> = LEAST.iter().chain(pairs).copied().collect();
        ExporterConfig::validate(RawSettings::of(SETTINGS, &all))
    }

    #[test]
    fn three_settings_are_enough() {
        let config = with(&[]).unwrap();
        assert_eq!((config.window_seconds, config.idle), (3_600, Idle::Separate));
        assert_eq!(config.listen.port(), 19_090);
        assert!(!config.has_pods && config.tls.is_none());
    }

    #[test]
    fn idle_is_shared_only_where_it_is_included() {
        assert_eq!(with(&[("SHARE_IDLE", "weighted")]).unwrap().idle, Idle::SharedWeighted);
        assert_eq!(with(&[("SHARE_IDLE", "even")]).unwrap().idle, Idle::SharedEven);
        assert_eq!(with(&[("INCLUDE_IDLE", "false")]).unwrap().idle, Idle::None);
        let error = with(&[("SHARE_IDLE", "true"), ("INCLUDE_IDLE", "false")]).unwrap_err();
        assert!(error.to_string().contains("SHARE_IDLE"), "{error}");
    }

    #[test]
    fn each_wrong_setting_is_named() {
        for (name, value) in [
            ("WINDOW", "90m"),
            ("WINDOW", "5h"),
            ("METRIC_MODE", "cost"),
            ("POD_LABELS", "node,zone"),
            ("MAX_SERIES", "1"),
            ("RESOLUTION", "7m"),
            ("LISTEN_ADDR", "19090"),
            ("METRICS_TLS_CERT_FILE", "/tls/tls.crt"),
            ("KUBECOST_USER", "me"),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            assert_eq!(error.0.len(), 1, "{error}");
        }
        let none = ExporterConfig::validate(RawSettings::of(SETTINGS, &[])).unwrap_err();
        let names: Vec<_> = none.0.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["KUBECOST_URL", "TENANT_ID"]);
    }
}
