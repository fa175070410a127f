//! One day of one account, from the query layer to the stores.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::Account;
use crate::cost::{Day, RollUp, roll_up};
use crate::day_status::{AccountDay, DayState};
use crate::ledger::KeyState;
use crate::service::failure::Failure;
use crate::settings::worker::GapPolicy;
use crate::source::{Phase, Presence, SourceDay};

use super::Environment;
use super::gaps::scale_over_gaps;
use super::guard::{StoredDay, Verdict, judge};
use super::pipeline::RunRequest;
use super::plan::Found;
use super::reconcile;
use super::record;
use super::rows::{DayRows, live, wanted};
use super::summary::DaySummary;
use crate::lease::HeldLease;

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
        let now_seconds = self.now_seconds();
        let source = self.source_day(due, now_seconds).await?;
        let roll = roll_up(&source.costs, self.environment.settings.levels);
        let (ids, documents) = self.plan_documents(due, now_seconds, &roll).await?;
        let rows = self.day_rows(due.day, &ids).await?;
        let verdict = self.verdict(&source, &roll, due, &rows.own);
        let mut summary = summary(due, &source, &roll, &rows);
        let found = Found {
            verdict: &verdict,
            source: &source,
            roll: &roll,
            ids: &ids,
            states: &rows.own,
            documents: &documents,
        };
        summary.planned = self.see_plan(due, &found)?;
        match verdict {
            Verdict::Keep(state, cause) => {
                (summary.state, summary.cause) = (state, cause);
                summary.phase = None;
                (summary.rows, summary.stored_total_usd) = live(&rows.own);
                self.keep_record(due, &source, &rows, &summary).await?;
            }
            Verdict::Store(state, cause) => {
                (summary.state, summary.cause) = (state, cause);
                summary.documents_written = self.write_documents(&documents).await?;
                let ids = self.settled_ids(&documents, ids).await?;
                let wanted = wanted(&roll, &ids, &self.account.id);
                self.write_rows(due, rows.own.clone(), &ids, &wanted, &mut summary).await?;
                self.finish(due, &source, &rows, &ids, &mut summary).await?;
            }
        }
        Ok(summary)
    }

    /// When it is, as far as costs are concerned: a plan is carried out as of its making.
    pub(super) fn now_seconds(&self) -> i64 {
        let planned = self.request.plan.as_ref().map(|plan| plan.made_at);
        planned.unwrap_or_else(|| self.environment.clock.now_seconds())
    }

    /// Step 1: the day's costs, scaled over gaps if the operator wants that.
    async fn source_day(&self, due: DueDay<'_>, now_seconds: i64) -> Result<SourceDay, Failure> {
        let Some(phase) = due.phase else {
            let expected = due.day.minutes_passed(now_seconds).max(1);
            return Ok(SourceDay::without_samples(Phase::Exporter, expected));
        };
        let query = &self.environment.query;
        let mut source = query.day_costs(self.account, due.day, phase, now_seconds).await?;
        // A plan holds what was scaled when it was made.
        let is_raw = self.request.plan.is_none();
        let scales = is_raw && self.environment.settings.gap_policy == GapPolicy::Scale;
        if scales {
            scale_over_gaps(&mut source);
        }
        Ok(source)
    }

    /// Step 4: whether to write.
    fn verdict(
        &self,
        source: &SourceDay,
        roll: &RollUp,
        due: DueDay<'_>,
        states: &[KeyState],
    ) -> Verdict {
        // A record knows what was stored; rows that a race doubled do not.
        let total_usd = due.record.map_or_else(|| live(states).1, |r| r.stored_total_usd);
        let stored = StoredDay { record: due.record, total_usd };
        let limit = self.environment.settings.shrink_limit;
        judge(source, roll, stored, limit, self.request.force_reason.is_some())
    }

    /// Why the day is written against a guard's advice, if it is: asked for now, or when it was
    /// stored as it is.
    fn force_reason<'a>(&'a self, due: DueDay<'a>) -> Option<&'a str> {
        let earlier = due.record.and_then(|record| record.forced_reason.as_deref());
        self.request.force_reason.as_deref().or(earlier)
    }

    /// Step 7: the documents' own costs and the day's record, where they say something new.
    async fn finish(
        &self,
        due: DueDay<'_>,
        source: &SourceDay,
        rows: &DayRows,
        ids: &BTreeMap<String, String>,
        summary: &mut DaySummary,
    ) -> Result<(), Failure> {
        let Some(lease) = self.lease else { return Ok(()) };
        let now_seconds = self.now_seconds();
        let record = AccountDay {
            forced_reason: self.force_reason(due).map(str::to_owned),
            run_id: self.run_id.to_owned(),
            ..record::written(due, &self.account.id, source, rows, summary, now_seconds)
        };
        if summary.rows_written == 0 && due.record.is_some_and(|old| old.says_the_same(&record)) {
            return Ok(());
        }
        lease.keep().await?;
        // Whoever left the day half written may have taken back rows that no longer show.
        let mut touched = match due.record {
            Some(old) if old.pending => self.all_ids().await?,
            _ => BTreeSet::new(),
        };
        touched.extend(ids.values().cloned());
        touched.extend(rows.own.iter().map(|state| state.resource_id.clone()));
        summary.documents_written += self.update_costs(&touched).await?;
        lease.keep().await?;
        self.environment.days.put(&record).await
    }

    /// A day that is left as it was keeps what its record says of what is stored.
    async fn keep_record(
        &self,
        due: DueDay<'_>,
        source: &SourceDay,
        rows: &DayRows,
        summary: &DaySummary,
    ) -> Result<(), Failure> {
        let Some(lease) = self.lease else { return Ok(()) };
        let record = AccountDay {
            run_id: self.run_id.to_owned(),
            ..record::kept(due, &self.account.id, source, rows, summary, self.now_seconds())
        };
        if due.record.is_some_and(|old| old.says_the_same(&record)) {
            return Ok(());
        }
        lease.keep().await?;
        self.environment.days.put(&record).await
    }
}

fn summary(due: DueDay<'_>, source: &SourceDay, roll: &RollUp, rows: &DayRows) -> DaySummary {
    let mut warnings = source.warnings.clone();
    warnings.extend(roll_warnings(roll));
    warnings.extend(rows.foreign_warning());
    let (live_rows, stored_usd) = live(&rows.own);
    DaySummary {
        day: due.day,
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
        reconciliation_difference_usd: due
            .record
            .map_or(0.0, |record| reconcile::difference_usd(record, stored_usd, live_rows)),
        warnings,
        planned: None,
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

fn shown(key: &crate::cost::ResourceKey) -> String {
    let parts = [Some(key.cluster()), key.namespace(), key.pod()];
    let names: Vec<_> = parts.into_iter().flatten().collect();
    // A name may be refused for the very characters that would spoil a log line.
    format!("{} {}", key.level().as_str(), names.join("/").escape_debug())
}
