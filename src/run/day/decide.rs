//! What a day's costs change about what is stored: a function of what was read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::cost::{Cost, RollUp};
use crate::day_status::{DayState, DayStatus, Guard};
use crate::documents::cost_parts::{parts_update, with_day};
use crate::documents::costs::{KnownCosts, updated_costs};
use crate::documents::merge::repair_alone;
use crate::documents::{
    Change, CostSummary, DocumentInputs, DocumentUpdate, PartsUpdate, StoredResource, plan_changes,
};
use crate::ledger::{Difference, KeyState, ResourceTotal, WantedRow, difference};
use crate::run::reconcile;
use crate::run::summary::DaySummary;
use crate::source::Warning;
use crate::source::{Presence, SourceDay};

use super::inputs::DayInputs;
use super::refresh::{drop_new_pods, keep_pod_rows};
use super::rows::{DayRows, is_as_stored, live_totals, wanted};
use super::verdict::{StoredDay, Verdict, display, verdict};

/// How a day is decided.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// How much less than is stored the source may have, as a share.
    pub shrink_limit: f64,
    /// The reason for which guards are overridden, if they are.
    pub force_reason: Option<&'a str>,
    /// How old the rows of a running day's pods may become; zero: all are written.
    pub today_refresh: Duration,
}

/// Documents whose costs must be counted from the ledger once the rows are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recount {
    /// These, by `_id`.
    Ids(BTreeSet<String>),
    /// All of the account: the run that left the day half written may have taken back rows of
    /// resources that neither the ledger nor the costs name any more.
    All,
}

/// Everything that a day's costs would change.
#[derive(Clone, Debug)]
pub struct DayDecision {
    /// Whether the day is written.
    pub verdict: Verdict,
    /// The minutes with samples that it rests on.
    pub presence: Presence,
    /// The source's costs that it rests on.
    pub source: SourceDay,
    /// Changes of documents, to be made before the rows.
    pub documents: Vec<Change>,
    /// The `_id` that each new document shall have, by stable id.
    pub new_ids: BTreeMap<String, String>,
    /// What is stored of this program's rows.
    pub stored: Vec<KeyState>,
    /// The rows that the day shall have.
    pub wanted: Vec<WantedRow>,
    /// The rows to add.
    pub rows: Difference,
    /// Costs to set in documents after the rows, and what else changes in these; new documents are
    /// inserted with theirs.
    pub costs: Vec<CostSummary>,
    /// Documents whose costs must be counted.
    pub recount: Recount,
    /// What changes about what these documents' costs are made of, by `_id`.
    pub recount_parts: BTreeMap<String, PartsUpdate>,
    /// The status to write before the first row.
    pub pending: DayStatus,
    /// The status to write in the end; `None` where it would say nothing new.
    pub status: Option<DayStatus>,
    /// The day in the run's summary, as it is once all of this is applied.
    pub summary: DaySummary,
}

impl DayDecision {
    /// In how many documents costs are set.
    #[must_use]
    pub fn costs_set(&self) -> u64 {
        let counted = match &self.recount {
            Recount::Ids(ids) => ids.len(),
            // Which of them are wrong is known once the rows are there.
            Recount::All => 0,
        };
        (self.costs.len() + counted) as u64
    }
}

/// Decides about a day.
#[must_use]
pub fn decide(mut inputs: DayInputs, policy: Policy<'_>) -> DayDecision {
    let states = std::mem::take(&mut inputs.rows.states);
    let (changes, ids) = plan_documents(&inputs);
    let of_costs: BTreeSet<&str> = ids.values().map(String::as_str).collect();
    let own_ids = &inputs.rows.own_ids;
    let is_own = |id: &str| of_costs.contains(id) || own_ids.contains(id);
    let rows = DayRows::of(inputs.due.day, states, is_own);
    let status = inputs.due.status.as_ref();
    // The status has what was stored; a sum of rows that a race doubled would be too much.
    let total_usd =
        status.map_or_else(|| live_totals(&rows.own).1, |status| status.stored.total_usd);
    let stored = StoredDay { status, total_usd };
    let (source, roll) = (&inputs.costs.source, &inputs.costs.roll);
    let is_forced = policy.force_reason.is_some();
    let verdict = verdict(source, roll, stored, policy.shrink_limit, is_forced).with_cause_shown();
    match &verdict {
        Verdict::KeepStored { state, cause } => {
            let (state, cause) = (*state, cause.clone());
            keep(inputs, verdict, rows, state, cause)
        }
        Verdict::Store { state, cause, overridden } => {
            let are_pods_kept = inputs.kept_pods.is_some();
            let mut found = Found { rows, documents: changes, ids, are_pods_kept };
            if !is_forced && !are_pods_kept {
                keep_pods_of_today(&mut inputs, &mut found, policy.today_refresh);
            }
            let (state, cause, guards) = (*state, cause.clone(), overridden.clone());
            let reason = policy.force_reason;
            store(inputs, verdict, found, (state, cause), (&guards, reason))
        }
    }
}

/// What was found and planned of a day that is to be written.
struct Found {
    rows: DayRows,
    documents: Vec<Change>,
    ids: BTreeMap<String, String>,
    /// Whether the rows of pods stay as they are, until their next refresh.
    are_pods_kept: bool,
}

/// Keeps the rows of a running day's pods as they are, where they are new enough and the ledger has
/// what was stored.
fn keep_pods_of_today(inputs: &mut DayInputs, found: &mut Found, every: Duration) {
    let own = &found.rows.own;
    if !inputs.may_keep_pod_rows(every)
        || !is_as_stored(inputs.due.status.as_ref(), live_totals(own))
    {
        return;
    }
    let roll = &mut inputs.costs.roll;
    if let Some(without_rows) = keep_pod_rows(roll, &inputs.account, &found.ids, own) {
        drop_new_pods(&mut found.documents, &without_rows);
        found.are_pods_kept = true;
    }
}

fn keep(
    inputs: DayInputs,
    verdict: Verdict,
    rows: DayRows,
    state: DayState,
    cause: String,
) -> DayDecision {
    let live = live_totals(&rows.own);
    let status = inputs.kept_status((state, &cause), live, rows.others);
    let mut summary = summary(&inputs, &rows, state, cause);
    summary.phase = None;
    (summary.rows, summary.stored_total_usd) = live;
    let is_new = inputs.due.status.as_ref().is_none_or(|old| !old.says_the_same(&status));
    DayDecision {
        verdict,
        presence: inputs.due.presence,
        pending: inputs.pending_status(),
        source: inputs.costs.source,
        documents: Vec::new(),
        new_ids: BTreeMap::new(),
        stored: rows.own,
        wanted: Vec::new(),
        rows: Difference::default(),
        costs: Vec::new(),
        recount: Recount::Ids(BTreeSet::new()),
        recount_parts: BTreeMap::new(),
        status: is_new.then_some(status),
        summary,
    }
}

fn store(
    inputs: DayInputs,
    verdict: Verdict,
    found: Found,
    (state, cause): (DayState, String),
    (guards, reason): (&[Guard], Option<&str>),
) -> DayDecision {
    let Found { rows, documents, ids, are_pods_kept } = found;
    let mut wanted = wanted(&inputs.costs.roll, &ids, &inputs.account);
    wanted.extend(inputs.kept_pods.iter().flat_map(|kept| kept.rows.iter().cloned()));
    let difference = difference(inputs.due.day, &rows.own, &wanted);
    let written = (wanted.len() as u64, wanted.iter().map(|row| row.cost).sum::<Cost>());
    let totals = (written.0, written.1.usd());
    let overrides = inputs.overrides(guards, reason);
    let pods = (inputs.pods_at(are_pods_kept), inputs.pods_read_at());
    let status = inputs.written_status((state, &cause), totals, rows.others, overrides, pods);
    let mut parts = parts_updates(&inputs, &ids, &difference);
    let with_parts_update = parts.keys().map(String::as_str).collect();
    let (mut costs, recount) =
        document_costs(&inputs, &rows.own, &wanted, &difference, (&documents, with_parts_update));
    for summary in &mut costs {
        summary.parts = parts.remove(&summary.id).unwrap_or_default();
    }
    let new_ids = new_ids(&documents);
    let (documents, costs) = in_one_write(documents, costs);
    let mut summary = summary(&inputs, &rows, state, cause);
    (summary.rows, summary.stored_total_usd) = totals;
    summary.rows_written = difference.entries.len() as u64;
    summary.keys_changed = difference.changed_keys as u64;
    summary.keys_healed = difference.healed_keys as u64;
    let is_same = inputs.due.status.as_ref().is_some_and(|old| old.says_the_same(&status));
    DayDecision {
        verdict,
        presence: inputs.due.presence,
        pending: inputs.pending_status(),
        source: inputs.costs.source,
        new_ids,
        documents,
        stored: rows.own,
        wanted,
        status: (!is_same || !difference.is_empty()).then_some(status),
        rows: difference,
        costs,
        recount,
        recount_parts: parts,
        summary,
    }
}

/// The changes to documents, and the `_id` of each stable id.
fn plan_documents(inputs: &DayInputs) -> (Vec<Change>, BTreeMap<String, String>) {
    let read = &inputs.documents;
    let (mut changes, ids) = plan_changes(DocumentInputs {
        account: &inputs.account,
        day: inputs.due.day,
        now_seconds: inputs.now_seconds,
        observed: &read.observed,
        stored: &read.stored,
        taken: &read.taken,
        seen_now: read.seen_now.as_ref(),
        owner: read.owner.as_ref(),
    });
    changes.extend(read.others.iter().filter_map(repair_alone));
    (changes, ids)
}

fn new_ids(changes: &[Change]) -> BTreeMap<String, String> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Insert(new) => {
                Some((new.document.cloud_resource_id.clone(), new.document.id.clone()))
            }
            _ => None,
        })
        .collect()
}

/// What changes about what documents' costs are made of, by `_id`; those that stay are left out.
fn parts_updates(
    inputs: &DayInputs,
    ids: &BTreeMap<String, String>,
    difference: &Difference,
) -> BTreeMap<String, PartsUpdate> {
    let day = inputs.due.day;
    let stored = &inputs.documents.stored;
    let stored: BTreeMap<&str, &StoredResource> =
        stored.iter().map(|one| (one.id.as_str(), one)).collect();
    let mut out = BTreeMap::new();
    for observed in &inputs.documents.observed {
        let Some(id) = ids.get(&observed.cloud_resource_id) else { continue };
        let known = stored.get(id.as_str()).and_then(|one| one.cost_parts.as_ref());
        let wanted = inputs.costs.parts.as_ref().and_then(|parts| {
            // Without the setting nothing is shown, whatever there was.
            with_day(known, day, parts.get(&observed.key))
        });
        out.insert(id.clone(), parts_update(known, wanted));
    }
    // What is stored of these was not read: better nothing than parts that do not add up.
    if inputs.costs.parts.is_some() {
        for entry in &difference.entries {
            out.entry(entry.resource_id.clone()).or_insert(PartsUpdate::Unset);
        }
    }
    out.retain(|_, update| *update != PartsUpdate::Keep);
    out
}

/// The costs of documents whose row changes: updated where document, status and ledger
/// agree on what was stored, else to be counted.
fn document_costs(
    inputs: &DayInputs,
    own: &[KeyState],
    wanted: &[WantedRow],
    difference: &Difference,
    (documents, with_parts_update): (&[Change], BTreeSet<&str>),
) -> (Vec<CostSummary>, Recount) {
    let (status, live) = (inputs.due.status.as_ref(), live_totals(own));
    if status.is_some_and(|status| status.attempt.is_pending) {
        return (Vec::new(), Recount::All);
    }
    let is_known = difference.healed_keys == 0 && is_as_stored(status, live);
    let stored: BTreeMap<&str, &StoredResource> =
        inputs.documents.stored.iter().map(|one| (one.id.as_str(), one)).collect();
    let before: BTreeMap<&str, f64> =
        own.iter().map(|state| (state.resource_id.as_str(), state.cost_usd)).collect();
    let after: BTreeMap<&str, f64> =
        wanted.iter().map(|row| (row.resource_id.as_str(), row.cost.usd())).collect();
    let changed: BTreeSet<&str> =
        difference.entries.iter().map(|entry| entry.resource_id.as_str()).collect();
    let new = new_ids(documents);
    let new: BTreeSet<&str> = new.values().map(String::as_str).collect();
    let totals = inputs.documents.new_totals.iter();
    let totals: BTreeMap<&str, &ResourceTotal> =
        totals.map(|total| (total.resource_id.as_str(), total)).collect();
    let mut costs = Vec::new();
    let mut recount: BTreeSet<String> = BTreeSet::new();
    let changed: BTreeSet<&str> = changed.union(&with_parts_update).copied().collect();
    for id in changed.union(&new).copied() {
        let moved = (before.get(id).copied(), after.get(id).copied());
        let known = match stored.get(id) {
            Some(one) if is_known => KnownCosts::of_document(one),
            // The ledger itself was asked; what it has of keys that are healed counts twice.
            None if new.contains(id) && difference.healed_keys == 0 => {
                Some(KnownCosts::of_ledger(totals.get(id).copied()))
            }
            _ => None,
        };
        let summary = known.and_then(|known| updated_costs(id, known, inputs.due.day, moved));
        match summary {
            Some(summary) => costs.push(summary),
            None => drop(recount.insert(id.to_owned())),
        }
    }
    (costs, Recount::Ids(recount))
}

/// Makes one write of what changes in a document and of its costs: a new one is inserted with them,
/// another one's times move with them. Returns what is left of both.
fn in_one_write(changes: Vec<Change>, costs: Vec<CostSummary>) -> (Vec<Change>, Vec<CostSummary>) {
    let mut costs: BTreeMap<String, CostSummary> =
        costs.into_iter().map(|summary| (summary.id.clone(), summary)).collect();
    let mut left = Vec::new();
    for change in changes {
        match change {
            Change::Insert(mut new) => {
                new.costs = costs.remove(&new.document.id);
                left.push(Change::Insert(new));
            }
            // A condition that no longer holds would keep the costs from being set.
            Change::Update(update) if !update.repair.is_conditional() => {
                match costs.get_mut(&update.id) {
                    Some(summary) => summary.document_update = Some(update),
                    None => left.push(Change::Update(update)),
                }
            }
            Change::Seen(mut many) => {
                many.ids.retain(|id| match costs.get_mut(id) {
                    Some(summary) => {
                        summary.document_update =
                            Some(Box::new(DocumentUpdate::seen(id, many.last_seen)));
                        false
                    }
                    None => true,
                });
                if !many.ids.is_empty() {
                    left.push(Change::Seen(many));
                }
            }
            other => left.push(other),
        }
    }
    (left, costs.into_values().collect())
}

fn summary(inputs: &DayInputs, rows: &DayRows, state: DayState, cause: String) -> DaySummary {
    let (source, roll) = (&inputs.costs.source, &inputs.costs.roll);
    let mut warnings = source.warnings.clone();
    warnings.extend(roll_warnings(roll).into_iter().map(Warning::from));
    warnings.extend(rows.warnings(inputs.due.day));
    let (_, stored_usd) = live_totals(&rows.own);
    let status = inputs.due.status.as_ref();
    DaySummary {
        state,
        cause,
        phase: Some(source.phase.number()),
        covered_minutes: source.covered_minutes,
        expected_minutes: source.expected_minutes,
        lag_seconds: source.lag_seconds,
        source_total_usd: roll.total.usd(),
        reconciliation_difference_usd: status
            .map_or(0.0, |status| reconcile::difference_usd(status, stored_usd)),
        contradictions: roll.contradictions.len() as u64,
        warnings,
        ..DaySummary::without_costs(inputs.due.day)
    }
}

fn roll_warnings(roll: &RollUp) -> Vec<String> {
    const NAMED_MAX: usize = 5;
    let refused = roll.refused.iter().take(NAMED_MAX).map(|refusal| {
        format!("the cost of {} is refused: {}", display(&refusal.key), refusal.reason)
    });
    let excess =
        roll.excess.iter().filter(|e| e.is_beyond_rounding()).take(NAMED_MAX).map(|e| {
            format!("the parts of {} add up to ${:.4} more than it", display(&e.key), e.usd)
        });
    refused.chain(excess).collect()
}

#[cfg(test)]
pub(super) mod tests;
