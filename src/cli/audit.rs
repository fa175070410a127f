//! `audit`: finds what is wrong with what is stored, and mends it when asked to.

use serde::Serialize;

use crate::accounts::chosen;
use crate::allocation::{AccountId, Day};
use crate::audit::mend::Mending;
use crate::audit::{Finding, FindingKind, Mended, findings, mend, survey};
use crate::config::worker::Needs;
use crate::failure::Failure;
use crate::worker::RunRequest;
use crate::worker::lease::HeldLease;

use super::connect::Stores;
use super::{Context, Ended, commands, connect, output};

/// What an audit found and did: with `--output json`, its only line of output.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AuditSummary {
    /// 0: nothing is wrong, or all of it was mended; 1: findings are left.
    pub exit_code: u8,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What was done about it, if that was asked for.
    pub mended: Mended,
    /// What is left.
    pub findings_left: usize,
}

/// `audit`: reads a range of days; writes only with `--fix` or `--adopt`.
///
/// # Errors
/// When settings or arguments are wrong, or a store cannot be used.
pub async fn audit(context: &Context) -> Result<u8, Ended> {
    let request = commands::days_and_accounts(context)?;
    let config = context.config(Needs::StoresAndAccounts)?;
    let stores = connect::stores(&config.store).await?;
    let source = connect::accounts(&config).await?;
    let accounts = chosen(source.as_ref(), &request.accounts).await?;
    let mut summary = AuditSummary::default();
    for account in accounts {
        let lease = config.run.lease;
        one(context, &stores, &account.id, (&request, lease), &mut summary).await?;
    }
    summary.exit_code = u8::from(summary.findings_left > 0);
    output::audit(&mut std::io::stdout().lock(), &summary, context.is_json)?;
    Ok(summary.exit_code)
}

async fn one(
    context: &Context,
    stores: &Stores,
    account: &AccountId,
    (request, lease): (&RunRequest, std::time::Duration),
    summary: &mut AuditSummary,
) -> Result<(), Failure> {
    let today = Day::of_unix(context.clock.now_seconds());
    let days = request.days.unwrap_or((today, today));
    let found = look(stores, account, days).await?;
    let chosen: Vec<Finding> = found.iter().filter(|f| is_chosen(context, f)).cloned().collect();
    if chosen.is_empty() || context.switch("dry-run") {
        summary.findings_left += found.len();
        summary.findings.extend(found);
        return Ok(());
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    let lease = HeldLease::take(&stores.leases, &context.clock, lease, account, &run_id).await?;
    let work = Mending {
        ledger: &stores.ledger,
        resources: &stores.resources,
        days: &stores.days,
        lease: &lease,
        account,
    };
    let mended = mend(&work, &chosen).await;
    lease.release().await;
    summary.mended.add(mended?);
    summary.findings_left += look(stores, account, days).await?.len();
    summary.findings.extend(found);
    Ok(())
}

async fn look(
    stores: &Stores,
    account: &AccountId,
    days: (Day, Day),
) -> Result<Vec<Finding>, Failure> {
    let survey = survey(stores.ledger.as_ref(), stores.resources.as_ref(), account, days).await?;
    Ok(findings(account, &survey))
}

/// Rows of the earlier worker are taken back by `--adopt` alone, everything else by `--fix`.
fn is_chosen(context: &Context, finding: &Finding) -> bool {
    let switch = if finding.kind == FindingKind::EarlierWorker { "adopt" } else { "fix" };
    context.switch(switch)
}
