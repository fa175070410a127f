//! Documents of earlier software: what goes over to this program's documents, and when the old ones
//! are retired.
//!
//! A pool and an owner go over where this program's document has none, or the account's default:
//! any other was given to it by a rule or a user, and stays. Tags go over where it has none of that
//! key. Rows are taken back on days that this program has stored whole: elsewhere they are all that
//! the day, or a part of it, has.

use std::collections::BTreeMap;

use crate::cost::{AccountId, Level};
use crate::day_status::DayStatus;
use crate::documents::earlier::EARLIER_CLUSTER_ID;
use crate::documents::merge::AdoptUpdate;
use crate::documents::{PoolOwner, StoredResource};

use super::day_record::is_open;
use super::kinds::{Finding, FindingKind, RepairedBy, StoredState};

/// What goes over from a document of earlier software, one change for each of this program's
/// documents that stand for the same thing; none where there is nothing to change.
#[must_use]
pub fn adoptions(
    earlier: &StoredResource,
    own: &[StoredResource],
    default_owner: Option<&PoolOwner>,
) -> Vec<AdoptUpdate> {
    heirs(earlier, own)
        .map(|heir| adoption(earlier, heir, default_owner))
        .filter(|update| !update.is_empty())
        .collect()
}

/// This program's live documents of the cluster or namespace that an earlier document stands for:
/// one for each cluster that has it.
fn heirs<'a>(
    earlier: &'a StoredResource,
    own: &'a [StoredResource],
) -> impl Iterator<Item = &'a StoredResource> {
    let is_cluster = earlier.cloud_resource_id == EARLIER_CLUSTER_ID;
    let namespace = earlier.k8s_namespace.clone().or_else(|| earlier.meta_text("namespace"));
    own.iter().filter(move |one| {
        !one.is_deleted
            && if is_cluster {
                one.level() == Some(Level::Cluster)
            } else {
                one.level() == Some(Level::Namespace) && one.k8s_namespace == namespace
            }
    })
}

fn adoption(
    earlier: &StoredResource,
    heir: &StoredResource,
    default_owner: Option<&PoolOwner>,
) -> AdoptUpdate {
    let given = earlier.pool_id.clone().zip(earlier.employee_id.clone());
    let is_default = |pool: &String| default_owner.is_some_and(|owner| owner.pool_id == *pool);
    let is_free = heir.pool_id.as_ref().is_none_or(is_default);
    let owner = given
        .map(|(pool_id, employee_id)| PoolOwner { pool_id, employee_id })
        .filter(|owner| is_free && heir.pool_id.as_ref() != Some(&owner.pool_id));
    let has = |key: &String| heir.tags.as_ref().is_some_and(|tags| tags.contains_key(key));
    let tags: BTreeMap<String, String> = earlier
        .tags
        .iter()
        .flatten()
        .filter(|(key, _)| !has(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    AdoptUpdate { id: heir.id.clone(), owner, makes_tags: heir.tags.is_none(), tags }
}

/// The findings about documents of earlier software: each says what `--adopt` will do.
pub(super) fn earlier_documents(account: &AccountId, stored: &StoredState) -> Vec<Finding> {
    stored.earlier.iter().map(|earlier| finding(account, stored, earlier)).collect()
}

/// Leaves rows of earlier software on days of which this program has stored nothing, or a part only,
/// until a backfill has computed these days: without them such a day would cost nothing, or too
/// little.
pub(super) fn keep_rows_of_unstored_days(stored: &StoredState, findings: &mut [Finding]) {
    for one in findings.iter_mut().filter(|one| one.kind == FindingKind::EarlierWorker) {
        let Some(day) = one.day else { continue };
        let Some(lack) = lack_of(stored.statuses.get(&day)) else { continue };
        one.repaired_by = RepairedBy::Backfill;
        one.what.push_str(&format!(
            "; {lack}, so --adopt leaves the row until a backfill has computed the day"
        ));
    }
}

/// What of a day this program has not stored; `None` where it has stored all of it.
fn lack_of(status: Option<&DayStatus>) -> Option<&'static str> {
    let Some(status) = status.filter(|status| status.stored.phase.is_some()) else {
        return Some("this program has stored nothing of the day");
    };
    // Of a day with a gap the rows of both would count for good: what of it is known is most of it.
    let coverage = &status.stored.coverage;
    let is_part = is_open(status) || coverage.covered_minutes < coverage.expected_minutes / 2;
    is_part.then_some("this program has stored only a part of the day")
}

fn finding(account: &AccountId, stored: &StoredState, earlier: &StoredResource) -> Finding {
    let heirs = heirs(earlier, &stored.documents).count();
    let updates = adoptions(earlier, &stored.documents, stored.default_owner.as_ref());
    let owners = updates.iter().filter_map(|update| update.owner.as_ref()).next();
    let mut goes_over = Vec::new();
    if let Some(owner) = owners {
        let PoolOwner { pool_id, employee_id } = owner;
        goes_over.push(format!("its pool {pool_id} and owner {employee_id}"));
    }
    let tags = updates.iter().map(|update| update.tags.len()).max().unwrap_or(0);
    if tags > 0 {
        goes_over.push(format!("{tags} of its tags"));
    }
    let passed = match (heirs, goes_over.is_empty()) {
        (0, _) => "no document of this program stands for the same".to_owned(),
        (_, true) => "nothing of it has to go over".to_owned(),
        (count, false) => format!("{} go over to {count} documents", goes_over.join(" and ")),
    };
    let what = format!(
        "a document of earlier software, {}: {passed}; it is retired once no row is left",
        earlier.cloud_resource_id
    );
    let usd = earlier.total_cost.unwrap_or_default();
    Finding::of_no_row(account, FindingKind::EarlierDocument, (&earlier.id, None), usd, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::Day;
    use crate::day_status::stored_form::tests::complete;

    fn owned(pool: Option<&str>) -> StoredResource {
        StoredResource {
            id: "old".into(),
            cloud_resource_id: "k8s-ns-old".into(),
            resource_type: Some("K8s Namespace".into()),
            k8s_namespace: Some("shop".into()),
            pool_id: pool.map(str::to_owned),
            employee_id: pool.map(|pool| format!("owner of {pool}")),
            tags: Some([("dGVhbQ==".to_owned(), "blue".to_owned())].into()),
            ..StoredResource::default()
        }
    }

    fn heir(pool: Option<&str>) -> StoredResource {
        StoredResource { id: "new".into(), tags: Some(BTreeMap::new()), ..owned(pool) }
    }

    fn default_owner() -> PoolOwner {
        PoolOwner { pool_id: "root".into(), employee_id: "owner of root".into() }
    }

    fn pool(earlier: Option<&str>, new: Option<&str>) -> Option<String> {
        let updates = adoptions(&owned(earlier), &[heir(new)], Some(&default_owner()));
        updates[0].owner.as_ref().map(|owner| owner.pool_id.clone())
    }

    #[test]
    fn pool_and_owner_go_over_unless_a_rule_or_a_user_gave_others() {
        assert_eq!(pool(Some("team"), None), Some("team".into()));
        assert_eq!(pool(Some("team"), Some("root")), Some("team".into()));
        assert_eq!(pool(Some("team"), Some("mine")), None);
        assert_eq!(pool(None, Some("root")), None);
        assert_eq!(pool(Some("root"), Some("root")), None);
    }

    #[test]
    fn tags_go_over_where_there_is_none_of_that_key() {
        let updates = adoptions(&owned(None), &[heir(None)], None);
        assert_eq!(updates[0].tags.len(), 1);
        assert!(!updates[0].makes_tags);
        let tagged = owned(None);
        assert_eq!(adoptions(&owned(None), &[tagged], None), []);
        let none = StoredResource { tags: None, ..heir(None) };
        assert!(adoptions(&owned(None), &[none], None)[0].makes_tags);
    }

    #[test]
    fn each_cluster_with_the_namespace_inherits_and_deleted_or_other_documents_do_not() {
        let other = StoredResource { k8s_namespace: Some("pay".into()), ..heir(None) };
        let deleted = StoredResource { is_deleted: true, ..heir(None) };
        let cluster = StoredResource {
            id: "c".into(),
            resource_type: Some("K8s Cluster".into()),
            k8s_namespace: None,
            ..heir(None)
        };
        let own = [heir(None), other, deleted, heir(None), cluster];
        let ids = |earlier: &StoredResource| -> Vec<String> {
            adoptions(earlier, &own, None).into_iter().map(|update| update.id).collect()
        };
        assert_eq!(ids(&owned(None)), ["new", "new"]);
        let whole = StoredResource { cloud_resource_id: "cluster".into(), ..owned(None) };
        assert_eq!(ids(&whole), ["c"]);
    }

    #[test]
    fn rows_are_taken_back_on_days_alone_that_this_program_has_stored() {
        let days: Vec<Day> =
            (1..=5).map(|day| format!("2026-08-0{day}").parse().unwrap()).collect();
        let account = AccountId::new("a").unwrap();
        // Of the first a run found nothing, of the third there was none; of the fourth minutes are
        // missing, and the last is open.
        let empty = DayStatus::empty(&account, days[0]);
        let mut gap = complete(days[3]);
        gap.stored.coverage.covered_minutes = 9;
        let mut open = complete(days[4]);
        open.attempt.is_settled = false;
        let stored = StoredState {
            statuses: [empty, complete(days[1]), gap, open].map(|one| (one.day, one)).into(),
            ..StoredState::default()
        };
        let row = |kind: FindingKind, day: Day| Finding {
            account: account.clone(),
            kind,
            repaired_by: kind.repaired_by(),
            resource_id: "cluster".into(),
            date_seconds: Some(day.start_seconds()),
            day: Some(day),
            usd: 1.0,
            what: "a row".into(),
        };
        let mut found: Vec<Finding> =
            days.iter().map(|day| row(FindingKind::EarlierWorker, *day)).collect();
        found.push(row(FindingKind::Sign, days[2]));
        keep_rows_of_unstored_days(&stored, &mut found);
        let by: Vec<RepairedBy> = found.iter().map(|one| one.repaired_by).collect();
        let kept = RepairedBy::Backfill;
        assert_eq!(by, [kept, RepairedBy::Adopt, kept, kept, kept, RepairedBy::Fix]);
        for (place, lack) in
            [(0, "nothing"), (2, "nothing"), (3, "only a part"), (4, "only a part")]
        {
            let what = &found[place].what;
            assert!(what.contains(&format!("has stored {lack} of the day")), "{what}");
            assert!(what.contains("--adopt leaves the row"), "{what}");
        }
    }
}
