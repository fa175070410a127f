//! The same running day read with its pods and without them.

use proptest::prelude::*;

use super::super::decide::{DayDecision, Policy, decide};
use super::super::refresh::keep_pod_rows;
use super::super::refresh::tests::{account, at, costs_at_two_times, later, noon, rows_of};
use super::*;
use crate::cost::{ResourceKey, roll_up};
use crate::day_status::ClusterCoverage;
use crate::documents::{SeenNow, StoredResource};
use crate::ledger::ResourceTotal;
use crate::settings::worker::GapPolicy;

const LEVELS: Levels = Levels { node: NodeLevel::Off, ..Levels::ALL };
const HALF_AN_HOUR: Duration = Duration::from_secs(1_800);
const INTERVALS: PodIntervals =
    PodIntervals { written: Duration::from_secs(3_600), seen: HALF_AN_HOUR };
const POLICY: Policy<'_> =
    Policy { shrink_limit: 0.2, force_reason: None, today_refresh: INTERVALS.written };

/// The same inputs, read without pods.
fn without_pods(mut inputs: DayInputs) -> DayInputs {
    let mut source = inputs.costs.source.clone();
    source.costs.clear_pods();
    inputs.costs = CostedDay::of(source, LEVELS, GapPolicy::None);
    inputs.documents.observed = inputs.costs.observed(&account());
    let of_lines: BTreeSet<String> =
        inputs.costs.roll.lines.iter().map(|line| line.key.id(&account())).collect();
    let stored = &mut inputs.documents.stored;
    stored.retain(|document| of_lines.contains(&document.cloud_resource_id));
    let (status, documents) = (inputs.due.status.as_ref().unwrap(), &inputs.documents);
    let kept = leave_pods(status, &mut inputs.costs.roll, documents, &inputs.rows.states).unwrap();
    inputs.rows.own_ids = kept.rows.iter().map(|row| row.resource_id.clone()).collect();
    inputs.kept_pods = Some(kept);
    inputs
}

fn sorted(decision: &DayDecision) -> Vec<WantedRow> {
    let mut rows = decision.wanted.clone();
    rows.sort_by(|one, other| one.resource_id.cmp(&other.resource_id));
    rows
}

#[test]
fn what_is_decided_without_pods_is_what_is_decided_with_them() {
    let with = decide(later(300), POLICY);
    let without = decide(without_pods(later(300)), POLICY);
    assert_eq!(sorted(&without), sorted(&with));
    assert_eq!((&without.rows, &without.verdict), (&with.rows, &with.verdict));
    assert_eq!(without.rows.changed_keys, 2, "the namespace's and the cluster's");
    assert_eq!(without.recount, with.recount);
    assert!(without.new_ids.is_empty());
    let (mut one, other) = (without.status.unwrap(), with.status.unwrap());
    assert_eq!(other.stored.pods_read_at, Some(noon() + 300));
    assert_eq!(one.stored.pods_read_at, Some(noon()), "they were not read");
    one.stored.pods_read_at = other.stored.pods_read_at;
    // Of nodes nothing is known without pods, and they are no part of these lines.
    assert_eq!(one, other);
    assert_eq!((without.summary.rows, without.summary.stored_total_usd), (4, 20.0));
}

#[test]
fn only_pods_of_a_running_day_that_were_written_and_read_not_long_ago_are_left() {
    let may = |change: &dyn Fn(&mut DayInputs)| {
        let mut inputs = later(300);
        change(&mut inputs);
        may_leave_pods(&inputs.due, LEVELS, INTERVALS, inputs.now_seconds)
    };
    fn status(inputs: &mut DayInputs) -> &mut DayStatus {
        inputs.due.status.as_mut().unwrap()
    }
    assert!(may(&|_| {}));
    assert!(may(&|inputs| status(inputs).stored.pods_at = Some(noon() - 3_299)));
    assert!(may(&|inputs| status(inputs).stored.pods_read_at = Some(noon() - 1_499)));
    let not: [&dyn Fn(&mut DayInputs); 10] = [
        &|inputs| inputs.due.status = None,
        &|inputs| inputs.due.phase = None,
        &|inputs| inputs.due.phase = Some(Phase::Raw),
        &|inputs| inputs.now_seconds = inputs.due.day.end_seconds(),
        &|inputs| status(inputs).attempt.is_pending = true,
        &|inputs| status(inputs).attempt.state = crate::day_status::DayState::Failed,
        &|inputs| status(inputs).stored.pods_at = Some(noon() - 3_300),
        &|inputs| status(inputs).stored.pods_read_at = Some(noon() - 1_500),
        &|inputs| status(inputs).stored.pods_read_at = None,
        &|inputs| status(inputs).stored.pods_read_at = Some(noon() + 301),
    ];
    for (number, change) in not.into_iter().enumerate() {
        assert!(!may(change), "{number}");
    }
    let with = |levels: Levels, intervals| {
        let inputs = later(300);
        may_leave_pods(&inputs.due, levels, intervals, inputs.now_seconds)
    };
    assert!(!with(Levels { pod: false, ..LEVELS }, INTERVALS));
    assert!(!with(Levels { namespace: false, ..LEVELS }, INTERVALS));
    assert!(!with(Levels { cluster: false, ..LEVELS }, INTERVALS));
    assert!(!with(Levels { has_parts: true, ..LEVELS }, INTERVALS));
    assert!(!with(Levels::ALL, INTERVALS), "with nodes");
    assert!(!with(LEVELS, PodIntervals { written: Duration::ZERO, ..INTERVALS }));
}

#[test]
fn pods_of_a_day_whose_costs_have_faults_are_read_each_time() {
    let read_at = |change: &dyn Fn(&mut DayInputs)| {
        let mut inputs = at(noon(), 4.0, &[("web", 1.0), ("db", 2.0)]);
        change(&mut inputs);
        inputs.pods_read_at()
    };
    assert_eq!(read_at(&|_| {}), Some(noon()));
    assert_eq!(read_at(&|inputs| inputs.costs.source.is_partial = true), None);
    assert_eq!(read_at(&|inputs| inputs.costs.source.conflicts.push("two".into())), None);
    assert_eq!(read_at(&|inputs| inputs.costs.source.missing.push("totals".into())), None);
    let covers = |clusters: &[&str]| {
        read_at(&|inputs| {
            let covered = clusters.iter().map(|name| ((*name).to_owned(), 720));
            inputs.costs.source.clusters = covered.collect();
        })
    };
    assert_eq!((covers(&["c"]), covers(&["c", "edge"])), (Some(noon()), None));
    assert_eq!((covers(&["edge"]), covers(&[])), (None, None), "its lines are not covered");
    let with_excess = |usd: f64| at(noon(), 4.0, &[("web", 1.0), ("db", 3.0 + usd)]).pods_read_at();
    assert_eq!((with_excess(1e-6), with_excess(0.01)), (Some(noon()), None), "rounding is none");
    let contradicting = at(noon(), 4.0, &[("web", 1.0), ("db", 9.0)]);
    assert_eq!(contradicting.pods_read_at(), None);
    let over = |inputs: &mut DayInputs| inputs.now_seconds = inputs.due.day.end_seconds();
    assert_eq!(read_at(&over), None);
    assert_eq!(at(noon(), 4.0, &[]).pods_read_at(), None);
}

#[test]
fn all_is_read_where_documents_are_missing_or_their_samples_are_looked_at() {
    let inputs = without_pods(later(300));
    let is_left = |change: fn(&mut DocumentsRead)| {
        let mut documents = inputs.documents.clone();
        change(&mut documents);
        let mut roll = roll_up(&inputs.costs.source.costs, LEVELS);
        let status = inputs.due.status.as_ref().unwrap();
        leave_pods(status, &mut roll, &documents, &inputs.rows.states).is_some()
    };
    assert!(is_left(|_| {}));
    let seen_now = |documents: &mut DocumentsRead| {
        let keys = BTreeSet::new();
        documents.seen_now = Some(SeenNow { at_seconds: 0, keys, interval_seconds: 0 });
    };
    assert!(!is_left(seen_now));
    assert!(!is_left(|documents| documents.taken = BTreeSet::from(["taken".to_owned()])));
    assert!(!is_left(|documents| {
        let resource_id = "gone".to_owned();
        documents.new_totals.push(ResourceTotal { resource_id, total_usd: 1.0, last: None });
    }));
}

#[test]
fn rows_that_are_not_those_of_the_status_are_read_with_their_pods() {
    let inputs = later(300);
    let status = inputs.due.status.as_ref().unwrap();
    let is_as_stored = |change: fn(&mut Vec<KeyState>)| {
        let mut states = inputs.rows.states.clone();
        change(&mut states);
        is_all_as_stored(status, &states)
    };
    assert!(is_as_stored(|_| {}));
    assert!(!is_as_stored(|states| drop(states.pop())));
    assert!(!is_as_stored(|states| states[0].cost_usd += 0.5));
    assert!(!is_as_stored(|states| states[0].date_seconds += 1));
    assert!(!is_as_stored(|states| {
        // The sums are right, and the keys contradict themselves.
        states[0].sign_sum = 2;
        states[1].sign_sum = 0;
    }));
}

/// Costs of lines by their namespace, USD.
type Left = Vec<(Option<String>, f64)>;

/// What is left of `shop` and its cluster, and how many rows are kept.
fn left(
    change: impl Fn(&mut RollUp, &mut Vec<KeyState>),
    change_status: impl Fn(&mut DayStatus),
) -> Option<(usize, Left)> {
    let inputs = later(300);
    let mut status = inputs.due.status.clone().unwrap();
    change_status(&mut status);
    let mut states = inputs.rows.states.clone();
    let mut source = inputs.costs.source.clone();
    source.costs.namespace_mut("c", "shop").pods.clear();
    let mut roll = roll_up(&source.costs, LEVELS);
    change(&mut roll, &mut states);
    let of_lines: Vec<String> = roll.lines.iter().map(|line| line.key.id(&account())).collect();
    let mut documents = inputs.documents.clone();
    documents.stored.retain(|document| of_lines.contains(&document.cloud_resource_id));
    let kept = leave_pods(&status, &mut roll, &documents, &states)?;
    let line = |line: &CostLine| (line.key.namespace().map(str::to_owned), line.cost.usd());
    Some((kept.rows.len(), roll.lines.iter().map(line).collect()))
}

#[test]
fn what_pods_keep_is_taken_from_the_line_above_them_or_all_is_read() {
    let shop = || Some("shop".to_owned());
    assert_eq!(left(|_, _| {}, |_| {}), Some((2, vec![(shop(), 1.5), (None, 15.5)])));
    fn pod(states: &mut [KeyState]) -> &mut KeyState {
        states.iter_mut().find(|state| state.dimensions.node.is_some()).unwrap()
    }
    let of_cluster = left(
        |_, states| {
            pod(states).cost_usd = 1.0;
            states.iter_mut().filter(|one| one.dimensions.node.is_some()).for_each(|one| {
                one.dimensions.namespace = Some("gone".to_owned());
            });
        },
        |_| {},
    );
    assert_eq!(of_cluster.map(|(rows, lines)| (rows, lines[0].1)), Some((2, 4.5)));
    let other = ResourceKey::Cluster { cluster: "edge".into() };
    assert_eq!(left(|roll, _| roll.lines[0].key = other.clone(), |_| {}), None, "several clusters");
    assert_eq!(
        left(|_, states| pod(states).cost_usd = 9.0, |_| {}),
        None,
        "more than the line above"
    );
    assert_eq!(
        left(|_, states| pod(states).cost_usd = 1.0 / 3.0, |_| {}),
        None,
        "not a sum that was written"
    );
    assert_eq!(left(|_, states| pod(states).dimensions.namespace = None, |_| {}), None, "no pod");
    fn clusters(status: &mut DayStatus) -> &mut Vec<ClusterCoverage> {
        &mut status.stored.coverage.clusters
    }
    assert_eq!(left(|_, _| {}, |status| clusters(status)[0].cluster.push('2')), None, "another");
    assert_eq!(left(|_, _| {}, |status| clusters(status).clear()), None);
}

proptest! {
    #[test]
    fn the_rows_are_those_of_a_day_that_was_read_with_its_pods(
        (before, now) in costs_at_two_times(),
    ) {
        let (ids, rows) = rows_of(&roll_up(&before, LEVELS));
        let mut with = roll_up(&now, LEVELS);
        keep_pod_rows(&mut with, &account(), &ids, &rows);
        let mut above = now.clone();
        above.clear_pods();
        let mut without = roll_up(&above, LEVELS);
        let document = |line: &CostLine| StoredResource {
            id: line.key.id(&account()),
            ..StoredResource::default()
        };
        let stored = without.lines.iter().map(document).collect();
        let documents = DocumentsRead { stored, ..DocumentsRead::default() };
        let status = later(300).due.status.unwrap();
        if let Some(kept) = leave_pods(&status, &mut without, &documents, &rows) {
            let mut rows: BTreeMap<String, Cost> =
                kept.rows.iter().map(|row| (row.resource_id.clone(), row.cost)).collect();
            rows.extend(without.lines.iter().map(|line| (line.key.id(&account()), line.cost)));
            rows.retain(|_, cost| !cost.is_zero());
            let with = with.lines.iter().filter(|line| !line.cost.is_zero());
            let with: BTreeMap<String, Cost> =
                with.map(|line| (line.key.id(&account()), line.cost)).collect();
            prop_assert_eq!(rows.values().copied().sum::<Cost>(), without.total);
            prop_assert_eq!(rows, with);
        }
    }
}
