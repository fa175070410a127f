//! What is found in the customer's cluster: exporter, Prometheus, remote_write, and at diproxy.

use crate::service::failure::{Failure, Kind, UNKNOWN_AUTHORITY};
use crate::service::metrics::{Sample, samples};
use crate::source::metric_names::CLUSTER_TOTAL;

use super::finding::{HopFinding, ago};
use super::http::HttpReply;

/// How much later than its window's length the exporter's data may be: the window is asked for
/// some minutes after it closed.
const LATENESS_MAX_SECONDS: f64 = 1_800.0;
/// How far apart clocks may be.
pub const CLOCK_SECONDS_MAX: i64 = 120;
/// How far remote_write may be behind.
const WRITE_LAG_MAX_SECONDS: f64 = 600.0;

fn of<'a>(all: &'a [Sample], name: &str) -> impl Iterator<Item = &'a Sample> {
    let name = format!("cloudtuner_kubecost_{name}");
    all.iter().filter(move |sample| sample.name == name)
}

/// The exporter's page.
#[must_use]
pub fn exporter(
    asked: &Result<HttpReply, Failure>,
    account: Option<&str>,
    now_seconds: i64,
) -> HopFinding {
    let reply = match asked {
        Ok(reply) if reply.status == 200 => reply,
        Ok(reply) => {
            let fix = "see that EXPORTER_URL is the allocation exporter, without /metrics";
            return HopFinding::broken(reply.excerpt(), "something else answers there", fix);
        }
        Err(failure) => {
            let cause = "the exporter is down, or not reachable from here";
            let fix = "kubectl get pods and logs of kubecost-allocation-exporter; see EXPORTER_URL";
            return HopFinding::broken(failure.what.clone(), cause, fix);
        }
    };
    let all = samples(&reply.body);
    let Some(info) = of(&all, "exporter_build_info").next() else {
        let what = "its page has no cloudtuner_kubecost_exporter_build_info";
        let fix = "set EXPORTER_URL to the allocation exporter (port 19090)";
        return HopFinding::broken(what, "another program serves these metrics", fix);
    };
    let tenant = info.label("tenant_id");
    if account.is_some_and(|account| account != tenant) {
        let what = format!("its label tenant_id is '{tenant}', not '{}'", account.unwrap_or(""));
        let fix = "set TENANT_ID of the exporter to the cloud account's id";
        return HopFinding::broken(what, "the exporter was set up for another account", fix);
    }
    if info.label("mode") == "total" {
        let fix = "set METRIC_MODE=rate at the exporter";
        return HopFinding::broken(
            "it shows totals of windows, not rates",
            "METRIC_MODE=total",
            fix,
        );
    }
    exporter_data(&all, now_seconds)
}

fn exporter_data(all: &[Sample], now_seconds: i64) -> HopFinding {
    let value = |name: &str| of(all, name).next().map(|sample| sample.value);
    let reasons: Vec<String> = of(all, "exporter_scrape_errors_total")
        .filter(|sample| sample.value > 0.0)
        .map(|sample| format!("{} ({})", sample.label("reason"), sample.value))
        .collect();
    let cause =
        if reasons.is_empty() { "no poll has ended yet".into() } else { reasons.join(", ") };
    let end = value("window_end_timestamp_seconds");
    let age = end.map(|end| now_seconds as f64 - end);
    let fix_source =
        "see the exporter's log, then Kubecost's or OpenCost's: docs/METRICS.md has the reasons";
    if age.is_some_and(|age| age < -(CLOCK_SECONDS_MAX as f64)) {
        let what = format!("its data is {} from the future", ago(-seconds(age.unwrap_or(0.0))));
        return HopFinding::broken(what, "a clock is off, there or here", "set both clocks by NTP");
    }
    if value("cluster_total_cost").is_none() {
        let what = match age {
            Some(age) => format!("it shows no costs; the last are {} old", ago(seconds(age))),
            None => "it shows no costs".to_owned(),
        };
        let cause = format!("its source gives no plausible window: {cause}");
        return HopFinding::broken(what, cause, fix_source);
    }
    if value("exporter_scrape_success") == Some(0.0) {
        let what = "its last poll of the allocation API failed";
        return HopFinding::broken(what, format!("polls that failed: {cause}"), fix_source);
    }
    let age = age.unwrap_or(0.0);
    let window = value("window_seconds").unwrap_or(3_600.0);
    if age > window + LATENESS_MAX_SECONDS {
        let what = format!(
            "the hour it shows ended {} ago, and newer ones have closed",
            ago(seconds(age))
        );
        let cause = format!("the source's newest hours are empty or half computed: {cause}");
        return HopFinding::broken(what, cause, fix_source);
    }
    HopFinding::ok(format!("costs of an hour that ended {} ago", ago(seconds(age))))
}

#[expect(clippy::cast_possible_truncation, reason = "seconds, far below the limits")]
fn seconds(value: f64) -> i64 {
    value.round() as i64
}

/// What the customer's Prometheus says of the exporter.
#[derive(Clone, Debug, Default)]
pub struct TargetFacts {
    /// `up` of the exporter's targets, by instance.
    pub up: Vec<(String, f64)>,
    /// The tenants of the gauges that it has; one without the label is an empty text.
    pub gauge_tenants: Vec<String>,
    /// Whether it has raw cost-model metrics.
    pub has_raw: bool,
}

impl TargetFacts {
    /// Whether it has any gauge of cost.
    #[must_use]
    pub fn has_gauges(&self) -> bool {
        !self.gauge_tenants.is_empty()
    }
}

/// What is known of a customer's Prometheus that did not answer: an agent is no fault.
fn unanswered(failure: &Failure) -> HopFinding {
    if failure.kind == Kind::Refused {
        return HopFinding::skipped(
            "that Prometheus is an agent: it scrapes and writes, but answers no queries",
        );
    }
    HopFinding::failed(failure, likely_cause(failure))
}

/// The exporter as a target of the customer's Prometheus.
#[must_use]
pub fn target(asked: &Result<TargetFacts, Failure>, account: Option<&str>) -> HopFinding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return unanswered(failure),
    };
    if let Some((instance, _)) = facts.up.iter().find(|(_, up)| *up == 0.0) {
        let what = format!("the target {instance} is down");
        let cause = "Prometheus cannot scrape the exporter";
        return HopFinding::broken(what, cause, "see Status > Targets there, and network policies");
    }
    // Clusters may share a Prometheus, so other tenants beside this one are no fault.
    let is_of_account = |tenant: &String| tenant.is_empty() || account.is_none_or(|a| a == tenant);
    if let Some(tenant) = facts.gauge_tenants.first()
        && !facts.gauge_tenants.iter().any(is_of_account)
    {
        let what = format!("it has gauges of tenant_id '{tenant}', none of this account");
        let fix = "set TENANT_ID of the exporter to the cloud account's id";
        return HopFinding::broken(what, "the exporter was set up for another account", fix);
    }
    match (facts.has_gauges(), facts.has_raw, facts.up.is_empty()) {
        (true, ..) => HopFinding::ok("the exporter's gauges are there"),
        (_, _, false) => HopFinding::broken(
            format!("the target is up, but there is no {CLUSTER_TOTAL}"),
            "the exporter shows no costs, or metric_relabel_configs drop them",
            "look at the exporter's /metrics and at the scrape config",
        ),
        (_, true, true) => {
            HopFinding::ok("no exporter; raw cost-model metrics are there (phase 1)")
        }
        (_, false, true) => HopFinding::broken(
            "it scrapes neither the exporter nor a cost model",
            "the scrape config lacks them",
            "add the chart's extraScrapeConfigs or ServiceMonitor",
        ),
    }
}

/// The likely cause of a failure of any hop.
#[must_use]
pub fn likely_cause(failure: &Failure) -> &'static str {
    match failure.kind {
        _ if failure.what.contains(UNKNOWN_AUTHORITY) => {
            "its certificate is of an authority that this machine does not know"
        }
        Kind::Denied if failure.what.contains("certificate") => {
            "its certificate, or the client's, is not the right one"
        }
        Kind::Denied | Kind::Unavailable if failure.what.contains("the proxy ") => {
            "a proxy is on the way, and does not let this through"
        }
        Kind::Denied => "wrong or missing credentials",
        Kind::Unavailable => "the server is down, not ready or not reachable from here",
        Kind::Timeout => "the server is overloaded, or packets to it are dropped",
        Kind::Schema => "the schema is not what it should be",
        _ => "another program answers, or something on the way rewrites its answers",
    }
}

/// What the customer's Prometheus says of its remote_write.
#[derive(Clone, Debug, Default)]
pub struct WriteFacts {
    /// Whether it scrapes itself, without which its queues are not seen.
    pub sees_itself: bool,
    /// Whether it has any queue.
    pub has_queue: bool,
    /// How far the slowest queue is behind, seconds.
    pub lag_seconds: Option<f64>,
    /// Samples a second that are refused for good.
    pub failed_per_second: f64,
    /// Samples a second that are tried again.
    pub retried_per_second: f64,
}

/// remote_write of the customer's Prometheus.
#[must_use]
pub fn remote_write(asked: &Result<WriteFacts, Failure>) -> HopFinding {
    let facts = match asked {
        Ok(facts) => facts,
        Err(failure) => return unanswered(failure),
    };
    if !facts.has_queue && !facts.sees_itself {
        return HopFinding::skipped(
            "that Prometheus does not scrape itself: its queues are not seen",
        );
    }
    if !facts.has_queue {
        return HopFinding::broken(
            "it has no remote_write queue",
            "remote_write is not configured there",
            "add the chart's remote_write, with the header Cloud-Account-Id and basic_auth",
        );
    }
    let fix = "see its log for the status that the ingress answers: 401 credentials, 400 or 422 \
               the header Cloud-Account-Id, 503 CloudTuner";
    if facts.failed_per_second > 0.0 {
        let what = format!("{:.2} samples a second are refused for good", facts.failed_per_second);
        return HopFinding::broken(what, "the ingress refuses what is sent", fix);
    }
    match facts.lag_seconds {
        Some(lag) if lag > WRITE_LAG_MAX_SECONDS => {
            let what = format!("remote_write is {} behind", ago(seconds(lag)));
            HopFinding::broken(what, "the ingress does not answer, or too slowly", fix)
        }
        _ if facts.retried_per_second > 0.0 => {
            let what = format!("{:.2} samples a second are sent again", facts.retried_per_second);
            HopFinding::broken(what, "the ingress fails or asks for less", fix)
        }
        Some(lag) => {
            HopFinding::ok(format!("{} behind, nothing refused", ago(seconds(lag.max(0.0)))))
        }
        None => HopFinding::ok("nothing refused"),
    }
}

/// diproxy's answer to an empty write.
#[must_use]
pub fn diproxy(asked: &Result<HttpReply, Failure>) -> HopFinding {
    let reply = match asked {
        Ok(reply) => reply,
        Err(failure) => return HopFinding::failed(failure, likely_cause(failure)),
    };
    let lower = reply.body.to_ascii_lowercase();
    let is_about_body = ["snappy", "decod", "decompress", "corrupt", "empty", "unmarshal"]
        .iter()
        .any(|w| lower.contains(w));
    let (cause, fix) = match reply.status {
        200..=299 => return HopFinding::ok("it takes the account and the credentials"),
        // An empty write has no samples in it: who complains of that has taken the credentials.
        400 if is_about_body => return HopFinding::ok("it takes the account and the credentials"),
        400 => (
            "the header Cloud-Account-Id is no account that it knows",
            "send the cloud account's id as Cloud-Account-Id; see that the account exists",
        ),
        401 | 403 => (
            "user or password are not those of the account",
            "set DIPROXY_USER and DIPROXY_PASSWORD, and remote_write's basic_auth, to the account's",
        ),
        404 => (
            "the path is not remote_write's",
            "set DIPROXY_URL to the whole address of remote_write",
        ),
        422 => (
            "the account is of another type or lacks its Kubernetes credentials",
            "create the cloud account as kubernetes_cnr, with user and password",
        ),
        429 => ("it limits its callers", "wait, or raise its limit"),
        500..=599 => (
            "diproxy is up, but the REST API or Thanos receive behind it is not",
            "see diproxy's log, then the pods of restapi and thanos-receive",
        ),
        _ => {
            ("something else answers there", "set DIPROXY_URL to the whole address of remote_write")
        }
    };
    HopFinding::broken(reply.excerpt(), cause, fix)
}

#[cfg(test)]
mod tests;
