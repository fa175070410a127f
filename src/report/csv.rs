//! A report as CSV: one line for each group and day.

use std::io::Write;

use super::model::Report;

/// Writes one line for each group and day, the days of the report in their order, and lines of
/// `(others)` for what has none, so that the column adds up to the report's total.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: impl Write, report: &Report) -> std::io::Result<()> {
    let mut csv = ::csv::Writer::from_writer(out);
    csv.write_record(["day", "account", "cluster", report.by.as_str(), "cost", "currency"])?;
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
            let currency = report.currency.as_str();
            csv.write_record([&day, &group.account, &group.cluster, &group.name, &cost, currency])?;
        }
        let others = report.by_day.get(index).copied().unwrap_or(0.0) - shown;
        if others > 0.0 {
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
}
