//! `accounts`: which accounts a run works on, and which of them CloudTuner imports itself too.

use std::io::Write;

use crate::cost::AccountId;
use crate::rest_api::RestClient;
use crate::settings::worker::{AccountsSettings, RestSettings};

use super::{CliError, Context, connect, output};

/// `accounts`: which accounts a run works on; with `--disable-auto-import` the one write there is.
///
/// # Errors
/// When settings are wrong, the list cannot be had, or the REST API refuses the change.
pub async fn accounts(context: &Context) -> Result<u8, CliError> {
    if let Some(id) = context.argument("disable-auto-import") {
        return disable_auto_import(context, id).await;
    }
    let settings: AccountsSettings = context.settings()?;
    let accounts = connect::accounts(&settings.selection).await?.accounts().await?;
    output::accounts(&mut std::io::stdout().lock(), &accounts, context.is_json)?;
    Ok(0)
}

async fn disable_auto_import(context: &Context, id: &str) -> Result<u8, CliError> {
    let id = AccountId::new(id).map_err(|error| CliError::Argument(error.to_string()))?;
    let RestSettings { rest } = context.settings()?;
    let client = RestClient::new(rest.endpoint, &rest.secret)?;
    let was_on = client.cloud_account(&id).await?.auto_import != Some(false);
    if was_on {
        client.disable_auto_import(&id).await?;
    }
    let mut out = std::io::stdout().lock();
    if context.is_json {
        writeln!(out, "{}", serde_json::json!({ "account": id, "was_on": was_on }))?;
    } else {
        let state = if was_on { "is off now" } else { "was off already" };
        writeln!(out, "auto_import of {id} {state}")?;
    }
    Ok(0)
}
