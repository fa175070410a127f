//! Rows of the ledger, found by the `_id`s of documents in a table that travels with the query.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Readers;
use crate::support::ask::{External, ask_with, usd};

/// USD by day (Unix seconds of its midnight) and value.
pub(crate) type Daily = BTreeMap<(i64, Option<String>), f64>;

impl Readers<'_> {
    /// USD of each of these `_id`s between two Unix times, and of all of them.
    pub(super) async fn sums(
        &self,
        accounts: &[String],
        ids: &[String],
        (start, end): (i64, i64),
    ) -> (BTreeMap<String, f64>, f64) {
        let table =
            |name, rows: &[String]| External { name, structure: "_id String", rows: rows.to_vec() };
        let tables = || [table("resource_ids", ids), table("cloud_account_ids", accounts)];
        let chosen = format!(
            "FROM expenses WHERE cloud_account_id IN cloud_account_ids \
             AND resource_id IN resource_ids AND date >= {start} AND date <= {end}"
        );
        let sql = format!(
            "SELECT cloud_account_id, resource_id, SUM(cost * sign) AS total_cost {chosen} \
             GROUP BY cloud_account_id, resource_id HAVING SUM(sign) > 0 ORDER BY total_cost DESC"
        );
        let reply = ask_with(self.stores, &sql, &tables()).await;
        let sums = rows(&reply)
            .iter()
            .map(|row| (row["resource_id"].as_str().unwrap().to_owned(), usd(&row["total_cost"])))
            .collect();
        let sql = format!("SELECT SUM(cost * sign) AS usd, SUM(sign) AS signs {chosen}");
        let reply = ask_with(self.stores, &sql, &tables()).await;
        let whole = &rows(&reply)[0];
        let is_there = whole["signs"].as_i64().unwrap() > 0;
        (sums, if is_there { usd(&whole["usd"]) } else { 0.0 })
    }

    /// USD by day and value of the documents' field, for the `_id`s that stand for a value.
    pub(super) async fn daily(
        &self,
        values: &BTreeMap<String, Option<String>>,
        (start, end): (i64, i64),
    ) -> Daily {
        if values.is_empty() {
            return Daily::new();
        }
        let table = External {
            name: "resources",
            structure: "id String, group_field Nullable(String)",
            rows: values
                .iter()
                .map(|(id, value)| format!("{id}\t{}", value.as_deref().unwrap_or("\\N")))
                .collect(),
        };
        let accounts: Vec<String> =
            self.accounts.iter().map(|account| format!("'{account}'")).collect();
        let sql = format!(
            "SELECT group_field, toUInt32(date) AS day, sum(cost * sign) AS usd FROM expenses \
             JOIN resources ON expenses.resource_id = resources.id \
             WHERE date >= toDateTime({start}) AND date <= toDateTime({end}) \
             AND cloud_account_id IN ({}) GROUP BY group_field, date",
            accounts.join(", ")
        );
        let reply = ask_with(self.stores, &sql, &[table]).await;
        let mut out = Daily::new();
        for row in rows(&reply) {
            let value = row["group_field"].as_str().map(str::to_owned);
            out.insert((row["day"].as_i64().unwrap(), value), usd(&row["usd"]));
        }
        out
    }
}

fn rows(reply: &Value) -> &[Value] {
    reply["data"].as_array().unwrap_or_else(|| panic!("no rows: {reply}"))
}
