//! `explain`: why a stored number is what it is.

use crate::accounts::select_accounts;
use crate::cost::{AccountId, Day};
use crate::explain::{
    Asked, ExplainStores, Explanation, HourReader, Layer, Wanted, explain as explained, text,
};
use crate::settings::worker::{PipelineSettings, QueryConfig};
use crate::source::prometheus::client::PromClient;

use super::{CliError, Context, connect, output};

/// `explain`: reads the stores and the query layer, and changes nothing.
///
/// # Errors
/// When settings or arguments are wrong, or a hop cannot be read.
pub async fn explain(context: &Context) -> Result<u8, CliError> {
    let (account, day, wanted) = arguments(context)?;
    let settings: PipelineSettings = context.settings()?;
    let environment = context.environment(&settings).await?;
    let stores = connect::stores(&settings.store).await?;
    let readers = &environment.readers;
    let accounts = select_accounts(readers.accounts.as_ref(), &[account]).await?;
    let Some(account) = accounts.first() else {
        return Err(CliError::Argument("--account names no account".to_owned()));
    };
    let now_seconds = context.clock.now_seconds();
    let hours = hours(&settings, &account.id)?;
    let asked = asked(&settings, &account.id, (day, now_seconds));
    let hours = hours.as_ref().map(|client| client as &dyn HourReader);
    let reads = ExplainStores {
        ledger: stores.ledger.as_ref(),
        names: stores.names.as_ref(),
        status: stores.status.as_ref(),
        source: readers.source.as_ref(),
        settings: &settings.run,
    };
    let one = explained(&reads, account, (day, &wanted), now_seconds, (asked, hours)).await?;
    write(context, &one)?;
    Ok(exit_code(&one))
}

/// 0 where there is a row and it is what is computed.
fn exit_code(one: &Explanation) -> u8 {
    u8::from(!one.is_equal || one.stored_usd.is_none())
}

fn write(context: &Context, one: &Explanation) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if context.is_json { output::json(&mut out, one) } else { text::write(&mut out, one) }
}

fn arguments(context: &Context) -> Result<(AccountId, Day, Wanted), CliError> {
    let wrong = |name: &str, error: String| CliError::Argument(format!("--{name}: {error}"));
    let text = |name: &str| context.argument(name).map(str::to_owned);
    let account = AccountId::new(text("account").unwrap_or_default())
        .map_err(|error| wrong("account", error.to_string()))?;
    let day: Day = text("day")
        .unwrap_or_default()
        .parse()
        .map_err(|error: crate::cost::day::BadDay| wrong("day", error.to_string()))?;
    let wanted = match text("resource") {
        Some(id) => Wanted::Resource(id),
        None => Wanted::Names {
            cluster: text("cluster"),
            namespace: text("namespace"),
            pod: text("pod"),
        },
    };
    Ok((account, day, wanted))
}

/// Who is asked for hours: only servers that understand PromQL can be.
fn hours(settings: &PipelineSettings, account: &AccountId) -> Result<Option<PromClient>, CliError> {
    match &settings.query {
        QueryConfig::Prometheus { endpoint, auth, headers, .. } => {
            let headers = headers.for_account(account.as_str());
            Ok(Some(PromClient::new(endpoint.clone(), auth.clone(), headers)?))
        }
        _ => Ok(None),
    }
}

fn asked(settings: &PipelineSettings, account: &AccountId, (day, now): (Day, i64)) -> Asked {
    let (tenant_label, cluster_label) = match &settings.query {
        QueryConfig::Prometheus { tenant_label, cluster_label, .. } => {
            (tenant_label.clone(), cluster_label.clone())
        }
        _ => (None, Default::default()),
    };
    let layer = match &settings.query {
        QueryConfig::Prometheus { .. } => Layer::Prometheus,
        QueryConfig::Metroculus { .. } => Layer::Metroculus,
        QueryConfig::AllocationApi { .. } => Layer::AllocationApi,
    };
    Asked {
        tenant: tenant_label.map(|label| (label, account.to_string())),
        cluster_label,
        default_cluster: settings.run.default_cluster.clone(),
        ..Asked::of_layer(layer, account.clone(), (day, now))
    }
}
