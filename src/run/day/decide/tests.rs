//! What one day changes: a cluster `c` of $5, of which namespace `shop` has $2.

use super::super::accuracy::day_bound;
use super::*;
use crate::cost::resource_id::document_id;
use crate::cost::rollup::Excess;
use crate::cost::{AccountId, Day, Levels, ResourceKey};
use crate::day_status::stored_form::tests::complete;
use crate::day_status::{Attempt, ClusterCoverage, OtherRows, Override};
use crate::documents::{LastExpense, ObservedResource, SeenNow, StoredDate};
use crate::ledger::{Dimensions, SignedCost};
use crate::run::day::inputs::{CostedDay, DocumentsRead, DueDay, RowsRead};
use crate::settings::worker::GapPolicy;
use crate::source::Phase;

const POLICY: Policy<'_> =
    Policy { shrink_limit: 0.2, force_reason: None, today_refresh: Duration::ZERO };

fn account() -> AccountId {
    AccountId::new("a").unwrap()
}

fn day() -> Day {
    "2026-11-19".parse().unwrap()
}

fn shop() -> ResourceKey {
    ResourceKey::Namespace { cluster: "c".into(), namespace: "shop".into() }
}

fn cluster() -> ResourceKey {
    ResourceKey::Cluster { cluster: "c".into() }
}

/// The document of a key that cost `usd` on the day, of $10 in all.
fn document(id: &str, key: &ResourceKey, resource_type: &str, usd: f64) -> StoredResource {
    let date = day().start_seconds();
    StoredResource {
        id: id.into(),
        cloud_resource_id: key.id(&account()),
        resource_type: Some(resource_type.into()),
        first_seen: Some(date),
        last_seen: Some(date),
        first_seen_date: StoredDate::Date(date),
        last_seen_date: StoredDate::Date(date),
        active: Some(true),
        total_cost: Some(10.0),
        last_expense: Some(LastExpense { date, cost: usd }),
        has_owner: true,
        k8s_cluster: Some("c".into()),
        ..StoredResource::default()
    }
}

fn row(id: &str, namespace: Option<&str>, rows: &[(i8, f64)]) -> KeyState {
    let dimensions =
        Dimensions { namespace: namespace.map(str::to_owned), ..Dimensions::default() };
    let rows: Vec<_> = rows
        .iter()
        .map(|(sign, cost_usd)| SignedCost { sign: *sign, cost_usd: *cost_usd })
        .collect();
    KeyState::of_rows(id.into(), day().start_seconds(), dimensions, &rows).unwrap()
}

fn source() -> SourceDay {
    let mut source = SourceDay::without_samples(Phase::Exporter, 1_440);
    source.costs.cluster_mut("c").total_usd = Some(5.0);
    source.costs.namespace_mut("c", "shop").total_usd = Some(2.0);
    source.lag_seconds = 60;
    source.cover_all(1_440);
    source
}

/// The settled day of which nothing is stored yet.
pub(in crate::run::day) fn new_day() -> DayInputs {
    let costs = CostedDay::of(source(), Levels::DEFAULT, GapPolicy::None);
    let observed: Vec<ObservedResource> = costs.observed(&account());
    DayInputs {
        account: account(),
        run_id: "run".into(),
        now_seconds: day().end_seconds() + 3_600,
        due: DueDay {
            day: day(),
            phase: Some(Phase::Exporter),
            presence: complete(day()).seen,
            status: None,
            clusters_before: BTreeSet::new(),
        },
        costs,
        documents: DocumentsRead { observed, ..DocumentsRead::default() },
        rows: RowsRead::default(),
        kept_pods: None,
    }
}

/// The day as it is stored: status, documents and rows agree with the source.
pub(in crate::run::day) fn stored_day() -> DayInputs {
    let mut inputs = new_day();
    inputs.documents.stored = vec![
        document("shop-id", &shop(), "K8s Namespace", 2.0),
        document("c-id", &cluster(), "K8s Cluster", 3.0),
    ];
    inputs.rows.states =
        vec![row("shop-id", Some("shop"), &[(1, 2.0)]), row("c-id", None, &[(1, 3.0)])];
    let mut status = complete(day());
    (status.stored.source_total_usd, status.stored.total_usd, status.stored.rows) = (5.0, 5.0, 2);
    let covered = ClusterCoverage { cluster: "c".into(), covered_minutes: 1_440 };
    status.stored.coverage.clusters = vec![covered];
    status.stored.bound = day_bound(&inputs.costs.source, &inputs.costs.roll, None);
    inputs.due.status = Some(status);
    inputs
}

fn status_of(inputs: &mut DayInputs) -> &mut DayStatus {
    inputs.due.status.as_mut().unwrap()
}

fn added(decision: &DayDecision) -> Vec<(&str, i8, f64)> {
    let entries = decision.rows.entries.iter();
    entries.map(|entry| (entry.resource_id.as_str(), entry.sign, entry.cost_usd)).collect()
}

/// The `_id` of a new document, and the costs that it is inserted with.
fn inserted_with(change: &Change) -> (&str, f64) {
    let Change::Insert(new) = change else { panic!("{change:?}") };
    let costs = new.costs.as_ref().unwrap();
    assert_eq!(costs.id, new.document.id);
    (&new.document.id, costs.total_cost)
}

#[test]
fn a_new_day_gets_documents_rows_and_a_status() {
    let decision = decide(new_day(), POLICY);
    let id = |key: &ResourceKey| document_id(&account(), &key.id(&account()), 1);
    let (shop_id, cluster_id) = (id(&shop()), id(&cluster()));
    let new =
        [(shop().id(&account()), shop_id.clone()), (cluster().id(&account()), cluster_id.clone())];
    assert_eq!(decision.new_ids, new.into());
    assert_eq!(decision.documents.len(), 2);
    let mut wanted = [(shop_id.as_str(), 1, 2.0), (cluster_id.as_str(), 1, 3.0)];
    wanted.sort_by_key(|(id, ..)| *id);
    assert_eq!(added(&decision), wanted);
    assert_eq!(decision.wanted.len(), 2);
    assert_eq!(decision.recount, Recount::Ids(BTreeSet::new()), "the ledger was asked before");
    assert_eq!((decision.costs.as_slice(), decision.stored.as_slice()), (&[][..], &[][..]));
    let costs: BTreeMap<&str, f64> = decision.documents.iter().map(inserted_with).collect();
    assert_eq!(costs, [(shop_id.as_str(), 2.0), (cluster_id.as_str(), 3.0)].into());
    let status = decision.status.unwrap();
    let attempt = Attempt {
        state: DayState::Ok,
        cause: String::new(),
        is_pending: false,
        is_settled: true,
        run_id: "run".into(),
        at_seconds: day().end_seconds() + 3_600,
    };
    assert_eq!(status.attempt, attempt);
    let as_stored = stored_day().due.status.unwrap();
    assert_eq!((&status.stored, status.seen), (&as_stored.stored, as_stored.seen));
    // A beginning and an end, each off by up to a minute at five dollars a day.
    let high_by = status.stored.bound.unwrap().high_by_usd;
    assert!((high_by - 2.0 * 5.0 / 1_440.0).abs() < 1e-6, "{high_by}");
    let summary = &decision.summary;
    assert_eq!((summary.rows, summary.stored_total_usd), (2, 5.0));
    assert_eq!((summary.rows_written, summary.keys_changed, summary.keys_healed), (2, 2, 0));
    assert_eq!((summary.phase, summary.state), (Some(2), DayState::Ok));
    assert_eq!((summary.covered_minutes, summary.expected_minutes), (1_440, 1_440));
    assert_eq!((summary.source_total_usd, summary.lag_seconds), (5.0, 60));
    assert_eq!(summary.reconciliation_difference_usd, 0.0);
    assert!(decision.pending.attempt.is_pending, "{:?}", decision.pending);
}

#[test]
fn a_day_that_is_stored_as_the_source_has_it_changes_nothing() {
    let decision = decide(stored_day(), POLICY);
    assert_eq!(decision.documents, []);
    assert_eq!(added(&decision), []);
    assert_eq!((decision.costs.len(), decision.recount), (0, Recount::Ids(BTreeSet::new())));
    assert_eq!(decision.status, None);
    assert_eq!((decision.summary.rows_written, decision.summary.rows), (0, 2));
}

#[test]
fn a_status_that_says_something_new_is_written_without_a_row() {
    let mut inputs = stored_day();
    inputs.due.presence.exporter_samples += 1;
    let decision = decide(inputs, POLICY);
    assert_eq!(added(&decision), []);
    assert_eq!(decision.status.unwrap().seen.exporter_samples, 1_441);
}

#[test]
fn rows_that_change_are_written_though_the_status_says_the_same() {
    let mut inputs = stored_day();
    inputs.rows.states.remove(1);
    let decision = decide(inputs, POLICY);
    assert_eq!(added(&decision), [("c-id", 1, 3.0)]);
    assert!(decision.status.is_some());
}

/// The day once `shop` costs $2.5 of $5.5.
fn dearer_day() -> DayInputs {
    let mut inputs = stored_day();
    let mut source = source();
    source.costs.cluster_mut("c").total_usd = Some(5.5);
    source.costs.namespace_mut("c", "shop").total_usd = Some(2.5);
    inputs.costs = CostedDay::of(source, Levels::DEFAULT, GapPolicy::None);
    inputs
}

#[test]
fn a_changed_cost_is_two_rows_and_its_document_is_updated() {
    let decision = decide(dearer_day(), POLICY);
    assert_eq!(added(&decision), [("shop-id", -1, 2.0), ("shop-id", 1, 2.5)]);
    let last_expense = Some(LastExpense { date: day().start_seconds(), cost: 2.5 });
    let costs = CostSummary {
        id: "shop-id".into(),
        total_cost: 10.5,
        last_expense,
        parts: PartsUpdate::Keep,
        document_update: None,
    };
    assert_eq!((decision.costs, decision.recount), (vec![costs], Recount::Ids(BTreeSet::new())));
    assert_eq!((decision.summary.rows, decision.summary.stored_total_usd), (2, 5.5));
    assert_eq!((decision.summary.rows_written, decision.summary.keys_changed), (2, 1));
}

/// The day of `dearer_day` is the day after the documents were seen.
fn day_after() -> DayInputs {
    let mut inputs = dearer_day();
    for one in &mut inputs.documents.stored {
        let before = day().previous().start_seconds();
        one.first_seen = Some(before);
        one.last_seen = Some(before);
        one.first_seen_date = StoredDate::Date(before);
        one.last_seen_date = StoredDate::Date(before);
    }
    inputs
}

#[test]
fn times_move_in_the_write_that_sets_the_costs() {
    let decision = decide(day_after(), POLICY);
    let [Change::Update(alone)] = decision.documents.as_slice() else {
        panic!("{:?}", decision.documents)
    };
    assert_eq!(alone.id, "c-id", "its costs stay");
    let [summary] = decision.costs.as_slice() else { panic!("{:?}", decision.costs) };
    let update = summary.document_update.as_ref().unwrap();
    assert_eq!((update.id.as_str(), update.last_seen), ("shop-id", day().start_seconds()));
    assert_eq!((summary.id.as_str(), summary.total_cost), ("shop-id", 10.5));
    assert_eq!(decision.costs_set(), 1);
}

#[test]
fn a_repair_that_may_come_too_late_is_a_write_of_its_own() {
    let mut inputs = day_after();
    inputs.documents.stored[0].first_seen_date = StoredDate::NotADate;
    let decision = decide(inputs, POLICY);
    assert_eq!(decision.documents.len(), 2, "{:?}", decision.documents);
    let moved: Vec<_> = decision.costs.iter().map(|one| one.document_update.is_some()).collect();
    assert_eq!(moved, [false]);
}

#[test]
fn documents_that_are_seen_together_and_whose_costs_change_are_written_once() {
    let mut inputs = dearer_day();
    let at_seconds = day().end_seconds() - 60;
    let keys = [shop(), cluster()].into();
    inputs.now_seconds = at_seconds;
    inputs.documents.seen_now = Some(SeenNow { at_seconds, keys, interval_seconds: 1 });
    let decision = decide(inputs, POLICY);
    let [Change::Seen(many)] = decision.documents.as_slice() else {
        panic!("{:?}", decision.documents)
    };
    assert_eq!(many.ids, ["c-id"]);
    let update = decision.costs[0].document_update.as_ref().unwrap();
    assert_eq!((update.id.as_str(), update.last_seen), ("shop-id", at_seconds));
}

#[test]
fn a_new_document_of_rows_that_are_there_has_what_the_ledger_has() {
    let mut inputs = new_day();
    let id = document_id(&account(), &shop().id(&account()), 1);
    let last = Some((day().previous().start_seconds(), 4.0));
    let total = ResourceTotal { resource_id: id.clone(), total_usd: 7.0, last };
    inputs.documents.new_totals = vec![total];
    let decision = decide(inputs.clone(), POLICY);
    let costs: BTreeMap<&str, f64> = decision.documents.iter().map(inserted_with).collect();
    assert_eq!(costs[id.as_str()], 9.0);
    inputs.due.status = Some(decision.pending);
    let again = decide(inputs, POLICY);
    let has_costs = |change: &Change| matches!(change, Change::Insert(new) if new.costs.is_some());
    assert!(!again.documents.iter().any(has_costs), "{:?}", again.documents);
    assert_eq!(again.recount, Recount::All);
}

#[test]
fn a_later_day_without_rows_and_status_is_updated() {
    let mut inputs = day_after();
    inputs.due.status = None;
    inputs.rows.states.clear();
    let decision = decide(inputs, POLICY);
    let totals: Vec<f64> = decision.costs.iter().map(|one| one.total_cost).collect();
    assert_eq!((totals, decision.recount), (vec![13.0, 12.5], Recount::Ids(BTreeSet::new())));
}

fn recounted(change: impl FnOnce(&mut DayInputs)) -> Recount {
    let mut inputs = dearer_day();
    change(&mut inputs);
    let decision = decide(inputs, POLICY);
    assert!(decision.costs.is_empty(), "{:?}", decision.costs);
    decision.recount
}

#[test]
fn costs_are_counted_where_status_and_ledger_do_not_agree() {
    let of_shop = || Recount::Ids(BTreeSet::from(["shop-id".to_owned()]));
    assert_eq!(recounted(|inputs| status_of(inputs).stored.rows = 3), of_shop());
    assert_eq!(recounted(|inputs| status_of(inputs).stored.total_usd = 4.5), of_shop());
    assert_eq!(recounted(|inputs| inputs.due.status = None), of_shop());
    assert_eq!(recounted(|inputs| inputs.documents.stored[0].total_cost = None), of_shop());
}

#[test]
fn costs_are_counted_where_rows_were_healed() {
    let contradictory = row("shop-id", Some("shop"), &[(1, 2.0), (1, 2.0), (-1, 1.0)]);
    let healed = recounted(|inputs| {
        inputs.rows.states[0] = contradictory;
        status_of(inputs).stored.total_usd = 6.0;
    });
    assert_eq!(healed, Recount::Ids(BTreeSet::from(["shop-id".to_owned()])));
}

#[test]
fn after_a_run_that_did_not_end_all_documents_are_counted() {
    let all = recounted(|inputs| status_of(inputs).attempt.is_pending = true);
    assert_eq!(all, Recount::All);
}

#[test]
fn without_samples_the_day_is_kept_and_its_status_says_so_once() {
    let mut inputs = stored_day();
    inputs.costs.source = SourceDay::without_samples(Phase::Exporter, 1_440);
    inputs.due.presence = Presence::default();
    let decision = decide(inputs.clone(), POLICY);
    assert!(matches!(decision.verdict, Verdict::KeepStored { state: DayState::NoData, .. }));
    assert_eq!((decision.documents.len(), decision.wanted.len()), (0, 0));
    assert_eq!(added(&decision), []);
    assert_eq!(decision.stored.len(), 2);
    let status = decision.status.unwrap();
    assert_eq!((status.attempt.state, status.seen), (DayState::NoData, Presence::default()));
    assert_eq!(status.stored, inputs.due.status.clone().unwrap().stored);
    let summary = decision.summary;
    assert_eq!((summary.rows, summary.stored_total_usd, summary.phase), (2, 5.0, None));
    assert_eq!(summary.cause, "the source has no sample of this day");
    inputs.due.status = Some(status);
    assert_eq!(decide(inputs, POLICY).status, None);
}

#[test]
fn a_shrunk_total_is_measured_by_the_status_and_by_the_rows_without_one() {
    let is_kept = |inputs: DayInputs| {
        matches!(decide(inputs, POLICY).verdict, Verdict::KeepStored { state: DayState::Late, .. })
    };
    let mut doubled = stored_day();
    doubled.rows.states[1] = row("c-id", None, &[(1, 3.0), (1, 3.0)]);
    assert!(!is_kept(doubled.clone()), "the status knows that $5 were stored");
    doubled.due.status = None;
    assert!(is_kept(doubled), "$8 are stored as far as one can know");
}

#[test]
fn an_override_is_kept_in_the_status_with_its_reason() {
    let mut inputs = stored_day();
    status_of(&mut inputs).stored.total_usd = 8.0;
    let forced = Policy { force_reason: Some("fewer nodes"), ..POLICY };
    let status = decide(inputs, forced).status.unwrap();
    let reason = "fewer nodes".to_owned();
    assert_eq!(status.overrides, [Override { guard: Guard::ShrunkTotal, reason }]);
}

#[test]
fn rows_of_others_are_counted_apart_and_stay() {
    let mut inputs = stored_day();
    inputs.rows.states.push(row("other", None, &[(1, 0.5)]));
    let decision = decide(inputs.clone(), POLICY);
    assert_eq!(added(&decision), []);
    assert_eq!(decision.status.unwrap().other_rows, OtherRows { rows: 1, total_usd: 0.5 });
    let warnings = &decision.summary.warnings;
    assert!(warnings.iter().any(|w| w.starts_with("1 rows of this day, $0.5000")), "{warnings:?}");
    inputs.rows.own_ids = BTreeSet::from(["other".to_owned()]);
    let decision = decide(inputs, POLICY);
    assert_eq!(added(&decision), [("other", -1, 0.5)]);
    assert!(decision.summary.warnings.is_empty(), "{:?}", decision.summary.warnings);
}

#[test]
fn what_the_ledger_lost_shows_in_the_summary() {
    let mut inputs = stored_day();
    inputs.rows.states.remove(1);
    assert_eq!(decide(inputs, POLICY).summary.reconciliation_difference_usd, 3.0);
}

#[test]
fn other_documents_of_version_0_1_0_are_repaired_with_the_day() {
    let mut inputs = stored_day();
    let other = ResourceKey::Namespace { cluster: "c".into(), namespace: "gone".into() };
    let mut old = document("old-id", &other, "K8s Namespace", 1.0);
    old.first_seen_date = StoredDate::NotADate;
    inputs.documents.others = vec![old];
    let decision = decide(inputs, POLICY);
    let [Change::Update(update)] = decision.documents.as_slice() else {
        panic!("{:?}", decision.documents)
    };
    assert_eq!(update.id, "old-id");
    assert_eq!(decision.recount, Recount::Ids(BTreeSet::new()));
}

#[test]
fn a_few_refused_costs_and_parts_that_exceed_their_whole_are_named() {
    let mut inputs = stored_day();
    inputs.costs.source.warnings = vec!["of the source".to_owned().into()];
    let excess = |usd: f64| Excess { key: cluster(), usd };
    inputs.costs.roll.excess = vec![excess(0.000_9), excess(0.001), excess(0.5)];
    let mut source = source();
    for number in 0..7 {
        let name = format!("n{number}\n");
        source.costs.namespace_mut("c", &name).total_usd = Some(1.0);
    }
    inputs.costs.roll.refused =
        CostedDay::of(source, Levels::DEFAULT, GapPolicy::None).roll.refused;
    assert_eq!(inputs.costs.roll.refused.len(), 7);
    let warnings = decide(inputs, POLICY).summary.warnings;
    assert_eq!(warnings.len(), 8, "{warnings:?}");
    assert_eq!(&*warnings[0], "of the source");
    assert_eq!(
        &*warnings[1],
        "the cost of namespace c/n0\\n is refused: its name has control or formatting characters, or over 253 bytes"
    );
    assert_eq!(&*warnings[6], "the parts of cluster c add up to $0.0010 more than it");
    assert_eq!(&*warnings[7], "the parts of cluster c add up to $0.5000 more than it");
}
