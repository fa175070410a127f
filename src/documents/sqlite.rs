//! The documents in the embedded store: the table `cloud_resource`.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, named_params, params};
use serde_json::Value;

use crate::cost::resource_id::has_own_form;
use crate::cost::{AccountId, Day};
use crate::service::failure::{Failure, Hop};
use crate::stores::sqlite::{SqliteStore, json_error, json_list};

use super::document::MetaValue;
use super::earlier::{is_earlier, is_earlier_id, is_own};
use super::merge::{AdoptUpdate, SeenUpdate};
use super::sqlite_update::{set_costs, update};
use super::{
    Change, CostSummary, DocumentReader, DocumentWriter, LastExpense, ResourceDocument, StoredDate,
    StoredResource, Written,
};

/// The document's fields that are columns, by the same names; the others are in `rest`.
const COLUMNS: &[&str] = &[
    "_id",
    "cloud_resource_id",
    "cloud_account_id",
    "name",
    "resource_type",
    "k8s_namespace",
    "k8s_node",
    "k8s_service",
    "pool_id",
    "employee_id",
    "first_seen",
    "last_seen",
    "_first_seen_date",
    "_last_seen_date",
    "active",
    "deleted_at",
    "total_cost",
];

/// An insert that does nothing where a live document has the stable id; a document with the same
/// `_id` but another stable id is an error, for its expenses would be under a stranger's name.
const INSERT: &str = "
INSERT INTO cloud_resource
    (_id, cloud_resource_id, cloud_account_id, name, resource_type, k8s_namespace, k8s_node,
     k8s_service, pool_id, employee_id, first_seen, last_seen, _first_seen_date, _last_seen_date,
     active, deleted_at, total_cost, rest)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18
WHERE ?16 <> 0 OR NOT EXISTS (
    SELECT 1 FROM cloud_resource
    WHERE cloud_account_id = ?3 AND cloud_resource_id = ?2 AND deleted_at = 0)";

const SEEN: &str = "
UPDATE cloud_resource SET
    last_seen = ?3, _last_seen_date = max(_last_seen_date, date(?3, 'unixepoch'))
WHERE cloud_account_id = ?1 AND last_seen < ?3 AND _id IN (SELECT value FROM json_each(?2))";

/// Tags that the document has are kept.
const ADOPT: &str = "
UPDATE cloud_resource SET
    pool_id = coalesce(:pool, pool_id), employee_id = coalesce(:employee, employee_id),
    rest = json_set(rest, '$.tags',
        json_patch(:tags, coalesce(json_extract(rest, '$.tags'), '{}')))
WHERE _id = :id AND cloud_account_id = :account";

const DELETE: &str = "
UPDATE cloud_resource SET deleted_at = ?3, active = 0
WHERE _id = ?1 AND cloud_account_id = ?2 AND deleted_at = 0";

const FIND: &str = "
SELECT _id, cloud_resource_id, first_seen, last_seen, _first_seen_date, _last_seen_date, active,
    total_cost, last_expense_date, last_expense_cost, resource_type, pool_id, employee_id,
    json_extract(rest, '$.k8s_cluster'),
    CASE json_type(rest, '$.meta') WHEN 'object' THEN json_extract(rest, '$.meta') END,
    json_extract(rest, '$.tags'), deleted_at, k8s_namespace, k8s_node,
    json_extract(rest, '$.label_tags'), json_extract(rest, '$.cost_parts')
FROM cloud_resource
WHERE cloud_account_id = ?1 AND deleted_at = 0
    AND cloud_resource_id IN (SELECT value FROM json_each(?2))
ORDER BY _id";

const ALL: &str = "
SELECT _id, cloud_resource_id, first_seen, last_seen, _first_seen_date, _last_seen_date, active,
    total_cost, last_expense_date, last_expense_cost, resource_type, pool_id, employee_id,
    json_extract(rest, '$.k8s_cluster'),
    CASE json_type(rest, '$.meta') WHEN 'object' THEN json_extract(rest, '$.meta') END,
    json_extract(rest, '$.tags'), deleted_at, k8s_namespace, k8s_node,
    json_extract(rest, '$.label_tags'), json_extract(rest, '$.cost_parts')
FROM cloud_resource WHERE cloud_account_id = ?1 ORDER BY _id";

const TAKEN: &str = "SELECT _id FROM cloud_resource WHERE _id IN (SELECT value FROM json_each(?1))";

const OF_ACCOUNT: &str = "
SELECT _id, cloud_resource_id, k8s_namespace FROM cloud_resource
WHERE cloud_account_id = ?1 AND _id IN (SELECT value FROM json_each(?2))";

const UNSEEN: &str = "
SELECT _id, cloud_resource_id, k8s_namespace FROM cloud_resource
WHERE cloud_account_id = ?1 AND deleted_at = 0 AND active = 1 AND _last_seen_date < ?2";

/// The documents in a SQLite file.
#[derive(Clone, Debug)]
pub struct SqliteResources {
    pub(super) store: SqliteStore,
}

impl SqliteResources {
    /// The documents of this file.
    #[must_use]
    pub fn new(store: SqliteStore) -> Self {
        Self { store }
    }

    /// All documents of an account.
    async fn of_account(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let account = account.as_str().to_owned();
        self.store
            .read(Hop::MongoDb, "reading documents", move |connection| {
                let mut query = connection.prepare_cached(ALL)?;
                query.query_map([account], stored)?.collect()
            })
            .await
    }

    /// A whole document, for reports.
    ///
    /// # Errors
    /// When the file cannot be read, or the document's JSON was damaged.
    pub async fn document(&self, id: &str) -> Result<Option<ResourceDocument>, Failure> {
        let id = id.to_owned();
        self.store
            .read(Hop::MongoDb, "reading a document", move |connection| {
                let sql = "SELECT * FROM cloud_resource WHERE _id = ?1";
                connection.query_row(sql, [id], document).optional()
            })
            .await
    }

    /// Writes a whole document in the place of the one with its `_id`, as another writer would.
    ///
    /// # Errors
    /// When the write failed.
    pub async fn put_document(&self, document: &ResourceDocument) -> Result<(), Failure> {
        let document = document.clone();
        self.store
            .write(Hop::MongoDb, "writing a document", move |transaction| {
                let sql = "DELETE FROM cloud_resource WHERE _id = ?1";
                transaction.execute(sql, [&document.id])?;
                insert(transaction, &document).map(|_| ())
            })
            .await
    }
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredResource> {
    let last_expense = match (row.get(8)?, row.get(9)?) {
        (Some(date), Some(cost)) => Some(LastExpense { date, cost }),
        _ => None,
    };
    let meta: Option<BTreeMap<String, Value>> = json_text(row, 14)?;
    let text = |(key, value): (String, Value)| {
        let known: Option<MetaValue> = serde_json::from_value(value).ok();
        (key, known.map(|value| value.to_string()))
    };
    let meta = meta.unwrap_or_default().into_iter().map(text).collect();
    let (pool, employee): (Option<String>, Option<String>) = (row.get(11)?, row.get(12)?);
    Ok(StoredResource {
        id: row.get(0)?,
        cloud_resource_id: row.get(1)?,
        resource_type: row.get(10)?,
        first_seen: row.get(2)?,
        last_seen: row.get(3)?,
        first_seen_date: stored_date(row, 4)?,
        last_seen_date: stored_date(row, 5)?,
        active: row.get(6)?,
        total_cost: row.get(7)?,
        last_expense,
        null_keys: Vec::new(),
        has_false_environment: false,
        has_owner: pool.is_some() || employee.is_some(),
        pool_id: pool,
        employee_id: employee,
        is_deleted: row.get::<_, i64>(16)? != 0,
        tags: json_text(row, 15)?,
        k8s_namespace: row.get(17)?,
        k8s_node: row.get(18)?,
        label_tags: json_text(row, 19)?.unwrap_or_default(),
        cost_parts: json_text(row, 20)?,
        k8s_cluster: row.get(13)?,
        meta,
        // An update makes an object of it in any case.
        has_odd_meta: false,
    })
}

/// A column of JSON.
fn json_text<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
) -> rusqlite::Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| serde_json::from_str(&text).map_err(json_error)).transpose()
}

/// A date is a text; a number is what version 0.1.0 wrote, and before every text in SQLite's order
/// as in MongoDB's.
fn stored_date(row: &Row<'_>, column: usize) -> rusqlite::Result<StoredDate> {
    let rusqlite::types::ValueRef::Text(text) = row.get_ref(column)? else {
        return Ok(StoredDate::NotADate);
    };
    let day = std::str::from_utf8(text).ok().and_then(|text| text.parse::<Day>().ok());
    Ok(day.map_or(StoredDate::NotADate, |day| StoredDate::Date(day.start_seconds())))
}

/// Puts a document together from its columns and `rest`.
fn document(row: &Row<'_>) -> rusqlite::Result<ResourceDocument> {
    let mut value: Value =
        serde_json::from_str(&row.get::<_, String>("rest")?).map_err(json_error)?;
    for column in COLUMNS {
        value[*column] = match (*column, row.get_ref(*column)?) {
            ("active", _) => Value::from(row.get::<_, bool>(*column)?),
            (_, rusqlite::types::ValueRef::Integer(number)) => Value::from(number),
            (_, rusqlite::types::ValueRef::Real(number)) => Value::from(number),
            _ => Value::from(row.get::<_, Option<String>>(*column)?),
        };
    }
    serde_json::from_value(value).map_err(json_error)
}

/// What of a document is in no column.
fn rest(document: &ResourceDocument) -> rusqlite::Result<String> {
    let mut value = serde_json::to_value(document).map_err(json_error)?;
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|field, _| !COLUMNS.contains(&field.as_str()));
    }
    Ok(value.to_string())
}

fn insert(transaction: &Transaction<'_>, new: &ResourceDocument) -> rusqlite::Result<usize> {
    transaction.prepare_cached(INSERT)?.execute(params![
        new.id,
        new.cloud_resource_id,
        new.cloud_account_id.as_str(),
        new.name,
        new.resource_type,
        new.k8s_namespace,
        new.k8s_node,
        new.k8s_service,
        new.pool_id,
        new.employee_id,
        new.first_seen,
        new.last_seen,
        new.first_seen_date.to_string(),
        new.last_seen_date.to_string(),
        new.active,
        new.deleted_at,
        new.total_cost,
        rest(new)?,
    ])
}

fn adopt(
    transaction: &Transaction<'_>,
    account: &AccountId,
    update: &AdoptUpdate,
) -> rusqlite::Result<usize> {
    let tags = serde_json::to_string(&update.tags).map_err(json_error)?;
    transaction.prepare_cached(ADOPT)?.execute(named_params! {
        ":id": update.id,
        ":account": account.as_str(),
        ":pool": update.owner.as_ref().map(|owner| owner.pool_id.as_str()),
        ":employee": update.owner.as_ref().map(|owner| owner.employee_id.as_str()),
        ":tags": tags,
    })
}

fn seen(
    transaction: &Transaction<'_>,
    account: &AccountId,
    update: &SeenUpdate,
) -> rusqlite::Result<usize> {
    let values = (account.as_str(), json_list(&update.ids), update.last_seen);
    transaction.prepare_cached(SEEN)?.execute(values)
}

/// The `_id`s of those found documents whose stable id has our form.
fn own(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<String>> {
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query(values)?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let (stable, namespace): (String, Option<String>) = (row.get(1)?, row.get(2)?);
        if has_own_form(&stable) && !is_earlier_id(&stable, namespace.as_deref()) {
            ids.push(row.get(0)?);
        }
    }
    Ok(ids)
}

#[async_trait]
impl DocumentReader for SqliteResources {
    async fn check(&self) -> Result<(), Failure> {
        self.store.check(Hop::MongoDb, &["cloud_resource", "cloud_resource_unique"]).await
    }

    async fn find(
        &self,
        account: &AccountId,
        cloud_resource_ids: &[String],
    ) -> Result<Vec<StoredResource>, Failure> {
        let values = (account.as_str().to_owned(), json_list(cloud_resource_ids));
        self.store
            .read(Hop::MongoDb, "reading documents", move |connection| {
                connection.prepare_cached(FIND)?.query_map(values, stored)?.collect()
            })
            .await
    }

    async fn taken_ids(&self, ids: &[String]) -> Result<BTreeSet<String>, Failure> {
        let ids = json_list(ids);
        self.store
            .read(Hop::MongoDb, "reading ids", move |connection| {
                connection.prepare_cached(TAKEN)?.query_map([ids], |row| row.get(0))?.collect()
            })
            .await
    }

    async fn own_ids(
        &self,
        account: &AccountId,
        ids: &[String],
    ) -> Result<BTreeSet<String>, Failure> {
        let (account, ids) = (account.clone(), json_list(ids));
        self.store
            .read(Hop::MongoDb, "reading ids", move |connection| {
                let own = own(connection, OF_ACCOUNT, &[&account.as_str(), &ids])?;
                Ok(own.into_iter().collect())
            })
            .await
    }

    async fn own_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let found = self.of_account(account).await?;
        Ok(found.into_iter().filter(is_own).collect())
    }

    async fn earlier_documents(&self, account: &AccountId) -> Result<Vec<StoredResource>, Failure> {
        let found = self.of_account(account).await?;
        Ok(found.into_iter().filter(|one| !one.is_deleted && is_earlier(one)).collect())
    }

    async fn total_cost(&self, account: &AccountId) -> Result<f64, Failure> {
        let own = self.own_documents(account).await?;
        Ok(own.iter().filter_map(|resource| resource.total_cost).sum::<f64>() + 0.0)
    }
}

#[async_trait]
impl DocumentWriter for SqliteResources {
    async fn apply(&self, account: &AccountId, changes: &[Change]) -> Result<Written, Failure> {
        let (account, changes) = (account.clone(), changes.to_vec());
        self.store
            .write(Hop::MongoDb, "writing documents", move |transaction| {
                let (mut changed, mut inserted) = (0, 0);
                for change in &changes {
                    changed +=
                        match change {
                            Change::Insert(new) => {
                                let made = insert(transaction, &new.document)?;
                                if let (1, Some(costs)) = (made, &new.costs) {
                                    set_costs(transaction, &account, costs)?;
                                }
                                inserted += made;
                                made
                            }
                            Change::Update(one) => update(transaction, &account, one)?,
                            Change::Seen(many) => seen(transaction, &account, many)?,
                            Change::Adopt(one) => adopt(transaction, &account, one)?,
                            Change::Delete(one) => transaction
                                .prepare_cached(DELETE)?
                                .execute((&one.id, account.as_str(), one.at_seconds))?,
                        };
                }
                Ok(Written { changed: changed as u64, inserted: inserted as u64 })
            })
            .await
    }

    async fn set_costs(
        &self,
        account: &AccountId,
        summaries: &[CostSummary],
    ) -> Result<u64, Failure> {
        let (account, summaries) = (account.clone(), summaries.to_vec());
        self.store
            .write(Hop::MongoDb, "writing documents' costs", move |transaction| {
                let mut changed = 0;
                for summary in &summaries {
                    changed += set_costs(transaction, &account, summary)?;
                }
                Ok(changed as u64)
            })
            .await
    }

    async fn retire(&self, account: &AccountId, last_seen_before: Day) -> Result<u64, Failure> {
        let account = account.clone();
        self.store
            .write(Hop::MongoDb, "retiring documents", move |transaction| {
                let before = last_seen_before.to_string();
                let unseen = own(transaction, UNSEEN, &[&account.as_str(), &before])?;
                let mut update = transaction
                    .prepare_cached("UPDATE cloud_resource SET active = 0 WHERE _id = ?1")?;
                for id in &unseen {
                    update.execute([id])?;
                }
                Ok(unseen.len() as u64)
            })
            .await
    }
}
