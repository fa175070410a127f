//! What the source has of each day, without its costs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::accounts::Account;
use crate::cost::day::DAY_SECONDS;
use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;

use crate::source::Presence;
use crate::source::metric_names::{
    CLUSTER_TOTAL, CPU_ALLOCATION, CPU_PRICE, NODE_TOTAL, RAM_ALLOCATION, RAM_PRICE, VOLUME_CLAIMS,
    VOLUME_PRICE,
};
use crate::source::prometheus::client::Answer;
use crate::source::prometheus::promql::{GRID_SECONDS, Window};
use crate::source::prometheus::questions::{Questions, Times};
use crate::source::prometheus::sample_counts;
use crate::source::prometheus::session::{PrometheusSettings, kept_until};

/// A day less half a second, so that a midnight is in one day only.
const DAY_RANGE: &str = "86399500ms";
/// From midnight to a day's last grid point: a later sample is seen on the next day only.
const SAMPLED_RANGE: &str = "86340500ms";
/// Raw metrics with a few series a node, any of which shows that a day has samples.
const OF_NODES: [&str; 3] = [NODE_TOTAL, CPU_PRICE, RAM_PRICE];
/// Raw metrics that show it where there are none of nodes.
const OF_ALLOCATIONS: [&str; 4] = [CPU_ALLOCATION, RAM_ALLOCATION, VOLUME_CLAIMS, VOLUME_PRICE];

/// What a day has of a metric.
#[derive(Clone, Copy, Debug, Default)]
struct SamplesOfDay {
    /// Minutes with samples, in steps of five, of the cluster that has most.
    minutes: u32,
    /// Samples of all series.
    samples: u64,
}

/// How many samples of the exporter's gauges a running day had before a time, for who reads its
/// costs next: these are all samples of half a day, and need not be counted twice.
#[derive(Debug, Default)]
pub(super) struct CountedBefore(Mutex<BTreeMap<AccountId, SamplesBefore>>);

/// Samples before a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SamplesBefore {
    /// The time, Unix seconds.
    pub(super) until: i64,
    /// How many there are.
    pub(super) samples: u64,
}

impl CountedBefore {
    /// Forgets what was counted: a new run counts anew.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// What was counted of an account, once.
    pub(super) fn take(&self, account: &AccountId) -> Option<SamplesBefore> {
        self.lock().remove(account)
    }

    fn keep(&self, account: &AccountId, counted: SamplesBefore) {
        self.lock().insert(account.clone(), counted);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<AccountId, SamplesBefore>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The days without any presence, as stretches of days that follow each other.
fn days_without(known: &BTreeMap<Day, Presence>, first: Day, last: Day) -> Vec<(Day, Day)> {
    let is_known = |day: &Day| known.get(day).is_some_and(|p| *p != Presence::default());
    let mut out: Vec<(Day, Day)> = Vec::new();
    for day in first.through(last).filter(|day| !is_known(day)) {
        match out.last_mut() {
            Some((_, end)) if end.next() == day => *end = day,
            _ => out.push((day, day)),
        }
    }
    out
}

/// Asks what the source has of days.
#[derive(Clone, Copy, Debug)]
pub(super) struct PresenceReader<'a> {
    pub(super) questions: &'a Questions,
    pub(super) settings: &'a PrometheusSettings,
    pub(super) counted_before: &'a CountedBefore,
}

impl PresenceReader<'_> {
    /// What days have of the exporter's gauges, and of raw metrics.
    pub(super) async fn read(
        self,
        account: &Account,
        (first, last): (Day, Day),
        now_seconds: i64,
    ) -> Result<BTreeMap<Day, Presence>, Failure> {
        let mut out: BTreeMap<Day, Presence> = BTreeMap::new();
        let metrics = [CLUSTER_TOTAL];
        let today = Day::of_unix(now_seconds);
        let running = kept_until(today, now_seconds).filter(|_| last == today);
        let of_today = match running {
            Some(until) => self.samples_of_running_day(account, today, until).await?,
            None => None,
        };
        let counted = match of_today {
            None => self.sample_counts(account, &metrics, ((first, last), last)).await?,
            Some(samples) => {
                let before = (first, today.previous());
                let mut counted = match first < today {
                    true => self.sample_counts(account, &metrics, (before, last)).await?,
                    false => BTreeMap::new(),
                };
                counted.extend((samples > 0).then_some((today, samples)));
                counted
            }
        };
        let found = self.with_minutes(account, &metrics, ((first, last), last), counted).await?;
        for (day, SamplesOfDay { minutes, samples }) in found {
            let presence = out.entry(day).or_default();
            (presence.exporter_minutes, presence.exporter_samples) = (minutes, samples);
        }
        self.raw_presence(account, &OF_NODES, ((first, last), last), &mut out).await?;
        // Containers have many series: they are asked for where nothing else shows a sample.
        for days in days_without(&out, first, last) {
            self.raw_presence(account, &OF_ALLOCATIONS, (days, last), &mut out).await?;
        }
        Ok(out)
    }

    /// Adds what days have of raw metrics.
    async fn raw_presence(
        self,
        account: &Account,
        metrics: &[&str],
        days: ((Day, Day), Day),
        out: &mut BTreeMap<Day, Presence>,
    ) -> Result<(), Failure> {
        let counted = self.sample_counts(account, metrics, days).await?;
        let found = self.with_minutes(account, metrics, days, counted).await?;
        for (day, SamplesOfDay { minutes, samples }) in found {
            let presence = out.entry(day).or_default();
            (presence.raw_minutes, presence.raw_samples) = (minutes, samples);
        }
        Ok(())
    }

    /// The samples of a day that is running: those before a time, which are kept for who reads its
    /// costs, and those since. `None` where the server does not accept such a question.
    async fn samples_of_running_day(
        self,
        account: &Account,
        today: Day,
        until: i64,
    ) -> Result<Option<u64>, Failure> {
        let selector = self.settings.selector(account);
        let before = Window { start: today.start_seconds(), end: until };
        // Always up to the day's last grid point, so that accounts ask the same.
        let since = Window { start: until, end: today.end_seconds() - GRID_SECONDS + 1 };
        let ask = async |query: String, window: Window| -> Result<Option<Answer>, Failure> {
            let times = Times::At(window.evaluation_time());
            match self.questions.ask(&account.id, &query, times, 0).await {
                Ok(answer) => Ok(Some(answer)),
                Err(no_answer) => {
                    let failure = no_answer.into_refusal()?;
                    tracing::debug!(%failure, day = %today, "the samples are counted by the day");
                    Ok(None)
                }
            }
        };
        let query = sample_counts::query(&selector, &[CLUSTER_TOTAL], before);
        let Some(counted) = ask(query, before).await? else { return Ok(None) };
        let query = sample_counts::rest(&selector, CLUSTER_TOTAL, since);
        let Some(rest) = ask(query, since).await? else { return Ok(None) };
        let samples = sample_counts::of(&counted.series);
        if counted.warnings.is_empty() {
            self.counted_before.keep(&account.id, SamplesBefore { until, samples });
        }
        Ok(Some(samples + sample_counts::of(&rest.series)))
    }

    /// How many samples metrics have, by day: range queries of daily steps over as many days at once
    /// as the server accepts. Only samples of the day count, not what an earlier one still stands
    /// for; of a cluster that has several of the metrics, those of the first.
    async fn sample_counts(
        self,
        account: &Account,
        metrics: &[&str],
        days: ((Day, Day), Day),
    ) -> Result<BTreeMap<Day, u64>, Failure> {
        let selector = self.settings.selector(account);
        let samples = metrics.iter().map(|metric| {
            // Not asked for a minute earlier: caches move what begins at no multiple of its step.
            let stored = selector.stored(metric, &[]);
            let of_day = format!("{stored}[{SAMPLED_RANGE}] offset {GRID_SECONDS}s");
            selector.sum_by(&[], &format!("count_over_time({of_day})"))
        });
        // One number a day comes back, however many clusters there are.
        let samples = samples.collect::<Vec<_>>().join(" or ");
        let samples = selector.over_clusters("sum", &samples);
        let mut by_day = BTreeMap::new();
        for (day, count) in self.by_day(&account.id, &samples, days).await? {
            *by_day.entry(day).or_default() += count;
        }
        Ok(by_day)
    }

    /// For how many minutes days that have samples show one of the metrics, in steps of five: of the
    /// cluster that has most. A look each five minutes touches a fifth of what counting does.
    async fn with_minutes(
        self,
        account: &Account,
        metrics: &[&str],
        days: ((Day, Day), Day),
        counted: BTreeMap<Day, u64>,
    ) -> Result<BTreeMap<Day, SamplesOfDay>, Failure> {
        let selector = self.settings.selector(account);
        // A second earlier, a sample on the grid point itself belongs to the slot that it begins.
        let shown = metrics.iter().map(|metric| {
            selector.max_by(&[], &format!("{} offset 1s", selector.stored(metric, &[])))
        });
        let shown = shown.collect::<Vec<_>>().join(" or ");
        let slots =
            selector.over_clusters("max", &format!("count_over_time(({shown})[{DAY_RANGE}:5m])"));
        // Samples that no look meets are there all the same.
        let mut by_day: BTreeMap<Day, SamplesOfDay> = counted
            .into_iter()
            .map(|(day, samples)| {
                (day, SamplesOfDay { minutes: 5 * u32::from(samples > 0), samples })
            })
            .collect();
        for (day, count) in self.by_day(&account.id, &slots, days).await? {
            let minutes = u32::try_from(count * 5).unwrap_or(u32::MAX);
            if let Some(of_day) = by_day.get_mut(&day) {
                of_day.minutes = of_day.minutes.max(minutes);
            }
        }
        Ok(by_day)
    }

    /// The values of a query at the ends of days. Days before yesterday that the server refuses
    /// alone are left out: they cannot be known, and are no reason to leave the others undone.
    async fn by_day(
        self,
        account: &AccountId,
        query: &str,
        (days, newest): ((Day, Day), Day),
    ) -> Result<Vec<(Day, u64)>, Failure> {
        let mut open = vec![days];
        let mut found = Vec::new();
        while let Some((first, last)) = open.pop() {
            let (start, end) = (first.end_seconds(), last.end_seconds());
            let times = Times::Steps { first: start, last: end, step: DAY_SECONDS };
            let series = match self.questions.ask(account, query, times, 0).await {
                Ok(answer) => answer.series,
                Err(no_answer) => {
                    let failure = no_answer.into_refusal()?;
                    if first < last {
                        tracing::debug!(%failure, %first, %last, "asking about fewer days");
                        let length = (last.start_seconds() - first.start_seconds()) / DAY_SECONDS;
                        let middle = Day::of_unix(first.start_seconds() + length / 2 * DAY_SECONDS);
                        open.extend([(first, middle), (middle.next(), last)]);
                    } else if first < newest.previous() {
                        tracing::warn!(%failure, day = %first, "the query layer refuses this day");
                    } else {
                        return Err(failure);
                    }
                    continue;
                }
            };
            for (time, value) in series.iter().flat_map(|one| &one.points) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a count at a whole second"
                )]
                found.push((Day::of_unix(*time as i64 - 1), value.max(0.0) as u64));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_samples_are_asked_about_in_stretches() {
        let day = |text: &str| -> Day { text.parse().unwrap() };
        let some = Presence { raw_minutes: 5, ..Presence::default() };
        let known = [(day("2026-03-03"), some), (day("2026-03-05"), Presence::default())].into();
        let (first, last) = (day("2026-03-01"), day("2026-03-05"));
        assert_eq!(
            days_without(&known, first, last),
            [(day("2026-03-01"), day("2026-03-02")), (day("2026-03-04"), day("2026-03-05"))]
        );
    }
}
