//! What commands print: tables for people, JSON for programs.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};

use crate::accounts::Account;
use crate::demo::{DemoLine, DemoReport};
use crate::migrate::{Step, StepState};
use crate::service::usd::Usd;
use crate::verify::Report;

pub(super) fn table(header: &[&str], numbers_from: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for index in numbers_from..header.len() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// One line of JSON.
///
/// # Errors
/// When `out` cannot be written.
pub fn json(out: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    let line = serde_json::to_string(value).map_err(std::io::Error::other)?;
    writeln!(out, "{line}")
}

/// The accounts.
///
/// # Errors
/// When `out` cannot be written.
pub fn accounts(out: &mut impl Write, accounts: &[Account], is_json: bool) -> std::io::Result<()> {
    if is_json {
        return json(out, &accounts);
    }
    let mut table = table(&["account", "name"], 2);
    for account in accounts {
        table.add_row([account.id.to_string(), account.name.clone().unwrap_or_default()]);
    }
    writeln!(out, "{table}\n{} accounts", accounts.len())
}

/// Migrations and what became of them; those that would be applied are shown whole.
///
/// # Errors
/// When `out` cannot be written.
pub fn steps(out: &mut impl Write, steps: &[Step], is_json: bool) -> std::io::Result<()> {
    if is_json {
        return json(out, &steps);
    }
    for step in steps {
        let word = match step.state {
            StepState::Present => "present",
            StepState::Applied => "applied",
            StepState::Pending => "missing",
        };
        writeln!(out, "{word}  {}", step.name)?;
        if step.state == StepState::Pending {
            writeln!(out, "{}\n", step.statement)?;
        }
    }
    Ok(())
}

/// The hops, then the first broken one with its cause and fix.
///
/// # Errors
/// When `out` cannot be written.
pub fn verify(out: &mut impl Write, report: &Report, is_json: bool) -> std::io::Result<()> {
    if is_json {
        return json(out, report);
    }
    let mut table = table(&["account", "hop", "state", "what", "ms"], 4);
    for check in &report.hops {
        table.add_row([
            check.account.clone().unwrap_or_default(),
            check.hop.to_owned(),
            check.state.as_str().to_owned(),
            check.what.clone(),
            check.milliseconds.to_string(),
        ]);
    }
    writeln!(out, "{table}")?;
    if report.accounts_left > 0 {
        writeln!(out, "{} more accounts: give --account ID", report.accounts_left)?;
    }
    match &report.first_broken {
        None => writeln!(out, "No hop is broken."),
        Some(check) => {
            let account = check.account.as_deref().map_or(String::new(), |id| format!(" of {id}"));
            writeln!(out, "First broken hop: {}{account}: {}", check.hop, check.what)?;
            writeln!(out, "Likely cause: {}\nFix: {}", check.cause, check.fix)
        }
    }
}

/// The demo's report: namespaces by day for each account, with sums that close.
///
/// # Errors
/// When `out` cannot be written.
pub fn demo(out: &mut impl Write, report: &DemoReport, is_json: bool) -> std::io::Result<()> {
    if is_json {
        return json(out, report);
    }
    let mut accounts: Vec<&str> = report.lines.iter().map(|line| line.account.as_str()).collect();
    accounts.dedup();
    for account in &accounts {
        let lines: Vec<&DemoLine> = report.lines.iter().filter(|l| l.account == *account).collect();
        demo_account(out, account, &lines)?;
    }
    let stored: f64 = report.lines.iter().map(|line| line.usd).sum();
    let closes = if stored.to_bits() == report.source_total_usd.to_bits() {
        "equal to the last bit"
    } else {
        "they DIFFER"
    };
    writeln!(
        out,
        "All accounts and days: the source says {:.6} USD, stored are {:.6} USD: {closes}.",
        Usd(report.source_total_usd),
        Usd(stored)
    )?;
    let ((rows, documents), (rows_again, documents_again)) = (report.first_run, report.second_run);
    writeln!(out, "First run:  {rows} rows and {documents} documents written.")?;
    writeln!(out, "Second run: {rows_again} rows and {documents_again} documents written.")?;
    writeln!(out, "\nWhy one of the numbers is what it is (kubecost-worker explain):\n")?;
    crate::explain::text::write(out, &report.explained)
}

fn demo_account(out: &mut impl Write, account: &str, lines: &[&DemoLine]) -> std::io::Result<()> {
    let mut days: Vec<_> = lines.iter().map(|line| line.day).collect();
    days.sort_unstable();
    days.dedup();
    let mut names: Vec<_> = lines.iter().map(|line| line.namespace.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    let sum = |keep: &dyn Fn(&DemoLine) -> bool| -> f64 {
        lines.iter().filter(|line| keep(line)).map(|line| line.usd).sum::<f64>() + 0.0
    };
    let header: Vec<String> = std::iter::once(format!("{account}, USD"))
        .chain(days.iter().map(ToString::to_string))
        .chain(std::iter::once("sum".to_owned()))
        .collect();
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(&header, 1);
    let mut row = |name: &str, of_name: &dyn Fn(&DemoLine) -> bool| {
        let by_day = days.iter().map(|day| sum(&|line| of_name(line) && line.day == *day));
        let cells =
            by_day.chain(std::iter::once(sum(of_name))).map(|amount| format!("{:.4}", Usd(amount)));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    for name in &names {
        let shown = name.unwrap_or("(cluster: idle and overhead)");
        row(shown, &|line| line.namespace.as_deref() == *name);
    }
    row("sum", &|_| true);
    writeln!(out, "{table}\n")
}
