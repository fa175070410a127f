//! `audit`: finds what is wrong with what is stored, and repairs it when asked to.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::select_accounts;
use crate::audit::day_record::is_open;
use crate::audit::repair::Repairing;
use crate::audit::{
    Audited, Finding, RepairReport, RepairedBy, findings, load_stored_state, repair,
};
use crate::cost::{AccountId, Day};
use crate::day_status::DayStatus;
use crate::documents::PoolOwner;
use crate::service::failure::{Failure, Kind};
use crate::settings::worker::AuditSettings;

use super::audit_summary::AuditSummary;
use super::connect::Stores;
use super::screen::Screen;
use super::{CliError, Context, audit_output, connect, request};

/// `audit`: reads a range of days; writes only with `--fix` or `--adopt`. What was found and done is
/// printed whatever fails later.
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
    let days = request.days.unwrap_or((today, today));
    let audit = Audit { context, stores: &stores, settings: &settings, days, today };
    let mut first_failure = None;
    for account in accounts {
        let Err(failure) = audit.one(&account.id, &mut summary).await else { continue };
        let is_hop_down = failure.is_hop_down();
        summary.fail(&account.id, failure.clone());
        first_failure.get_or_insert(failure);
        if is_hop_down {
            break;
        }
    }
    summary.advise(days, &request.accounts);
    let failure = first_failure.map(CliError::from);
    let found = u8::from(summary.findings_left > 0 || !summary.skipped.is_empty());
    summary.exit_code = failure.as_ref().map_or(found, CliError::exit_code);
    let mut out = std::io::stdout().lock();
    audit_output::audit(&mut out, &summary, context.is_json, Screen::stdout())?;
    failure.map_or(Ok(found), Err)
}

/// What the accounts of an audit have in common.
struct Audit<'a> {
    context: &'a Context,
    stores: &'a Stores,
    settings: &'a AuditSettings,
    days: (Day, Day),
    today: Day,
}

/// What is wrong with an account, and the status of its days.
type Found = (Vec<Finding>, BTreeMap<Day, DayStatus>);

impl Audit<'_> {
    /// Audits an account, and repairs it where that is asked for.
    async fn one(&self, account: &AccountId, summary: &mut AuditSummary) -> Result<(), Failure> {
        let owner = self.owner(account).await?;
        let owner = owner.as_ref();
        let (found, _) = self.look(account, owner).await?;
        summary.findings.extend(found.iter().cloned());
        summary.name_days(account, &days_of_backfill(&found));
        let is_repaired =
            !self.context.switch("dry-run") && found.iter().any(|finding| self.is_chosen(finding));
        if !is_repaired {
            summary.leave(&found);
            return Ok(());
        }
        match self.repair(account, owner, &found, summary).await {
            Ok(left) => {
                summary.leave(&left);
                Ok(())
            }
            // Somebody else has the lease, or took it on the way. The others have leases of their own.
            Err(failure) if failure.kind == Kind::Conflict => {
                summary.leave(&found);
                summary.skip(account, failure);
                Ok(())
            }
            Err(failure) => {
                summary.leave(&found);
                Err(failure)
            }
        }
    }

    /// Repairs what is chosen of the findings. Returns those that are left.
    async fn repair(
        &self,
        account: &AccountId,
        owner: Option<&PoolOwner>,
        found: &[Finding],
        summary: &mut AuditSummary,
    ) -> Result<Vec<Finding>, Failure> {
        let run_id = uuid::Uuid::new_v4().to_string();
        let writers = self.stores.writers(self.settings.lease);
        let writer = writers.open(account, &run_id).await?;
        let is_chosen = |finding: &&Finding| self.is_chosen(finding);
        let chosen: Vec<Finding> = found.iter().filter(is_chosen).cloned().collect();
        // Named before the first write: a repair that breaks off has touched some of them.
        let touched: BTreeSet<Day> = chosen.iter().filter_map(|finding| finding.day).collect();
        let old: BTreeSet<Day> = touched.range(..self.caught_up_from()).copied().collect();
        summary.name_days(account, &old.union(&days_of_backfill(found)).copied().collect());
        let is_left = |one: &Finding| one.kind.is_of_day() && !self.is_chosen(one);
        let work = Repairing {
            ledger: self.stores.ledger.as_ref(),
            documents: self.stores.documents.as_ref(),
            status: self.stores.status.as_ref(),
            writer: &writer,
            default_owner: owner,
            keeps_document_costs: found.iter().any(is_left),
            run_id: &run_id,
            now_seconds: self.context.clock.now_seconds(),
        };
        let mut done = RepairReport::default();
        let repaired = repair(&work, &chosen, &mut done).await;
        writer.release().await;
        summary.repaired.add(done);
        repaired?;
        let (left, statuses) = self.look(account, owner).await?;
        let is_settled = |day: &Day| statuses.get(day).is_some_and(|status| !is_open(status));
        let open = old.into_iter().filter(|day| !is_settled(day));
        summary.name_days(account, &open.chain(days_of_backfill(&left)).collect());
        Ok(left)
    }

    async fn look(&self, account: &AccountId, owner: Option<&PoolOwner>) -> Result<Found, Failure> {
        let audited = Audited {
            ledger: self.stores.ledger.as_ref(),
            documents: self.stores.documents.as_ref(),
            status: self.stores.status.as_ref(),
            first: self.days.0,
            last: self.days.1,
            today: self.today,
            caught_up_from: self.caught_up_from(),
        };
        let stored = load_stored_state(audited, account, owner.cloned()).await?;
        Ok((findings(account, &stored), stored.statuses))
    }

    /// Pool and owner that the account's documents get by default.
    async fn owner(&self, account: &AccountId) -> Result<Option<PoolOwner>, Failure> {
        if let Some(owner) = &self.settings.owner {
            return Ok(Some(owner.clone()));
        }
        let rest = connect::rest(self.settings.rest.as_ref(), &self.settings.store)?;
        Ok(rest.pool_owner(account).await)
    }

    /// The first day that runs compute again by themselves.
    fn caught_up_from(&self) -> Day {
        self.today.minus(self.settings.catch_up_days)
    }

    /// Rows and documents of earlier software are adopted by `--adopt` alone, all else is `--fix`'s.
    fn is_chosen(&self, finding: &Finding) -> bool {
        match finding.repaired_by {
            RepairedBy::Fix => self.context.switch("fix"),
            RepairedBy::Adopt => self.context.switch("adopt"),
            RepairedBy::Backfill | RepairedBy::Nothing => false,
        }
    }
}

/// The days of findings that a backfill repairs.
fn days_of_backfill(findings: &[Finding]) -> BTreeSet<Day> {
    let by_backfill = findings.iter().filter(|one| one.repaired_by == RepairedBy::Backfill);
    by_backfill.filter_map(|finding| finding.day).collect()
}
