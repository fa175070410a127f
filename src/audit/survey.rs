//! Reads what an account's stores hold over a range of days.

use std::collections::BTreeSet;

use crate::cost::{AccountId, Day};
use crate::documents::ResourceStore;
use crate::ledger::ExpenseLedger;
use crate::service::failure::Failure;

use super::finding::Survey;

/// What the stores hold of an account from `first` to `last`.
///
/// # Errors
/// When a store cannot be read.
pub async fn survey(
    ledger: &dyn ExpenseLedger,
    resources: &dyn ResourceStore,
    account: &AccountId,
    (first, last): (Day, Day),
) -> Result<Survey, Failure> {
    let mut survey =
        Survey { documents: resources.own_documents(account).await?, ..Survey::default() };
    for day in first.through(last) {
        survey.states.extend(ledger.states(account, day).await?);
        survey.collapsed.extend(ledger.collapsed(account, day).await?);
    }
    let ids: Vec<String> = survey.documents.iter().map(|document| document.id.clone()).collect();
    survey.totals = ledger.resource_totals(account, &ids).await?;
    let own: BTreeSet<String> = ids.into_iter().collect();
    let others: BTreeSet<String> = survey
        .states
        .iter()
        .map(|s| s.resource_id.clone())
        .filter(|id| !own.contains(id))
        .collect();
    let others: Vec<String> = others.into_iter().collect();
    survey.known_ids = resources.taken_ids(&others).await?;
    Ok(survey)
}
