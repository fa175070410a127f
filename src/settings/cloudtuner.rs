//! How CloudTuner's REST API and its resource documents are used.

use std::time::Duration;

use crate::documents::PoolOwner;

use super::parse::Reader;
use super::secret::{Endpoint, Secret};

/// CloudTuner's REST API.
#[derive(Clone, Debug)]
pub struct RestConfig {
    /// Its address.
    pub endpoint: Endpoint,
    /// The header `Secret`.
    pub secret: Secret,
}

/// How resource documents are made.
#[derive(Clone, Debug)]
pub struct ResourcesConfig {
    /// Whether the REST API's bulk call makes new documents, by its assignment rules.
    pub by_rest: bool,
    /// Pool and owner of documents that this program makes itself, if set.
    pub owner: Option<PoolOwner>,
    /// How far a document's `last_seen` may fall behind the last sample.
    pub seen_interval: Duration,
    /// How often an account's unchanged import status is sent.
    pub status_interval: Duration,
}

/// The REST API, where both its address and its secret are set.
pub(super) fn rest(reader: &mut Reader<'_>) -> Option<RestConfig> {
    reader.text("REST_URL").filter(|text| !text.is_empty())?;
    let endpoint = reader.endpoint("REST_URL")?;
    let secret = reader.secret("CLUSTER_SECRET")?;
    Some(RestConfig { endpoint, secret })
}

/// Reads the settings; what is wrong is noted in the reader.
pub(super) fn resources(reader: &mut Reader<'_>, is_sqlite: bool) -> ResourcesConfig {
    let seconds = Duration::from_secs;
    let by_rest = reader.choice("RESOURCES", &[("mongo", false), ("rest", true)]).unwrap_or(false);
    if by_rest && is_sqlite {
        let what = "is 'rest', but STORE=sqlite has no CloudTuner: leave it at mongo";
        reader.error("RESOURCES", what);
    } else if by_rest {
        reader.required_endpoint("REST_URL", "RESOURCES=rest needs it");
        reader.required_secret("CLUSTER_SECRET", "RESOURCES=rest needs it");
    }
    let mut given = |name: &str| reader.text(name).filter(|text| !text.trim().is_empty());
    let owner = match (given("DEFAULT_POOL_ID"), given("DEFAULT_EMPLOYEE_ID")) {
        (Some(pool_id), Some(employee_id)) => Some(PoolOwner { pool_id, employee_id }),
        (None, None) => None,
        (Some(_), None) => {
            reader.error("DEFAULT_EMPLOYEE_ID", "is not set, but DEFAULT_POOL_ID needs it");
            None
        }
        (None, Some(_)) => {
            reader.error("DEFAULT_POOL_ID", "is not set, but DEFAULT_EMPLOYEE_ID needs it");
            None
        }
    };
    ResourcesConfig {
        by_rest,
        owner,
        seen_interval: reader.duration("SEEN_INTERVAL", seconds(60), seconds(3_000)),
        status_interval: reader.duration("STATUS_INTERVAL", seconds(60), seconds(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;
    use crate::settings::worker::SETTINGS;

    fn read(pairs: &[(&str, &str)], is_sqlite: bool) -> (ResourcesConfig, Vec<String>) {
        let mut raw = RawSettings::of(SETTINGS, pairs);
        let config = resources(&mut Reader::new(SETTINGS, &mut raw), is_sqlite);
        (config, raw.errors.iter().map(|e| format!("{}: {}", e.name, e.what)).collect())
    }

    #[test]
    fn pool_and_owner_are_set_together_or_not_at_all() {
        let both = [("DEFAULT_POOL_ID", "p"), ("DEFAULT_EMPLOYEE_ID", "e")];
        let (config, errors) = read(&both, false);
        let owner = PoolOwner { pool_id: "p".into(), employee_id: "e".into() };
        assert_eq!((config.owner, errors), (Some(owner), vec![]));
        for (index, missing) in [(0, "DEFAULT_EMPLOYEE_ID"), (1, "DEFAULT_POOL_ID")] {
            let (config, errors) = read(&both[index..=index], false);
            assert_eq!(config.owner, None);
            assert!(errors[0].starts_with(missing), "{errors:?}");
        }
    }

    #[test]
    fn documents_by_the_rest_api_need_it_and_cloudtuner() {
        let (_, errors) = read(&[("RESOURCES", "rest")], false);
        let text = errors.join("\n");
        assert!(text.contains("REST_URL") && text.contains("CLUSTER_SECRET"), "{text}");
        let (_, errors) = read(&[("RESOURCES", "rest")], true);
        assert!(errors[0].contains("STORE=sqlite"), "{errors:?}");
        let (_, errors) = read(&[("RESOURCES", "sql")], false);
        assert!(errors[0].starts_with("RESOURCES: "), "{errors:?}");
    }
}
