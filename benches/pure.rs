//! The pure steps of a large day, each alone: no server, no clock, no disk.
//!
//! `cargo bench --bench pure` has criterion measure a reply's parse, the stable ids of resources, the
//! roll-up of costs to rows, the changes of documents, and the difference to what is stored, for
//! `PODS` (25 000) pods in 300 namespaces.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a bench fails by panicking")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use kubecost_worker::cost::resource_id::document_id;
use kubecost_worker::cost::{
    AccountId, CostLine, Day, DayCosts, Levels, NodeFacts, PodCosts, ResourceKey, RollUp, roll_up,
};
use kubecost_worker::documents::{DocumentInputs, ObservedResource, plan_changes};
use kubecost_worker::ledger::{Dimensions, KeyState, WantedRow, difference};
use kubecost_worker::source::prometheus::reply::read_reply;

#[path = "support/number.rs"]
mod number;

const NAMESPACES: usize = 300;
const REPLY_BYTES_MAX: u64 = 1 << 30;
/// 2026-03-01 00:00:00 UTC.
const START: i64 = 1_772_323_200;

fn account() -> AccountId {
    AccountId::new("bc55eb8c-5db2-4c32-b976-2df0edb0619a").unwrap()
}

fn names(pod: usize) -> (String, String) {
    let namespace = pod % NAMESPACES;
    (format!("team-{namespace}"), format!("service-{namespace}-7c5ddbdf54-{pod:05}"))
}

/// The answer to a question about all pods.
fn reply(pods: usize) -> String {
    let mut text = String::from(r#"{"status":"success","data":{"resultType":"vector","result":["#);
    for pod in 0..pods {
        let comma = if pod == 0 { "" } else { "," };
        let (namespace, name) = names(pod);
        let labels = format!(
            r#""tenant_id":"{}","cluster":"big","namespace":"{namespace}","pod":"{name}","node":"node-{}""#,
            account(),
            pod % 500
        );
        write!(text, r#"{comma}{{"metric":{{{labels}}},"value":[{START},"0.48"]}}"#).unwrap();
    }
    text + "]}}"
}

fn costs(pods: usize) -> DayCosts {
    let mut costs = DayCosts::default();
    costs.cluster_mut("big").total_usd = Some(0.5 * pods as f64);
    for pod in 0..pods {
        let (namespace, name) = names(pod);
        let node = Some(format!("node-{}", pod % 500));
        let of_pod = PodCosts { total_usd: 0.48, node, ..PodCosts::default() };
        costs.namespace_mut("big", &namespace).pods.insert(name, of_pod);
    }
    costs
}

fn observed(account: &AccountId, line: &CostLine) -> ObservedResource {
    ObservedResource {
        key: line.key.clone(),
        cloud_resource_id: line.key.id(account),
        node: line.node.clone(),
        service: line.service.clone(),
        facts: NodeFacts::default(),
        kubernetes: None,
    }
}

fn wanted(account: &AccountId, line: &CostLine) -> WantedRow {
    let stable_id = line.key.id(account);
    WantedRow {
        resource_id: document_id(account, &stable_id, 0),
        cost: line.cost,
        dimensions: Dimensions {
            namespace: line.key.namespace().map(str::to_owned),
            node: line.node.clone(),
            service: line.service.clone(),
        },
    }
}

/// What is stored once these rows are: each costs a cent more.
fn stored(wanted: &WantedRow) -> KeyState {
    KeyState {
        resource_id: wanted.resource_id.clone(),
        date_seconds: START,
        dimensions: wanted.dimensions.clone(),
        cost_usd: wanted.cost.usd() + 0.01,
        sign_sum: 1,
        unpaired: Vec::new(),
    }
}

/// What reads and names resources.
fn reading(criterion: &mut Criterion, pods: usize, keys: &[ResourceKey]) {
    let (account, text) = (account(), reply(pods));
    criterion.bench_function("parse of a reply", |bencher| {
        bencher.iter(|| read_reply(text.as_bytes(), REPLY_BYTES_MAX).unwrap());
    });
    criterion.bench_function("stable ids and document ids", |bencher| {
        bencher.iter(|| {
            for key in keys {
                let stable_id = key.id(&account);
                black_box(document_id(&account, &stable_id, 0));
            }
        });
    });
}

/// What decides about a day.
fn deciding(criterion: &mut Criterion, costs: &DayCosts, roll: &RollUp) {
    let (account, day) = (account(), Day::of_unix(START));
    criterion.bench_function("roll-up of costs to rows", |bencher| {
        bencher.iter(|| roll_up(costs, Levels::ALL));
    });
    let observed: Vec<_> = roll.lines.iter().map(|line| observed(&account, line)).collect();
    let taken = BTreeSet::new();
    let inputs = DocumentInputs {
        account: &account,
        day,
        now_seconds: START + 600,
        observed: &observed,
        stored: &[],
        taken: &taken,
        seen_now: None,
        owner: None,
    };
    criterion.bench_function("new documents", |bencher| {
        bencher.iter_batched(|| inputs, plan_changes, BatchSize::LargeInput);
    });
    let wanted: Vec<_> = roll.lines.iter().map(|line| wanted(&account, line)).collect();
    let stored: Vec<_> = wanted.iter().map(stored).collect();
    criterion.bench_function("difference where each cost is another", |bencher| {
        bencher.iter(|| difference(day, &stored, &wanted));
    });
}

fn main() {
    let pods = number::number("PODS", 25_000);
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    let costs = costs(pods);
    let roll = roll_up(&costs, Levels::ALL);
    let keys: Vec<_> = roll.lines.iter().map(|line| line.key.clone()).collect();
    reading(&mut criterion, pods, &keys);
    deciding(&mut criterion, &costs, &roll);
    criterion.final_summary();
}
