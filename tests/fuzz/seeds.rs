//! What inputs begin as: recorded where there is a recording, else made up with every field.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubecost_worker::allocation_api::{Faults, Idle, Window, reply, verdict};
use kubecost_worker::exporter::accepted::AnswerFacts;
use kubecost_worker::exporter::render::View;
use kubecost_worker::exporter::snapshot::Snapshot;
use kubecost_worker::settings::exporter::{MetricMode, PodLabels};
use kubecost_worker::settings::raw::Setting;
use serde_json::{Value, json};

/// Recorded replies that are longer than this are left out: inputs would be few.
const RECORDED_BYTES_MAX: usize = 16 << 10;
/// The hour of the recorded reply of namespaces: 2026-11-20 16:00 UTC.
const RECORDED_HOUR: Window = Window { start: 1_795_190_400, end: 1_795_194_000 };

fn fixture_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// A fixture's bytes, decompressed.
fn fixture(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if path.extension().is_none_or(|extension| extension != "gz") {
        return bytes;
    }
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut body).unwrap();
    body
}

/// The files of a folder of fixtures.
fn files(folder: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(fixture_path(folder)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    paths.iter().map(|path| fixture(path)).collect()
}

/// Odd replies, and the shorter ones of those that a running OpenCost gave.
pub(crate) fn allocation_replies() -> Vec<Vec<u8>> {
    let recorded = files("opencost-run/alloc").into_iter().chain(files("opencost-run/errors"));
    let short = recorded.filter(|reply| reply.len() <= RECORDED_BYTES_MAX);
    files("odd").into_iter().chain(short).collect()
}

/// The documents of days as version 0.1.0 stored them.
pub(crate) fn day_documents() -> Vec<Vec<u8>> {
    let file = fixture(&fixture_path("stored-0.1.0/kubecost_account_day.jsonl"));
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(<[u8]>::to_vec).collect()
}

/// What the exporter shows of the recorded hour, in both formats.
pub(crate) fn exporter_page() -> Vec<u8> {
    let file = fixture(&fixture_path("opencost-run/alloc/hour16-namespace-idle.json.gz"));
    let mut faults = Faults::default();
    let selected = verdict::select(reply::parse(&file).unwrap(), RECORDED_HOUR, &mut faults);
    let rows = selected.unwrap().rows;
    let snapshot = Snapshot::of_namespaces(RECORDED_HOUR, &rows, Idle::Separate, &mut faults);
    let answer = AnswerFacts {
        window: RECORDED_HOUR,
        rows: rows.len(),
        total: snapshot.cluster.total,
        covered: RECORDED_HOUR,
        unknown_rows: 0,
        missing_seconds: 0,
        has_idle: true,
    };
    let view = View {
        tenant: "bc55eb8c-5db2-4c32-b976-2df0edb0619a".into(),
        cluster: "prod".into(),
        currency: "USD".into(),
        mode: MetricMode::Rate,
        pod_labels: PodLabels::default(),
        has_pods: false,
        has_nodes: false,
        snapshot: Some(Arc::new(snapshot)),
        answer: Some(answer),
        data_age_seconds: Some(300),
        is_success: Some(true),
        duration_seconds: 0.25,
        errors: [("empty", 3)].into(),
        odd_values: [("null-cost", 1)].into(),
        product: Some("OpenCost"),
    };
    view.openmetrics().unwrap().into_bytes()
}

/// A settings file with each setting that has a default, after `required`.
pub(crate) fn all_settings(required: &str, settings: &[Setting]) -> Vec<u8> {
    let mut text = required.to_owned();
    for setting in settings {
        let key = setting.name.to_lowercase();
        let is_there = required.lines().any(|line| line.starts_with(&format!("{key} =")));
        if let Some(default) = setting.default.filter(|_| !is_there) {
            text.push_str(&format!("{key} = {}\n", Value::from(default)));
        }
    }
    text.into_bytes()
}

fn series(more: &[(&str, &str)], (key, samples): (&str, Value)) -> Value {
    let mut metric = json!({"tenant_id": "a", "cluster": "c"});
    for (label, value) in more {
        metric[*label] = json!(value);
    }
    json!({"metric": metric, key: samples})
}

fn prometheus_reply(kind: &str, result: &Value) -> Value {
    let data = json!({"resultType": kind, "result": result, "stats": {"timings": {}}});
    json!({"status": "success", "data": data, "warnings": ["w"], "infos": ["i"], "isPartial": false})
}

/// An instant answer, a range, a scalar, a text, and an error.
pub(crate) fn prometheus_replies() -> Vec<Value> {
    let pod = [("__name__", "pod_total_cost"), ("namespace", "n"), ("pod", "p"), ("node", "k")];
    let points = json!([[1_795_132_800, "2"], [1_795_132_860, "+Inf"], [1_795_132_920.5, "1e3"]]);
    let histogram = json!([1_795_132_800, {"count": "3", "sum": "1", "buckets": []}]);
    let vector = json!([
        series(&pod, ("value", json!([1_795_132_800.5, "0.25"]))),
        series(&[], ("value", json!([1_795_132_800, "NaN"]))),
        series(&[], ("histogram", histogram)),
    ]);
    let matrix = json!([series(&pod, ("values", points.clone())), series(&[], ("values", points))]);
    vec![
        prometheus_reply("vector", &vector),
        prometheus_reply("matrix", &matrix),
        prometheus_reply("scalar", &json!([1_795_132_800, "1"])),
        prometheus_reply("string", &json!([1_795_132_800, "x"])),
        json!({"status": "error", "errorType": "bad_data", "error": "x"}),
    ]
}

/// Answers of now, the points of earlier versions, totals, and an error.
pub(crate) fn metroculus_replies() -> Vec<Value> {
    let vector = &prometheus_replies()[0];
    let labels = json!({"__name__": "m", "tenant_id": "a", "cluster_id": "c", "namespace": "n"});
    let points =
        json!([{"timestamp": "2026-11-20T01:00:00+00:00", "value": 3.0, "labels": labels}]);
    let error = json!({"status_code": 404, "error_code": "OM0005", "reason": "r", "params": []});
    vec![
        json!({"metrics": {"a": vector, "b": points, "c": null}}),
        json!({"total_cost": 1.5, "cpu_cost": 1, "breakdown": {}, "data_points": []}),
        json!({"summary": {"total_cost": 1.5}, "efficiency": {"cpu": 0.5}}),
        json!({"error": error}),
    ]
}

/// As the REST API stores them: with a text or an object id, and with what else is there.
pub(crate) fn account_documents() -> Vec<Value> {
    vec![
        json!({
            "_id": "bc55eb8c-5db2-4c32-b976-2df0edb0619a", "name": "prod", "deleted_at": 0,
            "created_at": 1_795_132_800, "type": "kubernetes_cnr", "organization_id": "o",
            "config": {"user": "u", "cost_model": {"cpu_hourly_cost": 0.002}}, "auto_import": true,
            "last_import_at": {"$numberLong": "1795132800"}, "parent_id": null,
        }),
        json!({"_id": {"$oid": "65f0c0ffee65f0c0ffee65f0"}, "name": null}),
    ]
}

fn planned_costs() -> Value {
    let breakdown = json!({
        "parts": {"cpu": 1.0, "ram": 0.5, "gpu": 0.0, "pv": 0.25, "network": 0.1, "lb": 0.1,
            "idle": 0.05, "other": -0.1},
        "idle_of": {"cpu": 0.25}, "cpu_efficiency": 0.5, "ram_efficiency": 58.5,
    });
    let facts = json!({
        "region": "eu-1a", "instance_type": "m5.large", "provider_id": "aws:///i-1", "cores": 2.0,
        "memory_bytes": 8e9, "is_spot": true, "price_usd_hourly": 0.1,
    });
    let pod = json!({"total_usd": 1.0, "node": "node-a", "service": "web", "breakdown": breakdown});
    let node = json!({"total_usd": 2.4, "idle_usd": 0.5, "breakdown": breakdown, "facts": facts});
    let namespace = json!({"total_usd": 1.5, "breakdown": breakdown, "pods": {"web-0": pod}});
    json!({"clusters": {"prod": {
        "total_usd": 3.0, "namespaces": {"shop": namespace}, "breakdown": breakdown,
        "nodes": {"node-a": node},
    }}})
}

fn planned_source() -> Value {
    let reading = json!({
        "cluster_label": "cluster", "node_basis": "capacity", "is_of_windows": true,
        "step_minutes": 5, "scaled_by": {"prod": 1.5},
        "parts": [{"cluster": "prod", "start": 1_795_132_800, "end": 1_795_136_400,
            "at": 1_795_136_700, "window_seconds": 3_600, "is_total": true, "left_out": ["jobs"]}],
        "scrapers": {"alive": "up", "labels": ["instance"], "ranked": [["a"]], "chosen": ["m"]},
    });
    json!({
        "costs": planned_costs(), "phase": "exporter", "covered_minutes": 1_380,
        "clusters": {"prod": 1_380}, "expected_minutes": 1_440, "lag_seconds": 3_900,
        "warnings": ["w"], "is_partial": true, "conflicts": ["c"], "holes": ["h"],
        "edge_minutes": {"prod": 60}, "missing": ["m"], "approximations": ["a"], "waiting": "w",
        "exchange_rates": {"EUR": 0.9}, "reading": reading,
    })
}

/// A plan of a day with every field.
pub(crate) fn plan() -> Value {
    let change = json!({"namespace": "shop", "rows": 2, "usd_before": 1.0, "usd_after": 1.5});
    let of_cluster = json!({"namespace": null, "rows": 1, "usd_before": 0.0, "usd_after": 1.5});
    let presence = json!({
        "raw_minutes": 0, "exporter_minutes": 1_380, "raw_samples": 0, "exporter_samples": 9_000,
        "all_samples": 9_001,
    });
    let day = json!({
        "day": "2026-11-20", "verdict": "store", "rows_added": 3, "rows_taken_back": 1,
        "documents": 2, "usd_before": 1.0, "usd_after": 3.0, "namespaces": [change, of_cluster],
        "fingerprint": "f0", "presence": presence, "source": planned_source(),
    });
    let account = json!({"account": "a-1", "days": [day], "documents_retired": 1, "days_left": 2});
    json!({
        "made_at": 1_795_219_200, "run_id": "r", "is_of_due_days": true, "accounts": [account],
        "accounts_left": 3,
    })
}
