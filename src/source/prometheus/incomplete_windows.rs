//! Windows of which the exporter's own source had only a part: minutes without data, or rows
//! without a cost. Exporters of earlier versions do not say so; their windows are taken as whole.

use std::collections::{BTreeMap, BTreeSet};

use crate::service::failure::Failure;
use crate::source::metric_names::{WINDOW_COVERED, WINDOW_END, WINDOW_UNKNOWN_ROWS};
use crate::source::prometheus::gaps::{NAMED_MAX, clock};
use crate::source::prometheus::promql::{GRID_SECONDS, Selector, Sources, Window};
use crate::source::prometheus::session::DaySession;
use crate::source::prometheus::windows::{self, WindowSlice};

/// A label that tells the two metrics of one question apart.
const READING: &str = "reading_";
const COVERED: &str = "covered";
const ROWS: &str = "rows";

/// What a window's costs of a day lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lack {
    /// The part of the window that lies in the day.
    pub(super) span: Window,
    /// How many of its minutes have no data.
    pub(super) minutes: u32,
    /// How many rows of the window have no cost that could be used.
    pub(super) rows: u64,
}

impl Lack {
    /// What a part of a window lacks, by what the gauges say; `None` where that is nothing. Where
    /// in the window its data are is not known: each part of it lacks its share.
    fn of(part: &WindowSlice, said: Said) -> Option<Self> {
        let seconds = |window: Window| (window.end - window.start) as f64;
        let (span, length) = (seconds(part.span), seconds(part.window));
        let lacking = length - said.covered.unwrap_or(length).clamp(0.0, length);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a day at most"
        )]
        let minutes = (lacking * span / length / GRID_SECONDS as f64).ceil() as u32;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
        let rows = said.rows.unwrap_or(0.0).max(0.0).ceil() as u64;
        (minutes > 0 || rows > 0).then_some(Self { span: part.span, minutes, rows })
    }
}

/// What the gauges say of a window, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
struct Said {
    covered: Option<f64>,
    rows: Option<f64>,
}

fn named(reading: &str, expression: &str) -> String {
    format!("label_replace({expression}, \"{READING}\", \"{reading}\", \"\", \"\")")
}

/// The clusters that have shown an incomplete window at some time, of those whose longest windows
/// are so long: one question over all samples, so that clusters whose windows are whole are not
/// asked about window by window.
pub(super) async fn clusters(
    session: &mut DaySession<'_>,
    selector: &Selector,
    shown_in: Window,
    longest: &BTreeMap<String, i64>,
) -> Result<BTreeSet<String>, Failure> {
    let mut clusters = BTreeSet::new();
    if longest.is_empty() {
        return Ok(clusters);
    }
    let by = selector.labels(&[]);
    let query = |piece: Window| {
        let range = piece.range();
        let covered = selector.over_time("min_over_time", WINDOW_COVERED, &[], &range);
        let rows = selector.over_time("max_over_time", WINDOW_UNKNOWN_ROWS, &[], &range);
        format!(
            "{} or {}",
            named(COVERED, &format!("min by ({by}) ({covered})")),
            // Negative, so that of both the least of several pieces is the one that counts.
            named(ROWS, &format!("max by ({by}) ({rows}) * -1"))
        )
    };
    for (labels, least) in session.extreme(shown_in, f64::min, query).await? {
        let cluster = session.cluster(&labels);
        let Some(length) = longest.get(cluster) else { continue };
        let whole = if labels.get(READING) == Some(COVERED) { *length } else { 0 };
        if least < whole as f64 {
            clusters.insert(cluster.to_owned());
        }
    }
    Ok(clusters)
}

/// What windows of the selected clusters lack, by cluster, at the times at which their costs are
/// read: a window that became whole while it was shown lacks nothing.
pub(super) async fn lacks(
    session: &mut DaySession<'_>,
    selector: &Selector,
    parts: &[WindowSlice],
) -> Result<BTreeMap<String, Vec<Lack>>, Failure> {
    let mut out: BTreeMap<String, Vec<Lack>> = BTreeMap::new();
    let mut rest = parts.iter();
    let series = selector.clusters.as_ref().map_or(1, |clusters| clusters.names.len()) as u64 * 2;
    for (sampling, _) in windows::samplings(parts) {
        // Of replicas that show the same window, the costs are those of the one that has most.
        let expression = |offset_seconds: i64| {
            let of = Selector { offset_seconds, ..selector.clone() };
            let covered = of.max_by(&[], &read(&of, WINDOW_COVERED));
            let rows = format!("min by ({}) ({})", of.labels(&[]), read(&of, WINDOW_UNKNOWN_ROWS));
            format!("{} or {}", named(COVERED, &covered), named(ROWS, &rows))
        };
        let mut said: BTreeMap<(String, i64), Said> = BTreeMap::new();
        for (labels, points) in session.values(sampling, series, expression).await? {
            let cluster = session.cluster(&labels).to_owned();
            for (time, value) in points {
                let known = said.entry((cluster.clone(), time)).or_default();
                if labels.get(READING) == Some(COVERED) {
                    known.covered = Some(known.covered.map_or(value, |other| other.max(value)));
                } else {
                    known.rows = Some(known.rows.map_or(value, |other| other.min(value)));
                }
            }
        }
        let by_time: BTreeMap<i64, &WindowSlice> = sampling.times().zip(rest.by_ref()).collect();
        for ((cluster, time), said) in said {
            let Some(lack) = by_time.get(&time).and_then(|part| Lack::of(part, said)) else {
                continue;
            };
            out.entry(cluster).or_default().push(lack);
        }
    }
    Ok(out)
}

/// A metric's series of the exporters whose costs are read.
fn read(selector: &Selector, metric: &str) -> String {
    let series = selector.raw(metric, &[]);
    match selector.sources {
        Sources::Newest => {
            format!("({series} and ({}))", selector.newest(&selector.raw(WINDOW_END, &[])))
        }
        Sources::All | Sources::Windowed | Sources::Windowless => series,
    }
}

/// The windows of a cluster that have costs of a part of their time only; `None` without any.
pub(super) fn short_windows(cluster: &str, lacks: &[Lack]) -> Option<String> {
    let short = lacks.iter().filter(|lack| lack.minutes > 0).map(|lack| {
        let length = (lack.span.end - lack.span.start) / GRID_SECONDS;
        let covered = length - i64::from(lack.minutes);
        format!("{covered} of {length} min of {}", between(lack.span))
    });
    let named = first_of(short)?;
    Some(format!(
        "cluster '{cluster}' has costs of only {named} (Kubecost or OpenCost had no data of the \
         rest, or there was no cluster)"
    ))
}

/// The windows of a cluster with rows whose cost is not known; `None` without any.
pub(super) fn unknown_rows(cluster: &str, lacks: &[Lack]) -> Option<String> {
    let unknown = lacks.iter().filter(|lack| lack.rows > 0);
    let rows = unknown.map(|lack| {
        let rows = if lack.rows == 1 { "row" } else { "rows" };
        format!("{} {rows} of {}", lack.rows, between(lack.span))
    });
    let named = first_of(rows)?;
    Some(format!(
        "cluster '{cluster}': Kubecost or OpenCost gives no cost that can be used for {named}: it \
         is missing; cloudtuner_kubecost_exporter_odd_values_total says why, by reason"
    ))
}

/// `03-01 20:00 to 03-01 21:00 UTC`
fn between(span: Window) -> String {
    format!("{} to {} UTC", clock(span.start), clock(span.end))
}

/// The first few, and how many more there are; `None` without any.
fn first_of(all: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<String> = all.collect();
    let more = match all.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(", and {more} more windows"),
    };
    let named = all.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| named + &more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(span: Window, window: Window) -> WindowSlice {
        WindowSlice { span, window, minutes: BTreeSet::new(), is_total: false }
    }

    #[test]
    fn a_part_of_a_window_lacks_its_share_in_whole_minutes() {
        let window = Window { start: 0, end: 6 * 3_600 };
        let part = slice(Window { start: 0, end: 3 * 3_600 }, window);
        let minutes = |covered: f64| {
            let lack = Lack::of(&part, Said { covered: Some(covered), rows: None });
            lack.map_or(0, |lack| lack.minutes)
        };
        assert_eq!(minutes(4.0 * 3_600.0), 60);
        assert_eq!(minutes(6.0 * 3_600.0 - 1.0), 1, "less than a minute is one");
        assert_eq!(minutes(0.0), 180);
        assert_eq!(minutes(-5.0), 180, "no more than there is");
        assert_eq!([6.0 * 3_600.0, 1e9].map(minutes), [0, 0]);
    }

    #[test]
    fn a_window_of_which_nothing_is_said_lacks_nothing() {
        let window = Window { start: 0, end: 3_600 };
        let part = slice(window, window);
        assert_eq!(Lack::of(&part, Said::default()), None);
        let said = Said { covered: Some(3_600.0), rows: Some(2.0) };
        assert_eq!(Lack::of(&part, said), Some(Lack { span: window, minutes: 0, rows: 2 }));
    }

    #[test]
    fn the_first_windows_are_named_and_the_others_counted() {
        let lack = |hour: i64, minutes, rows| {
            let span = Window { start: hour * 3_600, end: (hour + 1) * 3_600 };
            Lack { span, minutes, rows }
        };
        let lacks: Vec<Lack> = (0..5).map(|hour| lack(hour, 25, 0)).collect();
        let short = short_windows("c", &lacks).unwrap();
        assert!(short.contains("only 35 of 60 min of 01-01 00:00 to 01-01 01:00 UTC, "), "{short}");
        assert!(short.contains("03:00 UTC, and 2 more windows"), "{short}");
        assert_eq!(unknown_rows("c", &lacks), None);
        let lacks = [lack(0, 0, 1), lack(1, 0, 2)];
        let rows = unknown_rows("c", &lacks).unwrap();
        assert!(rows.contains("1 row of 01-01 00:00") && rows.contains("2 rows of 01-01 01:00"));
        assert_eq!(short_windows("c", &lacks), None);
    }
}
