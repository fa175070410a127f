//! Reads what an account's stores hold over a range of days.

use std::collections::BTreeSet;

use crate::cost::{AccountId, Day};
use crate::documents::{DocumentReader, PoolOwner};
use crate::ledger::LedgerReader;
use crate::service::failure::Failure;

use super::finding::StoredState;

/// What the stores hold of an account from `first` to `last`.
///
/// # Errors
/// When a store cannot be read.
pub async fn load_stored_state(
    ledger: &dyn LedgerReader,
    resources: &dyn DocumentReader,
    account: &AccountId,
    (first, last): (Day, Day),
    default_owner: Option<PoolOwner>,
) -> Result<StoredState, Failure> {
    let documents = resources.own_documents(account).await?;
    let earlier = resources.earlier_documents(account).await?;
    let mut stored = StoredState { documents, earlier, default_owner, ..StoredState::default() };
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
    stored.known_ids = resources.taken_ids(&others).await?;
    Ok(stored)
}
