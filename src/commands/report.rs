//! `report`: what is stored, added up for people and programs.

use std::io::Write;

use crate::accounts::select_accounts;
use crate::cost::Day;
use crate::recommendations::Set;
use crate::report::anomalies::{Limits, of_report};
use crate::report::build::Shown;
use crate::report::focus::{FocusVersion, FocusWriter};
use crate::report::forecast::month_of;
use crate::report::html::PageExtras;
use crate::report::{By, Report, ReportStores, Scope, build, csv, each_day, html, read, text};
use crate::settings::worker::ReportSettings;

use super::connect::Stores;
use super::{CliError, Context, connect, output, request};

/// Accounts times days that one report goes through.
const ACCOUNT_DAYS_MAX: usize = 400_000;
/// Lines of a table on a terminal, unless `--top` says otherwise.
const TEXT_TOP: usize = 20;
/// Lines of the HTML report, unless `--top` says otherwise.
const HTML_TOP: usize = 400;

/// `report`: reads a range of days and shows it in the form that is asked for.
///
/// # Errors
/// When settings or arguments are wrong, or a store cannot be read.
pub async fn report(context: &Context) -> Result<u8, CliError> {
    let today = Day::of_unix(context.clock.now_seconds());
    let by = by(context)?;
    let days = days(context, today)?;
    let top = top(context)?;
    let settings: ReportSettings = context.settings()?;
    let stores = connect::stores(&settings.store).await?;
    let scope = scope(context, &settings, by, days).await?;
    let format = context.argument("output").unwrap_or("text");
    if format == "focus" {
        let version = focus_version(context)?;
        return focus(&stores, &scope, today, (&settings.currency, version)).await;
    }
    let sums = read(&readers(&stores), &scope, today).await?;
    let top = top.or(match format {
        "text" => Some(TEXT_TOP),
        "html" => Some(HTML_TOP),
        _ => None,
    });
    let made_at = context.clock.now_seconds();
    let report = build(sums, Shown { top, made_at, currency: settings.currency });
    let savings = match format {
        "html" => savings(&stores, &scope).await?,
        _ => Vec::new(),
    };
    write(context, format, &report, &savings)?;
    Ok(0)
}

/// The rows themselves, written as they are read.
async fn focus(
    stores: &Stores,
    scope: &Scope,
    today: Day,
    (currency, version): (&str, FocusVersion),
) -> Result<u8, CliError> {
    let out = std::io::BufWriter::new(std::io::stdout());
    let mut focus = FocusWriter::new(out, currency, version)?;
    let readers = readers(stores);
    each_day::<CliError>(&readers, scope, today, |account, day| {
        Ok(focus.day(account, &day, today)?)
    })
    .await?;
    focus.finish()?;
    Ok(0)
}

/// The stores as a report reads them.
pub(super) fn readers(stores: &Stores) -> ReportStores<'_> {
    ReportStores {
        ledger: stores.ledger.as_ref(),
        names: stores.names.as_ref(),
        status: stores.status.as_ref(),
    }
}

/// What is to be read: accounts that are there, and no more days than can be gone through.
pub(super) async fn scope(
    context: &Context,
    settings: &ReportSettings,
    by: By,
    days: (Day, Day),
) -> Result<Scope, CliError> {
    let source = connect::accounts(&settings.selection).await?;
    let asked = request::accounts(context)?;
    let accounts = select_accounts(source.as_ref(), &asked).await?;
    let count = days.0.through(days.1).count();
    if accounts.len().saturating_mul(count) > ACCOUNT_DAYS_MAX {
        return Err(CliError::Argument(format!(
            "{} accounts times {count} days are more than {ACCOUNT_DAYS_MAX}: ask for fewer days, \
             or for accounts by --account",
            accounts.len()
        )));
    }
    Ok(Scope { by, days, accounts })
}

/// The stored recommendations of the report's accounts.
async fn savings(stores: &Stores, scope: &Scope) -> Result<Vec<Set>, CliError> {
    let mut out = Vec::new();
    for account in &scope.accounts {
        out.extend(stores.recommendations.sets(&account.id).await?);
    }
    Ok(out)
}

fn write(
    context: &Context,
    format: &str,
    report: &Report,
    savings: &[Set],
) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    match format {
        "json" => output::json(&mut out, report)?,
        "csv" => csv::write(&mut out, report)?,
        "html" => {
            let anomalies = of_report(report, Limits::default());
            let extras = PageExtras { anomalies: &anomalies, savings };
            let page = html::render(report, extras).map_err(std::io::Error::other)?;
            out.write_all(page.as_bytes())?;
        }
        _ => text::write(&mut out, report, width(context)?)?,
    }
    Ok(())
}

/// The width of the table: `--width`, else the terminal's, else 100 columns.
pub(super) fn width(context: &Context) -> Result<usize, CliError> {
    match context.argument("width") {
        Some(text) => {
            text.parse().ok().filter(|width| (60..=200).contains(width)).ok_or_else(|| {
                CliError::Argument(format!("--width '{text}' is no number from 60 to 200"))
            })
        }
        None => Ok(comfy_table::Table::new().width().map_or(100, usize::from)),
    }
}

fn by(context: &Context) -> Result<By, CliError> {
    let text = context.argument("by").unwrap_or("namespace");
    text.parse().map_err(|error| CliError::Argument(format!("--by: {error}")))
}

fn focus_version(context: &Context) -> Result<FocusVersion, CliError> {
    let text = context.argument("focus-version").unwrap_or("1.2");
    text.parse().map_err(|error| CliError::Argument(format!("--focus-version: {error}")))
}

fn top(context: &Context) -> Result<Option<usize>, CliError> {
    let Some(text) = context.argument("top") else { return Ok(None) };
    let top = text.parse().ok().filter(|top| *top > 0);
    let bad = || CliError::Argument(format!("--top '{text}' is no number above 0"));
    top.map(Some).ok_or_else(bad)
}

/// `--from` and `--to`, or the month so far.
pub(super) fn days(context: &Context, today: Day) -> Result<(Day, Day), CliError> {
    match request::days_and_accounts(context)?.days {
        Some(days) => Ok(days),
        None => Ok((month_of(today).0, today)),
    }
}
