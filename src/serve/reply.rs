//! Answers: what an account costs, in the shapes that Metroculus' callers read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::cost::Day;
use crate::day_status::DayState;
use crate::source::metric_names::{CLUSTER_TOTAL, NAMESPACE_TOTAL};

use super::gather::{AccountCosts, DayCost};
use super::request::Question;

/// The most reasons that an answer gives.
const CAUSES_MAX: usize = 5;

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

/// Costs of the time that is asked for.
struct Costs {
    /// USD; `None` where nothing is known.
    total_usd: Option<f64>,
    /// USD by namespace; the empty name is what belongs to none.
    namespaces: BTreeMap<String, f64>,
}

fn answered(usd: f64, stored_usd: f64, terms: Terms<'_>) -> f64 {
    if terms.is_ledger_added { (usd - stored_usd).max(0.0) } else { usd }
}

impl Costs {
    fn of(costs: &AccountCosts, question: &Question, terms: Terms<'_>) -> Self {
        let share = |day: Day| question.span.share(day, terms.now_seconds);
        let total_usd = costs
            .days
            .iter()
            .map(|day| answered(day.usd, day.stored_usd, terms) * share(day.day))
            .reduce(|sum, usd| sum + usd);
        let mut namespaces: BTreeMap<String, f64> = BTreeMap::new();
        for group in &costs.namespaces {
            let share = if group.first == group.last { share(group.first) } else { 1.0 };
            let names: BTreeSet<&String> =
                group.usd.keys().chain(group.stored_usd.keys()).collect();
            for name in names {
                let of = |usd: &BTreeMap<String, f64>| usd.get(name).copied().unwrap_or(0.0);
                let usd = answered(of(&group.usd), of(&group.stored_usd), terms) * share;
                if usd != 0.0 {
                    *namespaces.entry(name.clone()).or_default() += usd;
                }
            }
        }
        Self { total_usd, namespaces }
    }
}

/// The answer of `kubecost_cluster_costs`: nested, and flat as its first form was.
pub(super) fn cluster_costs(costs: &AccountCosts, question: &Question, terms: Terms<'_>) -> Value {
    let sums = Costs::of(costs, question, terms);
    let mut reply = Map::new();
    let mut summary = Map::new();
    // What is not known is left out: a zero, or a null, would be taken for a cost.
    if let Some(total_usd) = sums.total_usd {
        reply.insert("total_cost".to_owned(), json!(total_usd));
        summary.insert("total_cost".to_owned(), json!(total_usd));
    }
    reply.insert("breakdown".to_owned(), Value::Object(summary.clone()));
    reply.insert("summary".to_owned(), Value::Object(summary));
    reply.insert("efficiency".to_owned(), json!({}));
    reply.insert("cloud_account_id".to_owned(), json!(question.account));
    reply.insert("start_date".to_owned(), json!(question.span.start));
    reply.insert("end_date".to_owned(), json!(question.span.end));
    reply.insert("currency".to_owned(), json!(terms.currency));
    reply.insert("data".to_owned(), data(costs, question, terms));
    if question.by_namespace {
        let one = |(name, usd): (&String, &f64)| {
            let name = if name.is_empty() { "__cluster__" } else { name };
            json!({"namespace": name, "total_cost": usd})
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
    let known: BTreeSet<Day> = costs.days.iter().map(|day| day.day).collect();
    // Before its first day an account was not there yet.
    let since = known.first().copied().unwrap_or(first);
    let missing = since.through(last).filter(|day| !known.contains(day)).count();
    let is_ok = |day: &DayCost| matches!(day.state, Some(DayState::Ok | DayState::Approximate));
    let state = if known.is_empty() {
        "no-data"
    } else if missing > 0 || !costs.days.iter().all(is_ok) {
        "partial"
    } else {
        "ok"
    };
    let of_day =
        |day: &DayCost| (!day.cause.is_empty()).then(|| format!("{}: {}", day.day, day.cause));
    let causes = costs.days.iter().filter_map(of_day).chain(costs.causes.iter().cloned());
    let days: Vec<Value> = costs.days.iter().map(|day| day_value(day, question, terms)).collect();
    json!({
        "state": state,
        "phase": costs.phase.map(|phase| phase.number()),
        "days_missing": missing,
        "causes": causes.take(CAUSES_MAX).collect::<Vec<_>>(),
        "days": days,
    })
}

fn day_value(day: &DayCost, question: &Question, terms: Terms<'_>) -> Value {
    json!({
        "date": day.day,
        "total_cost": day.usd,
        "ledger_cost": day.stored_usd,
        "share": question.span.share(day.day, terms.now_seconds),
        "source": day.origin.as_str(),
        "state": day.state.map(DayState::as_str),
    })
}

/// The answer of `kubecost_metrics`: for each metric a Prometheus reply of instant vectors. The
/// value is the mean rate, USD per hour, over the hours asked for that have passed: times these
/// hours, it is the cost.
pub(super) fn metrics(costs: &AccountCosts, question: &Question, terms: Terms<'_>) -> Value {
    let sums = Costs::of(costs, question, terms);
    let hours = question.span.hours_passed(terms.now_seconds);
    let at = question.span.end.min(terms.now_seconds);
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
            CLUSTER_TOTAL => sums.total_usd.map(|usd| sample(None, usd)).into_iter().collect(),
            NAMESPACE_TOTAL => {
                let named = sums.namespaces.iter().filter(|(name, _)| !name.is_empty());
                named.map(|(name, usd)| sample(Some(name), *usd)).collect()
            }
            _ => Vec::new(),
        }
    };
    let reply = |name: &String| {
        let data = json!({"resultType": "vector", "result": series(name)});
        (name.clone(), json!({"status": "success", "data": data}))
    };
    let metrics: Map<String, Value> = names.iter().map(reply).collect();
    json!({"metrics": metrics})
}
