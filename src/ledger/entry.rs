//! Rows of the ledger, as values.

use crate::cost::{Cost, Day};

/// The Kubernetes columns of a row. A cluster's row has none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dimensions {
    /// `k8s_namespace`.
    pub namespace: Option<String>,
    /// `k8s_node`.
    pub node: Option<String>,
    /// `k8s_service`.
    pub service: Option<String>,
}

impl Dimensions {
    /// Whether all of them are null: then the row goes in the insert of 5 columns.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespace.is_none() && self.node.is_none() && self.service.is_none()
    }
}

/// A row to add.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// MongoDB's `_id` of the resource.
    pub resource_id: String,
    /// `date`, Unix seconds: a midnight, unless it takes back a row of another writer that is off.
    pub date_seconds: i64,
    /// USD. For a row that takes back, the stored cost, bit for bit.
    pub cost_usd: f64,
    /// +1 for a cost, -1 for taking one back.
    pub sign: i8,
    /// The Kubernetes columns.
    pub dimensions: Dimensions,
}

/// A row's sign and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SignedCost {
    /// +1 or -1.
    pub sign: i8,
    /// `cost`, USD.
    pub cost_usd: f64,
}

/// What is stored for a resource, an exact date and one set of Kubernetes columns.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyState {
    /// MongoDB's `_id` of the resource.
    pub resource_id: String,
    /// The rows' `date`, Unix seconds; not a midnight in rows of other writers.
    pub date_seconds: i64,
    /// The Kubernetes columns.
    pub dimensions: Dimensions,
    /// `sum(cost * sign)`, USD.
    pub cost_usd: f64,
    /// `sum(sign)`.
    pub sign_sum: i64,
    /// The rows that do not cancel out, where they are anything but one row with sign +1: then the
    /// sums may change when the engine merges them.
    pub unpaired: Vec<SignedCost>,
}

impl KeyState {
    /// Whether this is one live row: nothing that a merge does changes its sums.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.sign_sum == 1 && self.unpaired.is_empty()
    }
}

/// The one live row that a resource shall have on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRow {
    /// MongoDB's `_id` of the resource.
    pub resource_id: String,
    /// What it costs; never zero.
    pub cost: Cost,
    /// The Kubernetes columns.
    pub dimensions: Dimensions,
}

/// What a resource costs over all days.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceTotal {
    /// MongoDB's `_id` of the resource.
    pub resource_id: String,
    /// `sum(cost * sign)` over all days, USD.
    pub total_usd: f64,
    /// Its last day with cost: date in Unix seconds, and that day's USD. `None` without live rows.
    pub last: Option<(i64, f64)>,
}

/// What an account's ledger has at the midnight of a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DayTotal {
    /// The day.
    pub day: Day,
    /// `sum(cost * sign)`, USD.
    pub total_usd: f64,
    /// `sum(sign)`: as many as there are live rows, where no key is broken.
    pub rows: i64,
}

#[cfg(test)]
mod tests {
    use super::Dimensions;

    #[test]
    fn dimensions_are_empty_when_all_columns_are() {
        let some = || Some("x".to_owned());
        let none = Dimensions::default;
        assert!(none().is_empty());
        for one in [
            Dimensions { namespace: some(), ..none() },
            Dimensions { node: some(), ..none() },
            Dimensions { service: some(), ..none() },
        ] {
            assert!(!one.is_empty(), "{one:?}");
        }
    }
}
