//! What costs are made of, in a SQLite file.

use rusqlite::Transaction;

use crate::cost::AccountId;

use super::{CostSummary, PartsUpdate};

const SET_PARTS: &str = "
UPDATE cloud_resource SET rest = json_set(rest, '$.cost_parts', json(?3))
WHERE _id = ?1 AND cloud_account_id = ?2";

fn of_json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

/// Sets what a document's costs are made of; null where that is not known.
pub(super) fn set_parts(
    transaction: &Transaction<'_>,
    account: &AccountId,
    summary: &CostSummary,
) -> rusqlite::Result<usize> {
    let parts = match &summary.parts {
        PartsUpdate::Keep => return Ok(0),
        PartsUpdate::Set(parts) => serde_json::to_string(parts).map_err(of_json)?,
        PartsUpdate::Unset => "null".to_owned(),
    };
    let of = (&summary.id, account.as_str(), parts);
    transaction.prepare_cached(SET_PARTS)?.execute(of)
}
