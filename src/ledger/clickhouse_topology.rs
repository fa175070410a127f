//! Where the rows of `expenses` are, and when a server that answers has all of them.
//!
//! What belongs here: reading an engine's definition, the condition that makes a server refuse a
//! read while it lacks rows, and what makes a table unfit. What does not: sending statements.

/// The table's engine, with all that matters for reading and writing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server has all rows.
    Single,
    /// Each server has all rows, but some later than others.
    Replicated(LocalTable),
    /// Rows are on the shards of a cluster, each of which may have replicas.
    Distributed {
        /// The cluster's name.
        cluster: String,
        /// The table on each shard.
        table: LocalTable,
        /// What decides on a row's shard, if anything.
        sharding_key: Option<String>,
    },
}

/// A table of one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalTable {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
}

/// Whether an engine collapses rows by their sign, on its own or over shards.
#[must_use]
pub fn is_collapsing(engine: &str) -> bool {
    let family = engine.trim_start_matches("Replicated").trim_start_matches("Shared");
    family == "CollapsingMergeTree"
}

impl Topology {
    /// From `engine` and `engine_full` of `system.tables`; `None` when a Distributed table's
    /// definition cannot be read.
    #[must_use]
    pub fn of_engine(own: LocalTable, engine: &str, engine_full: &str) -> Option<Self> {
        if engine != "Distributed" {
            let is_replicated = engine.starts_with("Replicated") || engine.starts_with("Shared");
            return Some(if is_replicated { Self::Replicated(own) } else { Self::Single });
        }
        let arguments = arguments(engine_full.strip_prefix("Distributed(")?)?;
        let [cluster, database, name, rest @ ..] = arguments.as_slice() else { return None };
        let database = match unquoted(database) {
            text if text.is_empty() || text == "currentDatabase()" => own.database,
            text => text,
        };
        let sharding_key = rest.first().map(|key| (*key).to_owned());
        let table = LocalTable { database, name: unquoted(name) };
        Some(Self::Distributed { cluster: unquoted(cluster), table, sharding_key })
    }

    /// A condition for `WHERE` that is true, or makes the server that lacks rows refuse with
    /// [`BEHIND_CODE`]. A replica lacks rows while its log has entries that it has not taken over
    /// or inserts that it has not fetched, and may lack some when it has no coordinator. (The index
    /// of an empty log is 0 as that of its first entry is.)
    ///
    /// It is looked at twice: a server shows first how long the queue in its memory is, then what
    /// the coordinator has of its log, and an entry that it takes over in between is in neither
    /// (`StorageReplicatedMergeTree::getStatus`). Between the looks it has time to note the entry.
    ///
    /// On a Distributed table the subqueries go to the shards with the query, so each replica that
    /// is read decides for itself. No alias and no function is newer than ClickHouse 18.16.
    #[must_use]
    pub fn freshness(&self) -> Option<String> {
        let (Self::Replicated(table) | Self::Distributed { table, .. }) = self else { return None };
        let (database, name) = (quoted(&table.database), quoted(&table.name));
        let look = |of_table: String| {
            format!(
                "SELECT toUInt8(throwIf(max(is_readonly OR is_session_expired OR \
                 inserts_in_queue > 0 OR log_max_index > 0 AND log_pointer <= log_max_index))) \
                 FROM system.replicas WHERE {of_table}"
            )
        };
        // Subqueries of one text are computed once.
        let looks = [
            look(format!("database = {database} AND table = {name}")),
            format!("SELECT sleep({NOTED_SECONDS})"),
            look(format!("table = {name} AND database = {database}")),
        ];
        let conditions = looks.map(|look| match self {
            // A plain subquery is computed before any part is looked at.
            Self::Replicated(_) => format!("({look}) = 0"),
            // So is one after a column of the primary key, as parts may be chosen by it; others are
            // computed when parts have been chosen. `ignore` is 0 whatever it is given.
            _ => format!("ignore(cloud_account_id) IN ({look})"),
        });
        Some(conditions.join(" AND "))
    }

    /// Why rows of one key may be on different shards, where that may be: they never collapse
    /// there, and rows of other days of the key do.
    #[must_use]
    pub fn scattering(&self, shards: u64) -> Option<String> {
        let Self::Distributed { sharding_key, .. } = self else { return None };
        if shards <= 1 {
            return None;
        }
        let Some(key) = sharding_key else {
            return Some("it has no sharding key over more than one shard".to_owned());
        };
        let foreign = columns(key).into_iter().find(|column| !KEY.contains(&column.as_str()));
        let is_random = RANDOM.iter().any(|name| key.contains(name));
        (foreign.is_some() || is_random)
            .then(|| format!("its sharding key {key} scatters rows of one resource and day"))
    }
}

/// The server's error code of `throwIf`, which no statement uses but for [`Topology::freshness`].
pub const BEHIND_CODE: u32 = 395;

/// What a replica takes over from its log is in the queue in its memory after this, seconds: a
/// thread of it has to wake up.
const NOTED_SECONDS: f64 = 0.05;

/// The columns by which rows collapse.
const KEY: [&str; 3] = ["cloud_account_id", "resource_id", "date"];

/// What makes a sharding key give one row another shard each time: `rand()` and the like.
const RANDOM: [&str; 4] = ["rand", "generateUUID", "now", "rowNumber"];

/// The top-level arguments before the closing bracket.
fn arguments(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut is_quoted, mut is_escaped, mut start) = (0_usize, false, false, 0);
    let mut all = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '\'' | '`' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            '(' => depth += 1,
            ')' if depth == 0 => {
                all.push(text[start..at].trim());
                return Some(all);
            }
            ')' => depth -= 1,
            ',' if depth == 0 => {
                all.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> String {
    let inner = ['\'', '`'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q));
    inner.map_or_else(|| text.to_owned(), |inner| inner.replace("\\'", "'").replace("\\\\", "\\"))
}

/// As a string of SQL.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The names in an expression that are no functions and no literals.
fn columns(expression: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = expression;
    while let Some(start) = rest.find(|c: char| c.is_alphanumeric() || "_'".contains(c)) {
        rest = &rest[start..];
        if let Some(text) = rest.strip_prefix('\'') {
            rest = text.split_once('\'').map_or("", |(_, after)| after);
            continue;
        }
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if !after.trim_start().starts_with('(') && !name.starts_with(|c: char| c.is_ascii_digit()) {
            names.push(name.to_owned());
        }
        rest = after;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(database: &str, name: &str) -> LocalTable {
        LocalTable { database: database.into(), name: name.into() }
    }

    fn distributed(engine_full: &str) -> Topology {
        Topology::of_engine(table("own", "expenses"), "Distributed", engine_full).unwrap()
    }

    #[test]
    fn a_distributed_tables_definition_is_read_as_old_and_new_servers_show_it() {
        for (full, key) in [
            ("Distributed(grid, costs, rows, cityHash64(resource_id, 'a,)'))", true),
            (
                "Distributed('grid', 'costs', 'rows', cityHash64(resource_id, 'a,)'), 'policy')",
                true,
            ),
            ("Distributed('grid', 'costs', 'rows') SETTINGS fsync_after_insert = 0", false),
        ] {
            let Topology::Distributed { cluster, table: on_shards, sharding_key } =
                distributed(full)
            else {
                panic!("{full}")
            };
            assert_eq!((cluster.as_str(), on_shards), ("grid", table("costs", "rows")), "{full}");
            let wanted = key.then(|| "cityHash64(resource_id, 'a,)')".to_owned());
            assert_eq!(sharding_key, wanted, "{full}");
        }
        let Topology::Distributed { table: on_shards, .. } =
            distributed("Distributed(grid, currentDatabase(), rows)")
        else {
            panic!("not distributed")
        };
        assert_eq!(on_shards.database, "own");
        let unread = Topology::of_engine(table("own", "expenses"), "Distributed", "Distributed(x");
        assert_eq!(unread, None);
    }

    #[test]
    fn only_replicas_are_asked_whether_they_lack_rows() {
        let own = || table("it's", "expenses");
        let of = |engine: &str| Topology::of_engine(own(), engine, "").unwrap();
        assert_eq!(of("CollapsingMergeTree").freshness(), None);
        let condition = of("ReplicatedCollapsingMergeTree").freshness().unwrap();
        assert!(condition.contains("database = 'it\\'s' AND table = 'expenses'"), "{condition}");
        assert!(condition.ends_with(") = 0"), "{condition}");
        let condition = distributed("Distributed(grid, costs, rows)").freshness().unwrap();
        assert!(condition.starts_with("ignore(cloud_account_id) IN (SELECT"), "{condition}");
        assert!(condition.contains("database = 'costs' AND table = 'rows'"), "{condition}");
        let looks: Vec<&str> = condition.split(" AND ignore(cloud_account_id) IN ").collect();
        assert_eq!(looks[1], "(SELECT sleep(0.05))");
        assert!(looks[2].contains("table = 'rows' AND database = 'costs'"), "{condition}");
    }

    #[test]
    fn a_sharding_key_must_keep_the_rows_of_a_key_together() {
        let with = |key: &str| distributed(&format!("Distributed(grid, costs, rows, {key})"));
        for key in [
            "cityHash64(resource_id)",
            "sipHash64(cloud_account_id, toYYYYMM(date))",
            "intHash64(toUInt64(date)) % 7",
            "1",
            "cityHash64(concat(resource_id, 'cost'))",
        ] {
            assert_eq!(with(key).scattering(2), None, "{key}");
        }
        for key in ["rand()", "cityHash64(resource_id, cost)", "toUInt8(sign)", "rand64()"] {
            assert!(with(key).scattering(2).unwrap().contains(key), "{key}");
            assert_eq!(with(key).scattering(1), None, "one shard has all: {key}");
        }
        assert!(distributed("Distributed(grid, costs, rows)").scattering(2).is_some());
    }
}
