//! What a run, a plan and a backfill did, for people: tables that fit 80 columns.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, LineStyle, Table, presets};

use crate::accounts::Account;
use crate::day_status::DayState;
use crate::run::backfill::BackfillSummary;
use crate::run::summary::{FailureSummary, Outcome};
use crate::run::{AccountSummary, DaySummary, RunSummary};
use crate::service::usd::{Usd, decimals_for};

use super::output::json;
use super::screen::{Form, Screen, cut};

/// Up to so many accounts have all of their days listed; more have those that are not ok.
const DETAILED_ACCOUNTS_MAX: usize = 10;
/// Up to so many days of a backfill are listed.
const LISTED_DAYS_MAX: usize = 40;
/// Most notes that a terminal gets; a pipe gets all.
const NOTES_MAX: usize = 30;
/// The state of an account that the source has nothing of.
const NO_DATA: &str = "NO DATA";

/// An account as a table shows it.
struct Shown<'a> {
    label: String,
    /// Stays where the label is cut.
    suffix: String,
    state: &'static str,
    days: &'a [DaySummary],
    has_all_days: bool,
    sums: Sums,
}

/// Sums over days.
#[derive(Clone, Copy, Default)]
struct Sums {
    covered_minutes: u64,
    expected_minutes: u64,
    source_usd: f64,
    stored_usd: f64,
    rows_written: u64,
    documents_written: u64,
}

impl Sums {
    fn of(days: &[DaySummary]) -> Self {
        let mut sums = Self::default();
        for day in days {
            sums.add(Self {
                covered_minutes: u64::from(day.covered_minutes),
                expected_minutes: u64::from(day.expected_minutes),
                source_usd: day.source_total_usd,
                stored_usd: day.stored_total_usd,
                rows_written: day.rows_written,
                documents_written: day.documents_written,
            });
        }
        sums
    }

    fn add(&mut self, other: Self) {
        self.covered_minutes += other.covered_minutes;
        self.expected_minutes += other.expected_minutes;
        self.source_usd += other.source_usd;
        self.stored_usd += other.stored_usd;
        self.rows_written += other.rows_written;
        self.documents_written += other.documents_written;
    }

    fn cells(&self, decimals: usize) -> [String; 5] {
        [
            share(self.covered_minutes, self.expected_minutes),
            format!("{:.decimals$}", Usd(self.source_usd)),
            format!("{:.decimals$}", Usd(self.stored_usd)),
            self.rows_written.to_string(),
            self.documents_written.to_string(),
        ]
    }
}

/// Coverage in percent. What is not whole is never shown as 100.
fn share(covered: u64, expected: u64) -> String {
    if expected == 0 {
        return "-".to_owned();
    }
    if covered >= expected {
        return "100%".to_owned();
    }
    let tenths = covered * 1_000 / expected;
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// A run's summary: text for people, one line of JSON for programs, or both.
///
/// # Errors
/// When `out` cannot be written.
pub fn summary(
    out: &mut impl Write,
    summary: &RunSummary,
    (form, screen): (Form, Screen),
) -> io::Result<()> {
    if form.has_text() {
        run_text(out, summary, screen)?;
    }
    if form.has_json() { json(out, summary) } else { Ok(()) }
}

fn run_text(out: &mut impl Write, summary: &RunSummary, screen: Screen) -> io::Result<()> {
    let labels = labels(summary.accounts.iter().map(|one| &one.account));
    let is_detailed = summary.accounts.len() <= DETAILED_ACCOUNTS_MAX;
    let shown = summary.accounts.iter().zip(&labels).map(|(one, label)| {
        let mut sums = Sums::of(&one.days);
        sums.documents_written += one.documents_retired;
        let state = if one.nothing_found().is_some() { NO_DATA } else { one.outcome.as_str() };
        let (days, label) = (one.days.as_slice(), label.clone());
        let suffix = String::new();
        Shown { label, suffix, state, days, has_all_days: is_detailed, sums }
    });
    table(out, &shown.collect::<Vec<_>>(), screen)?;
    notes(out, screen, run_notes(summary, &labels))?;
    notes(out, screen, warnings(&summary.accounts, &summary.warnings, &labels))?;
    if let Some(failure) = &summary.failure {
        screen.note(out, &format!("nothing done: {}", failed(failure)))?;
    }
    let empty = summary.accounts.iter().filter(|one| one.nothing_found().is_some()).count();
    let verb = if summary.dry_run { "would be written" } else { "written" };
    let counted = |count: usize, what: &str| match count {
        0 => String::new(),
        count => format!(", {count} {what}"),
    };
    let line = format!(
        "{} accounts done, {} failed, {} skipped{}{}; {} rows and {} documents {verb} in {:.1} s",
        summary.accounts_done,
        summary.accounts_failed,
        summary.accounts_skipped,
        counted(empty, "without data"),
        counted(summary.accounts_left, "left for the next run"),
        summary.rows_written,
        summary.documents_written,
        summary.duration_ms as f64 / 1_000.0
    );
    screen.line(out, &line)
}

/// What a backfill did: text, one line of JSON, or both.
///
/// # Errors
/// When `out` cannot be written.
pub fn backfill(
    out: &mut impl Write,
    summary: &BackfillSummary,
    (form, screen): (Form, Screen),
) -> io::Result<()> {
    if form.has_text() {
        backfill_text(out, summary, screen)?;
    }
    if form.has_json() { json(out, summary) } else { Ok(()) }
}

fn backfill_text(
    out: &mut impl Write,
    summary: &BackfillSummary,
    screen: Screen,
) -> io::Result<()> {
    let labels = labels(summary.accounts.iter().map(|one| &one.account));
    let days: u64 = summary.accounts.iter().map(|one| one.days_done + one.days_failed).sum();
    let shown = summary.accounts.iter().zip(&labels).map(|(one, label)| Shown {
        label: label.clone(),
        suffix: format!(", {} days", one.days_done + one.days_failed),
        state: match (one.days_failed, one.days_incomplete) {
            (0, 0) => "ok",
            (0, _) => "partial",
            _ => "failed",
        },
        days: &one.shown,
        has_all_days: days <= LISTED_DAYS_MAX as u64,
        sums: Sums {
            source_usd: one.source_total_usd,
            stored_usd: one.stored_total_usd,
            rows_written: one.rows_written,
            documents_written: one.documents_written,
            ..Sums::of(&one.shown)
        },
    });
    table(out, &shown.collect::<Vec<_>>(), screen)?;
    let causes = summary.accounts.iter().zip(&labels).flat_map(|(one, label)| {
        let name = full(&one.account, label);
        causes(&name, &one.shown)
    });
    notes(out, screen, causes.collect())?;
    if let Some(failure) = &summary.failure {
        screen.note(out, &format!("first failure: {}", failed(failure)))?;
    }
    let line = format!(
        "{} of {} days computed, {} were complete, {} failed; ${:.4} at the source; {} rows and {} \
         documents written in {:.1} s",
        summary.days_done,
        summary.days_total,
        summary.days_skipped,
        summary.days_failed,
        Usd(summary.source_total_usd),
        summary.rows_written,
        summary.documents_written,
        summary.duration_ms as f64 / 1_000.0
    );
    screen.line(out, &line)
}

/// Names of accounts, where each has one of its own; else with the id's first digits, or the id.
fn labels<'a>(accounts: impl Iterator<Item = &'a Account> + Clone) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in accounts.clone().filter_map(|account| account.name.as_deref()) {
        *counts.entry(name).or_default() += 1;
    }
    let label = |account: &Account| match account.name.as_deref() {
        Some(name) if counts.get(name) == Some(&1) && !name.trim().is_empty() => name.to_owned(),
        Some(name) if !name.trim().is_empty() => {
            let start: String = account.id.as_str().chars().take(8).collect();
            format!("{start} {name}")
        }
        _ => account.id.to_string(),
    };
    accounts.map(label).collect()
}

/// A name with the whole id, which commands take.
fn full(account: &Account, label: &str) -> String {
    let id = account.id.as_str();
    if label == id {
        return label.to_owned();
    }
    format!("{} ({id})", account.name.as_deref().unwrap_or(label))
}

fn failed(failure: &FailureSummary) -> String {
    format!("{}: {} (fix: {})", failure.hop, failure.what, failure.fix)
}

const HEADER: [&str; 7] =
    ["account, day", "state", "covered", "source USD", "stored USD", "rows", "docs"];

fn table(out: &mut impl Write, accounts: &[Shown<'_>], screen: Screen) -> io::Result<()> {
    if accounts.iter().all(|account| account.days.is_empty()) {
        return Ok(());
    }
    let mut total = Sums::default();
    accounts.iter().for_each(|account| total.add(account.sums));
    let amounts = [total.source_usd.abs(), total.stored_usd.abs()];
    let decimals = decimals_for(amounts[0].max(amounts[1]));
    let mut rows = Vec::new();
    for account in accounts {
        let name = (account.label.clone(), account.suffix.clone());
        rows.push((name, account.state, account.sums.cells(decimals), true));
        let is_listed = |day: &&DaySummary| account.has_all_days || day.state != DayState::Ok;
        for day in account.days.iter().filter(is_listed) {
            let cells = Sums::of(std::slice::from_ref(day)).cells(decimals);
            let name = (format!("  {}", day.day), String::new());
            rows.push((name, day.state.as_str(), cells, false));
        }
    }
    if accounts.len() > 1 {
        let name = format!("all {} accounts", accounts.len());
        rows.push(((name, String::new()), "", total.cells(decimals), true));
    }
    writeln!(out, "{}", drawn(&rows, screen))
}

/// A name and what stays of it where it is cut, a state, numbers, and whether it is an account's.
type Row = ((String, String), &'static str, [String; 5], bool);

fn drawn(rows: &[Row], screen: Screen) -> String {
    let mut widths = HEADER.map(|text| text.chars().count());
    for (_, state, cells, _) in rows {
        widths[1] = widths[1].max(state.chars().count());
        for (width, cell) in widths[2..].iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // A blank follows each column.
    let others: usize = widths[1..].iter().sum::<usize>() + HEADER.len();
    let name_width = screen.width.saturating_sub(others).max(widths[0]);
    let style = presets::NOTHING.header_separator(LineStyle::none().fill('─'));
    let mut table = Table::new();
    table.load_style(style).set_header(HEADER);
    for ((name, suffix), state, cells, is_account) in rows {
        let room = name_width.saturating_sub(suffix.chars().count());
        let name = Cell::new(format!("{}{suffix}", cut(name, room)));
        let state = Cell::new(*state);
        let (name, state) = match (screen.has_colors, *is_account, color(state.content())) {
            (false, ..) => (name, state),
            (true, true, None) => (name.add_attribute(Attribute::Bold), state),
            (true, true, Some(color)) => {
                (name.add_attribute(Attribute::Bold).fg(color), state.fg(color))
            }
            (true, false, None) => (name, state),
            (true, false, Some(color)) => (name, state.fg(color)),
        };
        table.add_row([name, state].into_iter().chain(cells.iter().map(Cell::new)));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    if screen.has_colors {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

fn color(state: String) -> Option<Color> {
    match state.as_str() {
        "failed" => Some(Color::Red),
        NO_DATA | "no-data" | "late" => Some(Color::Magenta),
        "partial" | "approximate" | "skipped" => Some(Color::Yellow),
        _ => None,
    }
}

/// Why days are not ok; days of one cause are named together.
fn causes(name: &str, days: &[DaySummary]) -> Vec<String> {
    let mut grouped: Vec<(&DaySummary, Vec<String>)> = Vec::new();
    for day in days.iter().filter(|day| !day.cause.is_empty()) {
        let is_same = |one: &DaySummary| one.state == day.state && one.cause == day.cause;
        match grouped.iter_mut().find(|(one, _)| is_same(one)) {
            Some((_, days)) => days.push(day.day.to_string()),
            None => grouped.push((day, vec![day.day.to_string()])),
        }
    }
    let line = |(day, days): (&DaySummary, Vec<String>)| {
        let verb = if days.len() == 1 { "is" } else { "are" };
        format!("{name} {} {verb} {}: {}", days.join(", "), day.state.as_str(), day.cause)
    };
    grouped.into_iter().map(line).collect()
}

fn run_notes(summary: &RunSummary, labels: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for (one, label) in summary.accounts.iter().zip(labels) {
        let name = full(&one.account, label);
        out.extend(causes(&name, &one.days));
        if let Some(failure) = &one.failure {
            let word = if one.outcome == Outcome::Skipped { "skipped" } else { "failed" };
            out.push(format!("{name} {word}: {}", failed(failure)));
        }
        if one.days_left > 0 {
            out.push(format!("{name}: {} days are left for the next run", one.days_left));
        }
    }
    out
}

/// Each warning once, with how often it came.
fn warnings(accounts: &[AccountSummary], of_run: &[String], labels: &[String]) -> Vec<String> {
    let mut out: Vec<String> = of_run.iter().map(|text| format!("warning: {text}")).collect();
    for (one, label) in accounts.iter().zip(labels) {
        let mut seen: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for day in &one.days {
            for warning in &day.warnings {
                let first = || (day.day.to_string(), 0);
                seen.entry(warning.to_string()).or_insert_with(first).1 += 1;
            }
        }
        out.extend(seen.into_iter().map(|(text, (day, count))| {
            let more = match count {
                1 => String::new(),
                count => format!(" and {} more days", count - 1),
            };
            format!("warning: {} {day}{more}: {text}", full(&one.account, label))
        }));
    }
    out
}

fn notes(out: &mut impl Write, screen: Screen, notes: Vec<String>) -> io::Result<()> {
    let most = if screen.is_terminal { NOTES_MAX } else { usize::MAX };
    for note in notes.iter().take(most) {
        screen.note(out, note)?;
    }
    match notes.len().saturating_sub(most) {
        0 => Ok(()),
        more => screen.note(out, &format!("and {more} more: --output json has all")),
    }
}

#[cfg(test)]
#[path = "run_output/tests.rs"]
mod tests;
