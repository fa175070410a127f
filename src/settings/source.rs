//! Where costs are read.

use super::auth::{Auth, AuthSettings};
use super::cluster_label::ClusterLabel;
use super::currency::CurrencyConfig;
use super::headers::RequestHeaders;
use super::reader::{ReadSettings, Reader};
use super::secret::{Endpoint, Secret};
use super::worker_names as names;

const PROMETHEUS_AUTH: AuthSettings = AuthSettings {
    url: names::PROMETHEUS_URL,
    user: names::PROMETHEUS_USER,
    password: names::PROMETHEUS_PASSWORD,
    token: names::PROMETHEUS_TOKEN,
};

/// Where costs are read.
#[derive(Clone, Debug)]
pub enum QueryConfig {
    /// A server that understands PromQL.
    Prometheus {
        /// Its address.
        endpoint: Endpoint,
        /// How requests to it are authenticated.
        auth: Auth,
        /// Headers that requests to it have.
        headers: RequestHeaders,
        /// The label that holds the account's id, if any.
        tenant_label: Option<String>,
        /// The label that names a series' cluster.
        cluster_label: ClusterLabel,
        /// Most samples one query may touch at a time.
        samples_max: u64,
        /// The ledger's currency, and the rates of others.
        currency: CurrencyConfig,
    },
    /// CloudTuner's metrics service.
    Metroculus {
        /// Its address.
        endpoint: Endpoint,
        /// The header `Secret`.
        secret: Secret,
        /// The ledger's currency.
        currency: String,
    },
    /// A Kubecost or an OpenCost.
    AllocationApi {
        /// Its address.
        endpoint: Endpoint,
        /// How requests to it are authenticated.
        auth: Auth,
        /// The only cluster whose costs are taken.
        cluster_filter: Option<String>,
        /// The ledger's currency.
        currency: String,
    },
}

impl QueryConfig {
    /// Whether the server holds one account's costs only, without a label that names it.
    #[must_use]
    pub fn is_one_tenant(&self) -> bool {
        match self {
            Self::Prometheus { tenant_label, .. } => tenant_label.is_none(),
            Self::Metroculus { .. } => false,
            Self::AllocationApi { .. } => true,
        }
    }
}

impl ReadSettings for QueryConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        type Read = fn(&mut Reader<'_>) -> Option<QueryConfig>;
        let layers: [(&str, Read); 3] = [
            ("prometheus", prometheus),
            ("metroculus", metroculus),
            ("allocation-api", allocation_api),
        ];
        let Some(read) = reader.choice(names::QUERY_LAYER, &layers) else {
            note_errors_of_values(reader);
            return None;
        };
        read(reader)
    }
}

/// Notes what is wrong with values whichever layer they are for: it is not known which is meant.
fn note_errors_of_values(reader: &mut Reader<'_>) {
    headers(reader);
    tenant_label(reader);
    cluster_label(reader);
    samples_max(reader);
    // What is wrong is noted; the values are not wanted.
    let _ = CurrencyConfig::read(reader);
}

fn samples_max(reader: &mut Reader<'_>) -> Option<u64> {
    reader.number(names::MAX_SAMPLES, 1_440, 1_000_000_000)
}

fn prometheus(reader: &mut Reader<'_>) -> Option<QueryConfig> {
    let why = "QUERY_LAYER=prometheus needs it";
    let endpoint = reader.required_endpoint(names::PROMETHEUS_URL, why);
    let auth = PROMETHEUS_AUTH.read(reader, endpoint.as_ref());
    let headers = headers(reader);
    let tenant_label = tenant_label(reader);
    let cluster_label = cluster_label(reader);
    let samples_max = samples_max(reader);
    let currency = CurrencyConfig::read(reader);
    Some(QueryConfig::Prometheus {
        endpoint: endpoint?,
        auth: auth?,
        headers: headers?,
        tenant_label,
        cluster_label: cluster_label?,
        samples_max: samples_max?,
        currency: currency?,
    })
}

fn metroculus(reader: &mut Reader<'_>) -> Option<QueryConfig> {
    let why = "QUERY_LAYER=metroculus needs it";
    let endpoint = reader.required_endpoint(names::METROCULUS_URL, why);
    let secret = reader.required_secret(names::CLUSTER_SECRET, why);
    let currency = CurrencyConfig::read(reader);
    Some(QueryConfig::Metroculus { endpoint: endpoint?, secret: secret?, currency: currency?.code })
}

fn allocation_api(reader: &mut Reader<'_>) -> Option<QueryConfig> {
    let why = "QUERY_LAYER=allocation-api needs it";
    let endpoint = reader.required_endpoint(names::KUBECOST_URL, why);
    let currency = CurrencyConfig::read(reader);
    let cluster_filter = reader.optional_text(names::CLUSTER_FILTER);
    let (endpoint, currency) = (endpoint?, currency?.code);
    let auth = Auth::in_address(&endpoint);
    Some(QueryConfig::AllocationApi { auth, endpoint, cluster_filter, currency })
}

fn headers(reader: &mut Reader<'_>) -> Option<RequestHeaders> {
    let text = reader.secret(names::PROMETHEUS_HEADERS);
    let parsed = RequestHeaders::parse(text.as_ref().map_or("", |text| text.expose()));
    parsed.map_err(|what| reader.error(names::PROMETHEUS_HEADERS, &what)).ok()
}

fn tenant_label(reader: &mut Reader<'_>) -> Option<String> {
    let label = reader.text(names::TENANT_LABEL).unwrap_or_default();
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if label.starts_with(|c: char| c.is_ascii_digit()) || !label.chars().all(fits) {
        reader.error(names::TENANT_LABEL, &format!("'{label}' is no label name"));
    }
    (!label.is_empty()).then_some(label)
}

fn cluster_label(reader: &mut Reader<'_>) -> Option<ClusterLabel> {
    let text = reader.text(names::CLUSTER_LABEL).unwrap_or_default();
    let parsed = ClusterLabel::parse(&text);
    parsed.map_err(|what| reader.error(names::CLUSTER_LABEL, &what)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;
    use crate::settings::worker::SETTINGS;

    fn wrong(pairs: &[(&str, &str)]) -> Vec<String> {
        let raw = RawSettings::of(SETTINGS, pairs);
        let errors = QueryConfig::validate(raw).unwrap_err();
        errors.0.into_iter().map(|error| error.name).collect()
    }

    #[test]
    fn a_wrong_layer_or_address_hides_no_other_error() {
        let (currency, samples) = (("CURRENCY", "euro"), ("MAX_SAMPLES", "1"));
        let named = wrong(&[("QUERY_LAYER", "thanos"), currency, samples]);
        assert_eq!(named, ["QUERY_LAYER", "MAX_SAMPLES", "CURRENCY"]);
        let api = ("QUERY_LAYER", "allocation-api");
        assert_eq!(wrong(&[api, ("KUBECOST_URL", "k"), currency]), ["KUBECOST_URL", "CURRENCY"]);
        assert_eq!(wrong(&[api, currency]), ["KUBECOST_URL", "CURRENCY"]);
        let prometheus = [("PROMETHEUS_URL", "p"), currency, samples];
        assert_eq!(wrong(&prometheus), ["PROMETHEUS_URL", "MAX_SAMPLES", "CURRENCY"]);
    }
}
