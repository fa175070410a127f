//! What every ledger must do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kubecost_worker::cost::{AccountId, Cost, Day};
use kubecost_worker::ledger::memory::StoredRow;
use kubecost_worker::ledger::{
    Dimensions, Entry, ExpenseLedger, KeyState, ReadBack, ResourceTotal, SignedCost, WantedRow,
    append_visible, difference,
};

use super::{account, day};

/// The way past the trait.
#[async_trait]
pub(crate) trait RawLedgerAccess: Send + Sync {
    /// Adds rows as another writer would, in this order, each one a part of its own.
    async fn insert_raw(&self, rows: Vec<StoredRow>);

    /// Holds back merges of parts, or lets them happen again.
    async fn hold_merges(&self, is_held: bool);

    /// Merges all parts; whether the ledger has any.
    async fn merge(&self) -> bool;
}

/// Runs the whole suite.
pub(crate) async fn expense_ledger_contract(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    ledger.check().await.unwrap();
    groups_states_by_resource_date_and_dimensions(ledger, tag).await;
    sees_rows_of_other_writers_within_the_day(ledger, raw, tag).await;
    keeps_costs_bit_for_bit(ledger, tag).await;
    shows_rows_that_contradict_each_other(ledger, raw, tag).await;
    knows_what_a_merge_keeps(ledger, raw, tag).await;
    heals_keys_without_a_merge(ledger, raw, tag).await;
    sums_up_resources_over_days(ledger, tag).await;
    sums_up_keys_of_any_sign(ledger, raw, tag).await;
    sums_up_rows_off_midnight(ledger, tag).await;
    takes_many_at_once(ledger, tag).await;
}

fn of_namespace(name: &str) -> Dimensions {
    Dimensions { namespace: Some(name.into()), node: None, service: None }
}

fn entry(resource_id: &str, day: Day, cost_usd: f64, sign: i8, dimensions: &Dimensions) -> Entry {
    let dimensions = dimensions.clone();
    let date_seconds = day.start_seconds();
    Entry { resource_id: resource_id.to_owned(), date_seconds, cost_usd, sign, dimensions }
}

fn state(resource_id: &str, dimensions: &Dimensions, cost_usd: f64, sign_sum: i64) -> KeyState {
    KeyState {
        resource_id: resource_id.to_owned(),
        date_seconds: day().start_seconds(),
        dimensions: dimensions.clone(),
        cost_usd,
        sign_sum,
        unpaired: Vec::new(),
    }
}

/// The state of rows that do not cancel out, as all of them are.
fn of_rows(resource_id: &str, rows: &[(i8, f64)]) -> KeyState {
    let rows: Vec<SignedCost> = rows
        .iter()
        .map(|(sign, cost_usd)| SignedCost { sign: *sign, cost_usd: *cost_usd })
        .collect();
    let (id, date) = (resource_id.to_owned(), day().start_seconds());
    KeyState::of_rows(id, date, Dimensions::default(), &rows).unwrap()
}

/// States in an order that does not depend on the ledger.
async fn states(ledger: &dyn ExpenseLedger, account: &AccountId, day: Day) -> Vec<KeyState> {
    let mut states = ledger.states(account, day).await.unwrap();
    states.sort_by(|a, b| {
        let key = |s: &KeyState| (s.resource_id.clone(), s.date_seconds, s.dimensions.clone());
        key(a).cmp(&key(b))
    });
    states
}

async fn groups_states_by_resource_date_and_dimensions(ledger: &dyn ExpenseLedger, tag: &str) {
    let (ours, other) = (account(tag, "states"), account(tag, "states-other"));
    let (none, shop) = (Dimensions::default(), of_namespace("shop"));
    let pod = Dimensions { node: Some("n'1".into()), service: Some("".into()), ..shop.clone() };
    let entries = [
        entry("cluster", day(), 4.0, 1, &none),
        entry("ns", day(), 1.0, 1, &shop),
        entry("ns", day(), 1.0, -1, &shop),
        entry("ns", day(), 1.5, 1, &shop),
        entry("pod", day(), 0.5, 1, &pod),
        entry("moved", day(), 2.0, 1, &shop),
        entry("moved", day(), 2.0, -1, &shop),
        entry("moved", day(), 2.0, 1, &pod),
    ];
    ledger.append(&ours, day(), &entries).await.unwrap();
    ledger.append(&ours, day(), &[]).await.unwrap();
    let next = [entry("ns", day().next(), 7.0, 1, &shop)];
    ledger.append(&ours, day().next(), &next).await.unwrap();
    ledger.append(&other, day(), &[entry("ns", day(), 9.0, 1, &shop)]).await.unwrap();
    let wanted = [
        state("cluster", &none, 4.0, 1),
        state("moved", &pod, 2.0, 1),
        state("ns", &shop, 1.5, 1),
        state("pod", &pod, 0.5, 1),
    ];
    assert_eq!(states(ledger, &ours, day()).await, wanted);
    assert_eq!(states(ledger, &ours, day().next()).await.len(), 1);
    assert_eq!(states(ledger, &ours, day().previous()).await, []);
    assert_eq!(states(ledger, &other, day()).await, [state("ns", &shop, 9.0, 1)]);
}

fn raw_row(account: &AccountId, resource_id: &str, cost_usd: f64, sign: i8) -> StoredRow {
    StoredRow {
        account: account.clone(),
        resource_id: resource_id.to_owned(),
        date_seconds: day().start_seconds(),
        cost_usd,
        sign,
        dimensions: Dimensions::default(),
    }
}

async fn sees_rows_of_other_writers_within_the_day(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    let ours = account(tag, "others");
    let at = |date_seconds, cost| StoredRow { date_seconds, ..raw_row(&ours, "x", cost, 1) };
    let (first, last) = (day().start_seconds(), day().end_seconds() - 1);
    let rows = vec![at(first - 1, 1.0), at(first, 2.0), at(last, 4.0), at(last + 1, 8.0)];
    raw.insert_raw(rows).await;
    let found = states(ledger, &ours, day()).await;
    let seen: Vec<_> = found.iter().map(|state| (state.date_seconds, state.cost_usd)).collect();
    assert_eq!(seen, [(first, 2.0), (last, 4.0)]);
}

async fn keeps_costs_bit_for_bit(ledger: &dyn ExpenseLedger, tag: &str) {
    let ours = account(tag, "bits");
    let none = Dimensions::default();
    for cost in [0.1 + 0.2, 1.0 / 16_777_216.0, 536_870_912.0 - 1.0 / 16_777_216.0] {
        let id = format!("{cost}");
        ledger.append(&ours, day(), &[entry(&id, day(), cost, 1, &none)]).await.unwrap();
        let found = states(ledger, &ours, day()).await;
        let state = found.iter().find(|state| state.resource_id == id).unwrap();
        assert_eq!(state.cost_usd.to_bits(), cost.to_bits());
    }
}

/// Groups of rows that only together are a whole, or too much of one.
const CONTRADICTIONS: [(&str, &[(i8, f64)]); 8] = [
    ("twice", &[(1, 5.0), (1, 5.0)]),
    ("two-costs", &[(1, 5.0), (1, 7.0)]),
    ("change-twice", &[(1, 5.0), (-1, 5.0), (1, 7.0), (-1, 5.0), (1, 7.0)]),
    ("below", &[(-1, 5.0), (-1, 6.0)]),
    ("taken-back-otherwise", &[(1, 5.0), (-1, 3.0)]),
    ("reversed", &[(-1, 9.0), (1, 10.0)]),
    ("same-sums", &[(1, 1.0), (-1, 2.0), (1, 4.0), (-1, 3.0)]),
    ("adds-up", &[(1, 8.0), (-1, 6.0), (1, 2.5)]),
];

async fn insert_contradictions(raw: &dyn RawLedgerAccess, account: &AccountId) {
    let rows = CONTRADICTIONS.iter().flat_map(|(id, rows)| {
        rows.iter().map(move |(sign, cost_usd)| raw_row(account, id, *cost_usd, *sign))
    });
    raw.insert_raw(rows.collect()).await;
}

async fn shows_rows_that_contradict_each_other(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    let ours = account(tag, "contradictions");
    raw.hold_merges(true).await;
    insert_contradictions(raw, &ours).await;
    let healthy = [(1, 0.25), (-1, 0.25), (1, 0.5)];
    let healthy = healthy.map(|(sign, cost_usd)| raw_row(&ours, "healthy", cost_usd, sign));
    raw.insert_raw(healthy.to_vec()).await;
    let mut wanted: Vec<KeyState> =
        CONTRADICTIONS.iter().map(|(id, rows)| of_rows(id, rows)).collect();
    assert!(wanted.iter().all(|state| !state.is_healthy()));
    wanted.push(state("healthy", &Dimensions::default(), 0.5, 1));
    wanted.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    assert_eq!(states(ledger, &ours, day()).await, wanted);
    raw.hold_merges(false).await;
}

/// CollapsingMergeTree's rule, on rows of other writers.
async fn knows_what_a_merge_keeps(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    let ours = account(tag, "merge");
    let row = |id: &str, cost, sign| raw_row(&ours, id, cost, sign);
    raw.insert_raw(vec![
        row("gone", 1.0, 1),
        row("gone", 1.0, -1),
        row("twice", 1.0, 1),
        row("twice", 2.0, 1),
        row("replaced", 1.0, 1),
        row("replaced", 1.0, -1),
        row("replaced", 3.0, 1),
        row("below", 5.0, -1),
        row("below", 6.0, -1),
        row("single", 8.0, 1),
        row("reversed", 9.0, -1),
        row("reversed", 10.0, 1),
    ])
    .await;
    let none = Dimensions::default();
    // A reader with FINAL sees live rows only: of what a merge keeps, those with sign +1.
    let live = [
        state("replaced", &none, 3.0, 1),
        state("reversed", &none, 10.0, 1),
        state("single", &none, 8.0, 1),
        state("twice", &none, 2.0, 1),
    ];
    let mut before = ledger.collapsed(&ours, day()).await.unwrap();
    before.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    assert_eq!(before, live, "what will be live is known before the merge");
    if raw.merge().await {
        let wanted = [
            of_rows("below", &[(-1, 5.0)]),
            state("replaced", &none, 3.0, 1),
            of_rows("reversed", &[(-1, 9.0), (1, 10.0)]),
            state("single", &none, 8.0, 1),
            state("twice", &none, 2.0, 1),
        ];
        assert_eq!(states(ledger, &ours, day()).await, wanted);
    }
}

/// Whatever is stored of a key, one difference makes its sums what is wanted; merges and at most two
/// more leave the wanted row alone.
async fn heals_keys_without_a_merge(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    let shop = of_namespace("shop");
    for (name, usd, dimensions) in [
        ("heal-to-a-row", Some(3.0), Dimensions::default()),
        ("heal-to-other-columns", Some(3.0), shop),
        ("heal-to-none", None, Dimensions::default()),
    ] {
        let ours = account(tag, name);
        // A merge in between would be another test: `heals` of the integration tests.
        raw.hold_merges(true).await;
        insert_contradictions(raw, &ours).await;
        let wanted: Vec<WantedRow> = usd
            .into_iter()
            .flat_map(|usd| {
                CONTRADICTIONS.map(|(id, _)| WantedRow {
                    resource_id: id.to_owned(),
                    cost: Cost::from_usd(usd).unwrap(),
                    dimensions: dimensions.clone(),
                })
            })
            .collect();
        let healed = heal(ledger, &ours, &wanted).await;
        // Rows that add up to nothing are as good as none.
        let is_nothing = usize::from(usd.is_none());
        assert_eq!(healed, CONTRADICTIONS.len() - is_nothing, "{name}");
        let mut sums: BTreeMap<String, (f64, i64)> = BTreeMap::new();
        for state in states(ledger, &ours, day()).await {
            let sum = sums.entry(state.resource_id).or_default();
            *sum = (sum.0 + state.cost_usd, sum.1 + state.sign_sum);
        }
        for (id, _) in CONTRADICTIONS {
            let right = usd.map_or((0.0, 0), |usd| (usd, 1));
            assert_eq!(sums.get(id).copied().unwrap_or_default(), right, "{name}: {id}");
        }
        assert_eq!(heal(ledger, &ours, &wanted).await, 0, "{name}: once is enough");
        raw.hold_merges(false).await;
        if raw.merge().await {
            heal(ledger, &ours, &wanted).await;
            raw.merge().await;
            assert_eq!(heal(ledger, &ours, &wanted).await, 0, "{name}");
            let mut live: Vec<KeyState> =
                wanted.iter().map(|row| state(&row.resource_id, &dimensions, 3.0, 1)).collect();
            live.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
            assert_eq!(states(ledger, &ours, day()).await, live, "{name}, after merges");
        }
    }
}

/// Writes the difference to what is wanted; how many keys it changed.
async fn heal(ledger: &dyn ExpenseLedger, account: &AccountId, wanted: &[WantedRow]) -> usize {
    let before = states(ledger, account, day()).await;
    let change = difference(day(), &before, wanted);
    if !change.is_empty() {
        let read_back = ReadBack::DEFAULT;
        append_visible(ledger, account, day(), &before, &change.entries, read_back).await.unwrap();
    }
    change.changed_keys
}

async fn sums_up_resources_over_days(ledger: &dyn ExpenseLedger, tag: &str) {
    let ours = account(tag, "totals");
    let shop = of_namespace("shop");
    let (first, last) = (day().minus(1), day());
    for day in [first, last] {
        let entries = [entry("a", day, 1.25, 1, &shop), entry("b", day, 8.0, 1, &shop)];
        ledger.append(&ours, day, &entries).await.unwrap();
    }
    let change = [entry("a", last, 1.25, -1, &shop), entry("a", last, 2.5, 1, &shop)];
    ledger.append(&ours, last, &change).await.unwrap();
    ledger.append(&ours, last, &[entry("b", last, 8.0, -1, &shop)]).await.unwrap();
    let asked = ["a".to_owned(), "b".to_owned()];
    let mut totals = ledger.resource_totals(&ours, &asked).await.unwrap();
    totals.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    assert_eq!(totals.len(), 2);
    assert_eq!((totals[0].resource_id.as_str(), totals[0].total_usd), ("a", 3.75));
    assert_eq!(totals[0].last, Some((last.start_seconds(), 2.5)));
    assert_eq!((totals[1].resource_id.as_str(), totals[1].total_usd), ("b", 8.0));
    assert_eq!(totals[1].last, Some((first.start_seconds(), 8.0)), "the last day with a cost");
    let by_day = ledger.day_totals(&ours, first, last).await.unwrap();
    let by_day: BTreeMap<Day, (f64, i64)> =
        by_day.into_iter().map(|total| (total.day, (total.total_usd, total.rows))).collect();
    assert_eq!(by_day, BTreeMap::from([(first, (9.25, 2)), (last, (2.5, 1))]));
    let other = account(tag, "totals-other");
    for total in ledger.resource_totals(&other, &asked).await.unwrap() {
        assert_eq!((total.total_usd, total.last), (0.0, None), "{}", total.resource_id);
    }
    assert_eq!(ledger.resource_totals(&ours, &[]).await.unwrap(), []);
}

/// Rows off midnight are other writers': they are in no day's total at midnight, and in what all
/// rows of a namespace add up to.
async fn sums_up_rows_off_midnight(ledger: &dyn ExpenseLedger, tag: &str) {
    let ours = account(tag, "off-midnight");
    let shop = of_namespace("shop");
    let (first, last) = (day().minus(1), day());
    ledger.append(&ours, last, &[entry("a", last, 1.25, 1, &shop)]).await.unwrap();
    let row = |date_seconds: i64, cost_usd: f64, sign: i8| Entry {
        date_seconds,
        ..entry("b", last, cost_usd, sign, &shop)
    };
    let (one, noon) = (first.start_seconds() + 1, last.start_seconds() + 43_200);
    for rows in [
        vec![row(one, 2.0, 1), row(last.start_seconds() - 1, 0.5, 1)],
        vec![row(noon, 4.0, 1)],
        vec![row(noon, 4.0, -1)],
    ] {
        ledger.append(&ours, last, &rows).await.unwrap();
    }
    let off = ledger.off_midnight_totals(&ours, first, last).await.unwrap();
    assert_eq!(off, BTreeMap::from([(first, 2.5)]));
    let namespaces = ledger.namespace_totals(&ours, first, last).await.unwrap();
    assert_eq!(namespaces, BTreeMap::from([("shop".to_owned(), 3.75)]));
    let totals = ledger.day_totals(&ours, first, last).await.unwrap();
    let totals: Vec<_> = totals.iter().map(|total| (total.day, total.total_usd)).collect();
    assert_eq!(totals, [(last, 1.25)]);
}

/// What a key costs is in the sum whatever its signs add up to; the last day is one with a row.
async fn sums_up_keys_of_any_sign(
    ledger: &dyn ExpenseLedger,
    raw: &dyn RawLedgerAccess,
    tag: &str,
) {
    let ours = account(tag, "any-sign");
    raw.hold_merges(true).await;
    insert_contradictions(raw, &ours).await;
    let earlier = day().minus(3).start_seconds();
    let row = |id: &str| StoredRow { date_seconds: earlier, ..raw_row(&ours, id, 100.0, 1) };
    raw.insert_raw(vec![row("below"), row("twice")]).await;
    let ids: Vec<String> = CONTRADICTIONS.iter().map(|(id, _)| (*id).to_owned()).collect();
    let mut totals = ledger.resource_totals(&ours, &ids).await.unwrap();
    totals.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    let today = day().start_seconds();
    let wanted = [
        ("adds-up", 4.5, Some((today, 4.5))),
        ("below", 89.0, Some((earlier, 100.0))),
        ("change-twice", 9.0, Some((today, 9.0))),
        ("reversed", 1.0, None),
        ("same-sums", 0.0, None),
        ("taken-back-otherwise", 2.0, None),
        ("twice", 110.0, Some((today, 10.0))),
        ("two-costs", 12.0, Some((today, 12.0))),
    ];
    let wanted = wanted.map(|(id, total_usd, last)| ResourceTotal {
        resource_id: id.to_owned(),
        total_usd,
        last,
    });
    assert_eq!(totals, wanted);
    raw.hold_merges(false).await;
}

/// More than any batch, or list of parameters, of a ledger holds.
async fn takes_many_at_once(ledger: &dyn ExpenseLedger, tag: &str) {
    const MANY: usize = 5_000;
    let ours = account(tag, "many");
    let ids: Vec<String> = (0..MANY).map(|number| format!("k8s-ns-{number:016x}")).collect();
    let shop = of_namespace("shop");
    let entries: Vec<Entry> = ids.iter().map(|id| entry(id, day(), 0.25, 1, &shop)).collect();
    ledger.append(&ours, day(), &entries).await.unwrap();
    assert_eq!(states(ledger, &ours, day()).await.len(), MANY);
    let totals = ledger.resource_totals(&ours, &ids).await.unwrap();
    assert_eq!(totals.iter().map(|total| total.total_usd).sum::<f64>(), 1_250.0);
}
