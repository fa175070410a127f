//! `accounts`: which accounts a run works on.

use crate::settings::worker::AccountsSettings;

use super::{CliError, Context, connect, output};

/// `accounts`: which accounts a run works on.
///
/// # Errors
/// When settings are wrong, or the list cannot be had.
pub async fn accounts(context: &Context) -> Result<u8, CliError> {
    let settings: AccountsSettings = context.settings()?;
    let accounts = connect::accounts(&settings.selection).await?.accounts().await?;
    output::accounts(&mut std::io::stdout().lock(), &accounts, context.is_json)?;
    Ok(0)
}
