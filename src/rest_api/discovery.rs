//! When an account's pods were last discovered, which decides whether they stay `active`.
//!
//! The API's observer keeps `active` of those documents of type `K8s Pod` only whose `last_seen`
//! is at or after the account's `last_discovery_at`; where that is 0, of none. CloudTuner's own
//! discovery, where it runs for the account, sets the time too.

use async_trait::async_trait;
use reqwest::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::cost::AccountId;
use crate::service::failure::{Failure, Hop, Kind};

use super::accounts::is_live;
use super::client::{Call, RestClient};
use super::form::{SECONDS_MAX, path_part};

/// The time of the last discovery of an account's pods: a pod that was last seen before it loses
/// its `active`, and where it is 0 all pods do.
#[async_trait]
pub trait DiscoveryInfo: Send + Sync {
    /// What the API has; `None` where the account has no record of the kind `k8s_pod`.
    ///
    /// # Errors
    /// When the call fails, or the API does not have the account.
    async fn pod_discovery(&self, account: &AccountId) -> Result<Option<PodDiscovery>, Failure>;

    /// Sets the time, in a new record where there is none. [`correction`] says which.
    ///
    /// # Errors
    /// When a call fails, or the time cannot be sent.
    async fn set_pod_discovery(&self, account: &AccountId, at_seconds: i64) -> Result<(), Failure>;
}

/// The API's word for pods.
const POD_TYPE: &str = "k8s_pod";

/// The record of an account's last discovery of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDiscovery {
    /// The record's id.
    pub id: String,
    /// Unix seconds; 0: never.
    pub last_discovery_at: i64,
    /// Whether CloudTuner's own discovery looks for the account's pods and sets the time itself.
    pub enabled: bool,
}

#[derive(Deserialize)]
struct Records {
    discovery_info: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    resource_type: String,
    #[serde(default)]
    last_discovery_at: Option<i64>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    deleted_at: Option<i64>,
}

/// The time to set so that every pod seen at `oldest_seconds` or later stays `active`; `None`
/// where the recorded time is right, or no pod was seen.
#[must_use]
pub fn correction(recorded: Option<&PodDiscovery>, oldest_seconds: Option<i64>) -> Option<i64> {
    let oldest_seconds = oldest_seconds?;
    let at = recorded.map_or(0, |recorded| recorded.last_discovery_at);
    if at > 0 && at <= oldest_seconds { None } else { Some(oldest_seconds) }
}

impl RestClient {
    /// A new record. Its time cannot be given with it.
    async fn add_pod_record(&self, account: &AccountId) -> Result<PodDiscovery, Failure> {
        let call = Call {
            method: Method::POST,
            path: format!("{}/bulk", records_path(account)),
            query: &[],
            body: Some(json!({"discovery_info": [{"resource_type": POD_TYPE}]})),
        };
        match self.call_once::<Records>(&call).await {
            Ok(records) => first_pod_record(records).ok_or_else(|| lacking(account)),
            // Another process was faster.
            Err(refusal) if refusal.status == Some(409) => {
                self.pod_discovery(account).await?.ok_or_else(|| lacking(account))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

#[async_trait]
impl DiscoveryInfo for RestClient {
    async fn pod_discovery(&self, account: &AccountId) -> Result<Option<PodDiscovery>, Failure> {
        let call =
            Call { query: &[("resource_type", POD_TYPE)], ..Call::get(records_path(account)) };
        Ok(first_pod_record(self.call(&call, self.request_timeout()).await?))
    }

    async fn set_pod_discovery(&self, account: &AccountId, at_seconds: i64) -> Result<(), Failure> {
        if !(0..=SECONDS_MAX).contains(&at_seconds) {
            let what = format!(
                "the discovery time of account {account} cannot be set: {at_seconds} is not \
                 within 0 to {SECONDS_MAX}"
            );
            return Err(Failure::new(Hop::Worker, Kind::Internal, what, "check the clocks"));
        }
        let record = match self.pod_discovery(account).await? {
            Some(record) => record,
            None => self.add_pod_record(account).await?,
        };
        let call = Call {
            method: Method::PATCH,
            path: format!("/restapi/v2/discovery_info/{}", path_part(&record.id)),
            query: &[],
            body: Some(json!({"last_discovery_at": at_seconds})),
        };
        let IgnoredAny = self.call(&call, self.request_timeout()).await?;
        Ok(())
    }
}

fn records_path(account: &AccountId) -> String {
    format!("/restapi/v2/cloud_accounts/{}/discovery_info", path_part(account.as_str()))
}

fn first_pod_record(records: Records) -> Option<PodDiscovery> {
    let is_pod = |r: &Record| r.resource_type == POD_TYPE && is_live(r.deleted_at);
    let record = records.discovery_info.into_iter().find(is_pod)?;
    Some(PodDiscovery {
        id: record.id,
        last_discovery_at: record.last_discovery_at.unwrap_or(0),
        enabled: record.enabled.unwrap_or(true),
    })
}

fn lacking(account: &AccountId) -> Failure {
    let what =
        format!("account {account} has no discovery record of {POD_TYPE}, though one is made");
    Failure::new(Hop::RestApi, Kind::BadReply, what, "see the REST API's log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_live_record_of_pods_counts() {
        let reply = r#"{"discovery_info": [
            {"id": "v", "resource_type": "volume", "last_discovery_at": 1},
            {"id": "gone", "resource_type": "k8s_pod", "deleted_at": 5},
            {"id": "p", "resource_type": "k8s_pod", "deleted_at": 0, "last_discovery_at": 7,
                "enabled": false}]}"#;
        let found = first_pod_record(serde_json::from_str(reply).unwrap());
        let wanted = PodDiscovery { id: "p".to_owned(), last_discovery_at: 7, enabled: false };
        assert_eq!(found, Some(wanted));
    }

    #[test]
    fn the_time_is_corrected_where_it_would_hide_pods_and_only_there() {
        let recorded = |last_discovery_at| PodDiscovery {
            id: "d".to_owned(),
            last_discovery_at,
            enabled: true,
        };
        assert_eq!(correction(None, Some(500)), Some(500), "no record");
        assert_eq!(correction(Some(&recorded(0)), Some(500)), Some(500), "never");
        assert_eq!(correction(Some(&recorded(501)), Some(500)), Some(500), "too late");
        assert_eq!(correction(Some(&recorded(500)), Some(500)), None);
        assert_eq!(correction(Some(&recorded(1)), Some(500)), None);
        assert_eq!(correction(Some(&recorded(501)), None), None, "no pods");
    }
}
