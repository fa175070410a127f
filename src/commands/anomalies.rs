//! `anomalies`: days that cost other than days like them.

use comfy_table::presets;

use crate::cost::Day;
use crate::report::anomalies::{Anomaly, HISTORY_DAYS, Limits, of_report};
use crate::report::build::Shown;
use crate::report::{By, build, read};
use crate::service::usd::Usd;
use crate::settings::worker::ReportSettings;

use super::report::{readers, scope};
use super::{CliError, Context, connect, output, request};

/// Days that are judged, unless `--from` and `--to` say otherwise.
const DAYS_DEFAULT: u32 = 6;

/// `anomalies`: reads the days and what they are compared with.
///
/// # Errors
/// When settings or arguments are wrong, or a store cannot be read.
pub async fn anomalies(context: &Context) -> Result<u8, CliError> {
    let limits =
        Limits { spreads: number(context, "spreads")?, least_usd: number(context, "least")? };
    let today = Day::of_unix(context.clock.now_seconds());
    let asked = request::days_and_accounts(context)?.days;
    let (first, last) = asked.unwrap_or((today.minus(DAYS_DEFAULT), today));
    let settings: ReportSettings = context.settings()?;
    let stores = connect::stores(&settings.store).await?;
    let days = (first.minus(HISTORY_DAYS), last);
    let scope = scope(context, &settings, By::Namespace, days).await?;
    let sums = read(&readers(&stores), &scope, today).await?;
    let made_at = context.clock.now_seconds();
    let report = build(sums, Shown { top: None, made_at, currency: settings.currency });
    let mut found = of_report(&report, limits);
    found.retain(|one| one.day >= first);
    write(context, &found)?;
    Ok(0)
}

fn number(context: &Context, name: &str) -> Result<f64, CliError> {
    let text = context.argument(name).unwrap_or_default();
    let number = text.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    number.ok_or_else(|| CliError::Argument(format!("--{name} '{text}' is no number from 0 on")))
}

fn write(context: &Context, found: &[Anomaly]) -> std::io::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    if context.is_json {
        return output::json(&mut out, &found);
    }
    if !found.is_empty() {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED);
        table.set_header(["day", "account", "cluster", "name", "kind", "USD", "expected"]);
        for one in found {
            table.add_row([
                one.day.to_string(),
                one.account.clone(),
                one.cluster.clone(),
                one.name.clone(),
                one.kind.to_string(),
                format!("{:.2}", Usd(one.usd)),
                format!("{:.2} ± {:.2}", Usd(one.expected_usd), Usd(one.spread_usd)),
            ]);
        }
        writeln!(out, "{table}")?;
    }
    writeln!(out, "{} days cost other than days like them", found.len())
}
