//! `accounts`: which accounts a run works on.

use crate::settings::worker::Needs;

use super::{Context, Ended, connect, output};

/// `accounts`: which accounts a run works on.
///
/// # Errors
/// When settings are wrong, or the list cannot be had.
pub async fn accounts(context: &Context) -> Result<u8, Ended> {
    let config = context.config(Needs::Accounts)?;
    let accounts = connect::accounts(&config).await?.accounts().await?;
    output::accounts(&mut std::io::stdout().lock(), &accounts, context.is_json)?;
    Ok(0)
}
