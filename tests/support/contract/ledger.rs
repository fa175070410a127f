//! What every ledger must do.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::ledger::memory::StoredRow;
use kubecost_worker::ledger::{Dimensions, Entry, ExpenseLedger, KeyState};

use super::{account, day};

/// The way past the trait.
#[async_trait]
pub(crate) trait LedgerDoor: Send + Sync {
    /// Adds rows as another writer would, in this order.
    async fn plant(&self, rows: Vec<StoredRow>);
}

/// Runs the whole suite.
pub(crate) async fn expense_ledger_contract(
    ledger: &dyn ExpenseLedger,
    door: &dyn LedgerDoor,
    tag: &str,
) {
    ledger.check().await.unwrap();
    groups_states_by_resource_date_and_dimensions(ledger, tag).await;
    sees_rows_of_other_writers_within_the_day(ledger, door, tag).await;
    keeps_costs_bit_for_bit(ledger, tag).await;
    merges_by_the_order_of_writing(ledger, door, tag).await;
    sums_up_resources_over_days(ledger, tag).await;
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

fn state(resource_id: &str, dimensions: &Dimensions, cost_usd: f64, sign: i64) -> KeyState {
    KeyState {
        resource_id: resource_id.to_owned(),
        date_seconds: day().start_seconds(),
        dimensions: dimensions.clone(),
        cost_usd,
        sign,
    }
}

/// States in an order that does not depend on the ledger, less those that cancel out.
async fn states(ledger: &dyn ExpenseLedger, account: &AccountId, day: Day) -> Vec<KeyState> {
    let mut states = ledger.states(account, day).await.unwrap();
    states.retain(|state| state.sign != 0 || state.cost_usd != 0.0);
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

fn planted(account: &AccountId, resource_id: &str, cost_usd: f64, sign: i8) -> StoredRow {
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
    door: &dyn LedgerDoor,
    tag: &str,
) {
    let ours = account(tag, "others");
    let at = |date_seconds, cost| StoredRow { date_seconds, ..planted(&ours, "x", cost, 1) };
    let (first, last) = (day().start_seconds(), day().end_seconds() - 1);
    let rows = vec![at(first - 1, 1.0), at(first, 2.0), at(last, 4.0), at(last + 1, 8.0)];
    door.plant(rows).await;
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

/// CollapsingMergeTree's rule, on rows of other writers; another day's rows stay as they are.
async fn merges_by_the_order_of_writing(
    ledger: &dyn ExpenseLedger,
    door: &dyn LedgerDoor,
    tag: &str,
) {
    let ours = account(tag, "merge");
    let row = |id: &str, cost, sign| planted(&ours, id, cost, sign);
    door.plant(vec![
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
    let mut before = ledger.collapsed(&ours, day()).await.unwrap();
    before.sort_by(|a, b| a.resource_id.cmp(&b.resource_id));
    ledger.merge(day()).await.unwrap();
    let none = Dimensions::default();
    let wanted = [
        state("below", &none, -5.0, -1),
        state("replaced", &none, 3.0, 1),
        state("reversed", &none, 1.0, 0),
        state("single", &none, 8.0, 1),
        state("twice", &none, 2.0, 1),
    ];
    // A reader with FINAL sees live rows only: of what a merge keeps, those with sign +1.
    let live = [
        state("replaced", &none, 3.0, 1),
        state("reversed", &none, 10.0, 1),
        state("single", &none, 8.0, 1),
        state("twice", &none, 2.0, 1),
    ];
    assert_eq!(before, live, "what will be live is known before the merge");
    assert_eq!(states(ledger, &ours, day()).await, wanted);
    ledger.merge(day()).await.unwrap();
    assert_eq!(states(ledger, &ours, day()).await, wanted, "merging again changes nothing");
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

/// More than any batch, or list of parameters, of a ledger holds.
async fn takes_many_at_once(ledger: &dyn ExpenseLedger, tag: &str) {
    const MANY: usize = 2_500;
    let ours = account(tag, "many");
    let ids: Vec<String> = (0..MANY).map(|number| format!("k8s-ns-{number:016x}")).collect();
    let shop = of_namespace("shop");
    let entries: Vec<Entry> = ids.iter().map(|id| entry(id, day(), 0.25, 1, &shop)).collect();
    ledger.append(&ours, day(), &entries).await.unwrap();
    assert_eq!(states(ledger, &ours, day()).await.len(), MANY);
    let totals = ledger.resource_totals(&ours, &ids).await.unwrap();
    assert_eq!(totals.iter().map(|total| total.total_usd).sum::<f64>(), 625.0);
}
