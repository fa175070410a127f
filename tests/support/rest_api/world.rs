//! What the API keeps in SQL: organizations, pools, employees, accounts, rules, discovery, nodes.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A row: columns by name.
pub(crate) type Row = Map<String, Value>;
/// Rows by id.
pub(crate) type Table = BTreeMap<String, Row>;

/// What a rule asks of a resource.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// Its account.
    CloudIs(String),
    /// A part of its name or `cloud_resource_id`, in any case.
    NameContains(String),
    /// A tag, by its plain key, and its value.
    TagIs(String, String),
}

/// Gives a resource that fits every condition a pool and an owner.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) organization_id: String,
    pub(crate) pool_id: String,
    pub(crate) owner_id: String,
    pub(crate) conditions: Vec<Condition>,
}

/// The ids that belong to something that was made.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) pool_id: String,
    pub(crate) owner_id: String,
}

/// All tables.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    /// The time now, Unix seconds.
    pub(crate) now_seconds: i64,
    pub(crate) organizations: Table,
    pub(crate) accounts: Table,
    pub(crate) pools: Table,
    pub(crate) employees: Table,
    pub(crate) discovery: Table,
    /// Machines that accounts' clusters run on.
    pub(crate) nodes: Table,
    /// In the order of their priority.
    pub(crate) rules: Vec<Rule>,
    /// Items that the bulk call refuses for a reason of its own, by `cloud_resource_id`.
    pub(crate) refused_ids: BTreeSet<String>,
}

fn row(value: Value) -> Row {
    let Value::Object(row) = value else { panic!("no row: {value}") };
    row
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

/// Sets a column of a row.
pub(crate) fn set(table: &mut Table, id: &str, column: &str, value: Value) {
    table.get_mut(id).unwrap().insert(column.to_owned(), value);
}

impl World {
    /// An empty one.
    pub(crate) fn at(now_seconds: i64) -> Self {
        Self { now_seconds, ..Self::default() }
    }

    /// An employee of an organization.
    pub(crate) fn add_employee(&mut self, organization: &str, name: &str) -> String {
        let id = new_id();
        let columns = json!({"id": id, "name": name, "organization_id": organization,
            "auth_user_id": new_id(), "created_at": self.now_seconds, "deleted_at": 0,
            "default_ssh_key_id": null});
        self.employees.insert(id.clone(), row(columns));
        id
    }

    /// A pool below another, or a root pool.
    pub(crate) fn add_pool(
        &mut self,
        organization: &str,
        name: &str,
        parent: Option<&str>,
        owner: Option<&str>,
    ) -> String {
        let id = new_id();
        let columns = json!({"id": id, "name": name, "organization_id": organization,
            "parent_id": parent, "default_owner_id": owner, "purpose": "budget", "limit": 0,
            "created_at": self.now_seconds, "deleted_at": 0, "unallocated_limit": 0});
        self.pools.insert(id.clone(), row(columns));
        id
    }

    /// An organization with a root pool, whose default owner is its first employee.
    pub(crate) fn add_organization(&mut self, id: &str) -> Made {
        let owner_id = self.add_employee(id, "Root owner");
        let pool_id = self.add_pool(id, id, None, Some(&owner_id));
        let columns = json!({"id": id, "name": id, "pool_id": pool_id, "is_demo": false,
            "currency": "USD", "cleaned_at": 0, "disabled": false,
            "created_at": self.now_seconds, "deleted_at": 0});
        self.organizations.insert(id.to_owned(), row(columns));
        Made { pool_id, owner_id }
    }

    /// An account, with what is made with it: a pool below the root pool, and a rule.
    pub(crate) fn add_account(&mut self, organization: &str, id: &str, kind: &str) -> Made {
        let name = format!("Account {id}");
        let columns = json!({"id": id, "name": name, "type": kind,
            "organization_id": organization, "auto_import": true, "import_period": 1,
            "last_import_at": 0, "last_import_modified_at": 0, "last_import_attempt_at": 0,
            "last_import_attempt_error": null, "last_getting_metrics_at": 0,
            "last_getting_metric_attempt_at": 0, "last_getting_metric_attempt_error": null,
            "cleaned_at": 0, "parent_id": null, "account_id": new_id(),
            "process_recommendations": true, "created_at": self.now_seconds, "deleted_at": 0,
            "cost_model": {"cpu_hourly_cost": 0.002, "memory_hourly_cost": 0.001},
            "config": {"user": "u", "password": "account-hunter2"}});
        self.accounts.insert(id.to_owned(), row(columns));
        let root = self.organizations[organization]["pool_id"].as_str().unwrap().to_owned();
        let owner_id = self.add_employee(organization, &format!("Owner of {id}"));
        let pool_id = self.add_pool(organization, &name, Some(&root), Some(&owner_id));
        self.rules.push(Rule {
            id: new_id(),
            name: format!("Rule for {name}"),
            organization_id: organization.to_owned(),
            pool_id: pool_id.clone(),
            owner_id: owner_id.clone(),
            conditions: vec![Condition::CloudIs(id.to_owned())],
        });
        Made { pool_id, owner_id }
    }

    /// A node of an account, with these columns.
    pub(crate) fn add_node(&mut self, account: &str, node: Row) {
        let id = new_id();
        let mut columns = row(json!({"id": id, "cloud_account_id": account, "flavor": null,
            "provider_id": null, "created_at": self.now_seconds, "deleted_at": 0}));
        columns.extend(node);
        self.nodes.insert(id, columns);
    }

    /// A record of discovery, as CloudTuner's own discovery adds it.
    pub(crate) fn add_discovery(&mut self, account: &str, resource_type: &str) -> String {
        let id = new_id();
        let columns = json!({"id": id, "cloud_account_id": account,
            "resource_type": resource_type, "observe_time": 0, "last_discovery_at": 0,
            "last_error_at": 0, "last_error": null, "enabled": true,
            "created_at": self.now_seconds, "deleted_at": 0});
        self.discovery.insert(id.clone(), row(columns));
        id
    }
}

/// A row that is not deleted.
pub(crate) fn live<'a>(table: &'a Table, id: &str) -> Option<&'a Row> {
    table.get(id).filter(|row| is_live(row))
}

/// Whether a row is not deleted.
pub(crate) fn is_live(row: &Row) -> bool {
    row["deleted_at"] == 0
}
