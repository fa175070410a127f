//! A report as CSV: one line for each group and day.

use std::borrow::Cow;
use std::io::Write;

use super::model::Report;

/// Up to here the difference of two sums is their rounding, USD: far less than a stored cost.
const ROUNDING_USD: f64 = 1e-9;

/// A text as a cell that a spreadsheet shows as it is: one that it would compute as a formula gets
/// an apostrophe in front. Not for numbers.
pub(super) fn spreadsheet_text(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// The header of the column of groups: what they are, unless another column is called so.
fn group_column(by: &str) -> Cow<'_, str> {
    match by {
        "day" | "account" | "cluster" => Cow::Borrowed("name"),
        other => spreadsheet_text(other),
    }
}

/// Writes one line for each group and day, the days of the report in their order, and lines of
/// `(others)` for what has none, so that the column adds up to the report's total.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: impl Write, report: &Report) -> std::io::Result<()> {
    let mut csv = ::csv::Writer::from_writer(out);
    let name = group_column(&report.by);
    csv.write_record(["day", "account", "cluster", name.as_ref(), "cost", "currency"])?;
    for (index, day) in report.days.iter().enumerate() {
        let day = day.to_string();
        let mut shown = 0.0;
        for line in &report.lines {
            let usd = line.by_day.get(index).copied().unwrap_or(0.0);
            if usd == 0.0 {
                continue;
            }
            shown += usd;
            let (group, cost) = (&line.group, usd.to_string());
            let names = [&group.account, &group.cluster, &group.name];
            let [account, cluster, name] = names.map(|name| spreadsheet_text(name));
            let currency = report.currency.as_str();
            let cells: [&str; 6] = [&day, &account, &cluster, &name, &cost, currency];
            csv.write_record(cells)?;
        }
        let others = report.by_day.get(index).copied().unwrap_or(0.0) - shown;
        if others.abs() > ROUNDING_USD {
            let cost = others.to_string();
            csv.write_record([day.as_str(), "", "", "(others)", &cost, &report.currency])?;
        }
    }
    csv.flush()
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::report;
    use super::super::model::tests::row;

    #[test]
    fn the_costs_add_up_to_the_total_and_names_are_quoted() {
        let rows = [
            row("2026-11-19", "a,\"b\"\nc", 1.5),
            row("2026-11-20", "shop", 3.25),
            row("2026-11-20", "pay", 0.125),
        ];
        let report = report("namespace", ("2026-11-19", "2026-11-20"), Some(2), &rows);
        let mut out = Vec::new();
        super::write(&mut out, &report).unwrap();
        let mut csv = csv::Reader::from_reader(out.as_slice());
        let records: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
        let sum: f64 = records.iter().map(|record| record[4].parse::<f64>().unwrap()).sum();
        assert_eq!(sum, report.total_usd);
        assert_eq!(&records[0][3], "a,\"b\"\nc");
        assert_eq!(&records[2][3], "(others)");
    }

    fn records(
        by: &str,
        top: Option<usize>,
        rows: &[super::super::row::Row],
    ) -> Vec<csv::StringRecord> {
        let report = report(by, ("2026-11-19", "2026-11-20"), top, rows);
        let mut out = Vec::new();
        super::write(&mut out, &report).unwrap();
        let mut csv = csv::ReaderBuilder::new().has_headers(false).from_reader(out.as_slice());
        csv.records().map(Result::unwrap).collect()
    }

    #[test]
    fn names_are_no_formulas_and_costs_stay_numbers() {
        for (name, cell) in [
            ("=HYPERLINK(\"http://x\")", "'=HYPERLINK(\"http://x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM", "'@SUM"),
            ("\t=1", "'\t=1"),
            ("\r=1", "'\r=1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(super::spreadsheet_text(name), cell);
        }
        let found = records("namespace", None, &[row("2026-11-20", "=1+1", -2.0)]);
        assert_eq!((&found[1][3], &found[1][4]), ("'=1+1", "-2"));
    }

    #[test]
    fn others_that_are_below_zero_are_written_too() {
        let rows = [row("2026-11-20", "shop", 3.0), row("2026-11-20", "pay", -1.0)];
        let found = records("namespace", Some(1), &rows);
        let cells: Vec<_> = found[1..].iter().map(|one| (&one[3], &one[4])).collect();
        assert_eq!(cells, [("shop", "3"), ("(others)", "-1")]);
    }

    #[test]
    fn each_column_has_a_name_of_its_own() {
        for (by, wanted) in [
            ("day", "name"),
            ("account", "name"),
            ("cluster", "name"),
            ("namespace", "namespace"),
            ("tag:team", "tag:team"),
        ] {
            let found = records(by, None, &[row("2026-11-20", "shop", 1.0)]);
            assert_eq!((&found[0][2], &found[0][3]), ("cluster", wanted));
        }
    }
}
