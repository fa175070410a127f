//! What is fed, and with what it begins. A target must come back, whatever it is fed.

use kubecost_worker::accounts::mongo::usable;
use kubecost_worker::allocation_api::{self, Faults, Window, verdict};
use kubecost_worker::day_status::DayStatus;
use kubecost_worker::run::plan::Plan;
use kubecost_worker::service::metrics::{samples, to_text_format};
use kubecost_worker::settings::worker::{RunSettings, SETTINGS};
use kubecost_worker::settings::{ExporterConfig, RawSettings, ReadSettings, exporter};
use kubecost_worker::source::metroculus::reply::{CostsReply, MetricsReply};
use kubecost_worker::source::prometheus::reply::{read_json, read_reply};
use mongodb::bson::{Bson, Document};
use serde_json::Value;

use crate::seeds;

/// A parser of what others write.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Whether seeds are JSON, whose structure is changed too.
    pub(crate) is_json: bool,
    pub(crate) seeds: Vec<Vec<u8>>,
    /// Feeds it; the value says whether the input was taken.
    pub(crate) feed: fn(&[u8]) -> bool,
}

fn json_seeds(seeds: &[Value]) -> Vec<Vec<u8>> {
    seeds.iter().map(|seed| seed.to_string().into_bytes()).collect()
}

fn prometheus(input: &[u8]) -> bool {
    read_reply(input, 1 << 20).is_ok_and(|reply| reply.data.is_some())
}

fn metroculus(input: &[u8]) -> bool {
    let metrics = read_json::<MetricsReply>(input, 1 << 20).is_ok();
    read_json::<CostsReply>(input, 1 << 20).is_ok() || metrics
}

fn allocation(input: &[u8]) -> bool {
    let Ok(reply) = allocation_api::reply::parse(input) else {
        return !allocation_api::reply::error_text(input).is_empty();
    };
    let window = Window::new(1_795_190_400, 1_795_194_000);
    let mut faults = Faults::default();
    let _ = verdict::check_shared_idle(&mut reply.sets.clone());
    let Ok(selected) = verdict::select(reply, window, &mut faults) else { return true };
    let rows = selected.rows;
    let _ = (verdict::check(&rows), verdict::reach(&rows), verdict::is_cut_short(window, &rows));
    true
}

fn document(input: &[u8]) -> Option<Document> {
    let value: Value = serde_json::from_slice(input).ok()?;
    match Bson::try_from(value).ok()? {
        Bson::Document(document) => Some(document),
        _ => None,
    }
}

fn account(input: &[u8]) -> bool {
    document(input).is_some_and(|document| !usable(&[document]).is_empty())
}

fn status(input: &[u8]) -> bool {
    let from_text = serde_json::from_slice::<DayStatus>(input);
    let from_document =
        document(input).and_then(|d| mongodb::bson::from_document::<DayStatus>(d).ok());
    for status in from_text.iter().chain(&from_document) {
        // What was read can be written, and is read again as the same.
        let written = serde_json::to_vec(status).unwrap();
        let again: DayStatus = serde_json::from_slice(&written).unwrap();
        assert_eq!(&again, status);
    }
    from_text.is_ok() || from_document.is_some()
}

fn plan(input: &[u8]) -> bool {
    serde_json::from_slice::<Plan>(input).is_ok_and(|plan| {
        plan.accounts.iter().for_each(|account| drop(plan.days(&account.account).to_vec()));
        std::hint::black_box(plan.is_of_a_part());
        serde_json::to_vec(&plan).is_ok()
    })
}

fn settings(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let worker = RunSettings::validate(RawSettings::of_toml(SETTINGS, &text)).is_ok();
    ExporterConfig::validate(RawSettings::of_toml(exporter::SETTINGS, &text)).is_ok() || worker
}

fn metric_text(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let older = to_text_format(&text);
    samples(&older).len() + samples(&text).len() > 0
}

const WORKER_SETTINGS: &str = r#"
prometheus_url = "http://p:9090"
mongo_url = "mongodb://u:p@m/"
accounts = ["a", "b"]
clickhouse_url = "http://c:8123"
levels = "cluster,pod"
catch_up_days = 35
shrink_limit = 0.2
"#;

const EXPORTER_SETTINGS: &str = r#"
kubecost_url = "http://k:9090"
tenant_id = "a"
cluster_name = "c"
window = "2h"
pod_metrics = true
"#;

/// What the exporter's own page does not have: escapes, exponents, times.
const ODD_TEXT: &str = r#"# HELP a_b Help.
# TYPE a_b counter
a_b_total{x="1",y="a\"b\\c\nd"} 1
# TYPE g gauge
g 2.5e3 1795132800
# EOF
"#;

const WORKER_TEXT: &str = r#"kubecost_worker_runs_total{outcome="ok"} 7
expenses_last_insert_time{cloud_account_id="a"} 1
"#;

/// All of them.
pub(crate) fn targets() -> Vec<Target> {
    let text_seeds = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut settings_seeds: Vec<_> = text_seeds(&[WORKER_SETTINGS, EXPORTER_SETTINGS]);
    settings_seeds.push(seeds::all_settings(WORKER_SETTINGS, SETTINGS));
    settings_seeds.push(seeds::all_settings(EXPORTER_SETTINGS, exporter::SETTINGS));
    let mut page_seeds: Vec<_> = text_seeds(&[ODD_TEXT, WORKER_TEXT]);
    page_seeds.push(seeds::exporter_page());
    let json = |name, seeds, feed| Target { name, is_json: true, seeds, feed };
    let text = |name, seeds, feed| Target { name, is_json: false, seeds, feed };
    vec![
        json("prometheus-reply", json_seeds(&seeds::prometheus_replies()), prometheus),
        json("allocation-reply", seeds::allocation_replies(), allocation),
        json("metroculus-reply", json_seeds(&seeds::metroculus_replies()), metroculus),
        json("account-document", json_seeds(&seeds::account_documents()), account),
        json("status-document", seeds::day_documents(), status),
        json("plan-file", json_seeds(&[seeds::plan()]), plan),
        text("settings-file", settings_seeds, settings),
        text("metric-text", page_seeds, metric_text),
    ]
}
