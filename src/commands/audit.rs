//! `audit`: finds what is wrong with what is stored, and repairs it when asked to.

use crate::account_writer::Writers;
use crate::accounts::select_accounts;
use crate::audit::repair::Repairing;
use crate::audit::{Finding, RepairReport, findings, load_stored_state, repair};
use crate::cost::{AccountId, Day};
use crate::documents::PoolOwner;
use crate::run::RunRequest;
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::AuditSettings;

use super::audit_summary::{AuditSummary, Skipped, ToBackfill};
use super::connect::Stores;
use super::screen::Screen;
use super::{CliError, Context, audit_output, connect, request};

/// `audit`: reads a range of days; writes only with `--fix` or `--adopt`.
///
/// # Errors
/// When settings or arguments are wrong, or a store cannot be used.
pub async fn audit(context: &Context) -> Result<u8, CliError> {
    let request = request::days_and_accounts(context)?;
    let settings: AuditSettings = context.settings()?;
    let stores = connect::stores(&settings.store).await?;
    let source = connect::accounts(&settings.selection).await?;
    let accounts = select_accounts(source.as_ref(), &request.accounts).await?;
    let mut summary = AuditSummary::default();
    let today = Day::of_unix(context.clock.now_seconds());
    for account in accounts {
        one(context, &stores, &account.id, (&request, &settings), &mut summary).await?;
    }
    summary.advise(request.days.unwrap_or((today, today)), &request.accounts);
    summary.exit_code = u8::from(summary.findings_left > 0 || !summary.skipped.is_empty());
    let mut out = std::io::stdout().lock();
    audit_output::audit(&mut out, &summary, context.is_json, Screen::stdout())?;
    Ok(summary.exit_code)
}

async fn one(
    context: &Context,
    stores: &Stores,
    account: &AccountId,
    (request, settings): (&RunRequest, &AuditSettings),
    summary: &mut AuditSummary,
) -> Result<(), Failure> {
    let today = Day::of_unix(context.clock.now_seconds());
    let days = request.days.unwrap_or((today, today));
    let owner = match &settings.owner {
        Some(owner) => Some(owner.clone()),
        None => connect::rest(settings.rest.as_ref(), &settings.store)?.pool_owner(account).await,
    };
    let owner = owner.as_ref();
    let found = look(stores, account, days, owner).await?;
    let chosen: Vec<Finding> = found.iter().filter(|f| is_chosen(context, f)).cloned().collect();
    if chosen.is_empty() || context.switch("dry-run") {
        summary.leave(&found);
        summary.findings.extend(found);
        return Ok(());
    }
    let now_seconds = context.clock.now_seconds();
    let writers = stores.writers(settings.lease);
    match repair_under_lease(&writers, stores, account, &chosen, (owner, now_seconds)).await {
        Ok(repaired) => {
            summary.repaired.add(repaired);
            let touched = chosen.iter().filter_map(|finding| finding.day).collect();
            let first = today.minus(settings.catch_up_days);
            summary.to_backfill.extend(ToBackfill::of(account, &touched, first));
        }
        // The others have leases of their own.
        Err(failure) if failure.kind == Kind::Conflict => {
            tracing::warn!(account.id = %account, %failure, "the account is not repaired");
            let (what, fix) = (failure.what, failure.fix);
            summary.skipped.push(Skipped { account: account.clone(), what, fix });
        }
        Err(failure) => return Err(failure),
    }
    summary.leave(&look(stores, account, days, owner).await?);
    summary.findings.extend(found);
    Ok(())
}

async fn repair_under_lease(
    writers: &Writers,
    stores: &Stores,
    account: &AccountId,
    chosen: &[Finding],
    (default_owner, now_seconds): (Option<&PoolOwner>, i64),
) -> Result<RepairReport, Failure> {
    let run_id = uuid::Uuid::new_v4().to_string();
    let writer = writers.open(account, &run_id).await?;
    let work = Repairing {
        ledger: stores.ledger.as_ref(),
        documents: stores.documents.as_ref(),
        status: stores.status.as_ref(),
        writer: &writer,
        default_owner,
        now_seconds,
    };
    let repaired = repair(&work, chosen).await;
    writer.release().await;
    repaired
}

async fn look(
    stores: &Stores,
    account: &AccountId,
    days: (Day, Day),
    owner: Option<&PoolOwner>,
) -> Result<Vec<Finding>, Failure> {
    let (ledger, documents) = (stores.ledger.as_ref(), stores.documents.as_ref());
    let stored = load_stored_state(ledger, documents, account, days, owner.cloned()).await?;
    Ok(findings(account, &stored))
}

/// Rows and documents of earlier software are adopted by `--adopt` alone, all else is `--fix`'s.
fn is_chosen(context: &Context, finding: &Finding) -> bool {
    if finding.kind.is_notice() {
        return false;
    }
    let switch = if finding.kind.is_earlier() { "adopt" } else { "fix" };
    context.switch(switch)
}
