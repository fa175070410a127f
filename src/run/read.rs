//! *read*: gathers, with read halves only, all that a decision about accounts and days rests on.

use std::collections::{BTreeMap, BTreeSet};

use crate::accounts::Account;
use crate::cost::money::is_same_usd;
use crate::cost::{AccountId, Day, Levels, Limits, OverLimit};
use crate::day_status::{DayStatus, by_day};
use crate::documents::StoredResource;
use crate::ledger::ResourceTotal;
use crate::service::failure::{Failure, Kind};
use crate::service::off_thread::off_thread;
use crate::settings::worker::GapPolicy;
use crate::source::checkpoint::Checkpoint;
use crate::source::{Phase, Presence, Running, SourceDay, Warning, WarningKind};

use super::day::inputs::{
    CostedDay, DayInputs, DocumentsRead, DueDay, MISSED_DAYS, RowsRead, clusters_before,
    name_missed_clusters,
};
use super::day::kept_pods::{PodIntervals, is_all_as_stored, leave_pods, may_leave_pods};
use super::day::rows::{DayRows, unknown_ids};
use super::due::{
    COUNTED_DAYS, days_due, days_to_count, first_open, has_more, phase_of, phase_of_day, work_order,
};
use super::environment::Readers;
use super::history::History;
use super::reconcile::{DayDifference, differences};
use super::request::{AccountJob, Days};

/// From how many resources on work takes some ten milliseconds.
const LONG_WORK: usize = 2_000;

/// What is known of an account before its days are worked on.
pub(super) struct AccountState {
    /// The days to work on, in that order.
    pub(super) due: Vec<DueDay>,
    /// Yesterday's status, where it is not to be worked on.
    pub(super) settled_yesterday: Option<DayStatus>,
    /// Days whose status and ledger disagree.
    pub(super) differences: Vec<DayDifference>,
    /// What is stored of the days that were looked at, and whether that is whole.
    pub(super) history: History,
}

/// A day of an account to read.
#[derive(Clone, Copy)]
pub(super) struct DayJob<'a> {
    pub(super) job: AccountJob<'a>,
    pub(super) due: &'a DueDay,
}

impl Readers {
    /// The time that a job's costs are of, Unix seconds: a plan is carried out as of its making.
    pub(super) fn now_seconds(&self, job: &AccountJob<'_>) -> i64 {
        job.plan().map_or_else(|| self.clock.now_seconds(), |plan| plan.made_at)
    }

    /// Which days of an account are to be worked on, and what is stored of them.
    pub(super) async fn load_account_state(
        &self,
        job: &AccountJob<'_>,
    ) -> Result<AccountState, Failure> {
        let (account, now_seconds) = (&job.account.id, self.now_seconds(job));
        let today = Day::of_unix(now_seconds);
        let (first, last) = self.range(job, today);
        // A cluster that the days before had is missed on the first of these days too.
        let statuses = self.status.statuses(account, first.minus(MISSED_DAYS), last).await?;
        let mut before = by_day(statuses);
        let statuses = before.split_off(&first);
        let compared = if job.reconciles { first } else { first.max(last.previous()) };
        let totals = self.ledger.day_totals(account, compared, last).await?;
        let of_compared = statuses.range(compared..);
        let of_compared = of_compared.map(|(day, status)| (*day, status.clone())).collect();
        let differences = differences(&of_compared, &totals);
        let differing: BTreeSet<Day> = differences.iter().map(|one| one.day).collect();
        let looked_from = match job.days {
            Days::Due if !job.reconciles => {
                let open = first_open(today, first, &statuses);
                differing.first().map_or(open, |day| open.min(*day))
            }
            _ => first,
        };
        let mut presence = self.presence(job, (looked_from, last), now_seconds).await?;
        let order = match job.days {
            Days::Due => {
                let mut due = days_due(today, looked_from, &presence, &statuses);
                let counted =
                    if job.reconciles { days_to_count(today, &due, &statuses) } else { Vec::new() };
                let computed: BTreeSet<Day> = due.iter().copied().chain(differing).collect();
                let known = (&statuses, now_seconds);
                self.count_samples(job, computed, known, &mut presence).await?;
                self.count_samples(job, counted.iter().copied().collect(), known, &mut presence)
                    .await?;
                let has_more = |day: &Day| {
                    let here = presence.get(day).copied().unwrap_or_default();
                    statuses.get(day).is_some_and(|status| has_more(here, status))
                };
                due.extend(counted.into_iter().filter(has_more));
                let differing = differences.iter().map(|difference| difference.day);
                work_order(&due.into_iter().chain(differing).collect(), today, &statuses)
            }
            Days::Range(first, last) => {
                let days: BTreeSet<Day> = first.through(last).chain(differing).collect();
                days.into_iter().rev().collect()
            }
            Days::List(days) => days.to_vec(),
            Days::Plan(plan) => {
                let days: BTreeSet<Day> = plan.days(account).iter().map(|day| day.day).collect();
                days.into_iter().rev().collect()
            }
        };
        let is_settled = matches!(job.days, Days::Due) && !order.contains(&today.previous());
        let settled_yesterday = statuses.get(&today.previous()).filter(|_| is_settled).cloned();
        let due = order.into_iter().map(|day| {
            let here = presence.get(&day).copied().unwrap_or_default();
            let status = statuses.get(&day).cloned();
            let phase = phase_of_day(self.settings.phase, day, &presence, status.as_ref());
            let clusters_before = clusters_before(day, before.values().chain(statuses.values()));
            DueDay { day, phase, presence: here, status, clusters_before }
        });
        let history = History::of(&statuses);
        Ok(AccountState { due: due.collect(), settled_yesterday, differences, history })
    }

    /// What the source has of days, and of the one after them.
    async fn presence(
        &self,
        job: &AccountJob<'_>,
        (first, last): (Day, Day),
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        if let Some(plan) = job.plan() {
            return Ok(plan.presence(&job.account.id));
        }
        let last = last.next().min(Day::of_unix(now_seconds)).max(last);
        self.source.presence(job.account, first, last, now_seconds).await
    }

    /// Counts all samples of those of the days that are over and recent. Before their costs are
    /// read: a sample that comes in between is found by the next count.
    async fn count_samples(
        &self,
        job: &AccountJob<'_>,
        days: BTreeSet<Day>,
        (statuses, now_seconds): (&BTreeMap<Day, DayStatus>, i64),
        presence: &mut BTreeMap<Day, Presence>,
    ) -> Result<(), Failure> {
        let today = Day::of_unix(now_seconds);
        for day in days.range(today.minus(COUNTED_DAYS)..today) {
            let Some(here) = presence.get_mut(day) else { continue };
            let phase = phase_of(self.settings.phase, *here, statuses.get(day));
            let Some(phase) = phase else { continue };
            let counted = self.source.all_samples(job.account, *day, phase, now_seconds);
            here.all_samples = counted.await?;
        }
        Ok(())
    }

    /// The days that are looked at: those asked for, or all that may be due.
    fn range(&self, job: &AccountJob<'_>, today: Day) -> (Day, Day) {
        let ends = |days: &mut dyn Iterator<Item = Day>| {
            let days: Vec<Day> = days.collect();
            days.iter().min().copied().zip(days.iter().max().copied()).unwrap_or((today, today))
        };
        match job.days {
            Days::Due => (today.minus(self.settings.catch_up_days), today),
            Days::Range(first, last) => (first, last),
            Days::List(days) => ends(&mut days.iter().copied()),
            Days::Plan(plan) => ends(&mut plan.days(&job.account.id).iter().map(|day| day.day)),
        }
    }

    /// Reads a batch of days: one result a day, in their order.
    pub(super) async fn read(&self, batch: &[DayJob<'_>]) -> Vec<Result<DayInputs, Failure>> {
        let mut inputs = Vec::with_capacity(batch.len());
        for day in batch {
            inputs.push(self.read_day(&day.job, day.due).await);
        }
        inputs
    }

    async fn read_day(&self, job: &AccountJob<'_>, due: &DueDay) -> Result<DayInputs, Failure> {
        let now_seconds = self.now_seconds(job);
        if let Some(inputs) = self.read_without_pods(job, due, now_seconds).await? {
            return Ok(inputs);
        }
        let source = self.source_day(job, due, now_seconds).await?;
        // A plan holds what was scaled when it was made.
        let gap_policy = job.plan().map_or(self.settings.gap_policy, |_| GapPolicy::None);
        let (levels, limits) = (self.settings.levels, self.settings.limits);
        let resources = source.costs.resources();
        let costing = compute(resources, move || {
            let mut costs = CostedDay::of(source, levels, gap_policy);
            enforce_limits(&mut costs, limits, levels).map(|()| costs)
        });
        let costs = costing.await??;
        let documents = self.read_documents(job, due, &costs, now_seconds).await?;
        let rows = self.read_rows(&job.account.id, due.day, &documents).await?;
        Ok(DayInputs {
            account: job.account.id.clone(),
            run_id: job.run_id.to_owned(),
            now_seconds,
            due: due.clone(),
            costs,
            documents,
            rows,
            kept_pods: None,
        })
    }

    /// A running day whose pods keep their rows, read without them; `None` where they must be read.
    async fn read_without_pods(
        &self,
        job: &AccountJob<'_>,
        due: &DueDay,
        now_seconds: i64,
    ) -> Result<Option<DayInputs>, Failure> {
        let (levels, account) = (self.settings.levels, &job.account.id);
        let intervals = PodIntervals {
            written: job.today_refresh(self.settings.today_refresh),
            seen: self.resource_settings.seen_interval,
        };
        let may_leave = job.leaves_pods
            && self.source.takes_checkpoints()
            && may_leave_pods(due, levels, intervals, now_seconds);
        let (Some(status), Some(phase), true) = (&due.status, due.phase, may_leave) else {
            return Ok(None);
        };
        let states = self.ledger.states(account, due.day).await?;
        if !is_all_as_stored(status, &states) {
            return Ok(None);
        }
        let mut source = self.day_costs(job.account, (due.day, phase), now_seconds, true).await?;
        name_missed_clusters(&mut source, &due.clusters_before);
        let limits = self.settings.limits;
        let mut costs = CostedDay::of(source, levels, self.settings.gap_policy);
        enforce_limits(&mut costs, limits, levels)?;
        let documents = self.read_documents(job, due, &costs, now_seconds).await?;
        let (status, resources) = (status.clone(), states.len());
        let left = compute(resources, move || {
            let kept = leave_pods(&status, &mut costs.roll, &documents, &states);
            kept.map(|kept| ((costs, documents, states), kept))
        });
        let Some(((costs, documents, states), kept)) = left.await? else { return Ok(None) };
        if costs.roll.lines.len() + kept.rows.len() > limits.resources_max {
            return Ok(None);
        }
        let own_ids = kept.rows.iter().map(|row| row.resource_id.clone()).collect();
        Ok(Some(DayInputs {
            account: account.clone(),
            run_id: job.run_id.to_owned(),
            now_seconds,
            due: due.clone(),
            costs,
            documents,
            rows: RowsRead { states, own_ids },
            kept_pods: Some(kept),
        }))
    }

    async fn source_day(
        &self,
        job: &AccountJob<'_>,
        due: &DueDay,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        if let Some(plan) = job.plan() {
            return plan.source_day(&job.account.id, due.day);
        }
        let Some(phase) = due.phase else {
            let expected = due.day.minutes_passed(now_seconds).max(1);
            return Ok(SourceDay::without_samples(Phase::Exporter, expected));
        };
        let mut costs = self.day_costs(job.account, (due.day, phase), now_seconds, false).await?;
        name_missed_clusters(&mut costs, &due.clusters_before);
        Ok(costs)
    }

    /// What the source has of a day; of a running one, what is kept of the part that is over is not
    /// asked for again, nor are pods where they are to be left out and the source can do that.
    pub(crate) async fn day_costs(
        &self,
        account: &Account,
        (day, phase): (Day, Phase),
        now_seconds: i64,
        without_pods: bool,
    ) -> Result<SourceDay, Failure> {
        let is_running = self.source.takes_checkpoints() && day.has(now_seconds);
        if is_running && (without_pods || self.status.keeps_checkpoints()) {
            let running = Running { known: self.read_checkpoint(&account.id).await, without_pods };
            self.source.running_day_costs(account, day, phase, now_seconds, running).await
        } else {
            self.source.day_costs(account, day, phase, now_seconds).await
        }
    }

    /// What is kept of the account's running day; costs do not wait for it.
    async fn read_checkpoint(&self, account: &AccountId) -> Option<Checkpoint> {
        match self.status.checkpoint(account).await {
            Ok(checkpoint) => checkpoint,
            Err(failure) => {
                tracing::warn!(account.id = %account, %failure, "all of the day is read");
                None
            }
        }
    }

    /// The ledger's states of the day, and whose they are.
    async fn read_rows(
        &self,
        account: &AccountId,
        day: Day,
        documents: &DocumentsRead,
    ) -> Result<RowsRead, Failure> {
        let states = self.ledger.states(account, day).await?;
        let known = documents.stored.iter().map(|document| document.id.as_str()).collect();
        let unknown = unknown_ids(&states, &known);
        let own_ids = self.documents.own_ids(account, &unknown).await?;
        Ok(RowsRead { states, own_ids })
    }

    /// The rows of a day of which nothing else is known.
    pub(super) async fn rows_alone(
        &self,
        account: &AccountId,
        day: Day,
    ) -> Result<DayRows, Failure> {
        let read = self.read_rows(account, day, &DocumentsRead::default()).await?;
        Ok(DayRows::of(day, read.states, |id| read.own_ids.contains(id)))
    }

    /// The documents of an account whose costs differ from the ledger's, with the ledger's; none
    /// where the sums over all documents and all days agree.
    pub(super) async fn differing_documents(
        &self,
        account: &AccountId,
    ) -> Result<Option<(Vec<StoredResource>, Vec<ResourceTotal>)>, Failure> {
        let documents_usd = self.documents.total_cost(account).await?;
        let (first, last) = (Day::of_unix(0), Day::of_unix(i64::MAX));
        let days = self.ledger.day_totals(account, first, last).await?;
        let ledger_usd: f64 = days.iter().map(|day| day.total_usd).sum();
        if is_same_usd(documents_usd, ledger_usd) {
            return Ok(None);
        }
        let own = self.documents.own_documents(account).await?;
        let ids: Vec<String> = own.iter().map(|resource| resource.id.clone()).collect();
        let totals = self.ledger.resource_totals(account, &ids).await?;
        Ok(Some((own, totals)))
    }

    /// Ends a run at its start where a hop is down, with the hop's name.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.documents.check().await?;
        self.ledger.check().await?;
        self.source.check().await
    }
}

/// Sees that a day is no larger than it may be, before anything of it is stored.
pub(crate) fn enforce_limits(
    costs: &mut CostedDay,
    limits: Limits,
    levels: Levels,
) -> Result<(), Failure> {
    match costs.enforce(limits, levels) {
        Ok(0) => {}
        Ok(folded) => costs.source.warnings.push(Warning::new(WarningKind::Folded, &format!(
            "{folded} of the cheapest resources have no rows of their own, as there are more than \
             the {} of MAX_RESOURCES: their costs are in those of their namespaces and clusters",
            limits.resources_max
        ))),
        Err(over) => return Err(over_limit(over)),
    }
    Ok(())
}

fn over_limit(over: OverLimit) -> Failure {
    Failure::query(
        Kind::BadData,
        format!("the account's day is too large: {over}"),
        "see what writes these series under the account's id; raise the limit if they are right, \
         or set OVER_LIMIT=fold",
    )
}

/// Computes costs of so many resources; where they are many, where that holds up no other account.
pub(super) async fn compute<T: Send + 'static>(
    resources: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    if resources < LONG_WORK { Ok(work()) } else { off_thread("computing costs", work).await }
}
