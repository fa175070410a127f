//! A cluster `c` that goes on, with a namespace `shop` and its pods, and the runs of a day.

use proptest::prelude::*;

use super::super::decide::tests::new_day;
use super::super::decide::{DayDecision, Policy, decide};
use super::super::inputs::CostedDay;
use super::*;
use crate::cost::{Day, DayCosts, Levels, PodCosts, RollUp, roll_up};
use crate::documents::StoredResource;
use crate::ledger::{SignedCost, WantedRow};
use crate::settings::worker::GapPolicy;
use crate::source::{Phase, SourceDay};

const HOUR: Duration = Duration::from_secs(3_600);
const POLICY: Policy<'_> = Policy { shrink_limit: 0.2, force_reason: None, today_refresh: HOUR };
const PODS: [(&str, f64); 2] = [("web", 1.0), ("db", 2.0)];

pub(in crate::run::day) fn account() -> AccountId {
    AccountId::new("a").unwrap()
}

fn pod(name: &str) -> ResourceKey {
    let (cluster, namespace) = ("c".to_owned(), "shop".to_owned());
    ResourceKey::Pod { cluster, namespace, pod: name.to_owned() }
}

fn shop() -> ResourceKey {
    ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() }
}

fn source(shop_usd: f64, pods: &[(&str, f64)], now_seconds: i64) -> SourceDay {
    let day = new_day().due.day;
    let minutes = day.minutes_passed(now_seconds);
    let mut source = SourceDay::without_samples(Phase::Exporter, minutes);
    source.costs.cluster_mut("c").total_usd = Some(20.0);
    source.costs.namespace_mut("c", "shop").total_usd = Some(shop_usd);
    for (name, usd) in pods {
        let pod = PodCosts { total_usd: *usd, node: Some("n1".into()), ..PodCosts::default() };
        source.costs.namespace_mut("c", "shop").pods.insert((*name).to_owned(), pod);
    }
    source.cover_all(minutes);
    source
}

/// Noon of the day.
pub(in crate::run::day) fn noon() -> i64 {
    new_day().due.day.start_seconds() + 12 * 3_600
}

/// The running day at a time, `shop` and its pods costing that much by then.
pub(in crate::run::day) fn at(now_seconds: i64, shop_usd: f64, pods: &[(&str, f64)]) -> DayInputs {
    let mut inputs = new_day();
    inputs.now_seconds = now_seconds;
    let source = source(shop_usd, pods, now_seconds);
    inputs.costs = CostedDay::of(source, Levels::ALL, GapPolicy::None);
    inputs.documents.observed = inputs.costs.observed(&account());
    inputs
}

fn state(row: &WantedRow, day: Day) -> KeyState {
    let rows = [SignedCost { sign: 1, cost_usd: row.cost.usd() }];
    let (id, dimensions) = (row.resource_id.clone(), row.dimensions.clone());
    KeyState::of_rows(id, day.start_seconds(), dimensions, &rows).unwrap()
}

/// The inputs where a decision was carried out before.
fn after(before: &DayDecision, mut inputs: DayInputs) -> DayInputs {
    inputs.due.status = Some(before.status.clone().unwrap());
    inputs.rows.states = before.wanted.iter().map(|row| state(row, inputs.due.day)).collect();
    let stored = |(stable, id): (&String, &String)| StoredResource {
        id: id.clone(),
        cloud_resource_id: stable.clone(),
        has_owner: true,
        ..StoredResource::default()
    };
    inputs.documents.stored = before.new_ids.iter().map(stored).collect();
    inputs
}

fn usd(decision: &DayDecision, key: &ResourceKey) -> Option<f64> {
    let id = crate::cost::resource_id::document_id(&account(), &key.id(&account()), 1);
    let row = decision.wanted.iter().find(|row| row.resource_id == id);
    row.map(|row| row.cost.usd())
}

fn shop_and_pods(decision: &DayDecision) -> [Option<f64>; 3] {
    [shop(), pod("web"), pod("db")].map(|key| usd(decision, &key))
}

fn total(decision: &DayDecision) -> f64 {
    decision.wanted.iter().map(|row| row.cost.usd()).sum()
}

fn first() -> DayDecision {
    decide(at(noon(), 4.0, &PODS), POLICY)
}

/// The day some seconds later: `web` cost $0.25 more, and `shop` $0.5.
pub(in crate::run::day) fn later(seconds: i64) -> DayInputs {
    after(&first(), at(noon() + seconds, 4.5, &[("web", 1.25), ("db", 2.0)]))
}

const FIRST: [Option<f64>; 3] = [Some(1.0), Some(1.0), Some(2.0)];
const KEPT: [Option<f64>; 3] = [Some(1.5), Some(1.0), Some(2.0)];
const WRITTEN: [Option<f64>; 3] = [Some(1.25), Some(1.25), Some(2.0)];

#[test]
fn pods_keep_their_rows_for_an_hour_and_their_namespace_has_the_rest() {
    let one = first();
    assert_eq!(shop_and_pods(&one), FIRST);
    assert_eq!(one.status.as_ref().unwrap().stored.pods_at, Some(noon()));
    let kept = decide(later(3_599), POLICY);
    assert_eq!((shop_and_pods(&kept), total(&kept)), (KEPT, 20.0));
    assert_eq!(kept.summary.keys_changed, 2, "the namespace's and the cluster's: {kept:?}");
    let status = kept.status.unwrap();
    assert_eq!((status.stored.pods_at, status.stored.total_usd), (Some(noon()), 20.0));
    let refreshed = decide(later(3_600), POLICY);
    assert_eq!((shop_and_pods(&refreshed), total(&refreshed)), (WRITTEN, 20.0));
    assert_eq!(refreshed.status.unwrap().stored.pods_at, Some(noon() + 3_600));
}

#[test]
fn a_new_pod_gets_its_row_and_its_document_with_the_next_refresh() {
    let pods = [("web", 1.25), ("db", 2.0), ("new", 0.5)];
    let with_new = |seconds: i64| after(&first(), at(noon() + seconds, 4.5, &pods));
    let kept = decide(with_new(300), POLICY);
    assert_eq!((shop_and_pods(&kept), total(&kept)), (KEPT, 20.0));
    assert_eq!(usd(&kept, &pod("new")), None);
    assert!(kept.new_ids.is_empty(), "{:?}", kept.new_ids);
    let refreshed = decide(with_new(3_600), POLICY);
    assert_eq!(usd(&refreshed, &pod("new")), Some(0.5));
    assert!(refreshed.new_ids.contains_key(&pod("new").id(&account())));
    assert_eq!(usd(&refreshed, &shop()), Some(0.75));
}

#[test]
fn all_is_written_where_rows_cannot_stay_or_shall_not() {
    let written = |change: fn(&mut DayInputs), policy| {
        let mut inputs = later(300);
        change(&mut inputs);
        shop_and_pods(&decide(inputs, policy))
    };
    assert_eq!(written(|_| {}, POLICY), KEPT);
    assert_eq!(written(|_| {}, Policy { today_refresh: Duration::ZERO, ..POLICY }), WRITTEN);
    assert_eq!(written(|_| {}, Policy { force_reason: Some("why"), ..POLICY }), WRITTEN);
    fn status(inputs: &mut DayInputs) -> &mut crate::day_status::DayStatus {
        inputs.due.status.as_mut().unwrap()
    }
    let changes: [fn(&mut DayInputs); 7] = [
        |inputs| inputs.due.status = None,
        |inputs| status(inputs).attempt.is_pending = true,
        |inputs| status(inputs).stored.phase = Some(Phase::Raw),
        |inputs| status(inputs).stored.pods_at = None,
        |inputs| status(inputs).stored.pods_at = Some(noon() + 301),
        |inputs| status(inputs).stored.total_usd -= 0.5,
        |inputs| inputs.costs.parts = Some(BTreeMap::new()),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        assert_eq!(written(change, POLICY), WRITTEN, "{number}");
    }
}

#[test]
fn a_day_that_is_over_is_written_whole_and_has_no_time_of_its_pods() {
    let mut inputs = later(300);
    let end = inputs.due.day.end_seconds();
    inputs.now_seconds = end;
    let before = inputs.due.status.as_mut().unwrap();
    before.stored.pods_at = Some(end - 60);
    let decision = decide(inputs, POLICY);
    assert_eq!(shop_and_pods(&decision), WRITTEN);
    assert_eq!(decision.status.unwrap().stored.pods_at, None);
}

#[test]
fn a_status_is_not_written_for_the_time_of_its_pods_alone() {
    let same = after(&first(), at(noon() + 7_200, 4.0, &PODS));
    // The source has more minutes of the day by then.
    let mut status = same.due.status.clone().unwrap();
    status.stored.pods_at = Some(noon() + 7_200);
    assert!(same.due.status.as_ref().unwrap().says_the_same(&status));
    status.stored.pods_at = None;
    assert!(!same.due.status.as_ref().unwrap().says_the_same(&status));
}

/// The lines of `shop` and its pods once the rows of the first run are kept.
fn kept_lines(
    shop_usd: f64,
    pods: &[(&str, f64)],
    change: impl Fn(&mut Vec<KeyState>),
) -> Vec<(String, f64)> {
    let one = first();
    let mut roll = at(noon(), shop_usd, pods).costs.roll;
    let day = new_day().due.day;
    let mut rows: Vec<KeyState> = one.wanted.iter().map(|row| state(row, day)).collect();
    change(&mut rows);
    keep_pod_rows(&mut roll, &account(), &one.new_ids, &rows);
    let of_shop = roll.lines.iter().filter(|line| line.key.namespace().is_some());
    of_shop.map(|line| (line.key.pod().unwrap_or("shop").to_owned(), line.cost.usd())).collect()
}

fn named(lines: &[(&str, f64)]) -> Vec<(String, f64)> {
    lines.iter().map(|(name, usd)| ((*name).to_owned(), *usd)).collect()
}

#[test]
fn a_namespace_that_would_cost_less_than_nothing_is_as_the_source_has_it() {
    let pods = [("web", 0.5), ("db", 2.0)];
    let as_it_is = named(&[("db", 2.0), ("web", 0.5), ("shop", 0.25)]);
    assert_eq!(kept_lines(2.75, &pods, |_| {}), as_it_is);
    let kept = named(&[("db", 2.0), ("web", 1.0), ("shop", 0.0)]);
    assert_eq!(kept_lines(3.0, &pods, |_| {}), kept);
}

#[test]
fn a_namespace_with_a_row_that_is_not_clear_is_as_the_source_has_it() {
    let pods = [("web", 1.25), ("db", 2.0)];
    let as_it_is = named(&[("db", 2.0), ("web", 1.25), ("shop", 1.25)]);
    let kept = named(&[("db", 2.0), ("web", 1.0), ("shop", 1.5)]);
    assert_eq!(kept_lines(4.5, &pods, |_| {}), kept);
    fn web(rows: &mut [KeyState]) -> &mut KeyState {
        rows.iter_mut().find(|row| row.dimensions.node.is_some() && row.cost_usd == 1.0).unwrap()
    }
    let unclear: [fn(&mut Vec<KeyState>); 4] = [
        |rows| web(rows).sign_sum = 2,
        |rows| web(rows).cost_usd = 1.0 / 3.0,
        |rows| web(rows).dimensions.namespace = None,
        |rows| {
            let again = web(rows).clone();
            rows.push(again);
        },
    ];
    for (number, change) in unclear.into_iter().enumerate() {
        assert_eq!(kept_lines(4.5, &pods, change), as_it_is, "{number}");
    }
}

#[test]
fn without_rows_of_namespaces_the_cluster_has_the_rest_and_without_its_row_nobody() {
    let one = first();
    let day = new_day().due.day;
    let rows: Vec<KeyState> = one.wanted.iter().map(|row| state(row, day)).collect();
    let costs = source(4.5, &[("web", 1.25), ("db", 2.0)], noon()).costs;
    let kept = |has_cluster| {
        let levels = Levels { namespace: false, cluster: has_cluster, ..Levels::ALL };
        let mut roll = roll_up(&costs, levels);
        let is_any_kept = keep_pod_rows(&mut roll, &account(), &one.new_ids, &rows).is_some();
        (is_any_kept, roll.lines.iter().map(|line| line.cost.usd()).collect::<Vec<f64>>())
    };
    assert_eq!(kept(true), (true, vec![2.0, 1.0, 17.0]));
    assert_eq!(kept(false), (false, vec![2.0, 1.25]));
}

#[test]
fn a_namespace_of_which_a_pod_has_moved_is_as_the_source_has_it() {
    let mut inputs = later(300);
    for line in &mut inputs.costs.roll.lines {
        line.node = line.node.as_ref().map(|_| "n2".to_owned());
    }
    let written = decide(inputs, POLICY);
    assert_eq!((shop_and_pods(&written), total(&written)), (WRITTEN, 20.0));
    let nodes: BTreeSet<&str> =
        written.wanted.iter().filter_map(|row| row.dimensions.node.as_deref()).collect();
    assert_eq!(nodes, BTreeSet::from(["n2"]));
    // All pods are written, so that this is when they were.
    assert_eq!(written.status.unwrap().stored.pods_at, Some(noon() + 300));
}

#[test]
fn pods_that_contradict_their_namespace_have_no_rows_as_the_cause_says() {
    let decision =
        decide(after(&first(), at(noon() + 300, 4.5, &[("web", 1.25), ("db", 5.0)])), POLICY);
    assert_eq!((shop_and_pods(&decision), total(&decision)), ([Some(4.5), None, None], 20.0));
    assert!(
        decision.summary.cause.starts_with("the pods of namespace c/shop"),
        "{}",
        decision.summary.cause
    );
}

#[test]
fn a_day_that_has_no_pods_for_a_while_has_no_time_of_theirs() {
    let without = decide(after(&first(), at(noon() + 300, 4.5, &[])), POLICY);
    assert_eq!(shop_and_pods(&without), [Some(4.5), None, None]);
    assert_eq!(without.status.as_ref().unwrap().stored.pods_at, None);
    let again =
        decide(after(&without, at(noon() + 600, 4.5, &[("web", 1.25), ("db", 2.0)])), POLICY);
    assert_eq!(shop_and_pods(&again), WRITTEN);
}

/// A cost of a resource, in small numbers, at two times.
pub(in crate::run::day) fn costs_at_two_times() -> impl Strategy<Value = (DayCosts, DayCosts)> {
    let pods = prop::collection::vec((0..3_u8, 0..2_u8, 0.0..4.0_f64, -0.5..4.0_f64), 0..12);
    let idle = (0.0..3.0_f64, -0.5..3.0_f64);
    (pods, idle).prop_map(|(pods, (idle, more_idle))| {
        let make = |is_later: bool| {
            let mut costs = DayCosts::default();
            let mut total = 0.0;
            for (number, (namespace, is_new, usd, more)) in pods.iter().enumerate() {
                let usd = if is_later { (usd + more).max(0.0) } else { *usd };
                if !is_later && *is_new == 1 {
                    continue;
                }
                let own = if is_later { (idle + more_idle).max(0.0) } else { idle };
                let (name, pod) = (format!("n{namespace}"), format!("p{number}"));
                let one = costs.namespace_mut("c", &name);
                one.total_usd = Some(one.total_usd.unwrap_or(0.0) + usd + own);
                total += usd + own;
                let pod_costs = PodCosts { total_usd: usd, ..PodCosts::default() };
                costs.namespace_mut("c", &name).pods.insert(pod, pod_costs);
            }
            costs.cluster_mut("c").total_usd = Some(total + 1.0);
            costs
        };
        (make(false), make(true))
    })
}

pub(in crate::run::day) fn rows_of(roll: &RollUp) -> (BTreeMap<String, String>, Vec<KeyState>) {
    let id = |line: &CostLine| line.key.id(&account());
    let ids = roll.lines.iter().map(|line| (id(line), id(line))).collect();
    let row = |line: &CostLine| {
        let namespace = line.key.namespace().map(str::to_owned);
        let dimensions = Dimensions { namespace, ..Dimensions::default() };
        state(&WantedRow { resource_id: id(line), cost: line.cost, dimensions }, new_day().due.day)
    };
    let with_cost = roll.lines.iter().filter(|line| !line.cost.is_zero());
    (ids, with_cost.map(row).collect())
}

/// The costs of lines by what they have in common.
fn sums(lines: &[CostLine], by: impl Fn(&ResourceKey) -> String) -> BTreeMap<String, Cost> {
    let mut out: BTreeMap<String, Cost> = BTreeMap::new();
    for line in lines {
        *out.entry(by(&line.key)).or_default() += line.cost;
    }
    out
}

proptest! {
    #[test]
    fn kept_rows_change_no_sum_and_no_line_is_negative(
        (before, now) in costs_at_two_times(),
        has_namespaces in any::<bool>(),
    ) {
        let levels = Levels { namespace: has_namespaces, ..Levels::ALL };
        let (ids, rows) = rows_of(&roll_up(&before, levels));
        let roll = roll_up(&now, levels);
        let mut kept = roll.clone();
        let new = keep_pod_rows(&mut kept, &account(), &ids, &rows).unwrap_or_default();
        let lines = kept.lines;
        prop_assert_eq!(lines.iter().map(|line| line.cost).sum::<Cost>(), roll.total);
        prop_assert!(lines.iter().all(|line| !line.cost.is_negative()), "{:?}", lines);
        let by_namespace = |key: &ResourceKey| key.namespace().unwrap_or_default().to_owned();
        if has_namespaces {
            prop_assert_eq!(sums(&lines, by_namespace), sums(&roll.lines, by_namespace));
        }
        let stored = |line: &CostLine| {
            let id = line.key.id(&account());
            rows.iter().find(|row| row.resource_id == id).map_or(0.0, |row| row.cost_usd)
        };
        for (above, pods) in pods_by_line_above(&roll.lines) {
            let are_kept = pods.iter().all(|pod| lines[*pod].cost.usd() == stored(&lines[*pod]));
            let are_as_they_were = pods.iter().all(|pod| lines[*pod] == roll.lines[*pod]);
            prop_assert!(are_kept || are_as_they_were, "{:?}", lines);
            let needed: Cost = pods
                .iter()
                .map(|pod| Cost::from_usd(stored(&roll.lines[*pod])).unwrap())
                .sum();
            let whole: Cost = pods.iter().chain([&above]).map(|one| roll.lines[*one].cost).sum();
            prop_assert_eq!(are_kept, needed <= whole || are_as_they_were && are_kept);
        }
        for line in lines.iter().filter(|line| new.contains(&line.key.id(&account()))) {
            prop_assert!(line.cost.is_zero() && stored(line) == 0.0, "{:?}", line);
        }
    }
}
