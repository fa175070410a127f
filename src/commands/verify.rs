//! `verify`: every hop, and the first broken one.

use crate::cost::AccountId;
use crate::settings::worker::VerifySettings;

use super::{CliError, Context, output};

/// `verify`: walks every hop and names the first broken one.
///
/// # Errors
/// When settings or the account's id are wrong.
pub async fn verify(context: &Context) -> Result<u8, CliError> {
    let account = context.argument("account").map(AccountId::new).transpose();
    let account = account.map_err(|error| CliError::Argument(format!("--account: {error}")))?;
    let config: VerifySettings = context.settings()?;
    let report = crate::verify::verify(&config, &context.clock, account).await;
    output::verify(&mut std::io::stdout().lock(), &report, context.is_json)?;
    Ok(report.exit_code)
}
