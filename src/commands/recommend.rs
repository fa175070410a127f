//! `recommend`: what could cost less.

use std::collections::BTreeSet;
use std::io::Write;

use crate::accounts::{Account, select_accounts};
use crate::recommend::rules::{COST, PERFORMANCE};
use crate::recommend::{FailedAccount, Recommendations, Scope, items, recommend as recommended};
use crate::service::shown::shown;
use crate::service::usd::Usd;
use crate::settings::cluster_label::ClusterLabel;
use crate::settings::worker::{MigrateSettings, QueryConfig, RecommendSettings};
use crate::source::prometheus::client::PromClient;
use crate::source::prometheus::promql::Selector;

use super::connect::Stores;
use super::{CliError, Context, connect, output, request};

/// After so many accounts in a row for which a hop was down, no other is asked about.
const DOWN_MAX: u32 = 3;

/// `recommend`: asks the query layer; with `--write` it stores what it found. An account that fails
/// leaves the others theirs: the exit code is 1 then.
///
/// # Errors
/// When settings or arguments are wrong, or no account can be looked at.
pub async fn recommend(context: &Context) -> Result<u8, CliError> {
    let asked = request::accounts(context)?;
    let limits = limits(context)?;
    let settings: RecommendSettings = context.settings()?;
    let QueryConfig::Prometheus { endpoint, auth, headers, tenant_label, cluster_label, .. } =
        &settings.query
    else {
        let what = "recommend needs use over time: set QUERY_LAYER=prometheus and PROMETHEUS_URL";
        return Err(CliError::Argument(what.to_owned()));
    };
    let stores = match context.switch("write") {
        true => {
            let written: MigrateSettings = context.settings()?;
            Some(connect::stores(&written.store).await?)
        }
        false => None,
    };
    let look = async |account: &Account| -> Result<Recommendations, CliError> {
        let headers = headers.for_account(account.id.as_str());
        let client = PromClient::new(endpoint.clone(), auth.clone(), headers)?;
        let selector = selector(account, tenant_label.as_deref(), cluster_label);
        let found = recommended(&client, &scope(context, account, selector, limits)).await?;
        if let Some(stores) = &stores {
            store(stores, account, &found, context.clock.now_seconds()).await?;
        }
        Ok(found)
    };
    let source = connect::accounts(&settings.selection).await?;
    look_at_all(context, &select_accounts(source.as_ref(), &asked).await?, look).await
}

/// Looks at accounts one after the other, and shows what was found in all of them.
async fn look_at_all(
    context: &Context,
    accounts: &[Account],
    look: impl AsyncFn(&Account) -> Result<Recommendations, CliError>,
) -> Result<u8, CliError> {
    let (mut all, mut done, mut first_failure) = (Recommendations::default(), 0, None);
    let mut down_in_a_row = 0;
    for account in accounts {
        if down_in_a_row >= DOWN_MAX {
            let cause = "not asked: the accounts before it had no answer".to_owned();
            all.failed.push(FailedAccount { account: account.id.to_string(), cause });
            continue;
        }
        match look(account).await {
            Ok(found) => {
                (done, down_in_a_row) = (done + 1, 0);
                all.recommendations.extend(found.recommendations);
                all.missing.extend(found.missing);
            }
            Err(CliError::Failed(failure)) => {
                down_in_a_row = if failure.is_hop_down() { down_in_a_row + 1 } else { 0 };
                let (account, cause) = (account.id.to_string(), failure.to_string());
                all.failed.push(FailedAccount { account, cause });
                first_failure.get_or_insert(failure);
            }
            Err(error) => return Err(error),
        }
    }
    match first_failure {
        Some(failure) if done == 0 => return Err(failure.into()),
        _ => {}
    }
    all.recommendations.sort_by(|a, b| b.usd_per_month.total_cmp(&a.usd_per_month));
    write(context, &all)?;
    Ok(u8::from(!all.failed.is_empty()))
}

/// Replaces what is stored of an account's recommendations.
async fn store(
    stores: &Stores,
    account: &Account,
    found: &Recommendations,
    now_seconds: i64,
) -> Result<(), CliError> {
    let ids = found.recommendations.iter().map(|one| items::resource(one).id(&account.id));
    let ids: BTreeSet<String> = ids.collect();
    let ids: Vec<String> = ids.into_iter().collect();
    let documents = stores.documents.find(&account.id, &ids).await?;
    let before = stores.recommendations.sets(&account.id).await?;
    let before = (before.as_slice(), now_seconds);
    for set in items::sets(account, &found.recommendations, &documents, before) {
        stores.recommendations.replace(&set).await?;
    }
    Ok(())
}

fn selector(account: &Account, tenant: Option<&str>, label: &ClusterLabel) -> Selector {
    Selector {
        tenant: tenant.map(|label| (label.to_owned(), account.id.to_string())),
        cluster_label: match label {
            ClusterLabel::Named(label) => Some(label.clone()),
            ClusterLabel::Auto => None,
        },
        ..Selector::default()
    }
}

/// What `--lookback` and `--node-target` ask for: days, and a share.
fn limits(context: &Context) -> Result<(u32, f64), CliError> {
    let text = |name: &str| context.argument(name).unwrap_or_default();
    let (days, share) = (text("lookback"), text("node-target"));
    let lookback_days = days.parse::<u32>().ok().filter(|days| (1..=90).contains(days));
    let lookback_days = lookback_days.ok_or_else(|| {
        CliError::Argument(format!("--lookback '{days}' is no whole number from 1 to 90"))
    })?;
    let node_target = share.parse::<f64>().ok().filter(|share| (0.1..=1.0).contains(share));
    let node_target = node_target.ok_or_else(|| {
        CliError::Argument(format!("--node-target '{share}' is no number from 0.1 to 1"))
    })?;
    Ok((lookback_days, node_target))
}

fn scope(
    context: &Context,
    account: &Account,
    selector: Selector,
    (lookback_days, node_target): (u32, f64),
) -> Scope {
    let is_roomy = context.argument("profile") == Some("performance");
    Scope {
        account: account.id.to_string(),
        selector,
        lookback_days,
        profile: if is_roomy { PERFORMANCE } else { COST },
        node_target,
        now_seconds: context.clock.now_seconds(),
    }
}

fn write(context: &Context, all: &Recommendations) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if context.is_json {
        return output::json(&mut out, all);
    }
    for one in &all.recommendations {
        writeln!(
            out,
            "${:.2} a month: {} {} {}\n  {}\n  evidence ({:?}): {}\n  wrong if {}",
            Usd(one.usd_per_month),
            one.kind.as_str(),
            shown(&one.cluster),
            shown(&one.name),
            shown(&one.what),
            one.confidence,
            shown(&one.evidence),
            one.wrong_if
        )?;
    }
    for one in &all.missing {
        writeln!(out, "{}: {} is missing for {}: {}", one.account, one.metric, one.lacks, one.fix)?;
    }
    for one in &all.failed {
        writeln!(out, "{}: not looked at: {}", one.account, shown(&one.cause))?;
    }
    let usd: f64 = all.recommendations.iter().map(|one| one.usd_per_month).sum();
    writeln!(out, "{} recommendations, ${:.2} a month", all.recommendations.len(), Usd(usd))
}
