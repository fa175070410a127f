//! Where the worker's own metrics go.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::{ReadSettings, Reader};
use super::secret::Endpoint;
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

/// Where `schedule` serves its metrics, if anywhere.
pub(super) fn listen(reader: &mut Reader<'_>) -> Option<SocketAddr> {
    let text = reader.optional_text(names::METRICS_ADDR)?;
    let address = text.parse().ok();
    if address.is_none() {
        let what = format!("'{text}' is no address; an example: 0.0.0.0:9091");
        reader.error(names::METRICS_ADDR, &what);
    }
    address
}
