//! Which number is explained, and what the stores have of it.

use crate::accounts::Account;
use crate::cost::{Day, Level, ResourceKey};
use crate::day_status::{DayStatus, DayStatusReader};
use crate::documents::{DocumentNames, ResourceNames};
use crate::ledger::{KeyState, LedgerReader};
use crate::run::day::inputs::CostedDay;
use crate::service::failure::{Failure, Hop, Kind};
use crate::settings::worker::RunConfig;
use crate::source::{CostSource, Phase};

use super::build::Stored;
use super::model::{Step, Wanted};

/// What an explanation reads.
pub struct ExplainStores<'a> {
    /// Expense rows.
    pub ledger: &'a dyn LedgerReader,
    /// The names of their documents.
    pub names: &'a dyn DocumentNames,
    /// Day status.
    pub status: &'a dyn DayStatusReader,
    /// Where costs are read.
    pub source: &'a dyn CostSource,
    /// How days are computed.
    pub settings: &'a RunConfig,
}

/// What is explained, as it was found.
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) costed: Option<CostedDay>,
    pub(super) phase: Option<Phase>,
    /// The arithmetic above the number by the stored rows, where the source was not asked for it.
    pub(super) steps_above: Vec<Step>,
    /// The time that the number is of, Unix seconds.
    pub(super) now_seconds: i64,
}

/// What the stores have of a day.
pub(super) struct DayRead<'a> {
    pub(super) account: &'a Account,
    pub(super) day: Day,
    pub(super) status: Option<DayStatus>,
    pub(super) states: Vec<KeyState>,
    pub(super) now_seconds: i64,
    /// The time that rows of pods are of, where that is before those above them.
    pub(super) pods_at: Option<i64>,
}

impl Found {
    /// Whether what was computed is what is stored, to the last bit.
    pub(super) fn is_as_stored(&self) -> bool {
        self.stored.is_computed(self.costed.as_ref())
    }
}

impl DayRead<'_> {
    /// The time that a number is of, Unix seconds: a pod's row may be older than the others.
    pub(super) fn at_seconds(&self, key: &ResourceKey) -> i64 {
        match self.pods_at.filter(|_| key.level() == Level::Pod) {
            Some(at_seconds) => self.now_seconds.min(at_seconds),
            None => self.now_seconds,
        }
    }

    /// What of it is of one number.
    pub(super) fn stored(
        &self,
        key: ResourceKey,
        document: Option<ResourceNames>,
        settings: &RunConfig,
    ) -> Stored {
        let id = document.as_ref().map(|document| &document.id);
        let of_key = |state: &&KeyState| Some(&state.resource_id) == id;
        let states = self.states.iter().filter(of_key).cloned().collect();
        Stored {
            account: self.account.id.clone(),
            day: self.day,
            key,
            document,
            states,
            status: self.status.clone(),
            levels: settings.levels.to_string(),
        }
    }
}

/// What is asked for, and its document among those of the day.
pub(super) fn subject(
    account: &Account,
    wanted: &Wanted,
    names: &[ResourceNames],
) -> Result<(ResourceKey, Option<ResourceNames>), Failure> {
    let refuse = |what: String, fix: &str| Failure::new(Hop::Worker, Kind::Refused, what, fix);
    match wanted {
        Wanted::Resource(id) => {
            let found = names.iter().find(|one| one.id == *id || one.cloud_resource_id == *id);
            let found = found.ok_or_else(|| {
                let what = format!("no row of the day is of the resource '{id}'");
                refuse(what, "give --cluster, --namespace and --pod to see why there is none")
            })?;
            let key = key_of(found).ok_or_else(|| {
                let what = format!("'{id}' is of no level that this program writes");
                refuse(what, "see the document's resource_type")
            })?;
            Ok((key, Some(found.clone())))
        }
        Wanted::Names { cluster, namespace, pod } => {
            let cluster = match cluster {
                Some(cluster) => cluster.clone(),
                None => only_cluster(names).ok_or_else(|| {
                    refuse("the day has not exactly one cluster".into(), "give --cluster")
                })?,
            };
            let key = match (namespace.clone(), pod.clone()) {
                (None, _) => ResourceKey::Cluster { cluster },
                (Some(namespace), None) => ResourceKey::Namespace { cluster, namespace },
                (Some(namespace), Some(pod)) => ResourceKey::Pod { cluster, namespace, pod },
            };
            let id = key.id(&account.id);
            let document = names.iter().find(|one| one.cloud_resource_id == id).cloned();
            Ok((key, document))
        }
    }
}

fn only_cluster(names: &[ResourceNames]) -> Option<String> {
    let mut clusters: Vec<&String> = names.iter().filter_map(|one| one.cluster.as_ref()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    match clusters.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}

fn key_of(names: &ResourceNames) -> Option<ResourceKey> {
    let level = Level::ALL
        .into_iter()
        .find(|level| crate::documents::document::resource_type(*level) == names.resource_type)?;
    let cluster = names.cluster.clone().unwrap_or_default();
    let namespace = names.namespace.clone();
    match level.as_str() {
        "cluster" => Some(ResourceKey::Cluster { cluster }),
        "namespace" => Some(ResourceKey::Namespace { cluster, namespace: namespace? }),
        "pod" => {
            let pod = names.pod()?.to_owned();
            Some(ResourceKey::Pod { cluster, namespace: namespace?, pod })
        }
        _ => None,
    }
}
