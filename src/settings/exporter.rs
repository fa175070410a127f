//! The settings of `kubecost-allocation-exporter`.

use std::time::Duration;

use crate::cost::AccountId;

use super::auth::{Auth, AuthSettings};
use super::currency::code;
use super::exporter_names as names;
use super::raw::Setting;
use super::reader::{ReadSettings, Reader};
use super::secret::Endpoint;
use super::serving::{AccessSettings, Serving, ServingSettings};
use super::tls::ClientTlsSettings;

pub use super::exporter_names::SETTINGS;

const KUBECOST_AUTH: AuthSettings = AuthSettings {
    url: names::KUBECOST_URL,
    user: names::KUBECOST_USER,
    password: names::KUBECOST_PASSWORD,
    token: names::KUBECOST_TOKEN,
};

/// What the exporter and the worker name alike, and its own former name of the authorities.
pub const CLIENT_TLS: ClientTlsSettings = ClientTlsSettings {
    authorities: &[names::CA_FILE, names::KUBECOST_CA_FILE],
    certificate: names::CLIENT_CERT_FILE,
    key: names::CLIENT_KEY_FILE,
};

const SERVING: ServingSettings = ServingSettings {
    address: names::LISTEN_ADDR,
    example: "0.0.0.0:19090",
    certificate: names::METRICS_TLS_CERT_FILE,
    key: names::METRICS_TLS_KEY_FILE,
};

const METRICS_ACCESS: AccessSettings = AccessSettings {
    user: names::METRICS_USER,
    password: names::METRICS_PASSWORD,
    token: names::METRICS_TOKEN,
};

/// How often each window is asked for at least: one that is doubted is looked at again.
pub const POLLS_LEAST: i64 = 2;

/// What to do with the cost of what nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Left out.
    None,
    /// Rows of its own.
    Separate,
    /// Shared among all rows, weighted by their cost.
    SharedWeighted,
    /// Shared among all rows in equal parts; only Kubecost can.
    SharedEven,
}

impl Idle {
    /// Whether it is asked for as part of the other rows.
    #[must_use]
    pub fn is_shared(self) -> bool {
        matches!(self, Self::SharedWeighted | Self::SharedEven)
    }
}

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

/// Validated settings of the exporter.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    /// The allocation API's address.
    pub endpoint: Endpoint,
    /// How requests to it are authenticated.
    pub auth: Auth,
    /// The label `tenant_id`.
    pub tenant: AccountId,
    /// The label `cluster`.
    pub cluster: String,
    /// The only cluster whose costs are taken, as the allocation API names it.
    pub cluster_filter: Option<String>,
    /// How often the API is asked.
    pub interval: Duration,
    /// Length of the window, seconds.
    pub window_seconds: i64,
    /// What gauges say.
    pub mode: MetricMode,
    /// The label `currency`.
    pub currency: String,
    /// What to do with idle cost.
    pub idle: Idle,
    /// Whether pods have gauges.
    pub has_pods: bool,
    /// Whether nodes have gauges.
    pub has_nodes: bool,
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
    pub serving: Serving,
    /// How those who read them authenticate.
    pub metrics_access: Auth,
    /// Whether log lines are JSON.
    pub logs_json: bool,
}

impl ReadSettings for ExporterConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let seconds = Duration::from_secs;
        let endpoint = reader.required_endpoint(names::KUBECOST_URL, "it is where costs come from");
        let auth = KUBECOST_AUTH.read(reader, endpoint.as_ref());
        let tenant = tenant(reader);
        let cluster = reader.required_text(names::CLUSTER_NAME, "the costs need a cluster's name");
        let window_seconds = window_seconds(reader);
        let interval = interval(reader, window_seconds);
        let modes = [("rate", MetricMode::Rate), ("total", MetricMode::Total)];
        let mode = reader.choice(names::METRIC_MODE, &modes);
        let currency = code(reader, names::CURRENCY);
        let idle = idle(reader);
        let has_pods = reader.flag(names::POD_METRICS);
        let has_nodes = reader.flag(names::NODE_METRICS);
        let pod_labels = pod_labels(reader);
        let series_max = number(reader, names::MAX_SERIES, 100, 1_000_000);
        let resolution = resolution(reader);
        let timeout = reader.duration(names::REQUEST_TIMEOUT, seconds(1), seconds(600));
        let stale_after = stale_after(reader, interval, timeout);
        let reply_bytes_max = number(reader, names::MAX_REPLY_BYTES, 65_536, 1 << 31);
        let serving = SERVING.required(reader);
        let metrics_access = METRICS_ACCESS.read(reader);
        let logs_json = reader.choice(names::LOG_FORMAT, &[("text", false), ("json", true)]);
        Some(Self {
            endpoint: endpoint?,
            auth: auth?,
            tenant: tenant?,
            cluster: cluster?,
            cluster_filter: reader.optional_text(names::CLUSTER_FILTER),
            interval: interval?,
            window_seconds: window_seconds?,
            mode: mode?,
            currency: currency?,
            idle: idle?,
            has_pods: has_pods?,
            has_nodes: has_nodes?,
            pod_labels,
            stale_after: stale_after?,
            series_max: series_max?,
            resolution: resolution?,
            timeout: timeout?,
            reply_bytes_max: reply_bytes_max?,
            serving: serving?,
            metrics_access: metrics_access?,
            logs_json: logs_json?,
        })
    }
}

fn tenant(reader: &mut Reader<'_>) -> Option<AccountId> {
    let why = "costs belong to a CloudTuner cloud account";
    let text = reader.required_text(names::TENANT_ID, why)?;
    AccountId::new(text).map_err(|error| reader.error(names::TENANT_ID, &error.to_string())).ok()
}

fn number(reader: &mut Reader<'_>, setting: Setting, least: u64, most: u64) -> Option<usize> {
    usize::try_from(reader.number(setting, least, most)?).ok()
}

fn interval(reader: &mut Reader<'_>, window_seconds: Option<i64>) -> Option<Duration> {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let interval = reader.duration(names::SCRAPE_INTERVAL, least, most)?;
    let polls = window_seconds? / i64::try_from(interval.as_secs()).ok()?;
    if polls < POLLS_LEAST {
        let what = "is longer than half of WINDOW: a window that seems half computed could not be \
                    looked at again before the next one is asked for";
        reader.error(names::SCRAPE_INTERVAL, what);
        return None;
    }
    Some(interval)
}

/// What a poll confirmed stands until the next but one could have confirmed it, however slow, so
/// that gauges do not vanish between polls that are all well.
fn stale_after(
    reader: &mut Reader<'_>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
) -> Option<Duration> {
    let (least, most) = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
    let stale_after = reader.duration(names::STALE_AFTER, least, most)?;
    let needed = interval? * 2 + timeout?;
    if stale_after < needed {
        let what = format!(
            "is less than twice SCRAPE_INTERVAL and REQUEST_TIMEOUT together ({} s): gauges would \
             vanish between two polls, so set STALE_AFTER to that or more",
            needed.as_secs()
        );
        reader.error(names::STALE_AFTER, &what);
        return None;
    }
    Some(stale_after)
}

/// Windows start at multiples of their length; only lengths that divide a day start at midnight.
fn window_seconds(reader: &mut Reader<'_>) -> Option<i64> {
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(86_400));
    let seconds = reader.duration(names::WINDOW, least, most)?.as_secs();
    let is_whole = seconds.is_multiple_of(if seconds < 3_600 { 60 } else { 3_600 });
    if !is_whole || 86_400 % seconds != 0 || (seconds < 3_600 && 3_600 % seconds != 0) {
        let lengths = "is not one of 1h, 2h, 3h, 4h, 6h, 8h, 12h and 1d (for trying out: a part of \
                       an hour in whole minutes)";
        reader.error(names::WINDOW, lengths);
        return None;
    }
    i64::try_from(seconds).ok()
}

fn idle(reader: &mut Reader<'_>) -> Option<Idle> {
    let ways = [
        ("false", Idle::Separate),
        ("true", Idle::SharedWeighted),
        ("weighted", Idle::SharedWeighted),
        ("even", Idle::SharedEven),
    ];
    let is_included = reader.flag(names::INCLUDE_IDLE);
    let idle = reader.choice(names::SHARE_IDLE, &ways);
    let (is_included, idle) = (is_included?, idle?);
    if !is_included && idle != Idle::Separate {
        // Both servers ignore the wish to share what is not included, without a word.
        let what = "shares idle cost, but INCLUDE_IDLE=false leaves it out";
        reader.error(names::SHARE_IDLE, what);
    }
    Some(if is_included { idle } else { Idle::None })
}

fn pod_labels(reader: &mut Reader<'_>) -> PodLabels {
    let text = reader.text(names::POD_LABELS).unwrap_or_default();
    let mut labels = PodLabels::default();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "node" => labels.node = true,
            "service" => labels.service = true,
            other => {
                reader.error(names::POD_LABELS, &format!("'{other}' is neither node nor service"))
            }
        }
    }
    labels
}

/// `None`: the setting is wrong; `Some(None)`: the server's own grid.
fn resolution(reader: &mut Reader<'_>) -> Option<Option<&'static str>> {
    let ways = [
        ("", None),
        ("1m", Some("1m")),
        ("2m", Some("2m")),
        ("5m", Some("5m")),
        ("10m", Some("10m")),
    ];
    reader.choice(names::RESOLUTION, &ways)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ConfigErrors, RawSettings};

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
        assert_eq!(config.serving.address.port(), 19_090);
        assert!(!config.has_pods && !config.has_nodes && config.serving.tls.is_none());
        assert!(matches!(config.metrics_access, Auth::None));
    }

    #[test]
    fn the_authorities_file_has_two_names_of_which_one_is_set() {
        let read = |pairs: &[(&str, &str)]| {
            let mut raw = RawSettings::of(SETTINGS, pairs);
            let files = CLIENT_TLS.read(&mut Reader::new(&mut raw));
            (files.authorities.map(|file| file.setting.name), raw.errors)
        };
        let both = [("CA_FILE", "/ca.pem"), ("KUBECOST_CA_FILE", "/other.pem")];
        assert_eq!(read(&both[..1]), (Some("CA_FILE"), Vec::new()));
        assert_eq!(read(&both[1..]), (Some("KUBECOST_CA_FILE"), Vec::new()));
        let (_, errors) = read(&both);
        assert_eq!(errors[0].name, "KUBECOST_CA_FILE");
        assert!(errors[0].what.contains("CA_FILE too: keep one"), "{errors:?}");
    }

    #[test]
    fn a_window_is_a_part_of_a_day_or_of_an_hour() {
        for (text, seconds) in [("1m", 60), ("15m", 900), ("1h", 3_600), ("1d", 86_400)] {
            let settings = [("WINDOW", text), ("SCRAPE_INTERVAL", "30")];
            assert_eq!(with(&settings).unwrap().window_seconds, seconds);
        }
    }

    #[test]
    fn each_window_can_be_asked_for_twice() {
        for (window, interval, is_right) in [
            ("1m", "30", true),
            ("1m", "31", false),
            ("1h", "30m", true),
            ("1h", "31m", false),
            ("2h", "1h", true),
        ] {
            let read = with(&[("WINDOW", window), ("SCRAPE_INTERVAL", interval)]);
            assert_eq!(read.is_ok(), is_right, "{window} {interval}");
            let named = read.map_or_else(|error| error.to_string(), |_| "SCRAPE_INTERVAL: ".into());
            assert!(named.starts_with("SCRAPE_INTERVAL: "), "{named}");
        }
    }

    #[test]
    fn an_answer_stands_until_the_next_but_one_poll_could_confirm_it() {
        let with_stale = |stale_after| {
            let polls = [("SCRAPE_INTERVAL", "5m"), ("REQUEST_TIMEOUT", "20s")];
            with(&[&polls[..], &[("STALE_AFTER", stale_after)]].concat())
        };
        assert_eq!(with_stale("620").unwrap().stale_after, Duration::from_secs(620));
        let error = with_stale("619").unwrap_err().to_string();
        for name in ["STALE_AFTER: ", "SCRAPE_INTERVAL", "REQUEST_TIMEOUT", "620 s"] {
            assert!(error.contains(name), "{error}");
        }
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
            ("WINDOW", "30s"),
            ("WINDOW", "7m"),
            ("METRIC_MODE", "cost"),
            ("POD_LABELS", "node,zone"),
            ("MAX_SERIES", "1"),
            ("RESOLUTION", "7m"),
            ("LISTEN_ADDR", "19090"),
            ("METRICS_TLS_CERT_FILE", "/tls/tls.crt"),
            ("KUBECOST_USER", "me"),
            ("METRICS_USER", "me"),
            ("METRICS_PASSWORD", "hush"),
            ("LISTEN_ADDR", ""),
        ] {
            let error = with(&[(name, value)]).unwrap_err();
            assert_eq!(error.0.len(), 1, "{error}");
        }
    }

    #[test]
    fn metrics_are_for_one_kind_of_credentials_and_empty_ones_are_none() {
        let read = |pairs: &[(&str, &str)]| with(pairs).map(|config| config.metrics_access);
        let both = [("METRICS_USER", "me"), ("METRICS_PASSWORD", "hush"), ("METRICS_TOKEN", "t")];
        assert!(matches!(read(&both[..2]), Ok(Auth::Basic(user, _)) if user == "me"));
        assert!(matches!(read(&both[2..]), Ok(Auth::Bearer(_))));
        assert!(matches!(read(&both.map(|(name, _)| (name, ""))), Ok(Auth::None)));
        assert!(read(&both).unwrap_err().to_string().starts_with("METRICS_TOKEN: "));
        let colon = [("METRICS_USER", "m:e"), both[1]];
        assert!(read(&colon).unwrap_err().to_string().contains("colon"));
    }

    #[test]
    fn all_that_is_wrong_is_reported_at_once() {
        let wrong = [("WINDOW", "90m"), ("LISTEN_ADDR", "19090"), ("KUBECOST_URL", "k:9090")];
        let error = with(&wrong).unwrap_err().to_string();
        for (name, _) in wrong {
            assert!(error.contains(&format!("{name}: ")), "{error}");
        }
        let none = ExporterConfig::validate(RawSettings::of(SETTINGS, &[])).unwrap_err();
        let names: Vec<_> = none.0.iter().map(|error| error.name.as_str()).collect();
        assert_eq!(names, ["KUBECOST_URL", "TENANT_ID", "CLUSTER_NAME"]);
    }
}
