//! A report for a terminal: a table with bars and trends that fits its width.

use std::io::{self, Write};

use comfy_table::{CellAlignment, ColumnConstraint, Table, Width, presets};

use super::model::{Line, Report};
use crate::service::usd::Usd;

/// The least and the greatest width that a table is made for.
const WIDTHS: (usize, usize) = (60, 200);
/// Columns of a trend.
const TREND_MAX: usize = 20;
const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const PARTS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
/// Days with a cause that are listed.
const CAUSES_MAX: usize = 12;

/// A bar of `share` (0 to 1) of `width` columns, to an eighth of a column.
#[must_use]
pub fn bar(share: f64, width: usize) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a small width"
    )]
    let eighths = (share.clamp(0.0, 1.0) * (width * 8) as f64).round() as usize;
    let mut out: String = std::iter::repeat_n(PARTS[7], eighths / 8).collect();
    if !eighths.is_multiple_of(8) {
        out.push(PARTS[eighths % 8 - 1]);
    }
    out
}

/// A line of small bars, one for each day or for several of them; empty for less than two days.
#[must_use]
pub fn trend(by_day: &[f64], width: usize) -> String {
    if by_day.len() < 2 {
        return String::new();
    }
    let count = by_day.len().min(width.max(1));
    let mean = |index: usize| {
        let days = &by_day[index * by_day.len() / count..(index + 1) * by_day.len() / count];
        days.iter().sum::<f64>() / days.len().max(1) as f64
    };
    let means: Vec<f64> = (0..count).map(mean).collect();
    let most = means.iter().copied().fold(0.0, f64::max);
    let level = |mean: &f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 7"
        )]
        let index = if most > 0.0 { (mean.max(0.0) / most * 7.0).round() as usize } else { 0 };
        EIGHTHS[index.min(7)]
    };
    means.iter().map(level).collect()
}

/// The report as a table that is at most `width` columns wide, and what must be known beside it.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(out: &mut impl Write, report: &Report, width: usize) -> io::Result<()> {
    let width = width.clamp(WIDTHS.0, WIDTHS.1);
    let currency = &report.currency;
    writeln!(out, "{} to {}, {currency} by {}", report.from, report.to, shown(&report.by))?;
    if report.status.iter().all(|fact| fact.state == "none") && report.lines.is_empty() {
        return writeln!(out, "Nothing is stored for these days.");
    }
    writeln!(out, "{}", table(report, width))?;
    if report.folded_usd_max > 0.0 {
        writeln!(
            out,
            "There are so many groups that small ones were put together on the way: a line may be \
             low by up to {:.4}. Ask for fewer days or one account.",
            Usd(report.folded_usd_max)
        )?;
    }
    writeln!(
        out,
        "Idle and overhead: {:.2} ({:.1} %).",
        Usd(report.idle.overhead_usd),
        report.idle.share * 100.0
    )?;
    accuracy(out, report)?;
    match &report.forecast {
        Some(one) => writeln!(
            out,
            "Month to {}: {:.2} so far; {:.2} expected, between {:.2} and {:.2} (95 %, from {} \
             complete days{}).",
            one.month_end,
            Usd(one.spent_usd),
            Usd(one.expected_usd),
            Usd(one.low_usd),
            Usd(one.high_usd),
            one.basis_days,
            match one.days_lacking {
                0 => String::new(),
                days => format!("; nothing is stored of {days} past days, which are estimated"),
            }
        )?,
        None => {
            writeln!(out, "No forecast: the month is over, or too few complete days are known.")?
        }
    }
    causes(out, report)
}

fn table(report: &Report, width: usize) -> Table {
    let has_trend = report.days.len() > 1 && report.by != "day";
    let widest = report.lines.iter().map(|line| line.usd).fold(0.0, f64::max);
    let money = format!("{:.2}", Usd(report.total_usd)).len().max(report.currency.len());
    let trend_width =
        if has_trend { TREND_MAX.min(width / 6).min(report.days.len()).max(5) } else { 0 };
    // Borders and padding: three columns a cell and one more.
    let cells = 4 + usize::from(has_trend);
    let free = width.saturating_sub(cells * 3 + 1 + money + 6 + trend_width);
    let bars = (free / 3).clamp(5, 24);
    let names = free.saturating_sub(bars).max(8);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    let mut header =
        vec![cut(&report.by, names.max(9)), report.currency.clone(), "%".into(), String::new()];
    if has_trend {
        header.push("trend".to_owned());
    }
    table.set_header(header);
    let mut row = |name: &str, usd: f64, by_day: Option<&[f64]>| {
        let share = if report.total_usd > 0.0 { usd / report.total_usd } else { 0.0 };
        let of_widest = if widest > 0.0 && by_day.is_some() { usd / widest } else { 0.0 };
        let mut cells = vec![
            cut(name, names),
            format!("{:.2}", Usd(usd)),
            format!("{:.1}", share * 100.0),
            bar(of_widest, bars),
        ];
        if has_trend {
            cells.push(by_day.map_or(String::new(), |days| trend(days, trend_width)));
        }
        table.add_row(cells);
    };
    for Line { label, usd, by_day, .. } in &report.lines {
        row(label, *usd, Some(by_day));
    }
    if report.others > 0 {
        row(&format!("({} others)", report.others), report.others_usd, None);
    }
    row("total", report.total_usd, None);
    for index in [1, 2] {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if let Some(column) = table.column_mut(3) {
        let bars = u16::try_from(bars).unwrap_or(u16::MAX);
        column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(bars + 2)));
    }
    table
}

/// The name of what is added up by. Foreign text: without control characters.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A name of at most `width` characters, its middle left out where it is longer.
fn cut(name: &str, width: usize) -> String {
    let characters: Vec<char> = shown(name).chars().collect();
    if characters.len() <= width || width < 3 {
        return characters.into_iter().collect();
    }
    let head = (width - 1) / 2;
    let tail = width - 1 - head;
    let mut out: String = characters[..head].iter().collect();
    out.push('…');
    out.extend(&characters[characters.len() - tail..]);
    out
}

fn accuracy(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let bounds = || report.status.iter().filter_map(|fact| fact.bound);
    let low: f64 = bounds().map(|bound| bound.low_by_usd).sum();
    let high: f64 = bounds().map(|bound| bound.high_by_usd).sum();
    let stored = report.status.iter().filter(|fact| fact.usd > 0.0).count();
    let without = stored.saturating_sub(bounds().count());
    let (low, high) = (Usd(low), Usd(high));
    write!(out, "Accuracy: the total may be low by {low:.4} and high by {high:.4}")?;
    if without > 0 {
        write!(out, "; {without} days without a status are not in that")?;
    }
    writeln!(out, ".")
}

fn causes(out: &mut impl Write, report: &Report) -> io::Result<()> {
    let odd: Vec<_> = report.status.iter().filter(|fact| !fact.cause.is_empty()).collect();
    for fact in odd.iter().take(CAUSES_MAX) {
        writeln!(out, "{} {} is {}: {}", fact.account, fact.day, fact.state, shown(&fact.cause))?;
    }
    if odd.len() > CAUSES_MAX {
        writeln!(out, "{} more days have a cause: see --output json", odd.len() - CAUSES_MAX)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::build::tests::report;
    use super::super::model::tests::row;
    use super::*;

    #[test]
    fn bars_and_trends_show_shares_to_an_eighth() {
        assert_eq!([bar(1.0, 3), bar(0.5, 3), bar(0.0, 3)], ["███", "█▌", ""]);
        assert_eq!(trend(&[0.0, 7.0, 14.0], 20), "▁▅█");
        assert_eq!(trend(&[1.0], 20), "");
        assert_eq!(
            trend(&[1.0, 1.0, 2.0, 2.0], 2),
            "▅█",
            "days are put together where they do not fit"
        );
        assert_eq!(trend(&[0.0, 0.0], 2), "▁▁");
    }

    #[test]
    fn no_line_of_the_table_is_wider_than_the_terminal() {
        let long = "n".repeat(150);
        let rows = [
            row("2026-11-19", &long, 123_456.0),
            row("2026-11-20", "short", 1.0),
            row("2026-11-20", "bad\u{1b}[31mname", 2.0),
        ];
        for by in ["namespace", "day", "pod"] {
            let report = report(by, ("2026-09-01", "2026-11-20"), None, &rows);
            for width in [60, 80, 100, 140] {
                let table = table(&report, width).to_string();
                let widest = table.lines().map(|line| line.chars().count()).max().unwrap();
                assert!(widest <= width, "{by} {width}: {widest}\n{table}");
                assert!(!table.contains('\u{1b}'), "escape sequences of names are not sent");
            }
        }
    }

    #[test]
    fn the_sums_stand_below_and_a_day_without_rows_says_so() {
        let rows = [row("2026-11-20", "shop", 3.0), row("2026-11-20", "pay", 1.0)];
        let mut out = Vec::new();
        let full = report("namespace", ("2026-11-20", "2026-11-20"), Some(1), &rows);
        write(&mut out, &full, 100).unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in ["shop", "75.0", "(1 others)", "total", "4.00", "Accuracy"] {
            assert!(text.contains(part), "'{part}' is missing in\n{text}");
        }
    }
}
