//! A ledger that acknowledges rows before they can be read.

use std::sync::{Arc, Mutex, PoisonError};

use kubecost_worker::cost::AccountId;
use kubecost_worker::ledger::Entry;
use kubecost_worker::ledger::memory::{MemoryLedger, StoredRow};

use crate::faults::LEASE;

/// Rows that were acknowledged and cannot be read yet.
#[derive(Debug)]
struct Hidden {
    rows: Vec<StoredRow>,
    /// After so many looks they show,
    looks_left: u32,
    /// and at this time at the latest, Unix seconds: a lease is longer than rows stay hidden.
    until_seconds: i64,
}

/// The rows of one ledger that cannot be read yet.
#[derive(Debug, Default)]
pub(crate) struct LateRows(Mutex<Vec<Hidden>>);

impl LateRows {
    /// Takes rows that will show after so many looks.
    pub(crate) fn hide(
        &self,
        account: &AccountId,
        entries: &[Entry],
        looks_left: u32,
        now_seconds: i64,
    ) {
        let row = |entry: &Entry| StoredRow {
            account: account.clone(),
            resource_id: entry.resource_id.clone(),
            date_seconds: entry.date_seconds,
            cost_usd: entry.cost_usd,
            sign: entry.sign,
            dimensions: entry.dimensions.clone(),
        };
        let lease_seconds = i64::try_from(LEASE.as_secs()).unwrap();
        let hidden = Hidden {
            rows: entries.iter().map(row).collect(),
            looks_left,
            until_seconds: now_seconds + lease_seconds,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(hidden);
    }

    /// Somebody looks: rows whose time has come are in the ledger.
    pub(crate) fn look(&self, ledger: &Arc<MemoryLedger>, now_seconds: i64) {
        let mut hidden = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for rows in hidden.iter_mut() {
            rows.looks_left = rows.looks_left.saturating_sub(1);
        }
        let shows = |rows: &Hidden| rows.looks_left == 0 || rows.until_seconds <= now_seconds;
        for shown in hidden.extract_if(.., |rows| shows(rows)) {
            shown.rows.into_iter().for_each(|row| ledger.insert_raw(row));
        }
    }
}
