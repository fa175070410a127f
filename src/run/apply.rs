//! *apply*: carries a decision out with an account's writer, or shows what it would be.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use tracing::Instrument;

use crate::account_writer::AccountWriter;
use crate::cost::{AccountId, Cost, Day};
use crate::day_status::DayStatus;
use crate::documents::costs::cost_summary;
use crate::documents::merge::DocumentUpdate;
use crate::documents::tags::{self, TagUpdate};
use crate::documents::{
    Change, CostSummary, NewDocument, ResourceDocument, StoredDate, StoredResource, Written,
};
use crate::ledger::{KeyState, difference};
use crate::rest_api::NewResource;
use crate::service::batcher::Presence;
use crate::service::failure::{Failure, Hop, Kind};
use crate::service::spans::step;

use super::day::{DayDecision, Recount, Verdict};
use super::environment::Readers;
use super::plan::{DayPlan, day_plan};
use super::reconcile::AccountEnd;
use super::summary::DaySummary;

/// What came of a day's decision.
pub(super) enum Applied {
    /// It is done.
    Done(Box<DaySummary>),
    /// Documents have other ids than the decision rests on: it must be read and decided again, from
    /// a day that has this status by now.
    ReadAgain(Option<Box<DayStatus>>),
}

/// Where the decisions about an account go.
#[async_trait]
pub(super) trait Sink: Send + Sync {
    /// Takes a day's decision.
    async fn take_day(&mut self, day: Day, decision: DayDecision) -> Result<Applied, Failure>;

    /// Takes the status of a day that failed, where it says something new.
    async fn take_failed_day(&mut self, status: DayStatus) -> Result<(), Failure>;

    /// Takes the decision about an account's end. Returns how many documents became inactive.
    async fn take_end(&mut self, end: AccountEnd) -> Result<u64, Failure>;
}

/// Shows what would change: a dry run, a plan.
pub(super) struct Preview<'a> {
    readers: &'a Readers,
    account: AccountId,
    /// What would change, by day, in the order of work.
    pub(super) days: Vec<DayPlan>,
    /// Between which times the days before would show documents as seen, Unix seconds, by `_id`.
    seen: BTreeMap<String, (i64, i64)>,
}

impl<'a> Preview<'a> {
    pub(super) fn new(readers: &'a Readers, account: AccountId) -> Self {
        Self { readers, account, days: Vec::new(), seen: BTreeMap::new() }
    }

    /// How many documents a day would insert or change, after the days before it.
    fn documents(&mut self, decision: &DayDecision) -> u64 {
        let mut count = decision.costs_set();
        let updates =
            decision.costs.iter().filter_map(|summary| summary.document_update.as_deref());
        for update in updates {
            self.note_times(&update.id, (update.first_seen, update.last_seen));
        }
        for change in &decision.documents {
            count += match change {
                // After a day that made it, its costs change.
                Change::Insert(new) => {
                    let NewDocument { document, costs } = &**new;
                    let times = (document.first_seen, document.last_seen);
                    self.note_times(&document.id, times).max(u64::from(costs.is_some()))
                }
                Change::Update(one) => self.note_times(&one.id, (one.first_seen, one.last_seen)),
                Change::Seen(many) => {
                    let times = (i64::MAX, many.last_seen);
                    many.ids.iter().map(|id| self.note_times(id, times)).sum()
                }
                Change::Adopt(_) | Change::Delete(_) => change.documents(),
            };
        }
        count
    }

    /// Notes the times; returns 1 if that changes the document, else 0.
    fn note_times(&mut self, id: &str, (first, last): (i64, i64)) -> u64 {
        let Some(known) = self.seen.get_mut(id) else {
            self.seen.insert(id.to_owned(), (first, last));
            return 1;
        };
        let before = *known;
        *known = (first.min(known.0), last.max(known.1));
        u64::from(*known != before)
    }
}

#[async_trait]
impl Sink for Preview<'_> {
    async fn take_day(&mut self, day: Day, decision: DayDecision) -> Result<Applied, Failure> {
        let documents = self.documents(&decision);
        self.days.push(day_plan(day, &decision, documents));
        let mut summary = decision.summary;
        summary.documents_written = documents;
        // Nothing is written, so what is stored stays.
        (summary.rows, summary.stored_total_usd) = super::day::rows::live_totals(&decision.stored);
        Ok(Applied::Done(Box::new(summary)))
    }

    async fn take_failed_day(&mut self, _status: DayStatus) -> Result<(), Failure> {
        Ok(())
    }

    async fn take_end(&mut self, end: AccountEnd) -> Result<u64, Failure> {
        let Some(day) = end.retire_before else { return Ok(0) };
        let own = self.readers.documents.own_documents(&self.account).await?;
        let is_unseen = |one: &StoredResource| {
            let seen = self.seen.get(&one.id).map(|(_, last)| *last);
            let is_old = |seconds: i64| Day::of_unix(seconds) < day;
            matches!(one.last_seen_date, StoredDate::Date(stored) if is_old(stored))
                && one.active == Some(true)
                && !one.is_deleted
                && seen.is_none_or(is_old)
        };
        Ok(own.iter().filter(|one| is_unseen(one)).count() as u64)
    }
}

/// Writes what changes.
pub(super) struct Writing<'a> {
    readers: &'a Readers,
    writer: &'a AccountWriter,
    /// While this is there, others' rows wait for the account's, to be inserted with them.
    announced: Option<Presence>,
    /// Documents that were written for a decision that must be made again.
    documents_before: u64,
}

impl<'a> Writing<'a> {
    pub(super) fn new(readers: &'a Readers, writer: &'a AccountWriter) -> Self {
        Self { readers, writer, announced: None, documents_before: 0 }
    }

    /// Of an account that will have rows for days that others have rows for too, as far as is known.
    pub(super) fn announced(readers: &'a Readers, writer: &'a AccountWriter) -> Self {
        Self { announced: Some(writer.announce_rows()), ..Self::new(readers, writer) }
    }

    fn account(&self) -> &AccountId {
        self.writer.account()
    }

    fn renew_presence(&self) {
        if let Some(announced) = &self.announced {
            announced.renew();
        }
    }

    /// Documents first, so that no expense is ever without one. Where the REST API makes new ones,
    /// those that it refuses, or has as deleted, are made in MongoDB.
    async fn write_documents(&self, changes: Vec<Change>) -> Result<Written, Failure> {
        let by_rest = self.create_by_rest(&changes).await?;
        let records: Vec<Change> =
            changes.iter().filter_map(|change| record_of_tags(change, &by_rest)).collect();
        if !records.is_empty() {
            self.writer.write_documents(records).await?;
        }
        let is_left = |change: &Change| match change {
            Change::Insert(new) => !by_rest.contains_key(&new.document.cloud_resource_id),
            _ => true,
        };
        let rest = changes.into_iter().filter(is_left).collect();
        let mut written = self.writer.write_documents(rest).await?;
        written.changed += by_rest.len() as u64;
        Ok(written)
    }

    /// Has the REST API make the new documents, where it is to. Returns those that are live there:
    /// `_id` by stable id.
    async fn create_by_rest(
        &self,
        changes: &[Change],
    ) -> Result<BTreeMap<String, String>, Failure> {
        let items: Vec<NewResource> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Insert(new) => Some(new_resource(&new.document)),
                _ => None,
            })
            .collect();
        if items.is_empty() || !self.readers.resource_settings.by_rest {
            return Ok(BTreeMap::new());
        }
        let (rest, account) = (self.readers.rest.clone(), self.account().clone());
        let create = async move { Ok(rest.create(&account, &items).await) };
        self.writer.write("making documents by the REST API", create).await
    }

    /// The new documents, where they have the ids that they were given: another writer, or the
    /// REST API, may have made them first.
    async fn with_their_ids(
        &self,
        new: &BTreeMap<String, String>,
    ) -> Result<Option<Vec<StoredResource>>, Failure> {
        if new.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let stable: Vec<String> = new.keys().cloned().collect();
        let found = self.readers.documents.find(self.account(), &stable).await?;
        if found.len() < new.len() {
            return Err(Failure::new(
                Hop::MongoDb,
                Kind::Conflict,
                format!(
                    "{} documents are missing after they were written",
                    new.len() - found.len()
                ),
                "see whether another program deletes resources; the next run goes on",
            ));
        }
        let is_ours = |one: &StoredResource| new.get(&one.cloud_resource_id) == Some(&one.id);
        Ok(found.iter().all(is_ours).then_some(found))
    }

    async fn write_rows(&self, day: Day, decision: &DayDecision) -> Result<(), Failure> {
        if decision.rows.is_empty() {
            return Ok(());
        }
        self.renew_presence();
        let (before, entries) = (decision.stored.clone(), decision.rows.entries.clone());
        let pending = Some(decision.pending.clone());
        let after = self.writer.append_rows(day, before, entries, pending).await?;
        check_stored(day, after, decision)
    }

    /// Sets the costs of documents whose rows changed.
    async fn write_costs(&self, decision: &mut DayDecision) -> Result<u64, Failure> {
        let mut costs = std::mem::take(&mut decision.costs);
        let ids: Vec<String> = match &decision.recount {
            Recount::Ids(ids) => ids.iter().cloned().collect(),
            Recount::All => {
                let own = self.readers.documents.own_documents(self.account()).await?;
                own.into_iter().map(|document| document.id).collect()
            }
        };
        if !ids.is_empty() {
            let totals = self.readers.ledger.resource_totals(self.account(), &ids).await?;
            let parts = &mut decision.recount_parts;
            costs.extend(totals.into_iter().map(cost_summary).map(|mut summary| {
                summary.parts = parts.remove(&summary.id).unwrap_or_default();
                summary
            }));
        }
        self.writer.set_costs(costs).await
    }
}

#[async_trait]
impl Sink for Writing<'_> {
    async fn take_day(&mut self, day: Day, mut decision: DayDecision) -> Result<Applied, Failure> {
        if let Verdict::Store { .. } = decision.verdict {
            // New documents have costs before their rows are there: the next run must know it.
            let is_pending = !decision.rows.is_empty();
            let announces = is_pending && self.announced.is_none();
            let announced = announces.then(|| self.writer.announce_rows());
            if is_pending {
                let pending = decision.pending.clone();
                self.writer.put_status(pending).instrument(step!("pending")).await?;
            }
            let changes = std::mem::take(&mut decision.documents);
            let of_new = costs_of_new(&changes);
            let writing = self.write_documents(changes).instrument(step!("documents"));
            let written = writing.await?;
            let mut documents_written = written.changed;
            // What the store inserted is as it was sent.
            if written.inserted < decision.new_ids.len() as u64 {
                let Some(found) = self.with_their_ids(&decision.new_ids).await? else {
                    self.documents_before += documents_written;
                    return Ok(Applied::ReadAgain(
                        is_pending.then_some(Box::new(decision.pending)),
                    ));
                };
                decision.costs.extend(not_shown(of_new, &found));
            }
            let count = decision.rows.entries.len();
            self.write_rows(day, &decision).instrument(step!("rows", rows = count)).await?;
            drop(announced);
            documents_written += self.write_costs(&mut decision).instrument(step!("costs")).await?;
            decision.summary.documents_written =
                documents_written + std::mem::take(&mut self.documents_before);
        }
        if let Some(status) = decision.status {
            self.writer.put_status(status).instrument(step!("status")).await?;
        }
        if let Some(checkpoint) = decision.source.checkpoint.take()
            && let Err(failure) = self.writer.put_checkpoint(checkpoint).await
        {
            let account = self.account();
            tracing::warn!(account.id = %account, %failure, "the next run reads all of the day");
        }
        self.renew_presence();
        Ok(Applied::Done(Box::new(decision.summary)))
    }

    async fn take_failed_day(&mut self, status: DayStatus) -> Result<(), Failure> {
        self.writer.put_status(status).await
    }

    async fn take_end(&mut self, end: AccountEnd) -> Result<u64, Failure> {
        let retired = match end.retire_before {
            Some(day) => self.writer.retire(day).await?,
            None => 0,
        };
        self.set_differing_costs(end.costs, end.difference_usd).await?;
        Ok(retired)
    }
}

impl Writing<'_> {
    async fn set_differing_costs(
        &self,
        costs: Vec<CostSummary>,
        difference_usd: f64,
    ) -> Result<(), Failure> {
        if costs.is_empty() {
            return Ok(());
        }
        tracing::error!(
            account.id = %self.account(),
            documents = costs.len(),
            reconciliation_difference_usd = difference_usd,
            "documents have another total_cost than the ledger: they are put right"
        );
        self.writer.set_costs(costs).await.map(|_| ())
    }
}

/// The costs that new documents are inserted with, by `_id`.
fn costs_of_new(changes: &[Change]) -> BTreeMap<String, CostSummary> {
    let of_new = |change: &Change| match change {
        Change::Insert(new) => new.costs.clone().map(|costs| (costs.id.clone(), costs)),
        _ => None,
    };
    changes.iter().filter_map(of_new).collect()
}

/// Those costs of new documents that these do not show: another one made them.
fn not_shown(
    mut costs: BTreeMap<String, CostSummary>,
    found: &[StoredResource],
) -> impl Iterator<Item = CostSummary> {
    for one in found {
        if costs.get(&one.id).is_some_and(|costs| costs.is_shown(one)) {
            costs.remove(&one.id);
        }
    }
    costs.into_values()
}

/// Checks that what is stored is what was decided, to the last bit.
fn check_stored(day: Day, after: Vec<KeyState>, decision: &DayDecision) -> Result<(), Failure> {
    let own: BTreeSet<&str> = decision
        .stored
        .iter()
        .map(|state| state.resource_id.as_str())
        .chain(decision.wanted.iter().map(|row| row.resource_id.as_str()))
        .collect();
    let is_of_day = |state: &KeyState| {
        state.date_seconds == day.start_seconds() && own.contains(state.resource_id.as_str())
    };
    let after: Vec<KeyState> = after.into_iter().filter(is_of_day).collect();
    let total: Cost = decision.wanted.iter().map(|row| row.cost).sum();
    let (_, stored_usd) = super::day::rows::live_totals(&after);
    let left = difference(day, &after, &decision.wanted);
    if left.is_empty() && stored_usd.to_bits() == total.usd().to_bits() {
        return Ok(());
    }
    let keys = left.changed_keys;
    Err(Failure::new(
        Hop::ClickHouse,
        Kind::Internal,
        format!(
            "{day}: ${} was to be stored, but ${stored_usd} is, with {keys} keys that differ",
            total.usd(),
        ),
        "see whether another program writes this account's expenses; the next run tries again",
    ))
}

/// A new document in the form that the REST API takes.
fn new_resource(document: &ResourceDocument) -> NewResource {
    NewResource {
        cloud_resource_id: document.cloud_resource_id.clone(),
        name: document.name.clone(),
        resource_type: document.resource_type.clone(),
        region: document.region.clone(),
        tags: tags::plain(&document.tags),
        service_name: Some(document.service_name.clone()),
        first_seen: document.first_seen,
        last_seen: document.last_seen,
        active: document.active,
        k8s_namespace: document.k8s_namespace.clone(),
        k8s_node: document.k8s_node.clone(),
        k8s_service: document.k8s_service.clone(),
    }
}

/// The record of the tags that a document got from the REST API, which keeps no such record: without
/// it they would be taken for a user's.
fn record_of_tags(change: &Change, by_rest: &BTreeMap<String, String>) -> Option<Change> {
    let Change::Insert(new) = change else { return None };
    let document = &new.document;
    let id = by_rest.get(&document.cloud_resource_id)?.clone();
    if document.label_tags.is_empty() {
        return None;
    }
    let record = Some(document.label_tags.clone());
    Some(Change::Update(Box::new(DocumentUpdate {
        id,
        first_seen: document.first_seen,
        last_seen: document.last_seen,
        tags: TagUpdate { record, ..TagUpdate::default() },
        ..DocumentUpdate::default()
    })))
}
