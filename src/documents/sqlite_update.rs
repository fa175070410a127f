//! Changes of one document in a SQLite file: its times, its costs, and what they are made of.

use std::collections::BTreeMap;

use rusqlite::{Transaction, named_params};

use crate::cost::{AccountId, Day};
use crate::stores::sqlite::json_error;

use super::document::MetaValue;
use super::{CostSummary, DocumentUpdate, PartsUpdate};

const SET_COSTS: &str = "
UPDATE cloud_resource SET total_cost = ?3, last_expense_date = ?4, last_expense_cost = ?5
WHERE _id = ?1 AND cloud_account_id = ?2
    AND (total_cost, last_expense_date, last_expense_cost) IS NOT (?3, ?4, ?5)";

const UPDATE: &str = "
UPDATE cloud_resource SET
    first_seen = min(first_seen, :first_seen),
    last_seen = max(last_seen, :last_seen),
    _first_seen_date = CASE WHEN typeof(_first_seen_date) = 'text'
        THEN min(_first_seen_date, coalesce(:lower, _first_seen_date))
        ELSE coalesce(:first_date, _first_seen_date) END,
    _last_seen_date = CASE WHEN typeof(_last_seen_date) = 'text'
        THEN max(_last_seen_date, coalesce(:raise, _last_seen_date))
        ELSE coalesce(:last_date, _last_seen_date) END,
    active = max(active, :active),
    pool_id = coalesce(pool_id, :pool),
    employee_id = coalesce(employee_id, :employee),
    k8s_node = coalesce(:node, k8s_node),
    rest = json_set(rest, '$.k8s_cluster', coalesce(:cluster, json_extract(rest, '$.k8s_cluster')),
        '$.meta', json_patch(CASE json_type(rest, '$.meta') WHEN 'object'
            THEN json_extract(rest, '$.meta') ELSE '{}' END, :meta),
        '$.tags', json_patch(coalesce(json_extract(rest, '$.tags'), '{}'), :tags),
        '$.label_tags', json(coalesce(:record, json_extract(rest, '$.label_tags'), '{}')))
WHERE _id = :id AND cloud_account_id = :account
    AND (first_seen > :first_seen OR last_seen < :last_seen OR active < :active
        OR typeof(_first_seen_date) <> 'text' OR typeof(_last_seen_date) <> 'text'
        OR _first_seen_date > :lower OR _last_seen_date < :raise
        OR (pool_id IS NULL AND :pool IS NOT NULL) OR :cluster IS NOT NULL OR :meta <> '{}'
        OR :node IS NOT NULL OR :tags <> '{}' OR :record IS NOT NULL)";

const SET_PARTS: &str = "
UPDATE cloud_resource SET rest = json_set(rest, '$.cost_parts', json(?3))
WHERE _id = ?1 AND cloud_account_id = ?2";

/// Moves a document's times and repairs it. Returns 1 where anything changed.
pub(super) fn update(
    transaction: &Transaction<'_>,
    account: &AccountId,
    update: &DocumentUpdate,
) -> rusqlite::Result<usize> {
    let repair = &update.repair;
    let text = |day: Option<Day>| day.map(|day| day.to_string());
    let meta: BTreeMap<&String, &MetaValue> = repair.set_meta.iter().map(|(k, v)| (k, v)).collect();
    let meta = serde_json::to_string(&meta).map_err(json_error)?;
    // A null in a patch removes the key.
    let unset = update.tags.unset.iter().map(|key| (key, None));
    let tags: BTreeMap<&String, Option<&String>> =
        update.tags.set.iter().map(|(key, value)| (key, Some(value))).chain(unset).collect();
    let tags = serde_json::to_string(&tags).map_err(json_error)?;
    let record = update.tags.record.as_ref().map(serde_json::to_string);
    let record = record.transpose().map_err(json_error)?;
    transaction.prepare_cached(UPDATE)?.execute(named_params! {
        ":id": update.id,
        ":account": account.as_str(),
        ":first_seen": update.first_seen,
        ":last_seen": update.last_seen,
        ":first_date": text(repair.first_seen_date),
        ":last_date": text(repair.last_seen_date),
        ":lower": text(repair.lower_first_seen_date),
        ":raise": text(repair.raise_last_seen_date),
        ":active": update.activate,
        ":pool": repair.owner.as_ref().map(|owner| owner.pool_id.as_str()),
        ":employee": repair.owner.as_ref().map(|owner| owner.employee_id.as_str()),
        ":cluster": repair.k8s_cluster,
        ":meta": meta,
        ":node": repair.k8s_node,
        ":tags": tags,
        ":record": record,
    })
}

/// Sets a document's costs, and what else changes in it. Returns 1 where anything changed.
pub(super) fn set_costs(
    transaction: &Transaction<'_>,
    account: &AccountId,
    summary: &CostSummary,
) -> rusqlite::Result<usize> {
    let changed = summary.document_update.as_deref().map(|one| update(transaction, account, one));
    let of_costs = transaction.prepare_cached(SET_COSTS)?.execute((
        &summary.id,
        account.as_str(),
        summary.total_cost,
        summary.last_expense.map(|last| last.date),
        summary.last_expense.map(|last| last.cost),
    ))?;
    let of_parts = set_parts(transaction, account, summary)?;
    Ok(changed.transpose()?.unwrap_or(0).max(of_costs).max(of_parts))
}

/// Sets what a document's costs are made of; null where that is not known.
fn set_parts(
    transaction: &Transaction<'_>,
    account: &AccountId,
    summary: &CostSummary,
) -> rusqlite::Result<usize> {
    let parts = match &summary.parts {
        PartsUpdate::Keep => return Ok(0),
        PartsUpdate::Set(parts) => serde_json::to_string(parts).map_err(json_error)?,
        PartsUpdate::Unset => "null".to_owned(),
    };
    let of = (&summary.id, account.as_str(), parts);
    transaction.prepare_cached(SET_PARTS)?.execute(of)
}
