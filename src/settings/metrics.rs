//! Where the worker's own metrics go.

use std::path::PathBuf;

use super::reader::{ReadSettings, Reader};
use super::secret::Endpoint;
use super::serving::{AccessSettings, ServingSettings};
use super::worker_names as names;

/// Where `run` leaves its metrics when it ends.
#[derive(Clone, Debug, Default)]
pub struct MetricsConfig {
    /// The file.
    pub textfile: Option<PathBuf>,
    /// The Pushgateway.
    pub pushgateway: Option<Endpoint>,
}

impl ReadSettings for MetricsConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            textfile: reader.optional_text(names::METRICS_TEXTFILE).map(PathBuf::from),
            pushgateway: reader.optional_endpoint(names::METRICS_PUSHGATEWAY_URL),
        })
    }
}

/// Where `schedule` serves its metrics.
pub(super) const SERVING: ServingSettings = ServingSettings {
    address: names::METRICS_ADDR,
    example: "0.0.0.0:19090",
    certificate: names::METRICS_TLS_CERT_FILE,
    key: names::METRICS_TLS_KEY_FILE,
};

/// Who may read the metrics that are served.
pub(super) const ACCESS: AccessSettings = AccessSettings {
    user: names::METRICS_USER,
    password: names::METRICS_PASSWORD,
    token: names::METRICS_TOKEN,
};
