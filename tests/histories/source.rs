//! A source whose costs and coverage change between runs.
//!
//! Its truth is simple: a day costs its hourly rates times its covered hours. Rates change while
//! the day runs, without the total becoming less; coverage comes and goes on any day; a namespace's
//! samples may come when the day is over and settled, and only their number shows that. So whatever
//! a run may refuse on the way, the last one sees each day complete.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use kubecost_worker::accounts::Account;
use kubecost_worker::cost::costs::PodCosts;
use kubecost_worker::cost::{Day, DayCosts};
use kubecost_worker::service::failure::Failure;
use kubecost_worker::source::{CostSource, Phase, Presence, SourceDay};

use crate::chance::Chance;

const NAMESPACES: [&str; 3] = ["cart", "pay", "shop"];
const CLUSTER: &str = "c";
/// More samples than a day has minutes.
const MANY: u64 = 10_000;

/// A day as the source has it.
#[derive(Clone, Debug)]
struct Told {
    covered_minutes: u32,
    /// USD per hour of each namespace; 0: it is not there.
    rates: [u32; 3],
    /// USD per hour of what is no namespace's.
    idle_rate: u32,
    /// Where the pod of the first namespace runs.
    node: u32,
    /// The namespace whose samples have not come yet.
    hidden: Option<usize>,
    /// How often rates changed or samples came late: with more samples of namespaces,
    changes: u64,
    /// and of the whole.
    changes_of_whole: u64,
}

impl Told {
    fn total_rate(&self) -> u32 {
        self.rates.iter().sum::<u32>() + self.idle_rate
    }

    /// The samples of a namespace that stayed away come. Returns whether there were any.
    fn show(&mut self) -> bool {
        let was_hidden = self.hidden.take().is_some();
        self.changes += u64::from(was_hidden);
        was_hidden
    }

    fn costs(&self, minutes: u32) -> DayCosts {
        let hours = f64::from(minutes) / 60.0;
        let usd = |rate: u32| f64::from(rate) * hours;
        let mut costs = DayCosts::default();
        costs.cluster_mut(CLUSTER).total_usd = Some(usd(self.total_rate()));
        for (index, name) in NAMESPACES.into_iter().enumerate() {
            if self.rates[index] == 0 || self.hidden == Some(index) {
                continue;
            }
            let namespace = costs.namespace_mut(CLUSTER, name);
            namespace.total_usd = Some(usd(self.rates[index]));
            if index == 0 {
                let pod = PodCosts {
                    total_usd: usd(self.rates[index]) / 2.0,
                    node: Some(format!("n{}", self.node)),
                    ..PodCosts::default()
                };
                namespace.pods.insert("cart-0".to_owned(), pod);
            }
        }
        costs
    }
}

/// The source.
#[derive(Debug)]
pub(crate) struct Source {
    days: Mutex<BTreeMap<Day, Told>>,
}

impl Source {
    /// A source that tells of `first` and later days.
    pub(crate) fn new(first: Day, chance: &mut Chance) -> Self {
        let source = Self { days: Mutex::new(BTreeMap::new()) };
        for day in first.through(first.next()) {
            source.begin(day, chance);
        }
        source
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Day, Told>> {
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a day known.
    pub(crate) fn begin(&self, day: Day, chance: &mut Chance) {
        let rates = [chance.below(4), chance.below(4), chance.below(4)];
        let told = Told {
            covered_minutes: 60 * (1 + chance.below(24)),
            rates,
            idle_rate: 1 + chance.below(3),
            node: chance.below(2),
            hidden: None,
            changes: 0,
            changes_of_whole: 0,
        };
        self.lock().entry(day).or_insert(told);
    }

    /// Something changes: rates of the running day, or what is known of any day. Samples of a
    /// namespace may stay away; those of days before yesterday come with more of the whole.
    pub(crate) fn change(&self, today: Day, chance: &mut Chance) {
        let mut days = self.lock();
        let count = u32::try_from(days.len()).unwrap();
        let index = chance.below(count) as usize;
        if let Some(told) = days.values_mut().nth(index) {
            told.covered_minutes = 60 * chance.below(25);
        }
        if let Some(told) = days.get_mut(&today) {
            move_rates(told, chance);
            told.changes += 1;
            if chance.happens(300) {
                told.hidden = Some(chance.below(3) as usize);
            }
        }
        for told in days.range_mut(..today.previous()).map(|(_, told)| told) {
            told.changes_of_whole += u64::from(told.show());
        }
    }

    /// All of all days is known. Returns of how many days samples of a namespace came late.
    pub(crate) fn complete(&self) -> u64 {
        let mut late = 0;
        for told in self.lock().values_mut() {
            told.covered_minutes = 1_440;
            late += u64::from(told.show());
        }
        late
    }

    /// Nothing is known of any day: an outage of the source.
    pub(crate) fn vanish(&self) {
        self.lock().values_mut().for_each(|told| told.covered_minutes = 0);
    }

    fn minutes(told: &Told, day: Day, now_seconds: i64) -> u32 {
        told.covered_minutes.min(day.minutes_passed(now_seconds))
    }
}

/// Takes rates from one namespace and gives them to another, so that often no total changes.
fn move_rates(told: &mut Told, chance: &mut Chance) {
    let (from, to) = (chance.below(3) as usize, chance.below(3) as usize);
    let moved = chance.below(told.rates[from] + 1);
    told.rates[from] -= moved;
    told.rates[to] += moved;
    told.node = chance.below(2);
    if chance.happens(300) {
        told.idle_rate += 1;
    }
}

#[async_trait]
impl CostSource for Source {
    fn describe(&self) -> String {
        "a source of histories".to_owned()
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn observe(&self, _account: &Account, _now_seconds: i64) -> Result<(), Failure> {
        Ok(())
    }

    async fn presence(
        &self,
        _account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let present = |(day, told): (&Day, &Told)| {
            let exporter_minutes = Self::minutes(told, *day, now_seconds);
            (
                *day,
                Presence {
                    exporter_minutes,
                    exporter_samples: u64::from(exporter_minutes) + told.changes_of_whole * MANY,
                    ..Presence::default()
                },
            )
        };
        Ok(self.lock().range(first..=last).map(present).collect())
    }

    async fn all_samples(
        &self,
        _account: &Account,
        day: Day,
        _phase: Phase,
        now_seconds: i64,
    ) -> Result<Option<u64>, Failure> {
        let count =
            |told: &Told| u64::from(Self::minutes(told, day, now_seconds)) + told.changes * MANY;
        Ok(Some(self.lock().get(&day).map_or(0, count)))
    }

    async fn day_costs(
        &self,
        _account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        let days = self.lock();
        let told = days.get(&day);
        let covered_minutes = told.map_or(0, |told| Self::minutes(told, day, now_seconds));
        let mut source = SourceDay::without_samples(phase, day.minutes_passed(now_seconds));
        source.costs = told.map(|told| told.costs(covered_minutes)).unwrap_or_default();
        source.cover_all(covered_minutes);
        Ok(source)
    }
}
