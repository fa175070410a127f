//! An explanation, as a value. Its JSON holds all that an independent program needs.

use serde::Serialize;

use crate::cost::bound::DayBound;
use crate::cost::{AccountId, ClusterCosts, Day, ResourceKey};
use crate::day_status::{DayState, DayStatus};
use crate::documents::ResourceNames;
use crate::ledger::KeyState;
use crate::source::Reading;

/// Which number is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That of names.
    Names {
        /// The cluster; `None`: the day's only one.
        cluster: Option<String>,
        /// The namespace.
        namespace: Option<String>,
        /// The pod.
        pod: Option<String>,
    },
    /// That of a document, by its `_id` or its stable id.
    Resource(String),
}

/// What a number is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subject {
    /// `cluster`, `namespace` or `pod`.
    pub level: &'static str,
    /// The cluster.
    pub cluster: String,
    /// The namespace.
    pub namespace: Option<String>,
    /// The pod.
    pub pod: Option<String>,
    /// The stable id.
    pub cloud_resource_id: String,
}

impl Subject {
    /// The subject of a key.
    #[must_use]
    pub fn of(key: &ResourceKey, account: &AccountId) -> Self {
        Self {
            level: key.level().as_str(),
            cluster: key.cluster().to_owned(),
            namespace: key.namespace().map(str::to_owned),
            pod: key.pod().map(str::to_owned),
            cloud_resource_id: key.id(account),
        }
    }
}

/// A row of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StoredRow {
    /// MongoDB's `_id`.
    pub resource_id: String,
    /// Unix seconds.
    pub date_seconds: i64,
    /// `k8s_namespace`.
    pub namespace: Option<String>,
    /// `k8s_node`.
    pub node: Option<String>,
    /// `sum(cost * sign)`, USD.
    pub cost_usd: f64,
    /// `sum(sign)`.
    pub sign: i64,
    /// Rows that do not cancel out, as sign and cost, where it is anything but one live row.
    pub unpaired: Vec<(i8, f64)>,
}

impl From<&KeyState> for StoredRow {
    fn from(state: &KeyState) -> Self {
        Self {
            resource_id: state.resource_id.clone(),
            date_seconds: state.date_seconds,
            namespace: state.dimensions.namespace.clone(),
            node: state.dimensions.node.clone(),
            cost_usd: state.cost_usd,
            sign: state.sign_sum,
            unpaired: state.unpaired.iter().map(|row| (row.sign, row.cost_usd)).collect(),
        }
    }
}

/// What the query layer says of the day, beside costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceFacts {
    /// The layer, without credentials.
    pub address: String,
    /// 1 (raw metrics) or 2 (the exporter's gauges).
    pub phase: u8,
    /// Minutes of the day with samples, of the number's cluster.
    pub covered_minutes: u32,
    /// Minutes that could have samples.
    pub expected_minutes: u32,
    /// By how much the gauges lag behind their cost, seconds.
    pub lag_seconds: i64,
    /// By what its costs were multiplied to stand for gaps: 1 where they were not.
    pub scaled_by: f64,
    /// Gaps, approximations, missing metrics, conflicts and warnings, a sentence each.
    pub notes: Vec<String>,
}

/// One step of the remainder arithmetic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What it is of.
    pub level: &'static str,
    /// Its name.
    pub name: String,
    /// The source's total of the day, USD, before rounding; `None` where the source has none.
    pub source_usd: Option<f64>,
    /// Rounded to a multiple of 2^-24 USD.
    pub rounded_usd: f64,
    /// The rows beneath it, USD.
    pub beneath_usd: f64,
    /// Its own row: the difference, USD.
    pub row_usd: f64,
    /// How many rows lie beneath.
    pub rows_beneath: usize,
    /// Whether it is added up from the stored rows, because the source was asked for less.
    pub is_of_rows: bool,
}

/// A question that anyone can send to the query layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Question {
    /// What it asks for.
    pub what: String,
    /// PromQL, or path and query of a GET.
    pub query: String,
    /// When PromQL is evaluated, Unix seconds; absent for a GET.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<i64>,
}

/// An hour of the day.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Hour {
    /// Its start, Unix seconds.
    pub start: i64,
    /// What it costs, USD: also its mean rate in USD per hour.
    pub usd: f64,
    /// Minutes with a sample.
    pub minutes: u32,
}

/// How the number is found in raw samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Raw {
    /// `phase-1`, `phase-2`, `metroculus` or `allocation-api`.
    pub method: &'static str,
    /// Label and value that select the account's series; absent where the server has one tenant.
    pub tenant: Option<(String, String)>,
    /// Labels that name clusters: of those that a series has, the first.
    pub cluster_labels: Vec<String>,
    /// The cluster of series without that label.
    pub default_cluster: String,
    /// The first second of the day.
    pub start: i64,
    /// The second after the last one that counts.
    pub end: i64,
    /// Distance of the minutes that are added up, seconds.
    pub step_seconds: i64,
    /// How long a sample stands where no other follows, seconds.
    pub lookback_seconds: i64,
    /// How the source was read, as far as samples alone do not say it.
    pub reading: Reading,
}

/// Why a stored number is what it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// What the number is of.
    pub subject: Subject,
    /// Its document.
    pub document: Option<ResourceNames>,
    /// What the ledger has under the document's `_id` on the day.
    pub rows: Vec<StoredRow>,
    /// The stored number, USD; `None` where there is no row.
    pub stored_usd: Option<f64>,
    /// The day's status: state, cause, run, overrides, exchange rates.
    pub status: Option<DayStatus>,
    /// The day's state as of now; a day that lacks its end is `partial`, whatever the last attempt
    /// found. `None`: there is no status.
    pub day_state: Option<DayState>,
    /// Why the day is in that state.
    pub day_cause: String,
    /// The query layer's facts; `None` where it was not asked.
    pub source: Option<SourceFacts>,
    /// The cluster's costs as the source has them now, before rounding.
    pub costs: ClusterCosts,
    /// From the number up to its cluster.
    pub steps: Vec<Step>,
    /// What children exceed their parent by or contradict it, and what was refused.
    pub roll_up_notes: Vec<String>,
    /// The row as it is computed now, USD.
    pub computed_usd: Option<f64>,
    /// Whether that is the stored number, bit for bit.
    pub is_equal: bool,
    /// In words, where it is not, or where there is no number.
    pub verdict: String,
    /// By how much the number may be off.
    pub bound: Option<DayBound>,
    /// Questions to the query layer.
    pub questions: Vec<Question>,
    /// By hour.
    pub hours: Vec<Hour>,
    /// Where the raw samples are.
    pub raw: Option<Raw>,
    /// Levels that have rows.
    pub levels: String,
}
