//! Puts right what can be put right from the stores alone.
//!
//! Rows that contradict each other, are off midnight, or belong to no document are taken back, each
//! at its own cost; then documents get the costs that their rows have. A day is marked as pending
//! before its first row, and stays open after the last one until its costs are computed again
//! ([`day_record`](super::day_record)).

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::account_writer::AccountWriter;
use crate::cost::money::is_same_usd;
use crate::cost::{AccountId, Day};
use crate::day_status::{DayStatus, DayStatusReader};
use crate::documents::costs::cost_summary;
use crate::documents::merge::{DeleteUpdate, repair_alone};
use crate::documents::{Change, CostSummary, DocumentReader, PoolOwner, StoredResource};
use crate::ledger::{Entry, KeyState, LedgerReader, take_back};
use crate::run::day::rows::{DayRows, live_totals, unknown_ids};
use crate::service::failure::Failure;

use super::adopt::adoptions;
use super::day_record::{Repairer, is_open};
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
    /// Days whose costs are to be computed again: by the next run, or by a backfill.
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
    /// Whether documents keep their costs: the ledger lacks some, and a backfill sets them.
    pub keeps_document_costs: bool,
    /// The name of this audit in the status of days.
    pub run_id: &'a str,
    /// Unix seconds.
    pub now_seconds: i64,
}

/// Repairs these findings, and adds what is done to `done`.
///
/// # Errors
/// When a store fails; what is repaired by then stays so and is in `done`, and asking again goes on.
pub async fn repair(
    work: &Repairing<'_>,
    findings: &[Finding],
    done: &mut RepairReport,
) -> Result<(), Failure> {
    let mut keys: BTreeMap<Day, BTreeMap<(String, i64), FindingKind>> = BTreeMap::new();
    for finding in findings {
        if let (Some(day), Some(date)) = (finding.day, finding.date_seconds) {
            keys.entry(day).or_default().insert((finding.resource_id.clone(), date), finding.kind);
        }
    }
    for (day, faulty) in &keys {
        work.rows(*day, faulty, done).await?;
    }
    work.repair_documents(findings, done).await?;
    work.costs(findings, done).await?;
    work.earlier_documents(findings, done).await
}

impl Repairing<'_> {
    fn account(&self) -> &AccountId {
        self.writer.account()
    }

    /// Takes a day's faulty rows back, between two writes of its status.
    async fn rows(
        &self,
        day: Day,
        faulty: &BTreeMap<(String, i64), FindingKind>,
        done: &mut RepairReport,
    ) -> Result<(), Failure> {
        let statuses = self.status.statuses(self.account(), day, day).await?;
        let before = statuses.into_iter().next();
        let states = self.ledger.states(self.account(), day).await?;
        let ids = unknown_ids(&states, &BTreeSet::new());
        let own_ids = self.documents.own_ids(self.account(), &ids).await?;
        let entries = entries(&states, faulty);
        // A day without a status and without a row of this program has nothing to lose.
        let is_own_day =
            before.is_some() || entries.iter().any(|entry| own_ids.contains(&entry.resource_id));
        let (after, is_written) = if entries.is_empty() {
            (states, false)
        } else {
            let pending = is_own_day.then(|| self.pending(day, before.as_ref()));
            (self.take_back(day, states, entries, pending, done).await?, is_own_day)
        };
        let is_left_as_it_is =
            !is_written && before.as_ref().is_some_and(|before| before.attempt.is_pending);
        if !is_own_day || is_left_as_it_is {
            return Ok(());
        }
        let rows = DayRows::of(day, after, |id| own_ids.contains(id));
        let (left, others) = (live_totals(&rows.own), rows.others);
        let status = self.repairer().repaired(self.account(), day, before.clone(), left, others);
        let is_changed = is_written || before.as_ref() != Some(&status);
        if before.is_none_or(|before| before.attempt != status.attempt) && is_open(&status) {
            done.days_unsettled += 1;
        }
        if is_changed { self.writer.put_status(status).await } else { Ok(()) }
    }

    /// Marks the day, then adds the rows. Returns what is stored then.
    async fn take_back(
        &self,
        day: Day,
        states: Vec<KeyState>,
        entries: Vec<Entry>,
        pending: Option<DayStatus>,
        done: &mut RepairReport,
    ) -> Result<Vec<KeyState>, Failure> {
        let count = entries.len() as u64;
        let usd = -entries.iter().map(|e| e.cost_usd * f64::from(e.sign)).sum::<f64>();
        // A process that is killed prints no summary.
        tracing::info!(
            account.id = %self.account(), %day, rows = count, usd, "taking back rows of a day"
        );
        if let Some(pending) = &pending {
            self.writer.put_status(pending.clone()).await?;
        }
        let after = self.writer.append_rows(day, states, entries, pending).await?;
        done.rows_written += count;
        done.usd_taken_back += usd;
        Ok(after)
    }

    fn repairer(&self) -> Repairer<'_> {
        Repairer { run_id: self.run_id, now_seconds: self.now_seconds }
    }

    fn pending(&self, day: Day, before: Option<&DayStatus>) -> DayStatus {
        let of_new = || DayStatus::empty(self.account(), day);
        self.repairer().pending(&before.cloned().unwrap_or_else(of_new))
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
            let mut of_id = totals.iter().filter(|total| total.resource_id == *id);
            of_id.any(|total| total.last.is_some() || !is_same_usd(total.total_usd, 0.0))
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
        if self.keeps_document_costs {
            return Ok(());
        }
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

#[cfg(test)]
mod tests;
