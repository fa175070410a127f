//! Hops that only `verify` looks at; each may be left out.

use super::auth::{Auth, AuthSettings};
use super::raw::Setting;
use super::reader::{ReadSettings, Reader};
use super::secret::{Endpoint, Secret};
use super::worker_names as names;

const SOURCE_AUTH: AuthSettings = AuthSettings {
    url: names::SOURCE_PROMETHEUS_URL,
    user: names::SOURCE_PROMETHEUS_USER,
    password: names::SOURCE_PROMETHEUS_PASSWORD,
    token: names::SOURCE_PROMETHEUS_TOKEN,
};
const DIPROXY_AUTH: AuthSettings = AuthSettings {
    url: names::DIPROXY_URL,
    user: names::DIPROXY_USER,
    password: names::DIPROXY_PASSWORD,
    token: names::DIPROXY_TOKEN,
};

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

impl ReadSettings for HopsConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut with_auth = |url: Setting, settings: AuthSettings| {
            let endpoint = reader.optional_endpoint(url);
            let auth = settings.read(reader, endpoint.as_ref());
            endpoint.zip(auth)
        };
        Some(Self {
            source: with_auth(names::SOURCE_PROMETHEUS_URL, SOURCE_AUTH),
            diproxy: with_auth(names::DIPROXY_URL, DIPROXY_AUTH),
            exporter: reader.optional_endpoint(names::EXPORTER_URL),
            metroculus: reader.optional_endpoint(names::METROCULUS_URL),
            rest: reader.optional_endpoint(names::REST_URL),
            secret: reader.secret(names::CLUSTER_SECRET),
            rest_token: reader.secret(names::REST_TOKEN),
        })
    }
}
