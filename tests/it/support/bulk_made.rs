//! Documents as CloudTuner's REST API stores what its bulk call is given.

use mongodb::bson::{DateTime, Document, doc};

use super::three_accounts::Expected;
use super::world::DAY;

/// Who a document belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Belongs {
    pub(crate) pool: &'static str,
    pub(crate) owner: &'static str,
}

/// The document that the bulk call makes for a resource, seen first and last at `seen` (Unix
/// seconds): an `_id` of its own, what a rule assigned, times as 32-bit integers and their days as
/// dates; no `meta`, and no key that nobody gave.
pub(crate) fn bulk_made(resource: &Expected, id: &str, belongs: Belongs, seen: i64) -> Document {
    let midnight = DateTime::from_millis((seen - seen.rem_euclid(DAY)) * 1_000);
    let seconds = i32::try_from(seen).unwrap();
    let rule = doc! {"id": "rule-1", "name": "by account", "pool_id": belongs.pool};
    let mut document = doc! {
        "_id": id,
        "cloud_resource_id": resource.cloud_resource_id(),
        "cloud_account_id": resource.account,
        "deleted_at": 0_i32,
        "first_seen": seconds,
        "_first_seen_date": midnight,
        "last_seen": seconds,
        "_last_seen_date": midnight,
        "service_name": "Kubernetes",
        "resource_type": resource.resource_type,
        "name": format!("made in bulk, {id}"),
        "active": true,
        "created_at": seconds,
        "pool_id": belongs.pool,
        "employee_id": belongs.owner,
        "applied_rules": [rule],
        "tags": {"dGVhbQ==": "checkout"},
    };
    let places = [
        ("k8s_namespace", resource.namespace()),
        ("k8s_node", resource.node),
        ("k8s_service", resource.service),
    ];
    for (field, value) in places {
        if let Some(value) = value {
            document.insert(field, value);
        }
    }
    document
}
