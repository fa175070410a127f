//! The rates seen of query layers that only know "now", by account and slot of five minutes.
//!
//! MongoDB's collection `kubecost_rate_journal`, or a table of the embedded store.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::cost::AccountId;
use crate::service::failure::Failure;

pub mod memory;
pub mod mongo;
pub mod read_only;
pub mod sqlite;

/// One rate that was seen: USD per hour of a cluster, a namespace or a pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeenRate {
    /// Cluster.
    pub cluster: String,
    /// Namespace, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Pod, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Node, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Service, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// USD per hour.
    pub usd_per_hour: f64,
}

/// The window that a cluster's gauges were of in a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenWindow {
    /// Cluster.
    pub cluster: String,
    /// Its end, Unix seconds.
    pub end_seconds: i64,
    /// Its length, seconds.
    pub length_seconds: i64,
    /// Whether its exporter had only a part of it, or rows without a cost.
    #[serde(default)]
    pub is_incomplete: bool,
}

/// What a slot is, without its rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotHead {
    /// Start of the slot, Unix seconds.
    pub slot_seconds: i64,
    /// 1 or 2: where the rates come from.
    pub phase: u8,
    /// By how much the source lagged at that time, seconds, if it said so.
    pub lag_seconds: Option<i64>,
}

/// All rates of an account in one slot of [`SLOT_SECONDS`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotRates {
    /// The account.
    pub account: AccountId,
    /// Start of the slot, Unix seconds; a multiple of [`SLOT_SECONDS`].
    pub slot_seconds: i64,
    /// 1 or 2: where the rates come from.
    pub phase: u8,
    /// By how much the source lagged at that time, seconds, if it said so.
    pub lag_seconds: Option<i64>,
    /// How many numbers were no rates and are left out.
    #[serde(default)]
    pub refused: u32,
    /// Whether they are of the earlier exporter: averages over a window that does not say its end.
    #[serde(default)]
    pub is_approximate: bool,
    /// The windows that the rates are of, where the exporters say them.
    #[serde(default)]
    pub windows: Vec<SeenWindow>,
    /// The rates.
    pub rates: Vec<SeenRate>,
}

impl SlotRates {
    /// The slot without its rates.
    #[must_use]
    pub fn head(&self) -> SlotHead {
        let Self { slot_seconds, phase, lag_seconds, .. } = *self;
        SlotHead { slot_seconds, phase, lag_seconds }
    }
}

/// Length of a slot of the rate journal, seconds: the rhythm of runs.
pub const SLOT_SECONDS: i64 = 300;

/// How long slots are kept, seconds: three days, enough for yesterday and a late run.
pub const SLOT_KEPT_SECONDS: i64 = 3 * 86_400;

/// Keeps the rates seen of layers that only know "now".
#[async_trait]
pub trait RateJournal: Send + Sync {
    /// Notes a slot. The first note of a slot stands, so that two runs in one slot agree.
    ///
    /// # Errors
    /// When the store cannot be used.
    async fn note(&self, slot: &SlotRates) -> Result<(), Failure>;

    /// The slots of an account that start in `from..until` (Unix seconds), in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure>;

    /// The same without the rates, of which there may be many.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn heads(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotHead>, Failure>;
}
