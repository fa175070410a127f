//! `audit`: finds what is wrong with what is stored, and mends it when asked to.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::accounts::chosen;
use crate::audit::mend::Mending;
use crate::audit::{Finding, FindingKind, Mended, findings, mend, survey};
use crate::cost::{AccountId, Day};
use crate::lease::HeldLease;
use crate::run::RunRequest;
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::{Needs, RunConfig};

use super::connect::Stores;
use super::{Context, Ended, connect, output, request};

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
    /// Accounts that were not mended, because somebody else is writing them.
    pub skipped: Vec<Skipped>,
    /// Mended days that no run computes again by itself, for they are older than `CATCH_UP_DAYS`.
    pub to_backfill: Vec<ToBackfill>,
}

/// An account that was not mended.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The account.
    pub account: AccountId,
    /// Who is writing it.
    pub what: String,
    /// What to do.
    pub fix: String,
}

/// Days of an account that have to be computed again by a backfill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ToBackfill {
    /// The account.
    pub account: AccountId,
    /// The days.
    pub days: Vec<Day>,
    /// What to run.
    pub command: String,
}

impl ToBackfill {
    /// Of days that were mended those before `first`, the first day that runs look after.
    fn of(account: &AccountId, mended: &BTreeSet<Day>, first: Day) -> Option<Self> {
        let days: Vec<Day> = mended.range(..first).copied().collect();
        let (from, to) = (days.first()?, days.last()?);
        let command =
            format!("kubecost-worker backfill --from {from} --to {to} --account {account}");
        Some(Self { account: account.clone(), days, command })
    }
}

/// `audit`: reads a range of days; writes only with `--fix` or `--adopt`.
///
/// # Errors
/// When settings or arguments are wrong, or a store cannot be used.
pub async fn audit(context: &Context) -> Result<u8, Ended> {
    let request = request::days_and_accounts(context)?;
    let config = context.config(Needs::StoresAndAccounts)?;
    let stores = connect::stores(&config.store).await?;
    let source = connect::accounts(&config).await?;
    let accounts = chosen(source.as_ref(), &request.accounts).await?;
    let mut summary = AuditSummary::default();
    for account in accounts {
        one(context, &stores, &account.id, (&request, &config.run), &mut summary).await?;
    }
    summary.exit_code = u8::from(summary.findings_left > 0 || !summary.skipped.is_empty());
    output::audit(&mut std::io::stdout().lock(), &summary, context.is_json)?;
    Ok(summary.exit_code)
}

async fn one(
    context: &Context,
    stores: &Stores,
    account: &AccountId,
    (request, settings): (&RunRequest, &RunConfig),
    summary: &mut AuditSummary,
) -> Result<(), Failure> {
    let today = Day::of_unix(context.clock.now_seconds());
    let days = request.days.unwrap_or((today, today));
    let found = look(stores, account, days).await?;
    let chosen: Vec<Finding> = found.iter().filter(|f| is_chosen(context, f)).cloned().collect();
    if chosen.is_empty() || context.switch("dry-run") {
        summary.findings_left += to_mend(&found);
        summary.findings.extend(found);
        return Ok(());
    }
    match mend_under_lease(context, stores, account, settings, &chosen).await {
        Ok(mended) => {
            summary.mended.add(mended);
            let touched = chosen.iter().filter_map(|finding| finding.day).collect();
            let first = today.minus(settings.catch_up_days);
            summary.to_backfill.extend(ToBackfill::of(account, &touched, first));
        }
        // The others have leases of their own.
        Err(failure) if failure.kind == Kind::Conflict => {
            tracing::warn!(account.id = %account, %failure, "the account is not mended");
            let (what, fix) = (failure.what, failure.fix);
            summary.skipped.push(Skipped { account: account.clone(), what, fix });
        }
        Err(failure) => return Err(failure),
    }
    summary.findings_left += to_mend(&look(stores, account, days).await?);
    summary.findings.extend(found);
    Ok(())
}

async fn mend_under_lease(
    context: &Context,
    stores: &Stores,
    account: &AccountId,
    settings: &RunConfig,
    chosen: &[Finding],
) -> Result<Mended, Failure> {
    let (clock, run_id) = (&context.clock, uuid::Uuid::new_v4().to_string());
    let lease = HeldLease::take(&stores.leases, clock, settings.lease, account, &run_id).await?;
    let work = Mending {
        ledger: &stores.ledger,
        resources: &stores.resources,
        days: &stores.days,
        lease: &lease,
        account,
    };
    let mended = mend(&work, chosen).await;
    lease.release().await;
    mended
}

async fn look(
    stores: &Stores,
    account: &AccountId,
    days: (Day, Day),
) -> Result<Vec<Finding>, Failure> {
    let survey = survey(stores.ledger.as_ref(), stores.resources.as_ref(), account, days).await?;
    Ok(findings(account, &survey))
}

/// How many findings something can and should be done about.
fn to_mend(findings: &[Finding]) -> usize {
    findings.iter().filter(|finding| !finding.kind.is_notice()).count()
}

/// Rows of the earlier worker are taken back by `--adopt` alone, everything else by `--fix`.
fn is_chosen(context: &Context, finding: &Finding) -> bool {
    if finding.kind.is_notice() {
        return false;
    }
    let switch = if finding.kind == FindingKind::EarlierWorker { "adopt" } else { "fix" };
    context.switch(switch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_no_run_looks_after_are_named_with_what_to_run() {
        let day = |text: &str| text.parse::<Day>().unwrap();
        let account = AccountId::new("a").unwrap();
        let mended = ["2026-08-02", "2026-08-05", "2026-11-01"].map(day).into();
        let old = ToBackfill::of(&account, &mended, day("2026-10-16")).unwrap();
        assert_eq!(old.days, [day("2026-08-02"), day("2026-08-05")]);
        let command = "kubecost-worker backfill --from 2026-08-02 --to 2026-08-05 --account a";
        assert_eq!(old.command, command);
        assert_eq!(ToBackfill::of(&account, &mended, day("2026-08-02")), None);
    }
}
