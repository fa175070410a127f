//! What is wrong with an account's rows and documents, as a function of what the stores hold.

use std::collections::{BTreeMap, BTreeSet};

use crate::cost::resource_id::has_own_form;
use crate::cost::{AccountId, Day};
use crate::documents::StoredResource;
use crate::documents::earlier::EARLIER_CLUSTER_ID;
use crate::documents::repair::repair;
use crate::ledger::KeyState;

use super::adopt::{earlier_documents, keep_rows_of_unstored_days};
use super::days::{differing_days, keep_document_costs, unfinished_days};

pub use super::kinds::{Finding, FindingKind, RepairedBy, StoredState};

/// All faults: those of rows, of days, then of documents, in the order of dates and resources.
#[must_use]
pub fn findings(account: &AccountId, stored: &StoredState) -> Vec<Finding> {
    let own: BTreeSet<&str> = stored.documents.iter().map(|d| d.id.as_str()).collect();
    let merged: BTreeMap<(&str, i64), &KeyState> =
        stored.collapsed.iter().map(|s| ((s.resource_id.as_str(), s.date_seconds), s)).collect();
    let mut keys: BTreeMap<(i64, &str), (i64, f64)> = BTreeMap::new();
    for state in &stored.states {
        let key = keys.entry((state.date_seconds, state.resource_id.as_str())).or_default();
        key.0 += state.sign_sum;
        key.1 += state.cost_usd;
    }
    let earlier: BTreeSet<&str> = stored
        .earlier
        .iter()
        .flat_map(|one| [one.id.as_str(), one.cloud_resource_id.as_str()])
        .chain([EARLIER_CLUSTER_ID])
        .collect();
    let mut out = Vec::new();
    for ((date_seconds, resource_id), (sign, cost_usd)) in keys {
        let kept =
            merged.get(&(resource_id, date_seconds)).map_or((0, 0.0), |s| (s.sign_sum, s.cost_usd));
        let is_earlier = earlier.contains(resource_id);
        let key = Key { resource_id, date_seconds, sign, cost_usd, kept, is_earlier };
        let is_own = own.contains(resource_id);
        let is_known = is_own || stored.known_ids.contains(resource_id);
        if let Some((kind, what)) = key.fault(is_own, is_known) {
            out.push(Finding {
                account: account.clone(),
                kind,
                repaired_by: kind.repaired_by(),
                resource_id: resource_id.to_owned(),
                date_seconds: Some(date_seconds),
                day: Some(Day::of_unix(date_seconds)),
                usd: cost_usd,
                what,
            });
        }
    }
    keep_rows_of_unstored_days(stored, &mut out);
    let of_days = differing_days(account, stored, &out);
    out.extend(of_days);
    out.extend(unfinished_days(account, stored));
    out.extend(documents(account, stored));
    out.extend(earlier_documents(account, stored));
    out.extend(stored.documents.iter().filter_map(|document| form(account, document)));
    keep_document_costs(&mut out);
    out
}

/// What is wrong with a document's form, the worst first.
fn form(account: &AccountId, document: &StoredResource) -> Option<Finding> {
    let (kind, what) = if repair(document, None, None).is_empty() {
        if document.id != document.cloud_resource_id {
            return None;
        }
        let what = "its _id is not a UUID: constraints, limit hits, assignment requests and \
                    bookings of the UI refuse it; its costs are shown";
        (FindingKind::FirstFormId, what)
    } else {
        let what = "readers do not see it or fail on it: dates that are numbers, nulls in the \
                    place of absent keys, or a pod's meta of version 0.1.0; kubecost-worker \
                    migrate repairs all";
        (FindingKind::DocumentUnreadable, what)
    };
    let usd = document.total_cost.unwrap_or_default();
    Some(Finding::of_no_row(account, kind, (&document.id, None), usd, what.to_owned()))
}

/// All rows of a resource at one exact date.
struct Key<'a> {
    resource_id: &'a str,
    date_seconds: i64,
    sign: i64,
    cost_usd: f64,
    /// Sign and cost after a merge.
    kept: (i64, f64),
    /// Whether a document of earlier software has its id.
    is_earlier: bool,
}

impl Key<'_> {
    fn fault(&self, is_own: bool, is_known: bool) -> Option<(FindingKind, String)> {
        let is_off = Day::of_unix(self.date_seconds).start_seconds() != self.date_seconds;
        let is_live = self.sign != 0 || self.cost_usd != 0.0;
        if !is_live && self.kept == (0, 0.0) {
            return None;
        }
        if self.is_earlier {
            let what = "a row of earlier software: the cost is stored twice".to_owned();
            return Some((FindingKind::EarlierWorker, what));
        }
        if !is_known {
            return Some(if is_off && has_own_form(self.resource_id) {
                let what = "a row of the earlier worker: its date is the time of a run".to_owned();
                (FindingKind::EarlierWorker, what)
            } else {
                let what = "no document has this _id: readers do not show the row".to_owned();
                (FindingKind::RowWithoutDocument, what)
            });
        }
        // Rows of other programs' resources are not judged.
        if !is_own {
            return None;
        }
        if is_off {
            let what = format!("the date is {} s after midnight", self.date_seconds % 86_400);
            return Some((FindingKind::OffMidnight, what));
        }
        if !(0..=1).contains(&self.sign) {
            return Some((FindingKind::Sign, format!("the signs sum to {}", self.sign)));
        }
        let (kept_sign, kept_usd) = self.kept;
        if kept_sign != self.sign || kept_usd.to_bits() != (self.cost_usd + 0.0).to_bits() {
            let what = format!(
                "the rows sum to ${}, but once merged to ${kept_usd}: a row takes back another \
                 cost than was stored",
                self.cost_usd
            );
            return Some((FindingKind::CancelDiffers, what));
        }
        (self.sign == 0).then(|| {
            let what = format!("the signs sum to 0, the costs to ${}", self.cost_usd);
            (FindingKind::CancelDiffers, what)
        })
    }
}

fn documents(account: &AccountId, stored: &StoredState) -> Vec<Finding> {
    let by_id: BTreeMap<&str, &StoredResource> =
        stored.documents.iter().map(|document| (document.id.as_str(), document)).collect();
    let mut out = Vec::new();
    for total in &stored.totals {
        let Some(document) = by_id.get(total.resource_id.as_str()) else { continue };
        let told = document.total_cost.unwrap_or_default();
        let last = document.last_expense.map(|last| (last.date, last.cost));
        if told == total.total_usd && last == total.last {
            continue;
        }
        let is_without_rows = total.last.is_none() && total.total_usd == 0.0;
        let (kind, what) = if is_without_rows {
            (FindingKind::DocumentWithoutRows, format!("it says ${told}, but there is no row"))
        } else {
            let what = format!("it says ${told}, its rows say ${}", total.total_usd);
            (FindingKind::DocumentCost, what)
        };
        let usd = told - total.total_usd;
        out.push(Finding::of_no_row(account, kind, (&total.resource_id, None), usd, what));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::StoredDate;
    use crate::ledger::Dimensions;
    use crate::ledger::ResourceTotal;

    const DATE: i64 = 1_795_132_800;

    fn state(id: &str, date_seconds: i64, cost_usd: f64, sign_sum: i64) -> KeyState {
        let dimensions = Dimensions::default();
        let unpaired = Vec::new();
        KeyState { resource_id: id.into(), date_seconds, dimensions, cost_usd, sign_sum, unpaired }
    }

    fn document(id: &str, total_cost: f64) -> StoredResource {
        StoredResource {
            id: id.into(),
            cloud_resource_id: "k8s-ns-0123456789abcdef".into(),
            total_cost: Some(total_cost),
            k8s_cluster: Some("c".into()),
            ..StoredResource::default()
        }
    }

    fn kinds(stored: &StoredState) -> Vec<FindingKind> {
        let account = AccountId::new("a").unwrap();
        findings(&account, stored).into_iter().map(|finding| finding.kind).collect()
    }

    fn rows(plain: KeyState, merged: KeyState) -> StoredState {
        StoredState {
            documents: vec![document("mine", 0.0)],
            states: vec![plain],
            collapsed: vec![merged],
            known_ids: BTreeSet::from(["theirs".to_owned()]),
            ..StoredState::default()
        }
    }

    fn same(state: KeyState) -> StoredState {
        rows(state.clone(), state)
    }

    #[test]
    fn healthy_rows_and_other_programs_rows_are_no_finding() {
        assert_eq!(kinds(&same(state("mine", DATE, 1.0, 1))), []);
        assert_eq!(kinds(&same(state("theirs", DATE + 5, 1.0, 3))), []);
    }

    #[test]
    fn each_kind_of_faulty_row_is_told() {
        use FindingKind::{CancelDiffers, EarlierWorker, OffMidnight, RowWithoutDocument, Sign};
        let legacy = "k8s-ns-0123456789abcdef";
        assert_eq!(kinds(&same(state("mine", DATE, 2.0, 2))), [Sign]);
        assert_eq!(kinds(&same(state("mine", DATE, -1.0, -1))), [Sign]);
        assert_eq!(kinds(&same(state("mine", DATE, 0.5, 0))), [CancelDiffers]);
        let differs = rows(state("mine", DATE, 4.0, 1), state("mine", DATE, 3.0, 1));
        assert_eq!(kinds(&differs), [CancelDiffers]);
        assert_eq!(kinds(&same(state("mine", DATE + 1, 1.0, 1))), [OffMidnight]);
        assert_eq!(kinds(&same(state(legacy, DATE + 1, 1.0, 1))), [EarlierWorker]);
        assert_eq!(kinds(&same(state(legacy, DATE, 1.0, 1))), [RowWithoutDocument]);
        assert_eq!(kinds(&same(state("x", DATE + 1, 1.0, 1))), [RowWithoutDocument]);
    }

    #[test]
    fn rows_under_documents_of_earlier_software_are_told_whatever_their_date() {
        use FindingKind::{EarlierDocument, EarlierWorker};
        let old = StoredResource {
            id: "old".into(),
            cloud_resource_id: "k8s-ns-00000000000000aa".into(),
            ..StoredResource::default()
        };
        for id in ["old", "k8s-ns-00000000000000aa", "cluster"] {
            for date in [DATE, DATE + 5] {
                let mut stored = same(state(id, date, 1.0, 1));
                stored.known_ids.insert("old".to_owned());
                stored.earlier = vec![old.clone()];
                assert_eq!(kinds(&stored), [EarlierWorker, EarlierDocument], "{id} {date}");
            }
        }
    }

    #[test]
    fn documents_that_readers_cannot_use_and_those_of_the_first_form_are_named() {
        use FindingKind::{DocumentUnreadable, FirstFormId};
        let stable = "k8s-ns-0123456789abcdef";
        let of = |document| StoredState { documents: vec![document], ..StoredState::default() };
        assert_eq!(kinds(&of(document("uuid", 0.0))), []);
        assert_eq!(kinds(&of(document(stable, 0.0))), [FirstFormId]);
        let numbers = StoredResource {
            first_seen: Some(DATE),
            first_seen_date: StoredDate::NotADate,
            ..document("uuid", 0.0)
        };
        assert_eq!(kinds(&of(numbers)), [DocumentUnreadable]);
        assert_eq!(FirstFormId.repaired_by(), RepairedBy::Nothing);
        assert_eq!(DocumentUnreadable.repaired_by(), RepairedBy::Fix);
    }

    #[test]
    fn documents_are_held_against_their_rows() {
        let total = |total_usd, last| ResourceTotal { resource_id: "mine".into(), total_usd, last };
        let stored = |told, total| StoredState {
            documents: vec![document("mine", told)],
            totals: vec![total],
            ..StoredState::default()
        };
        assert_eq!(kinds(&stored(0.0, total(0.0, None))), []);
        assert_eq!(kinds(&stored(2.0, total(0.0, None))), [FindingKind::DocumentWithoutRows]);
        let one = total(1.0, Some((DATE, 1.0)));
        assert_eq!(kinds(&stored(2.0, one)), [FindingKind::DocumentCost]);
    }
}
