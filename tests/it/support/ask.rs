//! Questions to ClickHouse as other programs put them: over HTTP, with external tables.

use super::servers::Stores;
use serde_json::Value;

/// A table that travels with a query.
pub(crate) struct External {
    pub(crate) name: &'static str,
    pub(crate) structure: &'static str,
    /// Fields by tabulators, one row a line.
    pub(crate) rows: Vec<String>,
}

const BOUNDARY: &str = "external-tables";

fn multipart(tables: &[External]) -> String {
    let mut body = String::new();
    for table in tables {
        let (name, rows) = (table.name, table.rows.join("\n"));
        body.push_str(&format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{name}\"\
             \r\nContent-Type: text/plain\r\n\r\n{rows}\n\r\n"
        ));
    }
    body + &format!("--{BOUNDARY}--\r\n")
}

/// The whole reply (`data`, `totals`) to a query that comes with external tables.
pub(crate) async fn ask_with(stores: &Stores, sql: &str, tables: &[External]) -> Value {
    kubecost_worker::service::http::install_tls();
    let sql = format!("{sql} FORMAT JSON");
    let mut parameters = vec![
        ("database".to_owned(), stores.database.clone()),
        ("output_format_json_quote_64bit_integers".to_owned(), "0".to_owned()),
        // Servers of 2018 want to be told what later ones take for granted.
        ("join_default_strictness".to_owned(), "ALL".to_owned()),
    ];
    for table in tables {
        parameters.push((format!("{}_structure", table.name), table.structure.to_owned()));
        parameters.push((format!("{}_format", table.name), "TSV".to_owned()));
    }
    if !tables.is_empty() {
        parameters.push(("query".to_owned(), sql.clone()));
    }
    let mut request = reqwest::Client::new().post(&stores.clickhouse.url).query(&parameters);
    if tables.is_empty() {
        request = request.body(sql.clone());
    } else {
        request = request
            .header("Content-Type", format!("multipart/form-data; boundary={BOUNDARY}"))
            .body(multipart(tables));
    }
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{sql}: {error}: {text}"))
}

/// The rows of a query's reply.
pub(crate) async fn ask(stores: &Stores, sql: &str) -> Vec<Value> {
    ask_with(stores, sql, &[]).await["data"].as_array().unwrap().clone()
}

/// Live keys as (Unix seconds of the date, namespace or empty, USD), in this order.
pub(crate) async fn live(stores: &Stores, account: &str) -> Vec<(i64, String, f64)> {
    let sql = format!(
        "SELECT toUInt32(date) AS d, ifNull(k8s_namespace, '') AS ns, sum(cost * sign) AS usd, \
         sum(toInt64(sign)) AS signs FROM expenses WHERE cloud_account_id = '{account}' \
         GROUP BY resource_id, date, k8s_namespace HAVING signs != 0 OR usd != 0 ORDER BY d, ns"
    );
    let row = |row: Value| {
        assert_eq!(row["signs"], 1, "{row}");
        (row["d"].as_i64().unwrap(), row["ns"].as_str().unwrap().to_owned(), usd(&row["usd"]))
    };
    ask(stores, &sql).await.into_iter().map(row).collect()
}

/// A number of a reply.
pub(crate) fn usd(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Asserts that keys are the wanted ones, to a millionth of a dollar.
pub(crate) fn assert_live(got: &[(i64, String, f64)], wanted: &[(i64, &str, f64)]) {
    assert_eq!(got.len(), wanted.len(), "{got:?}\nwanted {wanted:?}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert_eq!((got.0, got.1.as_str()), (wanted.0, wanted.1), "{got:?}");
        assert!((got.2 - wanted.2).abs() <= 1e-6, "{got:?} wanted {wanted:?}");
    }
}
