//! The values of a report.

use serde::Serialize;

use crate::cost::bound::DayBound;
use crate::cost::{AccountId, Day};
use crate::day_status::{DayState, DayStatus};
use crate::run::reconcile::DayDifference;

use super::bound::day_bound;
use super::forecast::Forecast;
use super::group::Group;

/// What is known of an account's day.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DayFact {
    /// The account.
    pub account: AccountId,
    /// The day.
    pub day: Day,
    /// The state's name; `none` where the day has no status.
    pub state: &'static str,
    /// Why it is not `ok`.
    pub cause: String,
    /// 1 or 2, where costs are stored.
    pub phase: Option<u8>,
    /// Minutes with samples, of the cluster that has fewest.
    pub covered_minutes: u32,
    /// Minutes that could have samples.
    pub expected_minutes: u32,
    /// What the ledger has of the day, USD.
    pub usd: f64,
    /// By how much that may be off.
    pub bound: Option<DayBound>,
}

impl DayFact {
    /// The fact of a day as it is known on `today`, with its status where there is one.
    #[must_use]
    pub fn of(
        account: &AccountId,
        day: Day,
        status: Option<&DayStatus>,
        (usd, today): (f64, Day),
    ) -> Self {
        let coverage = status.map(|status| &status.stored.coverage);
        let state = status.map(|status| status.state(today));
        Self {
            account: account.clone(),
            day,
            state: state.as_ref().map_or("none", |(state, _)| state.as_str()),
            cause: state.map_or(String::new(), |(_, cause)| cause),
            phase: status.and_then(|status| status.stored.phase).map(|phase| phase.number()),
            covered_minutes: coverage.map_or(0, |coverage| coverage.covered_minutes),
            expected_minutes: status.map_or(0, |status| status.expected_minutes(today)),
            usd,
            bound: status.and_then(|status| day_bound(status, today)),
        }
    }

    /// The same of a day whose rows are not those that its status has, if so.
    #[must_use]
    pub fn with_difference(self, found: Option<(&DayStatus, &DayDifference)>) -> Self {
        let Some((status, difference)) = found else { return self };
        Self { state: DayState::Partial.as_str(), cause: difference.cause(status), ..self }
    }

    /// Whether the day is stored whole, and over.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == "ok" && self.expected_minutes == crate::cost::day::DAY_MINUTES
    }
}

/// What one group costs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// What it is.
    #[serde(flatten)]
    pub group: Group,
    /// Its name for people.
    pub label: String,
    /// USD over all days.
    pub usd: f64,
    /// Its share of the report's total, 0 to 1.
    pub share: f64,
    /// USD by day, in the order of the report's days.
    pub by_day: Vec<f64>,
    /// By how much its average day of the last 7 differs from that of the 7 before, USD; absent
    /// in reports of fewer than 14 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub change_usd: Option<f64>,
}

/// What costs are idle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Idle {
    /// What clusters cost beside their namespaces: idle, unallocated and management, USD.
    pub overhead_usd: f64,
    /// Its share of the total, 0 to 1.
    pub share: f64,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What it adds up by.
    pub by: String,
    /// The first day.
    pub from: Day,
    /// The last day, included.
    pub to: Day,
    /// When it was made, Unix seconds.
    pub made_at: i64,
    /// Always `USD`, or the setting `CURRENCY`.
    pub currency: String,
    /// The sum over all accounts and days, USD: the ledger's.
    pub total_usd: f64,
    /// The days.
    pub days: Vec<Day>,
    /// USD by day.
    pub by_day: Vec<f64>,
    /// The groups that cost most, the dearest first (days in their order).
    pub lines: Vec<Line>,
    /// What all other groups cost, USD.
    pub others_usd: f64,
    /// How many groups that is.
    pub others: usize,
    /// By how much a line may be low because its group was at times among too many small ones;
    /// zero unless there are more than [`super::series::GROUPS_MAX`].
    pub folded_usd_max: f64,
    /// Accounts, the dearest first.
    pub accounts: Vec<Line>,
    /// What is idle.
    pub idle: Idle,
    /// The month's end, where the report's last day is in a month that is not over.
    pub forecast: Option<Forecast>,
    /// Days of accounts, by account and day.
    pub status: Vec<DayFact>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::super::row::Row;
    use super::*;

    /// A namespace's row of account `a`, cluster `c`.
    pub(crate) fn row(day: &str, namespace: &str, usd: f64) -> Row {
        Row {
            account: AccountId::new("a").unwrap(),
            day: day.parse().unwrap(),
            resource_id: format!("id-{namespace}"),
            cloud_resource_id: format!("k8s-ns-{namespace}"),
            resource_type: "K8s Namespace".into(),
            resource_name: format!("Namespace: {namespace}"),
            is_known: true,
            cluster: Some("c".into()),
            namespace: Some(namespace.into()),
            node: None,
            pod: None,
            service: None,
            tags: BTreeMap::new(),
            usd,
        }
    }
}
