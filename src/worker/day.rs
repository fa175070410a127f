//! One day of one account, from the query layer to the stores.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::Account;
use crate::allocation::{Cost, Day, RollUp, roll_up};
use crate::config::worker::GapPolicy;
use crate::failure::{Failure, Hop, Kind};
use crate::ledger::{Difference, Dimensions, KeyState, WantedRow, difference};
use crate::query::{Phase, Presence, SourceDay};
use crate::records::{AccountDay, DayState};
use crate::resources::{
    Change, CostSummary, LastExpense, Sighting, StoredResource, merge, plan_changes,
};

use super::Environment;
use super::guard::{StoredDay, Verdict, is_settled, judge};
use super::lease::HeldLease;
use super::run::RunRequest;
use super::summary::DaySummary;

/// How often a difference is written and looked at again before the day is given up.
const ROUNDS_MAX: usize = 4;

/// What a day is worked on with.
pub struct DayWork<'a> {
    /// The hops.
    pub environment: &'a Environment,
    /// What was asked for.
    pub request: &'a RunRequest,
    /// The run's name.
    pub run_id: &'a str,
    /// The account.
    pub account: &'a Account,
    /// The right to write it; `None` when nothing is to be written.
    pub lease: Option<&'a HeldLease>,
}

/// A day, and what was known of it before.
#[derive(Clone, Copy, Debug)]
pub struct DueDay<'a> {
    /// The day.
    pub day: Day,
    /// The metrics to use; `None` when there are none.
    pub phase: Option<Phase>,
    /// Minutes with samples.
    pub presence: Presence,
    /// Its record, if there is one.
    pub record: Option<&'a AccountDay>,
}

impl DayWork<'_> {
    /// Reads, judges, writes and checks the day.
    ///
    /// # Errors
    /// When a hop fails, or when what is stored in the end is not what was to be stored.
    pub async fn process(&self, due: DueDay<'_>) -> Result<DaySummary, Failure> {
        let now_seconds = self.environment.clock.now_seconds();
        let source = self.source_day(due, now_seconds).await?;
        let roll = roll_up(&source.costs, self.environment.settings.levels);
        let (ids, documents) = self.plan_documents(due.day, now_seconds, &roll).await?;
        let states = self.own_states(due.day, &ids).await?;
        let verdict = self.verdict(&source, &roll, due, &states);
        let mut summary = summary(due.day, &source, &roll);
        match verdict {
            Verdict::Keep(state, cause) => {
                (summary.state, summary.cause) = (state, cause);
                summary.phase = None;
                (summary.rows, summary.stored_total_usd) = live(&states);
                self.keep_record(due, &source, &summary, now_seconds).await?;
            }
            Verdict::Store(state, cause) => {
                (summary.state, summary.cause) = (state, cause);
                summary.documents_written = self.write_documents(&documents).await?;
                let ids = self.settled_ids(&documents, ids).await?;
                let wanted = wanted(&roll, &ids, &self.account.id);
                self.write_rows(due.day, states, &ids, &wanted, &mut summary).await?;
                self.finish(due, &source, &ids, &mut summary, now_seconds).await?;
            }
        }
        Ok(summary)
    }

    /// Step 1: the day's costs, scaled over gaps if the operator wants that.
    async fn source_day(&self, due: DueDay<'_>, now_seconds: i64) -> Result<SourceDay, Failure> {
        let Some(phase) = due.phase else {
            return Ok(nothing(due.day, now_seconds));
        };
        let query = &self.environment.query;
        let mut source = query.day_costs(self.account, due.day, phase, now_seconds).await?;
        let (covered, expected) = (source.covered_minutes, source.expected_minutes);
        let scales = self.environment.settings.gap_policy == GapPolicy::Scale;
        if scales && covered > 0 && covered < expected {
            let factor = f64::from(expected) / f64::from(covered);
            source.costs = source.costs.scaled(factor);
            source.warnings.push(format!("costs are scaled by {factor:.3} over gaps (GAP_POLICY)"));
        }
        Ok(source)
    }

    /// Step 2: the `_id` of each resource, and the changes to documents that this takes.
    async fn plan_documents(
        &self,
        day: Day,
        now_seconds: i64,
        roll: &RollUp,
    ) -> Result<(BTreeMap<String, String>, Vec<Change>), Failure> {
        let sightings: Vec<Sighting> = roll
            .lines
            .iter()
            .map(|line| Sighting {
                cloud_resource_id: line.key.id(&self.account.id),
                key: line.key.clone(),
                node: line.node.clone(),
                service: line.service.clone(),
            })
            .collect();
        let resources = &self.environment.resources;
        let wanted: Vec<String> = sightings.iter().map(|s| s.cloud_resource_id.clone()).collect();
        let stored = resources.find(&self.account.id, &wanted).await?;
        let known: BTreeSet<&str> = stored.iter().map(|r| r.cloud_resource_id.as_str()).collect();
        let candidates: Vec<String> = wanted
            .iter()
            .filter(|id| !known.contains(id.as_str()))
            .flat_map(|id| merge::candidate_ids(id))
            .collect();
        let taken = resources.taken_ids(&candidates).await?;
        let (changes, ids) =
            plan_changes(&self.account.id, day, now_seconds, &sightings, &stored, &taken);
        Ok((ids, changes))
    }

    /// Step 3: the ledger's states of the day's midnight that are ours to change.
    async fn own_states(
        &self,
        day: Day,
        ids: &BTreeMap<String, String>,
    ) -> Result<Vec<KeyState>, Failure> {
        let mut states = self.environment.ledger.states(&self.account.id, day).await?;
        states.retain(|state| state.date_seconds == day.start_seconds());
        let wanted: BTreeSet<&str> = ids.values().map(String::as_str).collect();
        let unknown: Vec<String> = states
            .iter()
            .map(|state| state.resource_id.clone())
            .filter(|id| !wanted.contains(id.as_str()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let own = self.environment.resources.own_ids(&self.account.id, &unknown).await?;
        states.retain(|state| {
            wanted.contains(state.resource_id.as_str()) || own.contains(&state.resource_id)
        });
        Ok(states)
    }

    /// Step 4: whether to write.
    fn verdict(
        &self,
        source: &SourceDay,
        roll: &RollUp,
        due: DueDay<'_>,
        states: &[KeyState],
    ) -> Verdict {
        let stored = StoredDay { record: due.record, total_usd: live(states).1 };
        let limit = self.environment.settings.shrink_limit;
        judge(source, roll, stored, limit, self.request.force_reason.is_some())
    }

    /// Step 5: documents, before their expenses.
    async fn write_documents(&self, documents: &[Change]) -> Result<u64, Failure> {
        let Some(lease) = self.lease.filter(|_| !documents.is_empty()) else {
            return Ok(documents.len() as u64);
        };
        lease.keep().await?;
        self.environment.resources.apply(&self.account.id, documents).await
    }

    /// The ids as they are after the write: where somebody else made a document first, theirs.
    async fn settled_ids(
        &self,
        documents: &[Change],
        mut ids: BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let inserted: Vec<String> = documents
            .iter()
            .filter_map(|change| match change {
                Change::Insert(document) => Some(document.cloud_resource_id.clone()),
                Change::Touch(_) => None,
            })
            .collect();
        if self.lease.is_none() || inserted.is_empty() {
            return Ok(ids);
        }
        let found = self.environment.resources.find(&self.account.id, &inserted).await?;
        if found.len() < inserted.len() {
            return Err(Failure::new(
                Hop::MongoDb,
                Kind::Conflict,
                format!(
                    "{} documents are missing after they were written",
                    inserted.len() - found.len()
                ),
                "see whether another program deletes resources; the next run goes on",
            ));
        }
        ids.extend(found.into_iter().map(|resource| (resource.cloud_resource_id, resource.id)));
        Ok(ids)
    }

    /// Step 6: the difference, written and read again until nothing differs.
    async fn write_rows(
        &self,
        day: Day,
        states: Vec<KeyState>,
        ids: &BTreeMap<String, String>,
        wanted: &[WantedRow],
        summary: &mut DaySummary,
    ) -> Result<(), Failure> {
        let ledger = &self.environment.ledger;
        let mut diff = difference(day, &states, wanted, false);
        note(summary, &diff);
        let Some(lease) = self.lease else {
            summary.rows_written = diff.entries.len() as u64;
            (summary.rows, summary.stored_total_usd) = live(&states);
            return Ok(());
        };
        let mut states = states;
        for _ in 0..ROUNDS_MAX {
            if diff.is_empty() {
                break;
            }
            lease.keep().await?;
            let is_contradictory = !diff.unsettled.is_empty();
            if is_contradictory {
                ledger.merge(day).await?;
                states = self.own_states(day, ids).await?;
                diff = difference(day, &states, wanted, true);
            }
            ledger.append(&self.account.id, day, &diff.entries).await?;
            summary.rows_written += diff.entries.len() as u64;
            if is_contradictory {
                ledger.merge(day).await?;
            }
            states = self.own_states(day, ids).await?;
            diff = difference(day, &states, wanted, false);
        }
        (summary.rows, summary.stored_total_usd) = live(&states);
        let total: Cost = wanted.iter().map(|row| row.cost).sum();
        if diff.is_empty() && summary.stored_total_usd.to_bits() == total.usd().to_bits() {
            return Ok(());
        }
        Err(Failure::new(
            Hop::ClickHouse,
            Kind::Internal,
            format!(
                "{day}: ${} was to be stored, but ${} is, with {} keys that differ",
                total.usd(),
                summary.stored_total_usd,
                diff.changed_keys + diff.unsettled.len()
            ),
            "see whether another program writes this account's expenses; the next run tries again",
        ))
    }

    /// Step 7: the documents' own costs and the day's record, where they say something new.
    async fn finish(
        &self,
        due: DueDay<'_>,
        source: &SourceDay,
        ids: &BTreeMap<String, String>,
        summary: &mut DaySummary,
        now_seconds: i64,
    ) -> Result<(), Failure> {
        let Some(lease) = self.lease else { return Ok(()) };
        let record = AccountDay {
            account: self.account.id.clone(),
            day: due.day,
            state: summary.state,
            cause: summary.cause.clone(),
            phase: Some(source.phase.number()),
            covered_minutes: source.covered_minutes,
            expected_minutes: source.expected_minutes,
            source_total_usd: summary.source_total_usd,
            stored_total_usd: summary.stored_total_usd,
            rows: summary.rows,
            settled: is_settled(due.day, source.lag_seconds, now_seconds),
            raw_minutes: due.presence.raw_minutes,
            exporter_minutes: due.presence.exporter_minutes,
            forced_reason: self.request.force_reason.clone(),
            run_id: self.run_id.to_owned(),
            updated_at: now_seconds,
        };
        if summary.rows_written == 0 && due.record.is_some_and(|old| old.says_the_same(&record)) {
            return Ok(());
        }
        lease.keep().await?;
        summary.documents_written += self.update_costs(ids).await?;
        self.environment.days.put(&record).await
    }

    /// Brings `total_cost` and `last_expense` of the day's documents to what the ledger says.
    async fn update_costs(&self, ids: &BTreeMap<String, String>) -> Result<u64, Failure> {
        let wanted: Vec<String> = ids.keys().cloned().collect();
        let documents = self.environment.resources.find(&self.account.id, &wanted).await?;
        let document_ids: Vec<String> = documents.iter().map(|r| r.id.clone()).collect();
        let totals =
            self.environment.ledger.resource_totals(&self.account.id, &document_ids).await?;
        let by_id: BTreeMap<&str, &StoredResource> =
            documents.iter().map(|r| (r.id.as_str(), r)).collect();
        let changed: Vec<CostSummary> = totals
            .into_iter()
            .map(|total| CostSummary {
                id: total.resource_id,
                total_cost: total.total_usd,
                last_expense: total.last.map(|(date, cost)| LastExpense { date, cost }),
            })
            .filter(|new| {
                by_id.get(new.id.as_str()).is_some_and(|old| {
                    old.total_cost != Some(new.total_cost) || old.last_expense != new.last_expense
                })
            })
            .collect();
        if changed.is_empty() {
            return Ok(0);
        }
        self.environment.resources.set_costs(&self.account.id, &changed).await
    }

    /// A day that is left as it was keeps what its record says of what is stored.
    async fn keep_record(
        &self,
        due: DueDay<'_>,
        source: &SourceDay,
        summary: &DaySummary,
        now_seconds: i64,
    ) -> Result<(), Failure> {
        let Some(lease) = self.lease else { return Ok(()) };
        let old = due.record;
        let record = AccountDay {
            account: self.account.id.clone(),
            day: due.day,
            state: summary.state,
            cause: summary.cause.clone(),
            phase: old.and_then(|record| record.phase),
            covered_minutes: old.map_or(0, |record| record.covered_minutes),
            expected_minutes: old.map_or(source.expected_minutes, |record| record.expected_minutes),
            source_total_usd: old.map_or(0.0, |record| record.source_total_usd),
            stored_total_usd: summary.stored_total_usd,
            rows: summary.rows,
            settled: is_settled(due.day, source.lag_seconds, now_seconds),
            raw_minutes: due.presence.raw_minutes,
            exporter_minutes: due.presence.exporter_minutes,
            forced_reason: old.and_then(|record| record.forced_reason.clone()),
            run_id: self.run_id.to_owned(),
            updated_at: now_seconds,
        };
        if old.is_some_and(|old| old.says_the_same(&record)) {
            return Ok(());
        }
        lease.keep().await?;
        self.environment.days.put(&record).await
    }
}

fn nothing(day: Day, now_seconds: i64) -> SourceDay {
    SourceDay {
        costs: crate::allocation::DayCosts::default(),
        phase: Phase::Exporter,
        covered_minutes: 0,
        expected_minutes: day.minutes_passed(now_seconds).max(1),
        lag_seconds: 0,
        warnings: Vec::new(),
        is_partial: false,
    }
}

fn summary(day: Day, source: &SourceDay, roll: &RollUp) -> DaySummary {
    let mut warnings = source.warnings.clone();
    warnings.extend(roll_warnings(roll));
    DaySummary {
        day,
        state: DayState::Ok,
        cause: String::new(),
        phase: Some(source.phase.number()),
        covered_minutes: source.covered_minutes,
        expected_minutes: source.expected_minutes,
        lag_seconds: source.lag_seconds,
        source_total_usd: roll.total.usd(),
        stored_total_usd: 0.0,
        rows: 0,
        rows_written: 0,
        keys_changed: 0,
        keys_healed: 0,
        documents_written: 0,
        warnings,
    }
}

fn roll_warnings(roll: &RollUp) -> Vec<String> {
    const NAMED_MAX: usize = 5;
    /// Children may exceed their parent by rounding alone.
    const EXCESS_USD_MIN: f64 = 0.001;
    let refused = roll.refused.iter().take(NAMED_MAX).map(|refusal| {
        format!("the cost of {} is refused: {}", shown(&refusal.key), refusal.reason)
    });
    let excess =
        roll.excess.iter().filter(|e| e.usd >= EXCESS_USD_MIN).take(NAMED_MAX).map(|e| {
            format!("what is beneath {} costs ${:.4} more than itself", shown(&e.key), e.usd)
        });
    refused.chain(excess).collect()
}

fn shown(key: &crate::allocation::ResourceKey) -> String {
    let parts = [Some(key.cluster()), key.namespace(), key.pod()];
    let names: Vec<_> = parts.into_iter().flatten().collect();
    format!("{} {}", key.level().as_str(), names.join("/"))
}

fn wanted(
    roll: &RollUp,
    ids: &BTreeMap<String, String>,
    account: &crate::allocation::AccountId,
) -> Vec<WantedRow> {
    roll.lines
        .iter()
        .filter(|line| !line.cost.is_zero())
        .filter_map(|line| {
            Some(WantedRow {
                resource_id: ids.get(&line.key.id(account))?.clone(),
                cost: line.cost,
                dimensions: Dimensions {
                    namespace: line.key.namespace().map(str::to_owned),
                    node: line.node.clone(),
                    service: line.service.clone(),
                },
            })
        })
        .collect()
}

/// Live rows and their total, USD.
fn live(states: &[KeyState]) -> (u64, f64) {
    let rows = states.iter().filter(|state| state.sign > 0).count() as u64;
    (rows, states.iter().map(|state| state.cost_usd).sum::<f64>() + 0.0)
}

fn note(summary: &mut DaySummary, diff: &Difference) {
    summary.keys_changed = (diff.changed_keys + diff.unsettled.len()) as u64;
    summary.keys_healed = (diff.healed_keys + diff.unsettled.len()) as u64;
}
