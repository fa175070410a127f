//! A store that version 0.1.0 filled: `fixtures/stored-0.1.0`, loaded into a test's databases.
//!
//! It is of the accounts and days of [`super::three_accounts`]; `fixtures/README.md` has what was
//! done to it, in order.

use mongodb::bson::{Bson, Document, doc};

use super::servers::{Stores, root};

/// The collections of the fixture: documents, records of days, leases.
pub(crate) const COLLECTIONS: [&str; 3] =
    ["cloud_resource", "kubecost_account_day", "kubecost_lease"];

/// What version 0.1.0's `migrate` did to ClickHouse, in order.
const CLICKHOUSE: [&str; 5] = [
    include_str!("../../../migrations/clickhouse/202111031530000_expenses/01_create_table.sql"),
    include_str!(
        "../../../migrations/clickhouse/202511081530000_k8s_dimensions/01_add_k8s_namespace.sql"
    ),
    include_str!(
        "../../../migrations/clickhouse/202511081530000_k8s_dimensions/02_add_k8s_node.sql"
    ),
    include_str!(
        "../../../migrations/clickhouse/202511081530000_k8s_dimensions/03_add_k8s_service.sql"
    ),
    include_str!(
        "../../../migrations/clickhouse/202611210000000_expenses_namespace_daily/01_create_view.sql"
    ),
];

fn text(file: &str) -> String {
    let path = root().join("fixtures/stored-0.1.0").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents of a collection of the fixture, with the types that they had.
pub(crate) fn documents(collection: &str) -> Vec<Document> {
    text(&format!("{collection}.jsonl"))
        .lines()
        .map(|line| {
            let json: serde_json::Value = serde_json::from_str(line).unwrap();
            match Bson::try_from(json).unwrap() {
                Bson::Document(document) => document,
                other => panic!("{other} is no document"),
            }
        })
        .collect()
}

/// Puts the fixture, with the schema of its time, into the stores; ClickHouse and MongoDB must have
/// nothing there yet.
pub(crate) async fn load(stores: &Stores) {
    for statement in CLICKHOUSE {
        let lines = statement.lines().filter(|line| !line.starts_with("--"));
        stores.execute(&lines.collect::<Vec<_>>().join("\n")).await;
    }
    let rows: Vec<String> = text("expenses.tsv").lines().skip(1).map(values).collect();
    stores.execute(&format!("INSERT INTO expenses VALUES {}", rows.join(", "))).await;
    let database = stores.mongo().await;
    let keys = doc! {
        "cloud_resource_id": 1, "cloud_resource_hash": 1, "cloud_account_id": 1,
        "organization_id": 1, "deleted_at": 1,
    };
    let index = doc! {"key": keys, "name": "OptResourceUnique", "unique": true};
    let command = doc! {"createIndexes": "cloud_resource", "indexes": [index]};
    database.run_command(command).await.unwrap();
    for name in COLLECTIONS {
        database.collection(name).insert_many(documents(name)).await.unwrap();
    }
}

/// A line of tabulated fields as a tuple of SQL.
fn values(line: &str) -> String {
    let fields: Vec<&str> = line.split('\t').collect();
    let [account, resource, date, cost, sign, places @ ..] = fields.as_slice() else {
        panic!("too few fields: {line}");
    };
    let place = |field: &&str| match *field {
        "\\N" => "NULL".to_owned(),
        field => format!("'{field}'"),
    };
    let places: Vec<String> = places.iter().map(place).collect();
    format!("('{account}', '{resource}', '{date}', {cost}, {sign}, {})", places.join(", "))
}
