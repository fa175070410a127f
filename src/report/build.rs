//! From sums to a report.

use crate::cost::Day;

use super::forecast::Forecast;
use super::group::{Group, labels};
use super::model::{DayFact, Idle, Line, Report};
use super::series::{Series, Sorted};

/// Days that a change is taken over.
const CHANGE_DAYS: usize = 7;

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct Sums {
    /// What is added up by.
    pub by: super::By,
    /// First and last day.
    pub days: (Day, Day),
    /// Sums by what is added up by.
    pub groups: Series,
    /// Sums by account.
    pub accounts: Series,
    /// USD by day.
    pub by_day: Vec<f64>,
    /// What clusters cost beside their namespaces, USD.
    pub overhead_usd: f64,
    /// Days of accounts.
    pub status: Vec<DayFact>,
    /// The month's end.
    pub forecast: Option<Forecast>,
}

/// How a report is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Groups that have lines of their own; `None`: all.
    pub top: Option<usize>,
    /// When it is made, Unix seconds.
    pub made_at: i64,
    /// The ledger's currency.
    pub currency: String,
}

/// Makes a report of sums.
#[must_use]
pub fn build(sums: Sums, shown: Shown) -> Report {
    let total_usd = sums.by_day.iter().sum::<f64>() + 0.0;
    let mut sorted = sums.groups.into_sorted();
    if sums.by == super::By::Day {
        sorted.groups.sort_by(|a, b| a.0.name.cmp(&b.0.name));
    }
    let folded_usd_max = sorted.folded_usd_max;
    let (lines, others, others_usd) = lines(sorted, shown.top, total_usd);
    let (accounts, _, _) = self::lines(sums.accounts.into_sorted(), None, total_usd);
    let share = |usd: f64| if total_usd > 0.0 { usd / total_usd } else { 0.0 };
    let (from, to) = sums.days;
    Report {
        by: sums.by.to_string(),
        from,
        to,
        made_at: shown.made_at,
        currency: shown.currency,
        total_usd,
        days: from.through(to).collect(),
        by_day: sums.by_day,
        lines,
        others_usd,
        others,
        folded_usd_max,
        accounts,
        idle: Idle { overhead_usd: sums.overhead_usd, share: share(sums.overhead_usd) },
        forecast: sums.forecast,
        status: sums.status,
    }
}

/// The lines of the first groups, and how many others there are at what cost.
fn lines(sorted: Sorted, top: Option<usize>, total_usd: f64) -> (Vec<Line>, usize, f64) {
    let top = top.unwrap_or(usize::MAX).min(sorted.groups.len());
    let others: f64 = sorted.groups[top..].iter().map(|(_, _, usd)| usd).sum();
    let folded: f64 = sorted.others.iter().sum();
    let count = sorted.groups.len() - top + sorted.folded;
    let groups: Vec<&Group> = sorted.groups.iter().map(|(group, _, _)| group).collect();
    // Labels keep all groups apart, not only those that are shown.
    let labels = labels(&groups);
    let line = |((group, by_day, usd), label): ((Group, Vec<f64>, f64), String)| Line {
        group,
        label,
        usd,
        share: if total_usd > 0.0 { usd / total_usd } else { 0.0 },
        change_usd: change(&by_day),
        by_day,
    };
    let lines = sorted.groups.into_iter().zip(labels).take(top).map(line).collect();
    (lines, count, others + folded + 0.0)
}

/// By how much an average day of the last week differs from one of the week before, USD.
fn change(by_day: &[f64]) -> Option<f64> {
    let last = by_day.len().checked_sub(CHANGE_DAYS)?;
    let before = last.checked_sub(CHANGE_DAYS)?;
    let mean = |days: &[f64]| days.iter().sum::<f64>() / days.len() as f64;
    Some(mean(&by_day[last..]) - mean(&by_day[before..last]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::model::tests::row;
    use super::super::read::Adding;
    use super::super::row::Row;
    use super::super::{By, Scope};
    use super::*;
    use crate::day_status::stored_form::tests::complete;

    /// A report of rows, by what is asked for.
    pub(crate) fn report(by: &str, days: (&str, &str), top: Option<usize>, rows: &[Row]) -> Report {
        let by: By = by.parse().unwrap();
        let days: (Day, Day) = (days.0.parse().unwrap(), days.1.parse().unwrap());
        let scope = Scope { by, days, accounts: Vec::new() };
        let mut adding = Adding::new(&scope);
        rows.iter().for_each(|row| adding.row(row));
        let mut days_seen: Vec<Day> = rows.iter().map(|row| row.day).collect();
        days_seen.dedup();
        for day in days_seen {
            let usd = rows.iter().filter(|row| row.day == day).map(|row| row.usd).sum();
            adding.status(DayFact::of(
                &rows[0].account,
                day,
                Some(&complete(day)),
                (usd, day.next()),
            ));
        }
        let shown = Shown { top, made_at: 1_795_234_200, currency: "USD".into() };
        build(adding.into_sums(None), shown)
    }

    fn rows() -> Vec<Row> {
        let mut overhead = row("2026-11-20", "", 2.0);
        overhead.namespace = None;
        vec![
            row("2026-11-19", "shop", 4.0),
            row("2026-11-19", "pay", 1.0),
            row("2026-11-20", "shop", 5.0),
            overhead,
        ]
    }

    #[test]
    fn the_lines_and_the_others_add_up_to_the_total() {
        let report = report("namespace", ("2026-11-19", "2026-11-20"), Some(1), &rows());
        assert_eq!(report.lines.len(), 1);
        let line = &report.lines[0];
        assert_eq!((line.label.as_str(), line.usd, &line.by_day), ("shop", 9.0, &vec![4.0, 5.0]));
        assert_eq!((report.others, report.others_usd, report.total_usd), (2, 3.0, 12.0));
        assert_eq!((line.share, report.idle.share), (0.75, 2.0 / 12.0));
        assert_eq!(report.by_day, [5.0, 7.0]);
    }

    #[test]
    fn days_come_in_their_order_and_groups_by_cost() {
        let by_day = report("day", ("2026-11-19", "2026-11-20"), None, &rows());
        let labels: Vec<_> = by_day.lines.iter().map(|line| line.label.as_str()).collect();
        assert_eq!(labels, ["2026-11-19", "2026-11-20"]);
    }

    #[test]
    fn a_change_compares_the_last_week_with_the_one_before() {
        let mut days = vec![1.0; 7];
        assert_eq!(change(&days), None);
        days.extend([3.0; 7]);
        assert_eq!(change(&days), Some(2.0));
        days.insert(0, 99.0);
        assert_eq!(change(&days), Some(2.0), "older days count for nothing");
    }
}
