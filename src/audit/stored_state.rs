//! Reads what an account's stores hold over a range of days.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::{AccountId, Day};
use crate::day_status::{DayStatus, DayStatusReader, by_day};
use crate::documents::{DocumentReader, PoolOwner};
use crate::ledger::LedgerReader;
use crate::run::reconcile::differences;
use crate::service::failure::Failure;

use super::finding::StoredState;

/// The stores, and the days that are audited.
#[derive(Clone, Copy)]
pub struct Audited<'a> {
    /// Expense rows.
    pub ledger: &'a dyn LedgerReader,
    /// Documents.
    pub documents: &'a dyn DocumentReader,
    /// Status of days.
    pub status: &'a dyn DayStatusReader,
    /// The first day.
    pub first: Day,
    /// The last day.
    pub last: Day,
    /// Today.
    pub today: Day,
    /// The first day that runs compute again by themselves.
    pub caught_up_from: Day,
}

/// What the stores hold of an account.
///
/// # Errors
/// When a store cannot be read.
pub async fn load_stored_state(
    audited: Audited<'_>,
    account: &AccountId,
    default_owner: Option<PoolOwner>,
) -> Result<StoredState, Failure> {
    let Audited { ledger, documents: resources, first, last, .. } = audited;
    let documents = resources.own_documents(account).await?;
    let earlier = resources.earlier_documents(account).await?;
    let mut stored = StoredState { documents, earlier, default_owner, ..StoredState::default() };
    load_days(audited, account, &mut stored).await?;
    for day in first.through(last) {
        stored.states.extend(ledger.states(account, day).await?);
        stored.collapsed.extend(ledger.collapsed(account, day).await?);
    }
    let ids: Vec<String> = stored.documents.iter().map(|document| document.id.clone()).collect();
    stored.totals = ledger.resource_totals(account, &ids).await?;
    let own: BTreeSet<String> = ids.into_iter().collect();
    let others: BTreeSet<String> = stored
        .states
        .iter()
        .map(|s| s.resource_id.clone())
        .filter(|id| !own.contains(id))
        .collect();
    let others: Vec<String> = others.into_iter().collect();
    stored.known_ids = resources.known_ids(&others).await?;
    Ok(stored)
}

/// Reads the status of days and compares it with the ledger: the days of the range, and all since the
/// ledger's first row, for the costs of documents go over all days.
async fn load_days(
    audited: Audited<'_>,
    account: &AccountId,
    stored: &mut StoredState,
) -> Result<(), Failure> {
    let last = audited.last.max(audited.today);
    let totals = audited.ledger.day_totals(account, Day::of_unix(0), last).await?;
    let first = totals.iter().map(|total| total.day).fold(audited.first, Ord::min);
    stored.statuses = statuses(audited, account, (first, last)).await?;
    stored.caught_up_from = Some(audited.caught_up_from);
    if differences(&stored.statuses, &totals).is_empty() {
        return Ok(());
    }
    // A run may have written a day in between: only days whose status stays the same around the
    // reading of the ledger are compared.
    let totals = audited.ledger.day_totals(account, first, last).await?;
    let after = statuses(audited, account, (first, last)).await?;
    let mut same = stored.statuses.clone();
    same.retain(|day, status| after.get(day) == Some(status));
    stored.differences = differences(&same, &totals);
    stored.statuses = after;
    Ok(())
}

async fn statuses(
    audited: Audited<'_>,
    account: &AccountId,
    (first, last): (Day, Day),
) -> Result<BTreeMap<Day, DayStatus>, Failure> {
    Ok(by_day(audited.status.statuses(account, first, last).await?))
}
