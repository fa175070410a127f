//! The migrations as values: which there are, and when each is not to be applied.

use serde::Deserialize;

/// Files of `migrations/clickhouse`, in the order in which they are applied.
pub const CLICKHOUSE: &[(&str, &str)] = &[
    (
        "clickhouse/202111031530000_expenses/01_create_table.sql",
        include_str!("../../migrations/clickhouse/202111031530000_expenses/01_create_table.sql"),
    ),
    (
        "clickhouse/202511081530000_k8s_dimensions/01_add_k8s_namespace.sql",
        include_str!(
            "../../migrations/clickhouse/202511081530000_k8s_dimensions/01_add_k8s_namespace.sql"
        ),
    ),
    (
        "clickhouse/202511081530000_k8s_dimensions/02_add_k8s_node.sql",
        include_str!(
            "../../migrations/clickhouse/202511081530000_k8s_dimensions/02_add_k8s_node.sql"
        ),
    ),
    (
        "clickhouse/202511081530000_k8s_dimensions/03_add_k8s_service.sql",
        include_str!(
            "../../migrations/clickhouse/202511081530000_k8s_dimensions/03_add_k8s_service.sql"
        ),
    ),
    (
        "clickhouse/202611210000000_expenses_namespace_daily/01_create_view.sql",
        include_str!(
            "../../migrations/clickhouse/202611210000000_expenses_namespace_daily/01_create_view.sql"
        ),
    ),
];

/// Files of `migrations/mongodb`, in the order in which they are applied.
pub const MONGODB: &[(&str, &str)] = &[
    (
        "mongodb/0001_resource_unique.json",
        include_str!("../../migrations/mongodb/0001_resource_unique.json"),
    ),
    (
        "mongodb/0002_resource_namespace.json",
        include_str!("../../migrations/mongodb/0002_resource_namespace.json"),
    ),
    (
        "mongodb/0003_resource_namespace_seen.json",
        include_str!("../../migrations/mongodb/0003_resource_namespace_seen.json"),
    ),
    (
        "mongodb/0004_rate_journal_expiry.json",
        include_str!("../../migrations/mongodb/0004_rate_journal_expiry.json"),
    ),
];

/// When a statement is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unless {
    /// This table or view exists.
    Table(String),
    /// This column of a table exists.
    Column(String, String),
}

/// A statement and when it is not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// When not.
    pub unless: Unless,
    /// The SQL without comments.
    pub sql: String,
}

/// An index of a MongoDB collection.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// The collection; `RESOURCES_COLLECTION` stands for the one of the setting.
    pub collection: String,
    /// The index's name.
    pub name: String,
    /// Fields and directions.
    pub keys: Vec<(String, i32)>,
    /// Whether it keeps documents apart.
    #[serde(default)]
    pub unique: bool,
    /// After how many seconds past the field's time a document is removed.
    #[serde(default)]
    pub expire_after_seconds: Option<u64>,
}

/// A migration file that cannot be understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("migration {0}: {1}")]
pub struct BadMigration(pub String, pub String);

/// Reads a SQL file.
///
/// # Errors
/// [`BadMigration`] when its first line says nothing about when it is not applied, or when it has
/// not exactly one statement.
pub fn statement(name: &str, text: &str) -> Result<Statement, BadMigration> {
    let bad = |what: &str| BadMigration(name.to_owned(), what.to_owned());
    let first = text.lines().next().unwrap_or_default();
    let condition = first.strip_prefix("-- unless: ").ok_or_else(|| bad("no '-- unless:' line"))?;
    let unless = match condition.split_once(' ') {
        Some(("table", table)) => Unless::Table(table.to_owned()),
        Some(("column", column)) => match column.split_once('.') {
            Some((table, column)) => Unless::Column(table.to_owned(), column.to_owned()),
            None => return Err(bad("'unless: column' needs TABLE.COLUMN")),
        },
        _ => return Err(bad("'unless:' needs table or column")),
    };
    let lines = text.lines().filter(|line| !line.starts_with("--"));
    let sql = lines.collect::<Vec<_>>().join("\n").trim().to_owned();
    if sql.is_empty() || sql.contains(';') {
        return Err(bad("the file must hold one statement, without a semicolon"));
    }
    Ok(Statement { unless, sql })
}

/// Reads an index file.
///
/// # Errors
/// [`BadMigration`] when it is no JSON of the known form.
pub fn index(name: &str, text: &str) -> Result<Index, BadMigration> {
    serde_json::from_str(text).map_err(|error| BadMigration(name.to_owned(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn files_below(directory: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        let mut open = vec![root.join(directory)];
        let mut files = Vec::new();
        while let Some(path) = open.pop() {
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    files.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        files.sort();
        files
    }

    #[test]
    fn every_file_is_in_the_list_in_its_order() {
        let names =
            |list: &[(&str, &str)]| list.iter().map(|(n, _)| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(CLICKHOUSE), files_below("clickhouse"));
        assert_eq!(names(MONGODB), files_below("mongodb"));
    }

    #[test]
    fn every_file_is_understood() {
        for (name, text) in CLICKHOUSE {
            statement(name, text).unwrap();
        }
        for (name, text) in MONGODB {
            index(name, text).unwrap();
        }
    }

    #[test]
    fn files_without_a_condition_or_with_two_statements_are_refused() {
        assert!(statement("x", "CREATE TABLE t").is_err());
        assert!(statement("x", "-- unless: table t\nCREATE TABLE t; DROP TABLE t").is_err());
        assert!(statement("x", "-- unless: column t\nALTER TABLE t").is_err());
    }
}
