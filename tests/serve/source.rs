//! A source whose days a test sets, in USD per hour.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use kubecost_worker::accounts::Account;
use kubecost_worker::cost::{Breakdown, Day, Part, PodCosts};
use kubecost_worker::service::failure::{Failure, Kind};
use kubecost_worker::source::{CostSource, Phase, Presence, Running, SourceDay};

/// An account's day.
#[derive(Clone, Debug)]
pub(crate) struct Rates {
    /// USD per hour of the cluster, and of the namespace `shop` in it.
    pub(crate) cluster: f64,
    pub(crate) shop: f64,
    pub(crate) phase: Phase,
    /// Minutes with samples.
    pub(crate) minutes: u32,
    /// Why the source has samples and no costs, if so.
    pub(crate) refused: Option<&'static str>,
    /// Why two sources claim to be one cluster, if they do: then the day fails.
    pub(crate) conflict: Option<&'static str>,
    /// USD per hour of a pod in `shop`, if there is one.
    pub(crate) pod: Option<f64>,
    /// USD per hour of a second cluster, `edge`, if there is one.
    pub(crate) edge: Option<f64>,
    /// What part of the costs is CPU, and how much of it was used, where the source says it.
    pub(crate) cpu: Option<(f64, f64)>,
    /// Whether its costs are shown on the next day alone.
    pub(crate) is_shown_late: bool,
}

impl Rates {
    pub(crate) fn of(cluster: f64, shop: f64) -> Self {
        Self {
            cluster,
            shop,
            phase: Phase::Exporter,
            minutes: 1_440,
            refused: None,
            conflict: None,
            pod: None,
            edge: None,
            cpu: None,
            is_shown_late: false,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Source {
    days: Mutex<BTreeMap<(String, Day), Rates>>,
    pub(crate) is_down: AtomicBool,
    /// Whether no question is ever answered.
    pub(crate) is_hanging: AtomicBool,
    /// How often it was checked.
    pub(crate) checked: AtomicU32,
    /// How often it was asked which samples days have, by the first of them.
    pub(crate) looked_at: Mutex<BTreeMap<(String, Day), u32>>,
    /// How often a day's costs were asked for without pods.
    pub(crate) asked_without_pods: AtomicU32,
    /// How often a day's costs were asked for.
    pub(crate) asked: Mutex<BTreeMap<(String, Day), u32>>,
}

impl Source {
    pub(crate) fn set(&self, account: &str, day: Day, rates: Rates) {
        self.days.lock().unwrap().insert((account.to_owned(), day), rates);
    }

    fn rates(&self, account: &Account, day: Day) -> Option<Rates> {
        self.days.lock().unwrap().get(&(account.id.to_string(), day)).cloned()
    }

    async fn is_up(&self) -> Result<(), Failure> {
        if self.is_hanging.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.is_down.load(Ordering::SeqCst) {
            return Err(Failure::query(Kind::Unavailable, "connection refused", "start it"));
        }
        Ok(())
    }
}

fn made_of(usd: f64, (cpu, efficiency): (f64, f64)) -> Breakdown {
    let parts = [(Part::Cpu, usd * cpu), (Part::Ram, usd * (1.0 - cpu))].into();
    Breakdown { parts, cpu_efficiency: Some(efficiency), ..Breakdown::default() }
}

#[async_trait]
impl CostSource for Source {
    fn describe(&self) -> String {
        "a source of a test".to_owned()
    }

    fn has_history(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Failure> {
        self.checked.fetch_add(1, Ordering::SeqCst);
        self.is_up().await
    }

    async fn observe(&self, _account: &Account, _now_seconds: i64) -> Result<(), Failure> {
        Ok(())
    }

    async fn presence(
        &self,
        account: &Account,
        first: Day,
        last: Day,
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let asked = (account.id.to_string(), first);
        *self.looked_at.lock().unwrap().entry(asked).or_default() += 1;
        self.is_up().await?;
        let present = |day: Day| {
            let rates = self.rates(account, day).filter(|rates| !rates.is_shown_late)?;
            let minutes = rates.minutes.min(day.minutes_passed(now_seconds));
            let none = Presence::default();
            let presence = match rates.phase {
                Phase::Raw => {
                    Presence { raw_minutes: minutes, raw_samples: minutes.into(), ..none }
                }
                Phase::Exporter => {
                    Presence { exporter_minutes: minutes, exporter_samples: minutes.into(), ..none }
                }
            };
            Some((day, presence))
        };
        Ok(first.through(last).filter_map(present).collect())
    }

    fn takes_checkpoints(&self) -> bool {
        true
    }

    async fn running_day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
        running: Running,
    ) -> Result<SourceDay, Failure> {
        let mut costs = self.day_costs(account, day, phase, now_seconds).await?;
        if running.without_pods {
            self.asked_without_pods.fetch_add(1, Ordering::SeqCst);
            costs.costs.clear_pods();
        }
        Ok(costs)
    }

    async fn day_costs(
        &self,
        account: &Account,
        day: Day,
        phase: Phase,
        now_seconds: i64,
    ) -> Result<SourceDay, Failure> {
        self.is_up().await?;
        *self.asked.lock().unwrap().entry((account.id.to_string(), day)).or_default() += 1;
        let mut costs = SourceDay::without_samples(phase, day.minutes_passed(now_seconds));
        let Some(rates) = self.rates(account, day).filter(|rates| rates.phase == phase) else {
            return Ok(costs);
        };
        if let Some(cause) = rates.refused {
            costs.missing.push(cause.to_owned());
            return Ok(costs);
        }
        let minutes = rates.minutes.min(day.minutes_passed(now_seconds));
        let hours = f64::from(minutes) / 60.0;
        let made_of = |usd: f64| rates.cpu.map(|cpu| made_of(usd, cpu)).unwrap_or_default();
        let cluster = costs.costs.cluster_mut("prod");
        let usd = rates.cluster * hours;
        (cluster.total_usd, cluster.breakdown) = (Some(usd), made_of(usd));
        let shop = costs.costs.namespace_mut("prod", "shop");
        let usd = rates.shop * hours;
        (shop.total_usd, shop.breakdown) = (Some(usd), made_of(usd));
        if let Some(pod) = rates.pod {
            let pod = PodCosts { total_usd: pod * hours, ..PodCosts::default() };
            costs.costs.namespace_mut("prod", "shop").pods.insert("web".to_owned(), pod);
        }
        if let Some(edge) = rates.edge {
            costs.costs.cluster_mut("edge").total_usd = Some(edge * hours);
        }
        costs.conflicts.extend(rates.conflict.map(str::to_owned));
        costs.cover_all(minutes);
        Ok(costs)
    }
}
