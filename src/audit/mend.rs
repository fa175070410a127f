//! Puts right what can be put right from the stores alone.
//!
//! Parts are merged, so that every sum is what it stays; then rows that still contradict each
//! other, are off midnight, or belong to no document are taken back; then documents get the costs
//! that their rows have. A day that lost or changed rows is marked as not settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::cost::{AccountId, Day};
use crate::day_status::{AccountDay, DayRecords};
use crate::documents::{Change, CostSummary, ResourceStore};
use crate::lease::HeldLease;
use crate::ledger::{Entry, ExpenseLedger, KeyState};
use crate::run::documents::{cost_summary, repair_alone};
use crate::service::failure::Failure;

use super::finding::{Finding, FindingKind};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Mended {
    /// Rows that were added to take others back.
    pub rows_written: u64,
    /// What they took back, USD.
    pub usd_taken_back: f64,
    /// Documents whose costs were set.
    pub documents_written: u64,
    /// Days that are marked to be computed again: by the next run, or by a backfill.
    pub days_unsettled: u64,
}

impl Mended {
    /// Adds what was done for another account.
    pub fn add(&mut self, other: Self) {
        self.rows_written += other.rows_written;
        self.usd_taken_back += other.usd_taken_back;
        self.documents_written += other.documents_written;
        self.days_unsettled += other.days_unsettled;
    }
}

/// The stores that are mended.
pub struct Mending<'a> {
    /// Expense rows.
    pub ledger: &'a Arc<dyn ExpenseLedger>,
    /// Documents.
    pub resources: &'a Arc<dyn ResourceStore>,
    /// Records of days.
    pub days: &'a Arc<dyn DayRecords>,
    /// The right to write.
    pub lease: &'a HeldLease,
    /// The account.
    pub account: &'a AccountId,
}

/// Mends these findings.
///
/// # Errors
/// When a store fails; what is mended by then stays so, and asking again goes on.
pub async fn mend(work: &Mending<'_>, findings: &[Finding]) -> Result<Mended, Failure> {
    let mut done = Mended::default();
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
    work.documents(findings, &mut done).await?;
    Ok(done)
}

impl Mending<'_> {
    async fn rows(
        &self,
        day: Day,
        faulty: &BTreeMap<(String, i64), FindingKind>,
        done: &mut Mended,
    ) -> Result<(), Failure> {
        self.lease.keep().await?;
        self.ledger.merge(day).await?;
        let states = self.ledger.states(self.account, day).await?;
        let entries = entries(&states, faulty);
        self.lease.keep().await?;
        self.ledger.append(self.account, day, &entries).await?;
        self.ledger.merge(day).await?;
        done.rows_written += entries.len() as u64;
        done.usd_taken_back -= entries.iter().map(|e| e.cost_usd * f64::from(e.sign)).sum::<f64>();
        self.unsettle(day, done).await
    }

    /// The record says what is stored now, and that the day is to be computed again.
    async fn unsettle(&self, day: Day, done: &mut Mended) -> Result<(), Failure> {
        let records = self.days.days(self.account, day, day).await?;
        let Some(record) = records.into_iter().next() else { return Ok(()) };
        let own = self.own_ids().await?;
        let mut states = self.ledger.states(self.account, day).await?;
        states.retain(|state| state.date_seconds == day.start_seconds());
        let (ours, foreign): (Vec<_>, Vec<_>) =
            states.iter().partition(|state| own.contains(&state.resource_id));
        let usd = |states: &[&KeyState]| states.iter().map(|s| s.cost_usd).sum::<f64>() + 0.0;
        let record = AccountDay {
            settled: false,
            stored_total_usd: usd(&ours),
            rows: ours.len() as u64,
            foreign_total_usd: usd(&foreign),
            foreign_rows: foreign.iter().map(|state| state.sign).sum(),
            ..record
        };
        done.days_unsettled += 1;
        self.lease.keep().await?;
        self.days.put(&record).await
    }

    async fn own_ids(&self) -> Result<BTreeSet<String>, Failure> {
        let own = self.resources.own_documents(self.account).await?;
        Ok(own.into_iter().map(|document| document.id).collect())
    }

    async fn repair_documents(
        &self,
        findings: &[Finding],
        done: &mut Mended,
    ) -> Result<(), Failure> {
        let is_broken = |finding: &&Finding| finding.kind == FindingKind::DocumentUnreadable;
        let broken: BTreeSet<&str> =
            findings.iter().filter(is_broken).map(|finding| finding.resource_id.as_str()).collect();
        if broken.is_empty() {
            return Ok(());
        }
        let own = self.resources.own_documents(self.account).await?;
        let changes: Vec<Change> = own
            .iter()
            .filter(|stored| broken.contains(stored.id.as_str()))
            .filter_map(repair_alone)
            .collect();
        self.lease.keep().await?;
        done.documents_written += self.resources.apply(self.account, &changes).await?;
        Ok(())
    }

    async fn documents(&self, findings: &[Finding], done: &mut Mended) -> Result<(), Failure> {
        let own = self.own_ids().await?;
        let touched: BTreeSet<&String> = findings.iter().map(|f| &f.resource_id).collect();
        let ids: Vec<String> =
            touched.into_iter().filter(|id| own.contains(*id)).cloned().collect();
        let totals = self.ledger.resource_totals(self.account, &ids).await?;
        let summaries: Vec<CostSummary> = totals.into_iter().map(cost_summary).collect();
        self.lease.keep().await?;
        done.documents_written += self.resources.set_costs(self.account, &summaries).await?;
        Ok(())
    }
}

/// The rows that take back what is faulty. A key whose only fault was that parts had not merged
/// is healthy by now, and stays. Rows with sign +1 come first: of as many rows of either sign a
/// merge keeps nothing only when a -1 is the last.
fn entries(states: &[KeyState], faulty: &BTreeMap<(String, i64), FindingKind>) -> Vec<Entry> {
    let mut keys: BTreeMap<(String, i64), Vec<&KeyState>> = BTreeMap::new();
    for state in states {
        let key = (state.resource_id.clone(), state.date_seconds);
        keys.entry(key).or_default().push(state);
    }
    let mut out = Vec::new();
    for (key, states) in keys {
        let is_healthy = matches!(states.as_slice(), [state] if state.sign == 1);
        let is_taken_back = match faulty.get(&key) {
            None => false,
            Some(FindingKind::Sign | FindingKind::CancelDiffers) => !is_healthy,
            Some(_) => true,
        };
        if is_taken_back {
            let mut rows: Vec<Entry> = states.into_iter().flat_map(take_back).collect();
            rows.sort_by_key(|row| -row.sign);
            out.extend(rows);
        }
    }
    out
}

/// Rows that bring a merged state to sign 0 and cost 0.
fn take_back(state: &KeyState) -> Vec<Entry> {
    let entry = |sign: i8, cost_usd: f64| Entry {
        resource_id: state.resource_id.clone(),
        date_seconds: state.date_seconds,
        cost_usd,
        sign,
        dimensions: state.dimensions.clone(),
    };
    match state.sign {
        0 => vec![entry(1, 0.0), entry(-1, state.cost_usd)],
        sign if sign > 0 => vec![entry(-1, state.cost_usd)],
        _ => vec![entry(1, -state.cost_usd)],
    }
}
