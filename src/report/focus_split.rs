//! Split costs of FOCUS 1.3 and later: the rows of a cluster's day as allocated parts of one charge.
//!
//! The origin is what the cluster costs on the day. A part has the origin's values in every column
//! of the specification that is no sum, and names what it is allocated to; the cluster's own row is
//! the part that is allocated to nobody. Ratios are decimals that add up to 1 without a remainder.

use std::collections::BTreeMap;

use crate::cost::{AccountId, Cost, ResourceKey};
use crate::documents::document::{display_name, resource_type};

use super::focus_fields::{Fields, tags_json, text};
use super::row::Row;

/// Names how costs are split; `docs/FOCUS.md` describes it.
const METHOD_ID: &str = "kubecost-worker:cluster-day-by-cost";
/// Decimal places of a ratio.
const PLACES: usize = 12;
const WHOLE: u128 = 1_000_000_000_000;

/// Makes parts of the records of rows whose cluster is known.
pub(super) fn split(account: &AccountId, rows: &[Row], records: &mut [Fields]) {
    let mut clusters: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        if let (Some(cluster), true) = (&row.cluster, row.is_known) {
            clusters.entry(cluster).or_default().push(index);
        }
    }
    for (cluster, members) in clusters {
        let of_members: Vec<&Row> = members.iter().filter_map(|index| rows.get(*index)).collect();
        let Some(ratios) = ratios(&of_members) else { continue };
        let origin = Origin::new(account, cluster, &of_members);
        for ((index, row), ratio) in members.iter().zip(&of_members).zip(ratios) {
            if let Some(record) = records.get_mut(*index) {
                origin.make_part(record, row, &ratio);
            }
        }
    }
}

/// What the parts have in common.
struct Origin<'a> {
    id: String,
    name: String,
    kind: &'static str,
    description: String,
    tags: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Origin<'a> {
    fn new(account: &AccountId, cluster: &str, rows: &[&'a Row]) -> Self {
        let key = ResourceKey::Cluster { cluster: cluster.to_owned() };
        let id = key.id(account);
        let own = rows.iter().find(|row| row.cloud_resource_id == id || is_cluster(row));
        let name = own.map(|row| text(&row.resource_name)).filter(|name| !name.is_empty());
        Self {
            id,
            name: name.unwrap_or_else(|| text(&display_name(&key))),
            kind: resource_type(key.level()),
            description: format!("Kubernetes costs of one day: cluster {}", text(cluster)),
            tags: own.map(|row| &row.tags),
        }
    }

    fn make_part(&self, record: &mut Fields, row: &Row, ratio: &str) {
        let element = format!("{{\"Elements\":[{{\"AllocatedRatio\":{ratio}}}]}}");
        let mut put = |column: &'static str, value: String| drop(record.insert(column, value));
        if !is_cluster(row) {
            let or = |value: &str, other: &str| text(if value.is_empty() { other } else { value });
            put("AllocatedResourceId", or(&row.cloud_resource_id, &row.resource_id));
            put("AllocatedResourceName", or(&row.resource_name, &row.resource_id));
            let mut tags = row.tags.clone();
            let in_origin = |key: &String| self.tags.is_some_and(|tags| tags.contains_key(key));
            tags.retain(|key, _| !in_origin(key));
            put("AllocatedTags", tags_json(&tags));
        }
        put("AllocatedMethodDetails", element);
        put("AllocatedMethodId", METHOD_ID.to_owned());
        put("ChargeDescription", self.description.clone());
        put("PricingQuantity", ratio.to_owned());
        put("ResourceId", self.id.clone());
        put("ResourceName", self.name.clone());
        put("ResourceType", self.kind.to_owned());
        put("Tags", self.tags.map_or_else(|| "{}".to_owned(), tags_json));
    }
}

fn is_cluster(row: &Row) -> bool {
    row.namespace.is_none() && row.pod.is_none() && row.node.is_none()
}

/// Each row's share of their sum, as a decimal; `None` where there is nothing to share, or a row
/// below zero, which no ratio can stand for.
fn ratios(rows: &[&Row]) -> Option<Vec<String>> {
    let units =
        |row: &&Row| -> Option<u128> { u128::try_from(Cost::from_usd(row.usd).ok()?.units()).ok() };
    let units = rows.iter().map(units).collect::<Option<Vec<u128>>>()?;
    Some(apportioned(&units)?.into_iter().map(decimal).collect())
}

/// Shares of [`WHOLE`] that add up to it: rounded down, and the rest to those that lost most, the
/// first of equal ones.
fn apportioned(units: &[u128]) -> Option<Vec<u128>> {
    let sum: u128 = units.iter().sum();
    if sum == 0 {
        return None;
    }
    let mut shares: Vec<u128> = units.iter().map(|one| one * WHOLE / sum).collect();
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by_key(|index| {
        std::cmp::Reverse(units.get(*index).map_or(0, |one| one * WHOLE % sum))
    });
    let left = WHOLE - shares.iter().sum::<u128>();
    for index in order.into_iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
        if let Some(share) = shares.get_mut(index) {
            *share += 1;
        }
    }
    Some(shares)
}

/// A share of [`WHOLE`] as a JSON number.
fn decimal(share: u128) -> String {
    if share == WHOLE {
        return "1.0".to_owned();
    }
    let digits = format!("{share:0PLACES$}");
    let digits = digits.trim_end_matches('0');
    format!("0.{}", if digits.is_empty() { "0" } else { digits })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ratios_are_decimals() {
        let shown = |units: &[u128]| -> Vec<String> {
            apportioned(units).unwrap().into_iter().map(decimal).collect()
        };
        assert_eq!(shown(&[1, 3]), ["0.25", "0.75"]);
        assert_eq!(shown(&[5, 0]), ["1.0", "0.0"]);
        assert_eq!(shown(&[1, 1, 1]), ["0.333333333334", "0.333333333333", "0.333333333333"]);
        assert_eq!(apportioned(&[0, 0]), None);
    }

    proptest! {
        #[test]
        fn shares_add_up_and_none_is_off_by_a_unit(
            units in prop::collection::vec(0..1_u128 << 60, 1..60),
        ) {
            let sum: u128 = units.iter().sum();
            prop_assume!(sum > 0);
            let shares = apportioned(&units).unwrap();
            prop_assert_eq!(shares.iter().sum::<u128>(), WHOLE);
            for (one, share) in units.iter().zip(shares) {
                let exact = *one as f64 * WHOLE as f64 / sum as f64;
                prop_assert!((share as f64 - exact).abs() <= 1.0 + exact * 1e-12);
            }
        }
    }
}
