//! Looks at days that are not settled, as the query layer has them now.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::accounts::Account;
use crate::cost::{AccountId, Composition, Cost, Day, Efficiency, Parts, add_known_parts};
use crate::day_status::{DayState, DayStatus};
use crate::run::day::inputs::{CostedDay, name_missed_clusters};
use crate::run::day::kept_pods::can_do_without_pods;
use crate::run::day::verdict::{StoredDay, Verdict, verdict};
use crate::run::due::phase_of_day;
use crate::run::{Readers, enforce_limits};
use crate::service::failure::{Failure, Kind};
use crate::service::shown::shown;
use crate::source::{CostSource, Phase};

use super::cache::{Bounds, Cache};
use super::costs::{ENTRY_BYTES, composition_bytes};

/// How long a look at the query layer may take, its turn included: well below the time of an
/// answer, so that the stored costs can still be answered.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How many looks there are at a time, as many as connections: their questions go together, and the
/// bounds on questions under way hold for these.
const LOOKS_AT_ONCE: usize = 64;
/// How many looks are kept, and of how many bytes.
pub(super) const KEPT_MAX: usize = 2_000;
const KEPT_BYTES_MAX: usize = 64 << 20;

/// A day as the query layer has it.
pub(super) struct OpenDay {
    /// USD.
    pub(super) usd: f64,
    pub(super) composition: Composition,
    /// USD by namespace; what belongs to none is under the empty name.
    pub(super) namespaces: BTreeMap<String, (f64, Composition)>,
    pub(super) clusters: Vec<String>,
    pub(super) state: DayState,
    pub(super) cause: String,
    pub(super) phase: Phase,
    /// Up to which minute of the day the source could have samples.
    pub(super) known_minutes: u32,
}

/// A day as it is looked at: its costs, or why the stored ones stand.
pub(super) enum Looked {
    Costs(OpenDay),
    Stays { state: DayState, cause: String },
}

/// A day to look at, and what is stored of it.
pub(super) struct OpenDayJob {
    pub(super) account: Account,
    pub(super) day: Day,
    pub(super) status: Option<DayStatus>,
    /// What this program's rows add up to, USD, where there is no status.
    pub(super) own_usd: f64,
    /// The clusters that the days before it had.
    pub(super) clusters_before: BTreeSet<String>,
    pub(super) now_seconds: i64,
}

/// An account's day, and what was stored of it: its USD, and the time of the last attempt.
type Key = (AccountId, Day, u64, Option<i64>);

/// Looks at the query layer, each kept for a while: all answers about an account share them.
pub(super) struct Looks {
    looker: Arc<Looker>,
    kept: Cache<Key, Arc<Looked>, Infallible>,
}

/// Looks at the query layer, a bounded number of times at once.
struct Looker {
    readers: Readers,
    looking: Semaphore,
}

impl Looks {
    pub(super) fn new(readers: Readers, lifetime: Duration, renews: bool) -> Self {
        // An answer that is made anew after three quarters of its time rests on a new look.
        let lifetime = lifetime / 3 * 2;
        let (entries_max, bytes_max) = (KEPT_MAX, KEPT_BYTES_MAX);
        let bounds = Bounds { lifetime, renews, entries_max, bytes_max };
        let kept = Cache::new(bounds, |looked: &Arc<Looked>| looked.bytes());
        let looking = Semaphore::new(LOOKS_AT_ONCE);
        Self { looker: Arc::new(Looker { readers, looking }), kept }
    }

    /// A day as the query layer has it. What cannot be had in time leaves the stored costs
    /// standing; that is kept too, so that a query layer that is down is not asked in each answer.
    pub(super) async fn look(&self, job: OpenDayJob) -> Arc<Looked> {
        let attempt_at = job.status.as_ref().map(|status| status.attempt.at_seconds);
        let key = (job.account.id.clone(), job.day, job.stored_usd().to_bits(), attempt_at);
        let looker = Arc::clone(&self.looker);
        let make = || async move { Ok(Arc::new(looker.look(&job).await)) };
        let Ok((looked, _)) = self.kept.get(key, make).await;
        looked
    }
}

impl OpenDayJob {
    /// What is stored of the day, USD.
    fn stored_usd(&self) -> f64 {
        self.status.as_ref().map_or(self.own_usd, |status| status.stored.total_usd)
    }
}

impl Looker {
    async fn look(&self, job: &OpenDayJob) -> Looked {
        self.look_in_time(job).await.unwrap_or_else(|failure| {
            let (account, day) = (&job.account.id, job.day);
            tracing::warn!(account.id = %account, %day, %failure, "the stored costs stand");
            Looked::Stays { state: DayState::Failed, cause: shown(&failure.to_string()) }
        })
    }

    async fn look_in_time(&self, job: &OpenDayJob) -> Result<Looked, Failure> {
        let look = async {
            // The semaphore is never closed.
            let _looking = self.looking.acquire().await.ok();
            self.open_day(job).await
        };
        let seconds = LOOK_TIMEOUT.as_secs();
        let too_slow = |_| {
            Err(Failure::query(
                Kind::Timeout,
                format!("it did not answer about the day within {seconds} s"),
                "see whether it is up and how many queries it has to answer",
            ))
        };
        tokio::time::timeout(LOOK_TIMEOUT, look).await.unwrap_or_else(too_slow)
    }

    async fn open_day(&self, job: &OpenDayJob) -> Result<Looked, Failure> {
        let OpenDayJob { account, status, .. } = job;
        let (day, status, now_seconds) = (job.day, status.as_ref(), job.now_seconds);
        let settings = &self.readers.settings;
        let source: &dyn CostSource = self.readers.source.as_ref();
        let next = day.next().min(Day::of_unix(now_seconds));
        let presence = source.presence(account, day, next, now_seconds).await?;
        let Some(phase) = phase_of_day(settings.phase, day, &presence, status) else {
            let cause = "the source has no sample of this day".to_owned();
            return Ok(Looked::Stays { state: DayState::NoData, cause });
        };
        // Nothing here is by pod, and what is above pods does not change by them.
        let without_pods =
            status.is_some_and(|status| can_do_without_pods(status, settings.levels, Some(phase)));
        let of_day = (day, phase);
        let mut costs = self.readers.day_costs(account, of_day, now_seconds, without_pods).await?;
        name_missed_clusters(&mut costs, &job.clusters_before);
        let mut costed = CostedDay::of(costs, settings.levels, settings.gap_policy);
        enforce_limits(&mut costed, settings.limits, settings.levels)?;
        let stored = StoredDay { status, total_usd: job.stored_usd() };
        let (source, roll) = (&costed.source, &costed.roll);
        let verdict = verdict(source, roll, stored, settings.shrink_limit, false);
        Ok(match verdict.with_cause_shown() {
            Verdict::Store { state, cause, .. } => {
                Looked::Costs(OpenDay::of(&costed, state, cause))
            }
            Verdict::KeepStored { state, cause } => Looked::Stays { state, cause },
        })
    }
}

/// Exact USD, and their parts while these are known of all of them.
struct Sum {
    cost: Cost,
    parts: Option<Parts>,
}

impl Sum {
    fn new() -> Self {
        Self { cost: Cost::ZERO, parts: Some(Parts::new()) }
    }

    fn add(&mut self, cost: Cost, parts: Option<&Parts>) {
        if cost.is_zero() {
            return;
        }
        self.cost += cost;
        add_known_parts(&mut self.parts, parts, 1.0);
    }
}

impl OpenDay {
    fn of(costed: &CostedDay, state: DayState, cause: String) -> Self {
        let (source, roll) = (&costed.source, &costed.roll);
        let mut by_namespace = BTreeMap::new();
        for line in &roll.lines {
            let row = costed.parts.as_ref().and_then(|parts| parts.get(&line.key));
            let name = line.key.namespace().unwrap_or_default();
            let sum = by_namespace.entry(name).or_insert_with(Sum::new);
            sum.add(line.cost, row.map(|row| &row.parts));
        }
        let only = costed.only_cluster();
        let efficiency_of = |name: &str| {
            let namespace = only.and_then(|cluster| cluster.namespaces.get(name));
            namespace.map_or_else(Efficiency::default, |one| Efficiency::of(&one.breakdown))
        };
        let composed = |(name, sum): (&str, Sum)| {
            let composition = Composition { parts: sum.parts, efficiency: efficiency_of(name) };
            (name.to_owned(), (sum.cost.usd(), composition))
        };
        Self {
            usd: roll.total.usd(),
            composition: costed.composition(),
            namespaces: by_namespace.into_iter().map(composed).collect(),
            clusters: source.clusters.keys().cloned().collect(),
            state,
            cause,
            phase: source.phase,
            known_minutes: source.expected_minutes,
        }
    }
}

impl Looked {
    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let texts = match self {
            Self::Costs(day) => {
                let namespace = |(name, (_, composition)): (&String, &(f64, Composition))| {
                    ENTRY_BYTES + name.len() + composition_bytes(composition)
                };
                let namespaces: usize = day.namespaces.iter().map(namespace).sum();
                let clusters = day.clusters.iter().map(|name| ENTRY_BYTES + name.len());
                namespaces + clusters.sum::<usize>() + day.cause.len()
            }
            Self::Stays { cause, .. } => cause.len(),
        };
        size_of::<Self>() + ENTRY_BYTES + texts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Breakdown, Levels, Part};
    use crate::settings::worker::GapPolicy;
    use crate::source::SourceDay;

    fn made_of(cpu: f64, ram: f64, cpu_efficiency: f64) -> Breakdown {
        let parts = [(Part::Cpu, cpu), (Part::Ram, ram)].into();
        let cpu_efficiency = Some(cpu_efficiency);
        Breakdown { parts, cpu_efficiency, ram_efficiency: Some(f64::NAN), ..Breakdown::default() }
    }

    fn open_day(has_parts: bool, change: impl FnOnce(&mut SourceDay)) -> OpenDay {
        let mut source = SourceDay::without_samples(Phase::Exporter, 600);
        let cluster = source.costs.cluster_mut("prod");
        (cluster.total_usd, cluster.breakdown) = (Some(10.0), made_of(7.0, 3.0, 0.5));
        let shop = source.costs.namespace_mut("prod", "shop");
        (shop.total_usd, shop.breakdown) = (Some(4.0), made_of(3.0, 1.0, 0.25));
        source.cover_all(600);
        change(&mut source);
        let levels = Levels { has_parts, ..Levels::DEFAULT };
        let costed = CostedDay::of(source, levels, GapPolicy::None);
        OpenDay::of(&costed, DayState::Ok, String::new())
    }

    #[test]
    fn a_day_says_what_its_costs_are_made_of_where_the_source_says_it_of_all() {
        let day = open_day(true, |_| {});
        let parts = Parts::from([(Part::Cpu, 7.0), (Part::Ram, 3.0)]);
        assert_eq!((day.usd, &day.composition.parts), (10.0, &Some(parts)));
        assert_eq!(day.composition.efficiency, Efficiency { cpu: Some(0.5), ram: None });
        let (usd, shop) = &day.namespaces["shop"];
        let parts = Parts::from([(Part::Cpu, 3.0), (Part::Ram, 1.0)]);
        assert_eq!((*usd, &shop.parts, shop.efficiency.cpu), (4.0, &Some(parts), Some(0.25)));
        assert_eq!((day.namespaces[""].0, day.known_minutes), (6.0, 600));
        let without = open_day(true, |source| {
            source.costs.namespace_mut("prod", "shop").breakdown = Breakdown::default();
        });
        assert_eq!((without.usd, without.composition.parts), (10.0, None));
        assert_eq!(open_day(false, |_| {}).composition.parts, None);
    }

    #[test]
    fn efficiencies_of_several_clusters_are_not_added_up() {
        let day = open_day(true, |source| {
            let cluster = source.costs.cluster_mut("edge");
            (cluster.total_usd, cluster.breakdown) = (Some(1.0), made_of(0.5, 0.5, 0.5));
        });
        assert_eq!(day.composition.efficiency, Efficiency::default());
        let parts = Parts::from([(Part::Cpu, 7.5), (Part::Ram, 3.5)]);
        assert_eq!(day.composition.parts, Some(parts));
    }
}
