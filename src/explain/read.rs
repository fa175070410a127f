//! Reading what an explanation is made of.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::accounts::Account;
use crate::cost::{Day, Level, ResourceKey};
use crate::day_status::DayStatus;
use crate::documents::{DocumentNames, ResourceNames};
use crate::ledger::KeyState;
use crate::run::day::inputs::CostedDay;
use crate::run::day::refresh::keep_pod_rows;
use crate::service::failure::Failure;
use crate::settings::worker::RunConfig;
use crate::source::Phase;
use crate::source::prometheus::client::PromClient;
use crate::source::prometheus::promql::{Window, integral, minutes_present};

use super::build::{bound_of, build};
use super::model::{Explanation, Hour, Wanted};
use super::number::{DayRead, ExplainStores, Found, subject};
use super::pod;
use super::questions::Asked;

const HOUR_SECONDS: i64 = 3_600;

/// Reads a rate by the hour.
#[async_trait]
pub trait HourReader: Send + Sync {
    /// The hours of a window at a rate in USD per hour, as PromQL.
    ///
    /// # Errors
    /// When the query layer cannot be asked.
    async fn hours(&self, rate: &str, window: Window) -> Result<Vec<Hour>, Failure>;
}

#[async_trait]
impl HourReader for PromClient {
    async fn hours(&self, rate: &str, window: Window) -> Result<Vec<Hour>, Failure> {
        let hour = Window { start: 0, end: HOUR_SECONDS };
        // Evaluated at each hour's last second, so that each minute counts in one hour.
        let (first, last) = (window.start + HOUR_SECONDS - 1, window.start + 86_400 - 1);
        let usd = points(self, &integral(rate, hour), (first, last)).await?;
        let minutes = points(self, &minutes_present(rate, hour), (first, last)).await?;
        let at = |time: f64| {
            let found = minutes.iter().find(|(of, _)| *of == time);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of minutes of an hour"
            )]
            found.map_or(0, |(_, count)| count.clamp(0.0, 60.0) as u32)
        };
        #[expect(clippy::cast_possible_truncation, reason = "whole seconds of a day")]
        let one = |(time, usd): &(f64, f64)| Hour {
            start: *time as i64 + 1 - HOUR_SECONDS,
            usd: *usd,
            minutes: at(*time),
        };
        Ok(usd.iter().map(one).filter(|hour| hour.start < window.end).collect())
    }
}

/// The points of a query's first series, an hour apart.
async fn points(
    client: &PromClient,
    query: &str,
    (first, last): (i64, i64),
) -> Result<Vec<(f64, f64)>, Failure> {
    let answer = client.range(query, first, last, HOUR_SECONDS).await;
    let series = answer.map_err(|no_answer| no_answer.into_failure())?.series;
    Ok(series.into_iter().next().map_or(Vec::new(), |one| one.points))
}

/// Explains one stored number.
///
/// # Errors
/// When a store or the query layer cannot be read, or there is no such number to explain.
pub async fn explain(
    stores: &ExplainStores<'_>,
    account: &Account,
    (day, wanted): (Day, &Wanted),
    now_seconds: i64,
    (asked, hours): (Asked, Option<&dyn HourReader>),
) -> Result<Explanation, Failure> {
    let status = stores.status.statuses(&account.id, day, day).await?.into_iter().next();
    let state_now = status.as_ref().map(|status| status.state(Day::of_unix(now_seconds)));
    let states = stores.ledger.states(&account.id, day).await?;
    let now_seconds = match &status {
        // What was stored of a day that goes on is what there was at that time.
        Some(status) if status.attempt.at_seconds > 0 && !status.attempt.is_settled => {
            now_seconds.min(status.attempt.at_seconds)
        }
        _ => now_seconds,
    };
    let pods_at = status.as_ref().and_then(DayStatus::older_pods_at);
    let mut read = DayRead { account, day, status, states, now_seconds, pods_at };
    let mut found = find(stores, &read, wanted).await?;
    if pods_at.is_some() && found.stored.key.level() == Level::Pod && !found.is_as_stored() {
        // Pods of a namespace are also written where their rows cannot stay.
        read.pods_at = None;
        let newer = find(stores, &read, wanted).await?;
        if newer.is_as_stored() {
            found = newer;
        }
    }
    let (phase, key, now_seconds) = (found.phase, found.stored.key.clone(), found.now_seconds);
    let costed = found.costed;
    let mut explanation = build(found.stored, &stores.source.describe(), costed.as_ref());
    if let Some((state, cause)) = state_now {
        (explanation.day_state, explanation.day_cause) = (Some(state), cause);
    }
    if !found.steps_above.is_empty() {
        explanation.steps.truncate(1);
        explanation.steps.extend(found.steps_above);
        explanation.roll_up_notes.clear();
    }
    if let (Some(phase), Some(costed)) = (phase, &costed) {
        let reading = costed.source.reading.clone();
        let asked = Asked { key, phase, now_seconds, reading, ..asked };
        if let Some(hours) = hours {
            explanation.hours = hours.hours(&asked.rate(), asked.window()).await?;
        }
        explanation.questions = asked.questions();
        explanation.raw = Some(asked.raw());
    }
    explanation.bound = bound_of(&explanation);
    Ok(explanation)
}

async fn find(
    stores: &ExplainStores<'_>,
    read: &DayRead<'_>,
    wanted: &Wanted,
) -> Result<Found, Failure> {
    match pod::found(stores, read, wanted).await? {
        Some(found) => Ok(found),
        None => whole_day(stores, read, wanted).await,
    }
}

/// The number beside all others of its day.
async fn whole_day(
    stores: &ExplainStores<'_>,
    read: &DayRead<'_>,
    wanted: &Wanted,
) -> Result<Found, Failure> {
    let (account, day) = (read.account, read.day);
    let names = names(stores.names, account, &read.states).await?;
    let (key, document) = subject(account, wanted, &names)?;
    let now_seconds = read.at_seconds(&key);
    let phase = match read.status.as_ref().and_then(|status| status.stored.phase) {
        Some(phase) => Some(phase),
        None => phase(stores, account, day, now_seconds).await?,
    };
    let costed = match phase {
        Some(phase) => {
            let source = stores.source.day_costs(account, day, phase, now_seconds).await?;
            let settings = stores.settings;
            let mut costed = CostedDay::of(source, settings.levels, settings.gap_policy);
            enforce_limits(&mut costed, settings);
            keep_older_pods(&mut costed, read, (&key, &names));
            Some(costed)
        }
        None => None,
    };
    let stored = read.stored(key, document, stores.settings);
    Ok(Found { stored, costed, phase, steps_above: Vec::new(), now_seconds })
}

/// Takes remainders from the pods' rows as they are, where these are older than the rows above.
fn keep_older_pods(
    costed: &mut CostedDay,
    read: &DayRead<'_>,
    (key, names): (&ResourceKey, &[ResourceNames]),
) {
    let is_older = read.status.as_ref().is_some_and(|status| status.older_pods_at().is_some());
    if !is_older || key.level() == Level::Pod {
        return;
    }
    let ids: BTreeMap<String, String> =
        names.iter().map(|one| (one.cloud_resource_id.clone(), one.id.clone())).collect();
    let midnight = read.day.start_seconds();
    let states = read.states.iter().filter(|state| state.date_seconds == midnight);
    let rows: Vec<KeyState> = states.cloned().collect();
    if read.status.as_ref().is_some_and(DayStatus::are_pods_unread) {
        // The run did not know where pods are by now.
        let nodes: BTreeMap<&str, &Option<String>> =
            rows.iter().map(|row| (row.resource_id.as_str(), &row.dimensions.node)).collect();
        for line in costed.roll.lines.iter_mut().filter(|line| line.key.level() == Level::Pod) {
            let id = ids.get(&line.key.id(&read.account.id));
            if let Some(node) = id.and_then(|id: &String| nodes.get(id.as_str())) {
                line.node.clone_from(node);
            }
        }
    }
    keep_pod_rows(&mut costed.roll, &read.account.id, &ids, &rows);
}

/// Folds a day as a run does, and notes that.
fn enforce_limits(costed: &mut CostedDay, settings: &RunConfig) {
    match costed.enforce(settings.limits, settings.levels) {
        Ok(0) => {}
        Ok(folded) => costed.source.warnings.push(
            format!("{folded} of the cheapest resources have no rows of their own (MAX_RESOURCES)")
                .into(),
        ),
        Err(over) => costed.source.warnings.push(format!("a run refuses the day: {over}").into()),
    }
}

async fn phase(
    stores: &ExplainStores<'_>,
    account: &Account,
    day: Day,
    now_seconds: i64,
) -> Result<Option<Phase>, Failure> {
    let presence = stores.source.presence(account, day, day, now_seconds).await?;
    let presence = presence.get(&day).copied().unwrap_or_default();
    let is_there = |phase: &Phase| presence.minutes(*phase) > 0;
    Ok([Phase::Exporter, Phase::Raw].into_iter().find(is_there))
}

async fn names(
    reader: &dyn DocumentNames,
    account: &Account,
    states: &[KeyState],
) -> Result<Vec<ResourceNames>, Failure> {
    let mut ids: Vec<String> = states.iter().map(|state| state.resource_id.clone()).collect();
    ids.sort_unstable();
    ids.dedup();
    reader.names(&account.id, &ids).await
}
