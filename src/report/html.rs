//! A report as one HTML file that asks nobody for anything.
//!
//! The template escapes whatever is put into it, and is checked when the program is compiled.
//! Charts are drawn here as SVG shapes; each stands before a table of its numbers.

use std::fmt::Write as _;

use askama::Template;

use crate::cost::Day;
use crate::recommendations::{Item, Set};

use super::model::{DayFact, Line, Report};
use super::text::trend;

/// Groups that have a colour of their own in the chart.
const STACKED_MAX: usize = 8;
/// Groups that have a line in the tables.
const LINES_MAX: usize = 400;
/// Days of accounts that the calendar shows, and causes that are listed.
const CALENDAR_MAX: usize = 6_000;
const CAUSES_MAX: usize = 200;
/// Recommendations that are shown.
const SAVINGS_MAX: usize = 50;
/// The chart's size in its own units.
const CHART: (f64, f64) = (900.0, 260.0);

#[derive(Template)]
#[template(path = "report.html", config = "src/report/askama.toml")]
struct Page<'a> {
    report: &'a Report,
    made: String,
    chart: Chart,
    lines: Vec<Shown<'a>>,
    grown: Vec<&'a Line>,
    calendar: Vec<Calendar<'a>>,
    causes: Vec<&'a DayFact>,
    causes_left: usize,
    low_usd: f64,
    high_usd: f64,
    anomalies: &'a [super::Anomaly],
    savings: Vec<Saving<'a>>,
    savings_usd: f64,
    savings_left: usize,
}

/// A stored recommendation, and when its set was made.
struct Saving<'a> {
    item: &'a Item,
    since: String,
}

/// A group with its trend.
struct Shown<'a> {
    line: &'a Line,
    trend: String,
    /// The chart's colour, from 1; 0: none of its own.
    colour: usize,
}

/// An account's days.
struct Calendar<'a> {
    account: &'a str,
    days: Vec<&'a DayFact>,
}

/// The stacked chart: rectangles, and what each colour is.
struct Chart {
    bars: Vec<Bar>,
    most_usd: f64,
    names: Vec<String>,
    days: Vec<StackedDay>,
}

struct Bar {
    x: String,
    y: String,
    width: String,
    height: String,
    colour: usize,
}

/// A day's numbers behind the chart.
struct StackedDay {
    day: String,
    usd: Vec<f64>,
    total: f64,
}

#[expect(unreachable_pub, reason = "what the macro makes of a filter")]
mod filters {
    //! Numbers as people read them.

    use crate::service::usd::Usd;

    /// An amount with two places, or four below ten cents.
    #[askama::filter_fn]
    pub(super) fn usd(value: &f64, _: &dyn askama::Values) -> askama::Result<String> {
        let decimals = if value.abs() < 0.1 && *value != 0.0 { 4 } else { 2 };
        Ok(format!("{:.decimals$}", Usd(*value)))
    }

    /// A share as per cent.
    #[askama::filter_fn]
    pub(super) fn percent(value: &f64, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(format!("{:.1}", value * 100.0))
    }
}

/// What a page shows beside the report itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct PageExtras<'a> {
    /// Odd days.
    pub anomalies: &'a [super::Anomaly],
    /// Stored recommendations.
    pub savings: &'a [Set],
}

/// The report as HTML.
///
/// # Errors
/// When the template cannot be filled in, which only a formatter's error can cause.
pub fn render(report: &Report, extras: PageExtras<'_>) -> Result<String, askama::Error> {
    let savings = savings(extras.savings);
    let savings_left = extras.savings.iter().map(shown_items).map(Iterator::count).sum::<usize>();
    let odd: Vec<&DayFact> = report.status.iter().filter(|fact| !fact.cause.is_empty()).collect();
    let causes_left = odd.len().saturating_sub(CAUSES_MAX);
    let bounds = || report.status.iter().filter_map(|fact| fact.bound);
    Page {
        report,
        made: chrono::DateTime::from_timestamp(report.made_at, 0)
            .unwrap_or_default()
            .format("%Y-%m-%d %H:%M UTC")
            .to_string(),
        chart: chart(report),
        lines: shown(report),
        grown: grown(report),
        calendar: calendar(report),
        causes: odd.into_iter().take(CAUSES_MAX).collect(),
        causes_left,
        low_usd: bounds().map(|bound| bound.low_by_usd).sum(),
        high_usd: bounds().map(|bound| bound.high_by_usd).sum(),
        anomalies: extras.anomalies,
        savings_usd: extras.savings.iter().map(|set| set.saving).sum::<f64>() + 0.0,
        savings_left: savings_left.saturating_sub(savings.len()),
        savings,
    }
    .render()
}

/// What of a set is to be seen.
fn shown_items(set: &Set) -> impl Iterator<Item = &Item> {
    set.data.iter().filter(|item| !item.is_excluded)
}

/// The dearest recommendations.
fn savings(sets: &[Set]) -> Vec<Saving<'_>> {
    let mut items: Vec<&Item> = sets.iter().flat_map(shown_items).collect();
    items.sort_by(|a, b| b.saving.total_cmp(&a.saving));
    items.truncate(SAVINGS_MAX);
    let since = |item: &Item| Day::of_unix(item.detected_at).to_string();
    items.into_iter().map(|item| Saving { item, since: since(item) }).collect()
}

fn shown(report: &Report) -> Vec<Shown<'_>> {
    let one = |(index, line): (usize, &'_ Line)| Shown {
        line: &report.lines[index],
        trend: trend(&line.by_day, 30),
        colour: if index < STACKED_MAX { index + 1 } else { 0 },
    };
    report.lines.iter().enumerate().take(LINES_MAX).map(one).collect()
}

/// The groups whose average day grew most.
fn grown(report: &Report) -> Vec<&Line> {
    let mut lines: Vec<&Line> =
        report.lines.iter().filter(|line| line.change_usd.is_some_and(|usd| usd > 0.0)).collect();
    let change = |line: &Line| line.change_usd.unwrap_or(0.0);
    lines.sort_by(|a, b| change(b).total_cmp(&change(a)));
    lines.truncate(10);
    lines
}

fn calendar(report: &Report) -> Vec<Calendar<'_>> {
    let mut out: Vec<Calendar<'_>> = Vec::new();
    for fact in report.status.iter().take(CALENDAR_MAX) {
        match out.last_mut() {
            Some(last) if last.account == fact.account.as_str() => last.days.push(fact),
            _ => out.push(Calendar { account: fact.account.as_str(), days: vec![fact] }),
        }
    }
    out
}

fn chart(report: &Report) -> Chart {
    // Days added up by day are one stack of one colour.
    let by_day = report.by == "day";
    let stacked = if by_day { 0 } else { report.lines.len().min(STACKED_MAX) };
    let mut names: Vec<String> =
        report.lines[..stacked].iter().map(|line| line.label.clone()).collect();
    names.push(if by_day { "all".to_owned() } else { "all others".to_owned() });
    let most_usd = report.by_day.iter().copied().fold(0.0, f64::max);
    let mut bars = Vec::new();
    let mut days = Vec::new();
    let step = CHART.0 / report.days.len().max(1) as f64;
    for (index, day) in report.days.iter().enumerate() {
        let total = report.by_day.get(index).copied().unwrap_or(0.0);
        let of = |line: &Line| line.by_day.get(index).copied().unwrap_or(0.0);
        let mut usd: Vec<f64> = report.lines[..stacked].iter().map(of).collect();
        let rest = total - usd.iter().sum::<f64>();
        // What is left of sums of rows that are no multiples of 2^-24 is nothing.
        usd.push(if rest.abs() < 1e-9 { 0.0 } else { rest });
        let mut floor = CHART.1;
        for (colour, amount) in usd.iter().enumerate().filter(|(_, amount)| **amount > 0.0) {
            let height = amount / most_usd.max(f64::MIN_POSITIVE) * CHART.1;
            floor -= height;
            bars.push(Bar {
                x: format!("{:.1}", index as f64 * step + step * 0.08),
                y: format!("{floor:.1}"),
                width: format!("{:.1}", step * 0.84),
                height: format!("{height:.1}"),
                colour: if colour == stacked { 0 } else { colour + 1 },
            });
        }
        days.push(StackedDay { day: day.to_string(), usd, total });
    }
    Chart { bars, most_usd, names, days }
}

impl Page<'_> {
    /// The chart's shapes: numbers only, so nothing in them needs escaping.
    fn shapes(&self) -> String {
        let mut out = String::new();
        for Bar { x, y, width, height, colour } in &self.chart.bars {
            // Cannot fail: writing to a String.
            let _ =
                write!(out, "<rect class=c{colour} x={x} y={y} width={width} height={height} />");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::report;
    use super::super::model::tests::row;
    use super::*;
    use crate::cost::AccountId;
    use crate::recommendations::tests::item;

    #[test]
    fn foreign_names_stay_text_wherever_they_stand() {
        let hostile = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>";
        let mut rows = vec![row("2026-11-20", hostile, 3.0)];
        rows[0].cluster = Some(hostile.to_owned());
        let mut made = report("namespace", ("2026-11-01", "2026-11-20"), None, &rows);
        made.by = format!("tag:{hostile}");
        made.currency = hostile.to_owned();
        made.status[0].cause = hostile.to_owned();
        made.lines[0].change_usd = Some(1.0);
        let mut saving = item(hostile, 7.5, 0);
        saving.what = hostile.to_owned();
        let account = AccountId::new("a").unwrap();
        let savings = [Set::new(&account, "kubecost_requests", 0, vec![saving])];
        let page =
            render(&made, PageExtras { savings: &savings, ..PageExtras::default() }).unwrap();
        assert!(page.contains("7.50") && page.contains("What could cost less"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert!(page.contains("&#60;script&#62;"));
    }

    #[test]
    fn the_page_asks_nobody_for_anything() {
        let page = render(
            &report(
                "namespace",
                ("2026-11-20", "2026-11-20"),
                None,
                &[row("2026-11-20", "a", 1.0)],
            ),
            PageExtras::default(),
        )
        .unwrap();
        for part in ["http:", "https:", "//", "url(", "src=", "@import", "<link", "<iframe"] {
            assert!(!page.contains(part), "'{part}' in\n{page}");
        }
        assert!(page.contains("prefers-color-scheme") && page.contains("@media print"));
    }

    #[test]
    fn ninety_days_of_three_hundred_namespaces_are_less_than_a_megabyte() {
        let (first, last): (Day, Day) =
            ("2026-08-01".parse().unwrap(), "2026-10-29".parse().unwrap());
        let mut rows = Vec::new();
        for day in first.through(last) {
            for index in 0..300 {
                let name = format!("namespace-with-a-long-name-{index:03}");
                rows.push(row(&day.to_string(), &name, f64::from(index) + 0.123_456));
            }
        }
        let made = report("namespace", ("2026-08-01", "2026-10-29"), None, &rows);
        let page = render(&made, PageExtras::default()).unwrap();
        assert!(page.len() < 1_000_000, "{} bytes", page.len());
        assert_eq!(page.matches("namespace-with-a-long-name-007").count(), 1);
        assert!(page.matches("<rect").count() >= 90 * 9);
        assert!(page.contains(&format!("{:.2}", made.total_usd)));
    }
}
