//! What a run would change, for people: by account, day and namespace, in 80 columns.

use std::collections::BTreeMap;
use std::io::{self, Write};

use comfy_table::{CellAlignment, LineStyle, Table, presets};

use crate::run::RunSummary;
use crate::run::plan::{DayPlan, Plan};
use crate::service::usd::{Usd, decimals_for};

use super::screen::{Screen, cut};

const HEADER: [&str; 5] =
    ["account, day, namespace", "rows", "stored USD", "planned USD", "change"];

/// What a run would change, by account, day and namespace. `summary` knows the accounts' names.
///
/// # Errors
/// When `out` cannot be written.
pub fn plan(
    out: &mut impl Write,
    plan: &Plan,
    summary: &RunSummary,
    screen: Screen,
) -> io::Result<()> {
    let names: BTreeMap<&str, &str> = summary
        .accounts
        .iter()
        .filter_map(|one| Some((one.account.id.as_str(), one.account.name.as_deref()?)))
        .collect();
    let most = days(plan).flat_map(|day| [day.usd_before.abs(), day.usd_after.abs()]);
    let decimals = decimals_for(most.fold(0.0, f64::max));
    let mut rows: Vec<(String, [String; 4])> = Vec::new();
    for account in plan.accounts.iter().filter(|one| one.days.iter().any(is_changed)) {
        let id = account.account.as_str();
        rows.push((names.get(id).copied().unwrap_or(id).to_owned(), Default::default()));
        for day in account.days.iter().filter(|day| is_changed(day)) {
            let rows_changed = day.rows_added + day.rows_taken_back;
            let amounts = (day.usd_before, day.usd_after);
            rows.push((format!("  {}", day.day), cells(rows_changed, amounts, decimals)));
            for one in &day.namespaces {
                let name = one.namespace.as_deref().unwrap_or("(cluster)");
                let amounts = (one.usd_before, one.usd_after);
                rows.push((format!("    {name}"), cells(one.rows, amounts, decimals)));
            }
        }
    }
    if !rows.is_empty() {
        writeln!(out, "{}", drawn(&rows, screen))?;
    }
    for account in &plan.accounts {
        let name = names.get(account.account.as_str()).copied();
        for day in account.days.iter().filter(|day| day.verdict != "store") {
            let who = name.unwrap_or(account.account.as_str());
            let note = format!("{who} {} would be left as it is: {}", day.day, day.verdict);
            screen.note(out, &note)?;
        }
    }
    if plan.is_of_a_part() {
        let (accounts, days) = (plan.accounts_left, plan.days_left());
        let note = format!(
            "{accounts} accounts and {days} days are not in it: the time was up, or a stop was asked \
             for; plan fewer by --account, or raise RUN_DEADLINE_SECONDS and \
             ACCOUNT_DEADLINE_SECONDS"
        );
        screen.note(out, &note)?;
    }
    let rows: u64 = days(plan).map(|day| day.rows_added + day.rows_taken_back).sum();
    let documents: u64 = days(plan).map(|day| day.documents).sum::<u64>()
        + plan.accounts.iter().map(|account| account.documents_retired).sum::<u64>();
    let before: f64 = days(plan).map(|day| day.usd_before).sum();
    let after: f64 = days(plan).map(|day| day.usd_after).sum();
    let line = format!(
        "a run would write {rows} rows and {documents} documents: ${:.4} becomes ${:.4}",
        Usd(before),
        Usd(after)
    );
    screen.line(out, &line)
}

fn days(plan: &Plan) -> impl Iterator<Item = &DayPlan> {
    plan.accounts.iter().flat_map(|account| &account.days)
}

fn is_changed(day: &DayPlan) -> bool {
    day.rows_added + day.rows_taken_back > 0
}

fn cells(rows: u64, (before, after): (f64, f64), decimals: usize) -> [String; 4] {
    let shown = |amount| format!("{:.decimals$}", Usd(amount));
    let sign = if after - before > 0.0 { "+" } else { "" };
    let change = format!("{sign}{}", shown(after - before));
    [rows.to_string(), shown(before), shown(after), change]
}

fn drawn(rows: &[(String, [String; 4])], screen: Screen) -> String {
    let mut widths = HEADER.map(|text| text.chars().count());
    for (_, cells) in rows {
        for (width, cell) in widths[1..].iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    // A blank follows each column.
    let others: usize = widths[1..].iter().sum::<usize>() + HEADER.len();
    let name_width = screen.width.saturating_sub(others).max(widths[0]);
    let mut table = Table::new();
    let style = presets::NOTHING.header_separator(LineStyle::none().fill('─'));
    table.load_style(style).set_header(HEADER).force_no_tty();
    for (name, cells) in rows {
        table.add_row(std::iter::once(cut(name, name_width)).chain(cells.iter().cloned()));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}
