//! How CloudTuner's REST API and its resource documents are used.

use std::time::Duration;

use super::reader::{ReadSettings, Reader};
use super::secret::{Endpoint, Secret};
use super::store::StoreKind;
use super::worker_names as names;

/// Pool and owner of new documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOwner {
    /// `pool_id`.
    pub pool_id: String,
    /// `employee_id`.
    pub employee_id: String,
}

/// CloudTuner's REST API.
#[derive(Clone, Debug)]
pub struct RestConfig {
    /// Its address.
    pub endpoint: Endpoint,
    /// The header `Secret`.
    pub secret: Secret,
}

/// Which Kubernetes labels become tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LabelTags {
    /// None.
    #[default]
    Off,
    /// Those of these names, in the form that metrics have them: anything but letters, digits and
    /// `_` is a `_`.
    Named(Vec<String>),
    /// All.
    All,
}

impl LabelTags {
    /// The labels of a text such as `app,team` or `*`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let name = |word: &str| -> String {
            word.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
        };
        let mut names: Vec<String> =
            text.split(',').map(name).filter(|name| !name.is_empty()).collect();
        names.sort();
        names.dedup();
        match text.trim() {
            "*" => Self::All,
            _ if names.is_empty() => Self::Off,
            _ => Self::Named(names),
        }
    }
}

/// How resource documents are made.
#[derive(Clone, Debug)]
pub struct ResourcesConfig {
    /// Whether the REST API's bulk call makes new documents, by its assignment rules.
    pub by_rest: bool,
    /// Pool and owner of documents that this program makes itself, if set.
    pub owner: Option<PoolOwner>,
    /// Which labels become tags.
    pub label_tags: LabelTags,
    /// How far a document's `last_seen` may fall behind the last sample.
    pub seen_interval: Duration,
    /// How often an account's unchanged import status is sent.
    pub status_interval: Duration,
}

impl RestConfig {
    /// The REST API, where both its address and its secret are set.
    pub(super) fn optional(reader: &mut Reader<'_>) -> Option<Self> {
        let endpoint = reader.optional_endpoint(names::REST_URL)?;
        let secret = reader.secret(names::CLUSTER_SECRET)?;
        Some(Self { endpoint, secret })
    }

    /// The REST API, which must be set.
    pub(super) fn required(reader: &mut Reader<'_>, why: &str) -> Option<Self> {
        let endpoint = reader.required_endpoint(names::REST_URL, why);
        let secret = reader.required_secret(names::CLUSTER_SECRET, why);
        Some(Self { endpoint: endpoint?, secret: secret? })
    }
}

impl ReadSettings for ResourcesConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let seconds = Duration::from_secs;
        let by_rest = reader.choice(names::RESOURCES, &[("mongo", false), ("rest", true)]);
        if by_rest == Some(true) {
            if let Some(StoreKind::Sqlite(_)) = StoreKind::read(reader) {
                let what = "is 'rest', but STORE=sqlite has no CloudTuner: leave it at mongo";
                reader.error(names::RESOURCES, what);
            } else {
                RestConfig::required(reader, "RESOURCES=rest needs it");
            }
        }
        let owner = owner(reader);
        let seen = reader.duration(names::SEEN_INTERVAL, seconds(60), seconds(3_000));
        let status = reader.duration(names::STATUS_INTERVAL, seconds(60), seconds(86_400));
        let labels = reader.optional_text(names::TAGS_FROM_LABELS);
        Some(Self {
            by_rest: by_rest?,
            owner,
            label_tags: labels.map_or(LabelTags::Off, |text| LabelTags::of(&text)),
            seen_interval: seen?,
            status_interval: status?,
        })
    }
}

/// Pool and owner that are set, if they are.
pub(super) fn owner(reader: &mut Reader<'_>) -> Option<PoolOwner> {
    let pool_id = reader.optional_text(names::DEFAULT_POOL_ID);
    let employee_id = reader.optional_text(names::DEFAULT_EMPLOYEE_ID);
    if pool_id.is_some() && employee_id.is_none() {
        reader.error(names::DEFAULT_EMPLOYEE_ID, "is not set, but DEFAULT_POOL_ID needs it");
    } else if pool_id.is_none() && employee_id.is_some() {
        reader.error(names::DEFAULT_POOL_ID, "is not set, but DEFAULT_EMPLOYEE_ID needs it");
    }
    Some(PoolOwner { pool_id: pool_id?, employee_id: employee_id? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;

    fn read(pairs: &[(&str, &str)]) -> Result<ResourcesConfig, String> {
        let raw = RawSettings::of(names::SETTINGS, pairs);
        ResourcesConfig::validate(raw).map_err(|errors| errors.to_string())
    }

    #[test]
    fn pool_and_owner_are_set_together_or_not_at_all() {
        let both = [("DEFAULT_POOL_ID", "p"), ("DEFAULT_EMPLOYEE_ID", "e")];
        let owner = PoolOwner { pool_id: "p".into(), employee_id: "e".into() };
        assert_eq!(read(&both).unwrap().owner, Some(owner));
        assert_eq!(read(&[]).unwrap().owner, None);
        for (index, missing) in [(0, "DEFAULT_EMPLOYEE_ID"), (1, "DEFAULT_POOL_ID")] {
            let error = read(&both[index..=index]).unwrap_err();
            assert!(error.starts_with(missing), "{error}");
        }
    }

    #[test]
    fn labels_are_named_as_metrics_have_them() {
        let named = |names: &[&str]| {
            LabelTags::Named(names.iter().map(|name| (*name).to_owned()).collect())
        };
        let of = |text: &str| read(&[("TAGS_FROM_LABELS", text)]).unwrap().label_tags;
        assert_eq!(of("team, app,team"), named(&["app", "team"]));
        assert_eq!(of("app.kubernetes.io/name"), named(&["app_kubernetes_io_name"]));
        assert_eq!((of(" * "), of(" , ")), (LabelTags::All, LabelTags::Off));
        assert_eq!(read(&[]).unwrap().label_tags, LabelTags::Off);
    }

    #[test]
    fn documents_by_the_rest_api_need_it_and_cloudtuner() {
        let error = read(&[("RESOURCES", "rest")]).unwrap_err();
        assert!(error.contains("REST_URL") && error.contains("CLUSTER_SECRET"), "{error}");
        let error = read(&[("RESOURCES", "rest"), ("STORE", "sqlite:x")]).unwrap_err();
        assert!(error.contains("STORE=sqlite"), "{error}");
        let error = read(&[("RESOURCES", "sql")]).unwrap_err();
        assert!(error.starts_with("RESOURCES: "), "{error}");
    }
}
