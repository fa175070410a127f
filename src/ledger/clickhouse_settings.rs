//! The settings that statements carry, so that what is written can be read and what is read is
//! whole, whatever the user's profile says.
//!
//! A server refuses a setting that it does not know, so only those go that `system.settings` of
//! the server has; and of these only those whose value is another, for a profile may forbid to
//! touch what is right already.

use std::collections::BTreeMap;

/// A setting, and what its value must be.
pub type Setting = (&'static str, &'static str);

/// What an insert needs: its rows are stored when it is acknowledged, each of them, and none is
/// dropped because an equal block was stored before.
const INSERT: [Setting; 9] = [
    // A Distributed table queues rows and acknowledges them before its shards have them.
    ("insert_distributed_sync", "1"),
    ("distributed_foreground_insert", "1"),
    ("async_insert", "0"),
    ("wait_for_async_insert", "1"),
    // Rows of one key would be merged on their way in; they would not be what was read back.
    ("optimize_on_insert", "0"),
    ("insert_deduplicate", "0"),
    ("async_insert_deduplicate", "0"),
    ("deduplicate_insert", "disable"),
    ("deduplicate_blocks_in_dependent_materialized_views", "0"),
];

/// What a read needs: every row of every shard as it is stored, or an error.
const READ: [Setting; 11] = [
    ("skip_unavailable_shards", "0"),
    ("use_query_cache", "0"),
    // Rows that contradict each other must show.
    ("final", "0"),
    // Which replica answers is checked for one alone.
    ("enable_parallel_replicas", "0"),
    ("allow_experimental_parallel_reading_from_replicas", "0"),
    ("read_overflow_mode", "throw"),
    ("group_by_overflow_mode", "throw"),
    ("result_overflow_mode", "throw"),
    ("timeout_overflow_mode", "throw"),
    ("set_overflow_mode", "throw"),
    ("transfer_overflow_mode", "throw"),
];

/// The names of all settings that are asked for.
pub fn names() -> impl Iterator<Item = &'static str> {
    INSERT.iter().chain(&READ).map(|(name, _)| *name)
}

/// The settings that statements to one server carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatementSettings {
    /// Of inserts.
    pub insert: Vec<Setting>,
    /// Of reads.
    pub read: Vec<Setting>,
}

impl StatementSettings {
    /// What to send to a server whose settings have these values.
    #[must_use]
    pub fn of_server(values: &BTreeMap<String, String>) -> Self {
        let differing = |all: &[Setting]| {
            let differs = |(name, wanted): &&Setting| {
                values.get(*name).is_some_and(|value| !is_same(value, wanted))
            };
            all.iter().filter(differs).copied().collect()
        };
        Self { insert: differing(&INSERT), read: differing(&READ) }
    }
}

fn is_same(value: &str, wanted: &str) -> bool {
    value == wanted || matches!((value, wanted), ("false", "0") | ("true", "1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[(&str, &str)]) -> BTreeMap<String, String> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn an_old_server_gets_only_what_it_knows_and_has_otherwise() {
        let old = values(&[
            ("insert_distributed_sync", "0"),
            ("insert_deduplicate", "1"),
            ("skip_unavailable_shards", "1"),
            ("read_overflow_mode", "throw"),
        ]);
        let settings = StatementSettings::of_server(&old);
        assert_eq!(
            settings.insert,
            [("insert_distributed_sync", "1"), ("insert_deduplicate", "0")]
        );
        assert_eq!(settings.read, [("skip_unavailable_shards", "0")]);
    }

    #[test]
    fn a_server_that_has_all_values_gets_none() {
        let same = values(&INSERT.iter().chain(&READ).copied().collect::<Vec<_>>());
        assert_eq!(StatementSettings::of_server(&same), StatementSettings::default());
        let none = StatementSettings::of_server(&BTreeMap::new());
        assert_eq!(none, StatementSettings::default());
    }

    #[test]
    fn asynchronous_inserts_and_every_dedup_are_turned_off() {
        let newest = values(&[
            ("async_insert", "1"),
            ("wait_for_async_insert", "0"),
            ("insert_deduplicate", "1"),
            ("deduplicate_insert", "enable"),
            ("insert_distributed_sync", "false"),
            ("distributed_foreground_insert", "true"),
        ]);
        assert_eq!(
            StatementSettings::of_server(&newest).insert,
            [
                ("insert_distributed_sync", "1"),
                ("async_insert", "0"),
                ("wait_for_async_insert", "1"),
                ("insert_deduplicate", "0"),
                ("deduplicate_insert", "disable"),
            ]
        );
    }
}
