//! What is found at the query layer and at Metroculus.

use std::collections::BTreeMap;

use crate::service::failure::Failure;
use crate::source::Phase;

use super::finding::{HopFinding, ago};
use super::http::InstantResult;
use super::judge_source::{CLOCK_SECONDS_MAX, TargetFacts, likely_cause};

/// How old the newest sample may be: remote_write sends every few seconds, scrapes are a minute
/// apart, and an instant query looks back for five.
const SAMPLE_AGE_MAX_SECONDS: i64 = 600;
/// How late the window that the gauges show may have ended, beside its length.
const WINDOW_LATENESS_MAX_SECONDS: i64 = 7_200;

/// How many tenants of no account are named.
const FOREIGN_SHOWN_MAX: usize = 5;

/// Whether the query layer answers, and agrees on the time (`system_seconds`: this machine's).
#[must_use]
pub fn reachable(asked: &Result<InstantResult, Failure>, system_seconds: i64) -> HopFinding {
    let result = match asked {
        Ok(result) => result,
        Err(failure) => return HopFinding::failed(failure, likely_cause(failure)),
    };
    match result.server_seconds.map(|server| (server - system_seconds).abs()) {
        Some(apart) if apart > CLOCK_SECONDS_MAX => HopFinding::broken(
            format!("its clock and this machine's are {} apart", ago(apart)),
            "a clock is off, there or here",
            "set both clocks by NTP: queries for now ask for another time",
        ),
        _ => HopFinding::ok("it answers"),
    }
}

/// The newest sample of each tenant, Unix seconds, by phase.
#[derive(Clone, Debug, Default)]
pub struct TenantFacts {
    /// Of the exporter's gauges.
    pub gauges: BTreeMap<String, i64>,
    /// Of raw cost-model metrics.
    pub raw: BTreeMap<String, i64>,
    /// The accounts that exporters of the account's gauges are set up for, where they say so.
    pub exporters_of: Vec<String>,
    /// Metrics of the account with a label `exported_namespace`.
    pub renamed: Vec<String>,
}

impl TenantFacts {
    /// The newest sample of an account and its phase; gauges win as long as they are fresh.
    #[must_use]
    pub fn newest(&self, account: &str, now_seconds: i64) -> Option<(Phase, i64)> {
        let (gauges, raw) = (self.gauges.get(account), self.raw.get(account));
        match (gauges, raw) {
            (Some(gauges), Some(raw)) if now_seconds - gauges > SAMPLE_AGE_MAX_SECONDS => {
                Some((if raw > gauges { Phase::Raw } else { Phase::Exporter }, *raw.max(gauges)))
            }
            (Some(gauges), _) => Some((Phase::Exporter, *gauges)),
            (None, raw) => raw.map(|raw| (Phase::Raw, *raw)),
        }
    }

    fn foreign<'a>(&'a self, known: &'a [String]) -> Vec<&'a str> {
        let all = self.gauges.keys().chain(self.raw.keys()).map(String::as_str);
        let mut foreign: Vec<&str> = all.filter(|id| !known.iter().any(|k| k == id)).collect();
        foreign.sort_unstable();
        foreign.dedup();
        foreign
    }
}

/// Whose samples are question, and what is known beside.
#[derive(Clone, Copy, Debug)]
pub struct TenantQuestion<'a> {
    /// The account, or empty when the server has one tenant only.
    pub account: &'a str,
    /// Ids of all accounts, as far as known.
    pub known: &'a [String],
    /// The phase that the settings force.
    pub forced: Option<Phase>,
    /// What the customer's Prometheus has, if it was asked.
    pub source: Option<&'a TargetFacts>,
    /// Now, Unix seconds.
    pub now_seconds: i64,
}

/// Whether the account has samples, fresh ones, and which.
#[must_use]
pub fn tenant(asked: &Result<TenantFacts, Failure>, question: TenantQuestion<'_>) -> HopFinding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return HopFinding::failed(failure, likely_cause(failure)),
    };
    let Some((phase, newest)) = facts.newest(question.account, question.now_seconds) else {
        return absent(facts, question);
    };
    let (number, age) = (phase.number(), question.now_seconds - newest);
    if age > SAMPLE_AGE_MAX_SECONDS {
        return HopFinding::broken(
            format!("its newest sample (phase {number}) is {} old", ago(age)),
            "samples have stopped: the exporter's costs are stale, or remote_write stands still",
            "see the hops before: exporter, target, remote-write, diproxy",
        );
    }
    let lacks_gauges = phase == Phase::Raw && !facts.gauges.contains_key(question.account);
    if lacks_gauges && question.source.is_some_and(TargetFacts::has_gauges) {
        return HopFinding::broken(
            "raw metrics arrive, the exporter's gauges do not, though the customer's Prometheus has them",
            "the keep-regex of remote_write's write_relabel_configs drops cloudtuner_kubecost_.*",
            "add cloudtuner_kubecost_.* to the regex of write_relabel_configs",
        );
    }
    if lacks_gauges && question.forced == Some(Phase::Exporter) {
        return HopFinding::broken(
            "there are raw metrics only, but PHASE=2 wants the exporter's gauges",
            "no exporter, or a keep-regex of remote_write that drops its gauges",
            "install the exporter, keep cloudtuner_kubecost_.*, or set PHASE=auto",
        );
    }
    misplaced(facts, question, phase).unwrap_or_else(|| {
        HopFinding::ok(format!("phase {number}, newest sample {} old", ago(age)))
    })
}

/// Samples that are there, but are another account's or have another's names.
fn misplaced(
    facts: &TenantFacts,
    question: TenantQuestion<'_>,
    phase: Phase,
) -> Option<HopFinding> {
    let account = question.account;
    let other = facts.exporters_of.iter().find(|id| *id != account);
    if let Some(other) = other.filter(|_| !account.is_empty()) {
        return Some(HopFinding::broken(
            format!("its gauges come from an exporter that is set up for '{other}'"),
            "the header Cloud-Account-Id of remote_write and the exporter's TENANT_ID differ",
            format!("set both to the id of the one account whose cluster that is ({account}?)"),
        ));
    }
    let is_read = |name: &&String| name.starts_with("cloudtuner_") == (phase == Phase::Exporter);
    let metric = facts.renamed.iter().find(is_read)?;
    Some(HopFinding::broken(
        format!("{metric} has the label exported_namespace"),
        "it is scraped without honor_labels: its namespaces and pods are those of the scraped pod",
        "set honor_labels: true in the scrape config (honorLabels in a ServiceMonitor)",
    ))
}

fn absent(facts: &TenantFacts, question: TenantQuestion<'_>) -> HopFinding {
    let source = question.source;
    let foreign = facts.foreign(question.known);
    if !foreign.is_empty() {
        let shown: Vec<String> =
            foreign.iter().take(FOREIGN_SHOWN_MAX).map(|id| format!("'{id}'")).collect();
        return HopFinding::broken(
            format!("it has no samples, but tenants of no account have: {}", shown.join(", ")),
            "the header Cloud-Account-Id of remote_write holds another id than the account's",
            format!(
                "set Cloud-Account-Id to {}, and the exporter's TENANT_ID too",
                question.account
            ),
        );
    }
    let what = "it has no sample in the last three days";
    if source.is_some_and(|source| source.has_gauges() || source.has_raw) {
        return HopFinding::broken(
            format!("{what}, though the customer's Prometheus has them"),
            "remote_write sends nothing, or its keep-regex drops this program's metrics",
            "see remote-write and diproxy; keep cloudtuner_kubecost_.* in write_relabel_configs",
        );
    }
    HopFinding::broken(
        what,
        "the customer's cluster sends nothing, or under another tenant, or it has expired",
        "see the customer's cluster: set EXPORTER_URL and SOURCE_PROMETHEUS_URL and verify again",
    )
}

/// What the gauges say about their windows: each its end and length, seconds.
pub type WindowFacts = Vec<(i64, i64)>;

/// How far the costs lag.
#[must_use]
pub fn lag(
    asked: &Result<WindowFacts, Failure>,
    phase: Option<Phase>,
    now_seconds: i64,
) -> HopFinding {
    let windows = match (asked, phase) {
        (_, None) => return HopFinding::skipped("there are no samples to lag"),
        (_, Some(Phase::Raw)) => return HopFinding::ok("phase 1: raw metrics do not lag"),
        (Err(failure), _) => return HopFinding::failed(failure, likely_cause(failure)),
        (Ok(windows), _) => windows,
    };
    let Some((end, length)) = windows.iter().min() else {
        return HopFinding::ok(
            "the gauges name no window: recording rules, or an exporter that has none",
        );
    };
    let age = now_seconds - end;
    if age < -CLOCK_SECONDS_MAX {
        let what = format!("the costs are {} from the future", ago(-age));
        return HopFinding::broken(
            what,
            "a clock is off, at the customer's or here",
            "set both by NTP",
        );
    }
    if age > length + WINDOW_LATENESS_MAX_SECONDS {
        return HopFinding::broken(
            format!("the costs are of a window that ended {} ago", ago(age)),
            "the exporter shows an old answer: its source computes nothing newer",
            "see the exporter's log, then Kubecost's or OpenCost's",
        );
    }
    HopFinding::ok(format!("costs are of a window that ended {} ago", ago(age)))
}

/// Metroculus' answer: how many series of the exporter's total it has.
#[must_use]
pub fn metroculus(asked: &Result<usize, Failure>, phase: Option<Phase>) -> HopFinding {
    match (asked, phase) {
        (Err(failure), _) if failure.what.contains("'Error'") => HopFinding::broken(
            failure.what.clone(),
            "Metroculus failed inside: often Thanos Query is not reachable from it",
            "see Metroculus' log, and its Thanos address",
        ),
        (Err(failure), _) => HopFinding::failed(failure, likely_cause(failure)),
        (Ok(0), Some(Phase::Exporter)) => HopFinding::broken(
            "it has no gauges, though the query layer has",
            "it asks another Thanos, or falls back to phase 1 in silence",
            "see Metroculus' Thanos address, and its version",
        ),
        (Ok(0), _) => HopFinding::ok("it answers; no gauges: phase 1"),
        (Ok(series), _) => HopFinding::ok(format!("it answers; phase 2, {series} clusters")),
    }
}

#[cfg(test)]
mod tests;
