//! Answers: what an account costs, in the shapes that Metroculus' callers read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::cost::{Day, Efficiency, Part};
use crate::day_status::DayState;
use crate::source::metric_names::{CLUSTER_TOTAL, NAMESPACE_TOTAL};

use super::costs::{AccountCosts, DayCost};
use super::request::Question;
use super::span::Span;
use super::sums::{Sum, Sums};

/// The most reasons that an answer gives.
const CAUSES_MAX: usize = 5;
/// The name of what belongs to no namespace.
const NO_NAMESPACE: &str = "__cluster__";

/// How answers are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    /// The currency of all costs.
    pub(super) currency: &'a str,
    /// Whether the caller adds the ledger's rows itself: then only what they lack is answered.
    pub(super) is_ledger_added: bool,
    /// The time, Unix seconds.
    pub(super) now_seconds: i64,
}

/// A part's key in answers.
pub(super) fn part_key(part: Part) -> &'static str {
    match part {
        Part::Cpu => "cpu_cost",
        Part::Ram => "ram_cost",
        Part::Gpu => "gpu_cost",
        Part::Pv => "pv_cost",
        Part::Network => "network_cost",
        Part::LoadBalancer => "load_balancer_cost",
        Part::Idle => "idle_cost",
        Part::Other => "other_cost",
    }
}

/// A cost and its parts. What is not known is left out: a zero, or a null, would be taken for a
/// cost.
fn costs_object(sum: &Sum) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("total_cost".to_owned(), json!(sum.usd));
    for (part, usd) in sum.parts.iter().flatten() {
        object.insert(part_key(*part).to_owned(), json!(usd));
    }
    object
}

fn efficiency_object(efficiency: Efficiency) -> Map<String, Value> {
    let ratios = [("cpu_efficiency", efficiency.cpu), ("ram_efficiency", efficiency.ram)];
    let known = ratios.into_iter().filter_map(|(name, ratio)| Some((name.to_owned(), ratio?)));
    known.map(|(name, ratio)| (name, json!(ratio))).collect()
}

/// What was asked for, as all answers repeat it.
fn asked(question: &Question) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("cloud_account_id".to_owned(), json!(question.account));
    object.insert("start_date".to_owned(), json!(question.span.start));
    object.insert("end_date".to_owned(), json!(question.span.end));
    object
}

/// The answer of `kubecost_cluster_costs`: nested, and flat as its first form was.
pub(super) fn cluster_costs(costs: &AccountCosts, question: &Question, terms: Terms<'_>) -> Value {
    let sums = Sums::of(costs, question.span, terms.is_ledger_added);
    let summary = sums.total.as_ref().map(costs_object).unwrap_or_default();
    let mut reply = asked(question);
    reply.extend(summary.clone());
    reply.insert("breakdown".to_owned(), Value::Object(summary.clone()));
    reply.insert("summary".to_owned(), Value::Object(summary));
    let efficiency = efficiency_object(sums.efficiency);
    reply.insert("efficiency".to_owned(), Value::Object(efficiency));
    reply.insert("currency".to_owned(), json!(terms.currency));
    reply.insert("data".to_owned(), data(costs, question, terms));
    if question.by_namespace {
        let one = |(name, (sum, efficiency)): (&String, &(Sum, Efficiency))| {
            let name = if name.is_empty() { NO_NAMESPACE } else { name };
            let mut row = costs_object(sum);
            row.insert("namespace".to_owned(), json!(name));
            row.extend(efficiency_object(*efficiency));
            Value::Object(row)
        };
        let all: Vec<Value> = sums.namespaces.iter().map(one).collect();
        reply.insert("breakdown_by_namespace".to_owned(), json!(all));
    }
    Value::Object(reply)
}

/// How much is known of the time that is asked for, and where from.
fn data(costs: &AccountCosts, question: &Question, terms: Terms<'_>) -> Value {
    let (first, last) = question.span.days();
    let last = last.min(Day::of_unix(terms.now_seconds));
    let waiting = costs.waiting.iter().map(|(day, _)| *day);
    let accounted: BTreeSet<Day> = costs.days.iter().map(|day| day.day).chain(waiting).collect();
    // Before its first day an account was not there yet.
    let since = costs.since.unwrap_or(first);
    let missing = since.through(last).filter(|day| !accounted.contains(day)).count();
    let is_ok = |day: &DayCost| matches!(day.state, Some(DayState::Ok | DayState::Waiting));
    let is_nothing_known = costs.days.is_empty();
    let state = if is_nothing_known && missing == 0 && !costs.waiting.is_empty() {
        "waiting"
    } else if is_nothing_known && costs.not_stored.is_empty() {
        "no-data"
    } else if is_nothing_known || missing > 0 || !costs.days.iter().all(is_ok) {
        "partial"
    } else {
        "ok"
    };
    let of_day =
        |day: &DayCost| (!day.cause.is_empty()).then(|| format!("{}: {}", day.day, day.cause));
    let of_waiting = costs.waiting.iter().filter(|_| is_nothing_known);
    let of_waiting = of_waiting.map(|(day, cause)| format!("{day}: {cause}"));
    let causes = costs.days.iter().filter_map(of_day).chain(costs.causes.iter().cloned());
    let days = costs.days.iter().map(|day| day_value(day, question.span));
    let waiting =
        |(day, _): &(Day, String)| json!({"date": day, "state": DayState::Waiting.as_str()});
    json!({
        "state": state,
        "phase": costs.phase.map(|phase| phase.number()),
        "days_missing": missing,
        "causes": causes.chain(of_waiting).take(CAUSES_MAX).collect::<Vec<_>>(),
        "days": days.chain(costs.waiting.iter().map(waiting)).collect::<Vec<_>>(),
    })
}

fn day_value(day: &DayCost, span: Span) -> Value {
    json!({
        "date": day.day,
        "total_cost": day.usd,
        "ledger_cost": day.stored_usd,
        "share": span.share(day.day, day.known_until_seconds()),
        "source": day.origin.as_str(),
        "state": day.state.map(DayState::as_str),
    })
}

/// Up to when costs can be known, Unix seconds: now, or what is known of the running day.
fn known_until_seconds(costs: &AccountCosts, now_seconds: i64) -> i64 {
    let today = Day::of_unix(now_seconds);
    if costs.waiting.iter().any(|(day, _)| *day == today) {
        return today.start_seconds();
    }
    let running = costs.days.last().filter(|day| day.day == today);
    running.map_or(now_seconds, DayCost::known_until_seconds)
}

/// The answer of `kubecost_metrics`: for each metric a Prometheus reply of instant vectors. The
/// value is the mean rate, USD per hour, over the hours asked for whose costs can be known: times
/// these hours, it is the cost. Whoever adds the ledger's rows to costs adds none to rates.
pub(super) fn metrics(costs: &AccountCosts, question: &Question, now_seconds: i64) -> Value {
    let sums = Sums::of(costs, question.span, false);
    let hours = question.span.hours_before(known_until_seconds(costs, now_seconds));
    let at = question.span.end.min(now_seconds);
    let sample = |namespace: Option<&str>, usd: f64| {
        let mut labels = Map::new();
        labels.insert("tenant_id".to_owned(), json!(question.account));
        if let [cluster] = costs.clusters.as_slice() {
            labels.insert("cluster".to_owned(), json!(cluster));
        }
        if let Some(namespace) = namespace {
            labels.insert("namespace".to_owned(), json!(namespace));
        }
        json!({"metric": labels, "value": [at, (usd / hours).to_string()]})
    };
    let all = [CLUSTER_TOTAL.to_owned(), NAMESPACE_TOTAL.to_owned()];
    let names: &[String] = question.metrics.as_deref().unwrap_or(&all);
    let series = |name: &str| -> Vec<Value> {
        match name {
            _ if hours <= 0.0 => Vec::new(),
            CLUSTER_TOTAL => {
                sums.total.as_ref().map(|sum| sample(None, sum.usd)).into_iter().collect()
            }
            NAMESPACE_TOTAL => {
                let named = sums.namespaces.iter().filter(|(name, _)| !name.is_empty());
                named.map(|(name, (sum, _))| sample(Some(name), sum.usd)).collect()
            }
            _ => Vec::new(),
        }
    };
    let reply = |name: &String| {
        let data = json!({"resultType": "vector", "result": series(name)});
        (name.clone(), json!({"status": "success", "data": data}))
    };
    let metrics: BTreeMap<String, Value> = names.iter().map(reply).collect();
    let mut body = asked(question);
    body.insert("metrics".to_owned(), json!(metrics));
    Value::Object(body)
}

#[cfg(test)]
mod tests;
