//! Stored rows as FOCUS 1.2 (FinOps Open Cost and Usage Specification), one CSV record a row.
//!
//! Records are written as days are read, so memory does not grow with the range. `docs/FOCUS.md`
//! says where the value of each column comes from.

use std::io::Write;

use crate::accounts::Account;
use crate::cost::Day;
use crate::day_status::DayStatus;

use super::forecast::month_of;
use super::read::AccountDay;
use super::row::Row;

/// The columns, in the order in which they are written.
pub const COLUMNS: [&str; 35] = [
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
    "ProviderName",
    "PublisherName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SubAccountId",
    "SubAccountName",
    "Tags",
    "x_K8sCluster",
    "x_K8sNamespace",
    "x_K8sNode",
    "x_K8sPod",
    "x_Coverage",
];

/// Writes records as days come.
#[derive(Debug)]
pub struct FocusWriter<W: Write> {
    csv: csv::Writer<W>,
    currency: String,
}

impl<W: Write> FocusWriter<W> {
    /// A writer that has written the header.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn new(out: W, currency: &str) -> std::io::Result<Self> {
        let mut csv = csv::Writer::from_writer(out);
        csv.write_record(COLUMNS)?;
        Ok(Self { csv, currency: currency.to_owned() })
    }

    /// Writes the rows of an account's day.
    ///
    /// # Errors
    /// When `out` cannot be written.
    pub fn day(&mut self, account: &Account, day: &AccountDay) -> std::io::Result<()> {
        for row in &day.rows {
            let record = record(account, row, day.status.as_ref(), &self.currency);
            self.csv.write_record(record)?;
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

/// A value as the specification wants text: without control characters and outer blanks; empty
/// where there is none, which is null.
fn text(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

fn optional(value: Option<&String>) -> String {
    value.map_or(String::new(), |value| text(value))
}

/// Which share of the day's minutes the source had samples of, of the row's cluster where that is
/// known.
fn coverage(row: &Row, status: Option<&DayStatus>) -> String {
    let Some(coverage) = status.map(|status| &status.stored.coverage) else {
        return String::new();
    };
    if coverage.expected_minutes == 0 {
        return String::new();
    }
    let of_cluster =
        coverage.clusters.iter().find(|one| Some(&one.cluster) == row.cluster.as_ref());
    let covered = of_cluster.map_or(coverage.covered_minutes, |one| one.covered_minutes);
    (f64::from(covered) / f64::from(coverage.expected_minutes)).to_string()
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

fn record(
    account: &Account,
    row: &Row,
    status: Option<&DayStatus>,
    currency: &str,
) -> [String; 35] {
    let (month_start, month_end) = month_of(row.day);
    let cost = (row.usd + 0.0).to_string();
    let fixed = str::to_owned;
    let or_id = |name: &str| if name.is_empty() { row.resource_id.clone() } else { text(name) };
    let tags = if row.tags.is_empty() {
        "{}".to_owned()
    } else {
        serde_json::to_string(&row.tags).unwrap_or_else(|_| "{}".to_owned())
    };
    [
        cost.clone(),
        account.id.to_string(),
        account.name.as_deref().map_or_else(|| account.id.to_string(), text),
        text(currency),
        midnight(month_end.next()),
        midnight(month_start),
        fixed("Usage"),
        String::new(),
        description(row),
        fixed("Usage-Based"),
        midnight(row.day.next()),
        midnight(row.day),
        cost.clone(),
        cost.clone(),
        String::new(),
        fixed("Kubernetes"),
        cost,
        fixed("1.0"),
        fixed("Days"),
        fixed("Kubernetes"),
        fixed("Kubernetes"),
        or_id(&row.cloud_resource_id),
        or_id(&row.resource_name),
        if row.is_known { text(&row.resource_type) } else { fixed("Unknown") },
        fixed("Compute"),
        fixed("Kubernetes"),
        fixed("Containers"),
        optional(row.cluster.as_ref()),
        optional(row.cluster.as_ref()),
        tags,
        optional(row.cluster.as_ref()),
        optional(row.namespace.as_ref()),
        optional(row.node.as_ref()),
        optional(row.pod.as_ref()),
        coverage(row, status),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::row;
    use super::*;
    use crate::day_status::ClusterCoverage;
    use crate::day_status::stored_form::tests::complete;

    fn written(rows: Vec<Row>) -> Vec<csv::StringRecord> {
        let mut status = complete(rows[0].day);
        status.stored.coverage.clusters =
            vec![ClusterCoverage { cluster: "c".into(), covered_minutes: 720 }];
        let mut out = Vec::new();
        let mut focus = FocusWriter::new(&mut out, "USD").unwrap();
        let day = AccountDay { day: rows[0].day, rows, status: Some(status) };
        focus.day(&Account::unnamed(day.rows[0].account.clone()), &day).unwrap();
        focus.finish().unwrap();
        let mut reader = csv::Reader::from_reader(out.as_slice());
        assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), COLUMNS);
        reader.records().map(Result::unwrap).collect()
    }

    fn of<'a>(record: &'a csv::StringRecord, column: &str) -> &'a str {
        &record[COLUMNS.iter().position(|name| *name == column).unwrap()]
    }

    #[test]
    fn costs_are_exact_and_add_up_to_the_ledgers() {
        let unit = 2.0_f64.powi(-24);
        let rows = vec![row("2026-11-20", "a", 3.0 * unit), row("2026-11-20", "b", 1e6)];
        let sum: f64 = rows.iter().map(|row| row.usd).sum();
        let records = written(rows);
        for column in ["BilledCost", "EffectiveCost", "ListCost", "ContractedCost"] {
            let read: f64 = records.iter().map(|r| of(r, column).parse::<f64>().unwrap()).sum();
            assert_eq!(read, sum, "{column}");
        }
        assert!(!of(&records[0], "BilledCost").contains('e'), "{records:?}");
    }

    #[test]
    fn a_record_is_of_its_day_and_month_and_names_what_it_is_of() {
        let mut pod = row("2026-12-31", "shop", 1.0);
        pod.pod = Some("web-0".into());
        pod.node = Some("n1".into());
        pod.tags.insert("te\"am".into(), "blue".into());
        let records = written(vec![pod]);
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
            ("ChargeClass", ""),
        ];
        for (column, value) in wanted {
            assert_eq!(of(record, column), value, "{column}");
        }
    }
}
