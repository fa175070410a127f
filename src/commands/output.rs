//! What commands print: tables for people, JSON for programs.

use std::io::Write;

use comfy_table::{CellAlignment, Table, presets};

use crate::accounts::Account;
use crate::audit::RepairReport;
use crate::demo::{DemoLine, DemoReport};
use crate::migrate::{Step, StepState};
use crate::run::RunSummary;
use crate::run::plan::Plan;
use crate::run::summary::Outcome;
use crate::verify::Report;

use super::audit_summary::AuditSummary;

fn table(header: &[&str], numbers_from: usize) -> Table {
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

/// A run's summary: a table of days (unless JSON alone is wanted), then one line of JSON.
///
/// # Errors
/// When `out` cannot be written.
pub fn summary(out: &mut impl Write, summary: &RunSummary, is_json: bool) -> std::io::Result<()> {
    if !is_json {
        days(out, summary)?;
    }
    json(out, summary)
}

fn days(out: &mut impl Write, summary: &RunSummary) -> std::io::Result<()> {
    let mut table = table(
        &[
            "account",
            "day",
            "state",
            "phase",
            "covered min",
            "USD",
            "stored USD",
            "rows",
            "written",
            "documents",
        ],
        4,
    );
    for account in &summary.accounts {
        for day in &account.days {
            table.add_row([
                account.account.id.to_string(),
                day.day.to_string(),
                day.state.as_str().to_owned(),
                day.phase.map_or("-".to_owned(), |phase| phase.to_string()),
                format!("{}/{}", day.covered_minutes, day.expected_minutes),
                format!("{:.4}", day.source_total_usd),
                format!("{:.4}", day.stored_total_usd),
                day.rows.to_string(),
                day.rows_written.to_string(),
                day.documents_written.to_string(),
            ]);
        }
    }
    if summary.accounts.iter().any(|account| !account.days.is_empty()) {
        writeln!(out, "{table}")?;
    }
    for account in &summary.accounts {
        for day in account.days.iter().filter(|day| !day.cause.is_empty()) {
            writeln!(
                out,
                "{} {} is {}: {}",
                account.account.id,
                day.day,
                day.state.as_str(),
                day.cause
            )?;
        }
        if let Some(failure) = &account.failure {
            let id = &account.account.id;
            let word = if account.outcome == Outcome::Skipped { "skipped" } else { "failed" };
            writeln!(out, "{id} {word}: {}: {} (fix: {})", failure.hop, failure.what, failure.fix)?;
        }
    }
    if let Some(failure) = &summary.failure {
        writeln!(out, "nothing done: {}: {} (fix: {})", failure.hop, failure.what, failure.fix)?;
    }
    let verb = if summary.dry_run { "would be written" } else { "written" };
    writeln!(
        out,
        "{} accounts done, {} failed, {} skipped; {} rows and {} documents {verb} in {:.1} s",
        summary.accounts_done,
        summary.accounts_failed,
        summary.accounts_skipped,
        summary.rows_written,
        summary.documents_written,
        summary.duration_ms as f64 / 1_000.0
    )
}

/// What a run would change, by day and namespace.
///
/// # Errors
/// When `out` cannot be written.
pub fn plan(out: &mut impl Write, plan: &Plan) -> std::io::Result<()> {
    let mut table = table(&["account", "day", "namespace", "rows", "stored USD", "planned USD"], 3);
    let mut rows = 0;
    for (account, day) in plan.accounts.iter().flat_map(|a| a.days.iter().map(move |d| (a, d))) {
        rows += day.rows_added + day.rows_taken_back;
        for change in &day.namespaces {
            table.add_row([
                account.account.to_string(),
                day.day.to_string(),
                change.namespace.clone().unwrap_or_else(|| "(cluster)".to_owned()),
                change.rows.to_string(),
                format!("{:.4}", change.usd_before),
                format!("{:.4}", change.usd_after),
            ]);
        }
    }
    if rows > 0 {
        writeln!(out, "{table}")?;
    }
    let days = || plan.accounts.iter().flat_map(|account| &account.days);
    for day in days().filter(|day| day.verdict != "store") {
        writeln!(out, "{} would be left as it is: {}", day.day, day.verdict)?;
    }
    let documents: u64 = days().map(|day| day.documents).sum();
    let (before, after): (f64, f64) =
        (days().map(|d| d.usd_before).sum(), days().map(|d| d.usd_after).sum());
    writeln!(
        out,
        "a run would write {rows} rows and {documents} documents: ${before:.4} becomes ${after:.4}"
    )
}

/// What an audit found and did.
///
/// # Errors
/// When `out` cannot be written.
pub fn audit(out: &mut impl Write, summary: &AuditSummary, is_json: bool) -> std::io::Result<()> {
    if is_json {
        return json(out, summary);
    }
    let mut table = table(&["account", "day", "kind", "resource", "what", "USD"], 5);
    for finding in &summary.findings {
        table.add_row([
            finding.account.to_string(),
            finding.day.map_or("-".to_owned(), |day| day.to_string()),
            finding.kind.as_str().to_owned(),
            finding.resource_id.clone(),
            finding.what.clone(),
            format!("{:.4}", finding.usd),
        ]);
    }
    if !summary.findings.is_empty() {
        writeln!(out, "{table}")?;
    }
    let usd: f64 = summary.findings.iter().map(|finding| finding.usd).sum();
    writeln!(
        out,
        "{} findings about ${usd:.4}; {} are left",
        summary.findings.len(),
        summary.findings_left
    )?;
    let done = &summary.repaired;
    if *done != RepairReport::default() {
        writeln!(
            out,
            "{} rows written (${:.4} taken back), {} documents set, {} days to be computed again",
            done.rows_written, done.usd_taken_back, done.documents_written, done.days_unsettled
        )?;
        if (done.documents_adopted, done.documents_retired) != (0, 0) {
            writeln!(
                out,
                "{} documents took over pool, owner or tags; {} earlier documents are retired",
                done.documents_adopted, done.documents_retired
            )?;
        }
    }
    for skipped in &summary.skipped {
        let (id, what, fix) = (&skipped.account, &skipped.what, &skipped.fix);
        writeln!(out, "{id} is not repaired: {what} (fix: {fix})")?;
    }
    for old in &summary.to_backfill {
        let days: Vec<String> = old.days.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "older than CATCH_UP_DAYS, so that no run computes them again by itself: {}\n  {}",
            days.join(", "),
            old.command
        )?;
    }
    Ok(())
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
        "All accounts and days: the source says {:.6} USD, stored are {stored:.6} USD: {closes}.",
        report.source_total_usd
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
        let cells = by_day.chain(std::iter::once(sum(of_name))).map(|usd| format!("{usd:.4}"));
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    };
    for name in &names {
        let shown = name.unwrap_or("(cluster: idle and overhead)");
        row(shown, &|line| line.namespace.as_deref() == *name);
    }
    row("sum", &|_| true);
    writeln!(out, "{table}\n")
}
