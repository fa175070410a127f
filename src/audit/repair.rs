//! Puts right what can be put right from the stores alone.
//!
//! Rows that contradict each other, are off midnight, or belong to no document are taken back, each
//! at its own cost; then documents get the costs that their rows have. A day that lost or changed
//! rows is marked as not settled.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::account_writer::AccountWriter;
use crate::cost::{AccountId, Day};
use crate::day_status::{DayStatusReader, OtherRows};
use crate::documents::costs::cost_summary;
use crate::documents::merge::{DeleteUpdate, repair_alone};
use crate::documents::{Change, CostSummary, DocumentReader, PoolOwner, StoredResource};
use crate::ledger::{Entry, KeyState, LedgerReader, take_back};
use crate::service::failure::Failure;

use super::adopt::adoptions;
use super::finding::{Finding, FindingKind};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct RepairReport {
    /// Rows that were added to take others back.
    pub rows_written: u64,
    /// What they took back, USD.
    pub usd_taken_back: f64,
    /// Documents whose costs were set.
    pub documents_written: u64,
    /// Documents that pool, owner or tags of earlier documents went over to.
    pub documents_adopted: u64,
    /// Documents of earlier software that were marked as deleted.
    pub documents_retired: u64,
    /// Days that are marked to be computed again: by the next run, or by a backfill.
    pub days_unsettled: u64,
}

impl RepairReport {
    /// Adds what was done for another account.
    pub fn add(&mut self, other: Self) {
        self.rows_written += other.rows_written;
        self.usd_taken_back += other.usd_taken_back;
        self.documents_written += other.documents_written;
        self.documents_adopted += other.documents_adopted;
        self.documents_retired += other.documents_retired;
        self.days_unsettled += other.days_unsettled;
    }
}

/// What a repair reads, and the writer that it writes with.
pub struct Repairing<'a> {
    /// Expense rows.
    pub ledger: &'a dyn LedgerReader,
    /// Documents.
    pub documents: &'a dyn DocumentReader,
    /// Status of days.
    pub status: &'a dyn DayStatusReader,
    /// The account's writer.
    pub writer: &'a AccountWriter,
    /// Pool and owner that the account's documents get by default, where known.
    pub default_owner: Option<&'a PoolOwner>,
    /// Unix seconds.
    pub now_seconds: i64,
}

/// Repairs these findings.
///
/// # Errors
/// When a store fails; what is repaired by then stays so, and asking again goes on.
pub async fn repair(work: &Repairing<'_>, findings: &[Finding]) -> Result<RepairReport, Failure> {
    let mut done = RepairReport::default();
    let mut keys: BTreeMap<Day, BTreeMap<(String, i64), FindingKind>> = BTreeMap::new();
    for finding in findings {
        if let (Some(day), Some(date)) = (finding.day, finding.date_seconds) {
            keys.entry(day).or_default().insert((finding.resource_id.clone(), date), finding.kind);
        }
    }
    for (day, faulty) in &keys {
        work.rows(*day, faulty, &mut done).await?;
    }
    work.repair_documents(findings, &mut done).await?;
    work.costs(findings, &mut done).await?;
    work.earlier_documents(findings, &mut done).await?;
    Ok(done)
}

impl Repairing<'_> {
    fn account(&self) -> &AccountId {
        self.writer.account()
    }

    async fn rows(
        &self,
        day: Day,
        faulty: &BTreeMap<(String, i64), FindingKind>,
        done: &mut RepairReport,
    ) -> Result<(), Failure> {
        let states = self.ledger.states(self.account(), day).await?;
        let entries = entries(&states, faulty);
        done.rows_written += entries.len() as u64;
        done.usd_taken_back -= entries.iter().map(|e| e.cost_usd * f64::from(e.sign)).sum::<f64>();
        if !entries.is_empty() {
            self.writer.append_rows(day, states, entries, None).await?;
        }
        self.unsettle(day, done).await
    }

    /// Sets the status to what is stored now, and marks that the day is to be computed again.
    async fn unsettle(&self, day: Day, done: &mut RepairReport) -> Result<(), Failure> {
        let statuses = self.status.statuses(self.account(), day, day).await?;
        let Some(mut status) = statuses.into_iter().next() else { return Ok(()) };
        let own_ids = self.own_ids().await?;
        let mut states = self.ledger.states(self.account(), day).await?;
        states.retain(|state| state.date_seconds == day.start_seconds());
        let (own, others): (Vec<_>, Vec<_>) =
            states.iter().partition(|state| own_ids.contains(&state.resource_id));
        let usd = |states: &[&KeyState]| states.iter().map(|s| s.cost_usd).sum::<f64>() + 0.0;
        status.attempt.is_settled = false;
        (status.stored.total_usd, status.stored.rows) = (usd(&own), own.len() as u64);
        let rows = others.iter().map(|state| state.sign_sum).sum();
        status.other_rows = OtherRows { rows, total_usd: usd(&others) };
        done.days_unsettled += 1;
        self.writer.put_status(status).await
    }

    async fn own_ids(&self) -> Result<BTreeSet<String>, Failure> {
        let own = self.documents.own_documents(self.account()).await?;
        Ok(own.into_iter().map(|document| document.id).collect())
    }

    async fn repair_documents(
        &self,
        findings: &[Finding],
        done: &mut RepairReport,
    ) -> Result<(), Failure> {
        let is_broken = |finding: &&Finding| finding.kind == FindingKind::DocumentUnreadable;
        let broken: BTreeSet<&str> =
            findings.iter().filter(is_broken).map(|finding| finding.resource_id.as_str()).collect();
        if broken.is_empty() {
            return Ok(());
        }
        let own = self.documents.own_documents(self.account()).await?;
        let changes: Vec<Change> = own
            .iter()
            .filter(|stored| broken.contains(stored.id.as_str()))
            .filter_map(repair_alone)
            .collect();
        done.documents_written += self.writer.write_documents(changes).await?.changed;
        Ok(())
    }

    /// Pool, owner and tags go over first; a document whose rows lie outside of the days that were
    /// asked for stays, for readers find rows by it.
    async fn earlier_documents(
        &self,
        findings: &[Finding],
        done: &mut RepairReport,
    ) -> Result<(), Failure> {
        let is_chosen = |one: &StoredResource| {
            let is_of = |f: &Finding| f.kind == FindingKind::EarlierDocument;
            findings.iter().any(|f| is_of(f) && f.resource_id == one.id)
        };
        let mut earlier = self.documents.earlier_documents(self.account()).await?;
        earlier.retain(is_chosen);
        if earlier.is_empty() {
            return Ok(());
        }
        let own = self.documents.own_documents(self.account()).await?;
        let adopted: Vec<Change> = earlier
            .iter()
            .flat_map(|one| adoptions(one, &own, self.default_owner))
            .map(|update| Change::Adopt(Box::new(update)))
            .collect();
        done.documents_adopted += self.writer.write_documents(adopted).await?.changed;
        let ids = |one: &StoredResource| [one.id.clone(), one.cloud_resource_id.clone()];
        let asked: Vec<String> = earlier.iter().flat_map(ids).collect();
        let totals = self.ledger.resource_totals(self.account(), &asked).await?;
        let is_left = |id: &String| {
            let of_id = totals.iter().filter(|total| total.resource_id == *id);
            of_id.into_iter().any(|total| total.last.is_some() || total.total_usd != 0.0)
        };
        let at_seconds = self.now_seconds;
        let retired: Vec<Change> = earlier
            .iter()
            .filter(|one| !ids(one).iter().any(is_left))
            .map(|one| Change::Delete(DeleteUpdate { id: one.id.clone(), at_seconds }))
            .collect();
        done.documents_retired += self.writer.write_documents(retired).await?.changed;
        Ok(())
    }

    async fn costs(&self, findings: &[Finding], done: &mut RepairReport) -> Result<(), Failure> {
        let own = self.own_ids().await?;
        let touched: BTreeSet<&String> = findings.iter().map(|f| &f.resource_id).collect();
        let ids: Vec<String> =
            touched.into_iter().filter(|id| own.contains(*id)).cloned().collect();
        let totals = self.ledger.resource_totals(self.account(), &ids).await?;
        let summaries: Vec<CostSummary> = totals.into_iter().map(cost_summary).collect();
        done.documents_written += self.writer.set_costs(summaries).await?;
        Ok(())
    }
}

/// The rows that take back what is faulty. A key that was faulty only until parts merged is healthy
/// by now, and stays.
fn entries(states: &[KeyState], faulty: &BTreeMap<(String, i64), FindingKind>) -> Vec<Entry> {
    let mut keys: BTreeMap<(String, i64), Vec<&KeyState>> = BTreeMap::new();
    for state in states {
        let key = (state.resource_id.clone(), state.date_seconds);
        keys.entry(key).or_default().push(state);
    }
    let mut out = Vec::new();
    for (key, states) in keys {
        let is_healthy = matches!(states.as_slice(), [state] if state.is_healthy());
        let is_taken_back = match faulty.get(&key) {
            None => false,
            Some(FindingKind::Sign | FindingKind::CancelDiffers) => !is_healthy,
            Some(_) => true,
        };
        if is_taken_back {
            out.extend(take_back(&states));
        }
    }
    out
}
