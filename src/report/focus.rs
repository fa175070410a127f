//! Stored rows as FOCUS (FinOps Open Cost and Usage Specification), one CSV record a row.
//!
//! Version 1.2 has each row as a charge of its own; 1.4 has the rows of a cluster's day as allocated
//! parts of one charge (`focus_split`). Records are written as days are read, so
//! memory does not grow with the range. `docs/FOCUS.md` says where the value of each column comes
//! from.

use std::io::Write;
use std::str::FromStr;

use crate::accounts::Account;
use crate::cost::Day;
use crate::day_status::DayState;

use super::focus_fields::{Fields, tags_json, text};
use super::focus_split::split;
use super::forecast::month_of;
use super::read::AccountDay;
use super::row::Row;

/// A version of the specification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FocusVersion {
    /// 1.2.
    #[default]
    V1_2,
    /// 1.4, with the columns of split costs that 1.3 brought.
    V1_4,
}

impl FromStr for FocusVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.4" => Ok(Self::V1_4),
            _ => Err(format!("'{text}' is none of the versions 1.2 and 1.4")),
        }
    }
}

/// Columns of both versions, beside which each has its own; the specification wants the order of
/// the alphabet, and those that are no columns of its own at the end.
const COMMON: [&str; 34] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_Coverage",
    "x_DayState",
    "x_K8sCluster",
    "x_K8sNamespace",
    "x_K8sNode",
    "x_K8sPod",
];
const OF_1_2: [&str; 2] = ["ProviderName", "PublisherName"];
const OF_1_4: [&str; 7] = [
    "AllocatedMethodDetails",
    "AllocatedMethodId",
    "AllocatedResourceId",
    "AllocatedResourceName",
    "AllocatedTags",
    "HostProviderName",
    "ServiceProviderName",
];

impl FocusVersion {
    /// The columns, in the order in which they are written.
    #[must_use]
    pub fn columns(self) -> Vec<&'static str> {
        let own: &[&'static str] = match self {
            Self::V1_2 => &OF_1_2,
            Self::V1_4 => &OF_1_4,
        };
        let mut all: Vec<_> = COMMON.iter().chain(own).copied().collect();
        all.sort_unstable();
        all
    }
}

/// Writes records as days come.
#[derive(Debug)]
pub struct FocusWriter<W: Write> {
    csv: csv::Writer<W>,
    currency: String,
    version: FocusVersion,
    columns: Vec<&'static str>,
}

impl<W: Write> FocusWriter<W> {
    /// A writer that has written the header.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, currency: &str, version: FocusVersion) -> std::io::Result<Self> {
        let mut csv = csv::Writer::from_writer(out);
        let columns = version.columns();
        csv.write_record(&columns)?;
        Ok(Self { csv, currency: currency.to_owned(), version, columns })
    }

    /// Writes the rows of an account's day, as they are known on `today`.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn day(&mut self, account: &Account, day: &AccountDay, today: Day) -> std::io::Result<()> {
        let fields = |row| fields(account, row, day, (&self.currency, today));
        let mut records: Vec<Fields> = day.rows.iter().map(fields).collect();
        if self.version == FocusVersion::V1_4 {
            split(&account.id, &day.rows, &mut records);
        }
        for record in &records {
            let values = self.columns.iter().map(|column| match record.get(column) {
                Some(value) => value.as_str(),
                None => "",
            });
            self.csv.write_record(values)?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.csv.flush()
    }
}

fn midnight(day: Day) -> String {
    format!("{day}T00:00:00Z")
}

fn optional(value: Option<&String>) -> String {
    value.map_or(String::new(), |value| text(value))
}

/// Which share of the day's minutes the source had samples of, of the row's cluster where that is
/// known.
fn coverage(row: &Row, day: &AccountDay) -> String {
    let Some(coverage) = day.status.as_ref().map(|status| &status.stored.coverage) else {
        return String::new();
    };
    let expected_minutes = day.fact.expected_minutes;
    if expected_minutes == 0 {
        return String::new();
    }
    let of_cluster =
        coverage.clusters.iter().find(|one| Some(&one.cluster) == row.cluster.as_ref());
    let covered = of_cluster.map_or(coverage.covered_minutes, |one| one.covered_minutes);
    (f64::from(covered) / f64::from(expected_minutes)).to_string()
}

/// The day's state; that of a day that is not over says so, unless it says more. Empty without a
/// status.
fn day_state(day: &AccountDay, today: Day) -> &'static str {
    if day.status.is_none() {
        ""
    } else if day.fact.state == DayState::Ok.as_str() && day.day >= today {
        "running"
    } else {
        day.fact.state
    }
}

fn description(row: &Row) -> String {
    let of = match (&row.pod, &row.namespace) {
        (Some(pod), _) => format!("pod {pod}"),
        (None, Some(namespace)) => format!("namespace {namespace}, less what has rows of its own"),
        (None, None) if row.is_known => {
            "idle, unallocated and management of the cluster".to_owned()
        }
        (None, None) => "a resource whose document is gone".to_owned(),
    };
    format!("Kubernetes costs of one day: {}", text(&of))
}

fn fields(
    account: &Account,
    row: &Row,
    day: &AccountDay,
    (currency, today): (&str, Day),
) -> Fields {
    const NAME: &str = "Kubernetes";
    let (month_start, month_end) = month_of(row.day);
    let cost = (row.usd + 0.0).to_string();
    let or_id = |name: &str| if name.is_empty() { row.resource_id.clone() } else { text(name) };
    let fixed = |column: &'static str, value: &str| (column, value.to_owned());
    Fields::from([
        ("BilledCost", cost.clone()),
        ("BillingAccountId", account.id.to_string()),
        (
            "BillingAccountName",
            account.name.as_deref().map_or_else(|| account.id.to_string(), text),
        ),
        ("BillingCurrency", text(currency)),
        ("BillingPeriodEnd", midnight(month_end.next())),
        ("BillingPeriodStart", midnight(month_start)),
        fixed("ChargeCategory", "Usage"),
        ("ChargeDescription", description(row)),
        fixed("ChargeFrequency", "Usage-Based"),
        ("ChargePeriodEnd", midnight(row.day.next())),
        ("ChargePeriodStart", midnight(row.day)),
        ("ContractedCost", cost.clone()),
        ("EffectiveCost", cost.clone()),
        fixed("HostProviderName", NAME),
        fixed("InvoiceIssuerName", NAME),
        ("ListCost", cost),
        fixed("PricingQuantity", "1.0"),
        fixed("PricingUnit", "Days"),
        fixed("ProviderName", NAME),
        fixed("PublisherName", NAME),
        ("ResourceId", or_id(&row.cloud_resource_id)),
        ("ResourceName", or_id(&row.resource_name)),
        ("ResourceType", if row.is_known { text(&row.resource_type) } else { "Unknown".into() }),
        fixed("ServiceCategory", "Compute"),
        fixed("ServiceName", NAME),
        fixed("ServiceProviderName", NAME),
        fixed("ServiceSubcategory", "Containers"),
        ("SubAccountId", optional(row.cluster.as_ref())),
        ("SubAccountName", optional(row.cluster.as_ref())),
        ("Tags", tags_json(&row.tags)),
        ("x_Coverage", coverage(row, day)),
        ("x_DayState", day_state(day, today).to_owned()),
        ("x_K8sCluster", optional(row.cluster.as_ref())),
        ("x_K8sNamespace", optional(row.namespace.as_ref())),
        ("x_K8sNode", optional(row.node.as_ref())),
        ("x_K8sPod", optional(row.pod.as_ref())),
    ])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::model::DayFact;
    use super::super::model::tests::row;
    use super::*;
    use crate::day_status::ClusterCoverage;
    use crate::day_status::stored_form::tests::complete;

    fn written(rows: Vec<Row>, version: FocusVersion) -> Vec<Fields> {
        let mut status = complete(rows[0].day);
        status.stored.coverage.clusters =
            vec![ClusterCoverage { cluster: "c".into(), covered_minutes: 720 }];
        let mut out = Vec::new();
        let mut focus = FocusWriter::new(&mut out, "USD", version).unwrap();
        let account = Account::unnamed(rows[0].account.clone());
        let (day, today) = (rows[0].day, rows[0].day.next());
        let fact = DayFact::of(&account.id, day, Some(&status), (1.0, today));
        focus.day(&account, &AccountDay { day, rows, status: Some(status), fact }, today).unwrap();
        focus.finish().unwrap();
        let mut reader = csv::Reader::from_reader(out.as_slice());
        let columns = version.columns();
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), columns);
        let named = |record: csv::StringRecord| {
            columns.iter().copied().zip(record.iter().map(str::to_owned)).collect()
        };
        reader.records().map(Result::unwrap).map(named).collect()
    }

    #[test]
    fn columns_are_in_the_order_of_the_alphabet_with_those_of_other_makers_last() {
        for version in [FocusVersion::V1_2, FocusVersion::V1_4] {
            let columns = version.columns();
            assert!(
                columns.is_sorted() && columns.iter().rev().take(6).all(|c| c.starts_with("x_"))
            );
        }
    }

    #[test]
    fn costs_are_exact_and_add_up_to_the_ledgers() {
        let unit = 2.0_f64.powi(-24);
        let rows = vec![row("2026-11-20", "a", 3.0 * unit), row("2026-11-20", "b", 1e6)];
        let sum: f64 = rows.iter().map(|row| row.usd).sum();
        let records = written(rows, FocusVersion::V1_2);
        for column in ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"] {
            let read: f64 = records.iter().map(|r| r[column].parse::<f64>().unwrap()).sum();
            assert_eq!(read, sum, "{column}");
        }
        assert!(!records[0]["BilledCost"].contains('e'), "{records:?}");
    }

    #[test]
    fn a_record_is_of_its_day_and_month_and_names_what_it_is_of() {
        let mut pod = row("2026-12-31", "shop", 1.0);
        pod.pod = Some("web-0".into());
        pod.node = Some("n1".into());
        pod.tags.insert("te\"am".into(), "blue".into());
        let records = written(vec![pod], FocusVersion::V1_2);
        let record = &records[0];
        let wanted = [
            ("BillingPeriodStart", "2026-12-01T00:00:00Z"),
            ("BillingPeriodEnd", "2027-01-01T00:00:00Z"),
            ("ChargePeriodStart", "2026-12-31T00:00:00Z"),
            ("ChargePeriodEnd", "2027-01-01T00:00:00Z"),
            ("Tags", r#"{"te\"am":"blue"}"#),
            ("x_K8sCluster", "c"),
            ("x_K8sNamespace", "shop"),
            ("x_K8sNode", "n1"),
            ("x_K8sPod", "web-0"),
            ("x_Coverage", "0.5"),
            ("x_DayState", "ok"),
            ("ChargeClass", ""),
        ];
        for (column, value) in wanted {
            assert_eq!(record[column], value, "{column}");
        }
    }

    #[test]
    fn a_records_state_says_whether_more_of_its_day_may_come() {
        let day: Day = "2026-11-20".parse().unwrap();
        let mut status = complete(day);
        let mut state = |change: fn(&mut crate::day_status::DayStatus), today: Day| {
            change(&mut status);
            let fact = DayFact::of(&status.account, day, Some(&status), (1.0, today));
            let of = AccountDay { day, rows: Vec::new(), status: Some(status.clone()), fact };
            let row = row("2026-11-20", "a", 1.0);
            (day_state(&of, today), coverage(&row, &of))
        };
        assert_eq!(state(|_| (), day.next()), ("ok", "1".to_owned()));
        let stop_at_six = |one: &mut crate::day_status::DayStatus| {
            one.attempt.is_settled = false;
            let coverage = &mut one.stored.coverage;
            (coverage.covered_minutes, coverage.expected_minutes) = (360, 360);
        };
        assert_eq!(state(stop_at_six, day), ("running", "1".to_owned()));
        assert_eq!(state(|_| (), day.next()), ("partial", "0.25".to_owned()));
        assert_eq!(state(|one| one.attempt.state = DayState::Late, day.next()).0, "late");
    }

    #[test]
    fn rows_of_a_clusters_day_are_parts_of_one_charge_that_add_up_to_it() {
        let mut rows = Vec::new();
        for (pod, usd) in [("a", 1.0), ("b", 1.0), ("c", 2.0)] {
            let mut of = row("2026-11-20", "shop", usd);
            (of.pod, of.cloud_resource_id) = (Some(pod.into()), format!("k8s-pod-{pod}"));
            of.tags = BTreeMap::from([("app".into(), pod.into()), ("team".into(), "x".into())]);
            rows.push(of);
        }
        let mut cluster = row("2026-11-20", "", 4.0);
        (cluster.namespace, cluster.resource_type) = (None, "K8s Cluster".into());
        cluster.tags = BTreeMap::from([("team".into(), "x".into())]);
        rows.push(cluster);
        let mut gone = row("2026-11-20", "old", 2.0);
        (gone.is_known, gone.cluster) = (false, None);
        rows.push(gone);
        let records = written(rows, FocusVersion::V1_4);
        let (parts, alone) = records.split_at(4);
        for column in ["ResourceId", "ResourceName", "ResourceType", "ChargeDescription", "Tags"] {
            assert!(parts.iter().all(|part| part[column] == parts[0][column]), "{column}");
        }
        assert_eq!(parts[0]["ResourceType"], "K8s Cluster");
        assert_eq!(parts[0]["Tags"], r#"{"team":"x"}"#);
        assert_eq!(parts[0]["AllocatedTags"], r#"{"app":"a"}"#);
        assert_eq!((parts[0]["AllocatedResourceId"].as_str()), "k8s-pod-a");
        // What is allocated to nobody.
        assert_eq!(
            (parts[3]["AllocatedResourceId"].as_str(), parts[3]["AllocatedTags"].as_str()),
            ("", "")
        );
        let ratio = |part: &Fields| -> f64 {
            let details: serde_json::Value =
                serde_json::from_str(&part["AllocatedMethodDetails"]).unwrap();
            assert_eq!(
                details["Elements"][0]["AllocatedRatio"].to_string(),
                part["PricingQuantity"]
            );
            details["Elements"][0]["AllocatedRatio"].as_f64().unwrap()
        };
        assert_eq!(parts.iter().map(ratio).collect::<Vec<_>>(), [0.125, 0.125, 0.25, 0.5]);
        assert!(parts.iter().all(|part| !part["AllocatedMethodId"].is_empty()));
        assert_eq!(alone[0]["AllocatedMethodId"], "", "its cluster is not known");
        assert_eq!(alone[0]["PricingQuantity"], "1.0");
    }
}
