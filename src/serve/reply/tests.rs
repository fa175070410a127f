use std::collections::BTreeMap;

use crate::cost::{AccountId, Composition, Parts};
use crate::serve::costs::{NamespaceCost, NamespaceCosts, Origin};
use crate::serve::span::Span;

use super::*;

const HOUR: i64 = 3_600;

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn question(start: i64, end: i64) -> Question {
    Question {
        account: AccountId::new("a-1").unwrap(),
        span: Span { start, end },
        by_namespace: true,
        metrics: None,
    }
}

fn whole_days(first: &str, last: &str) -> Question {
    question(day(first).start_seconds(), day(last).end_seconds())
}

fn terms(now_seconds: i64, is_ledger_added: bool) -> Terms<'static> {
    Terms { currency: "USD", is_ledger_added, now_seconds }
}

fn cost(date: Day, usd: f64, stored_usd: f64) -> DayCost {
    DayCost {
        day: date,
        usd,
        stored_usd,
        origin: if usd == stored_usd { Origin::Ledger } else { Origin::QueryLayer },
        state: Some(DayState::Ok),
        cause: String::new(),
        known_minutes: 1_440,
        composition: Composition::default(),
    }
}

fn account(days: Vec<DayCost>) -> AccountCosts {
    let since = days.first().map(|day| day.day);
    AccountCosts { days, since, ..AccountCosts::default() }
}

fn made_of(parts: &[(Part, f64)], cpu: f64) -> Composition {
    let efficiency = Efficiency { cpu: Some(cpu), ram: None };
    Composition { parts: Some(parts.iter().copied().collect::<Parts>()), efficiency }
}

#[test]
fn a_part_of_the_running_day_is_divided_by_the_time_that_is_known() {
    let today = day("2026-11-20");
    let noon = today.start_seconds() + 12 * HOUR;
    // The source lags by two hours.
    let costs = account(vec![DayCost { known_minutes: 600, ..cost(today, 100.0, 0.0) }]);
    let total = |from: i64, to: i64| {
        let asked =
            question(today.start_seconds() + from * HOUR, today.start_seconds() + to * HOUR);
        cluster_costs(&costs, &asked, terms(noon, false))["total_cost"].as_f64().unwrap()
    };
    assert_eq!((total(0, 5), total(5, 24), total(0, 24)), (50.0, 50.0, 100.0));
    assert_eq!(total(10, 12), 0.0, "nothing is known of that");
    let asked = whole_days("2026-11-20", "2026-11-20");
    let rates = metrics(&costs, &asked, noon);
    let result = &rates["metrics"][CLUSTER_TOTAL]["data"]["result"][0];
    assert_eq!(result["value"][1], "10", "USD per hour of the ten that are known");
}

#[test]
fn a_day_of_which_nothing_can_be_known_yet_is_not_missing() {
    let (yesterday, today) = (day("2026-11-19"), day("2026-11-20"));
    let night = today.start_seconds() + 30 * 60;
    let waiting = vec![(today, "the window is not over".to_owned())];
    let alone = AccountCosts { waiting: waiting.clone(), ..account(vec![]) };
    let asked = whole_days("2026-11-20", "2026-11-20");
    let reply = cluster_costs(&alone, &asked, terms(night, false));
    let data = &reply["data"];
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("waiting"), &json!(0)));
    assert_eq!(data["causes"], json!(["2026-11-20: the window is not over"]));
    assert!(reply.get("total_cost").is_none());
    let both = AccountCosts { waiting, ..account(vec![cost(yesterday, 24.0, 24.0)]) };
    let asked = whole_days("2026-11-19", "2026-11-20");
    let reply = cluster_costs(&both, &asked, terms(night, false));
    let data = &reply["data"];
    assert_eq!((&data["state"], &data["days_missing"]), (&json!("ok"), &json!(0)));
    assert_eq!(data["days"][1], json!({"date": "2026-11-20", "state": "waiting"}));
    let rates = metrics(&both, &asked, night);
    assert_eq!(rates["metrics"][CLUSTER_TOTAL]["data"]["result"][0]["value"][1], "1");
}

#[test]
fn days_without_costs_after_the_first_row_are_missing() {
    let known = vec![cost(day("2026-11-03"), 1.0, 1.0)];
    let asked = whole_days("2026-11-01", "2026-11-03");
    let now = day("2026-11-20").start_seconds();
    let data = |since: &str| {
        let costs = AccountCosts { since: Some(day(since)), ..account(known.clone()) };
        let reply = cluster_costs(&costs, &asked, terms(now, false));
        (reply["data"]["state"].clone(), reply["data"]["days_missing"].clone())
    };
    assert_eq!(data("2026-11-01"), (json!("partial"), json!(2)));
    assert_eq!(data("2026-11-03"), (json!("ok"), json!(0)));
}

#[test]
fn days_that_all_failed_although_there_were_costs_are_not_days_without_costs() {
    let (first, last) = (day("2026-11-18"), day("2026-11-19"));
    let now = last.end_seconds() + HOUR;
    let causes = vec!["2026-11-18: the query layer refused".to_owned()];
    let failed = AccountCosts { not_stored: vec![first, last], causes, ..account(vec![]) };
    for (costs, said) in [(failed, "partial"), (account(vec![]), "no-data")] {
        let reply =
            cluster_costs(&costs, &whole_days("2026-11-18", "2026-11-19"), terms(now, false));
        let data = &reply["data"];
        assert_eq!((&data["state"], &data["days_missing"]), (&json!(said), &json!(2)));
        assert!(reply.get("total_cost").is_none(), "unknown is no zero: {reply}");
    }
}

fn group(date: Day, names: &[(&str, f64, f64)]) -> NamespaceCosts {
    let one = |(name, usd, stored_usd): &(&str, f64, f64)| {
        let (usd, stored_usd) = (*usd, *stored_usd);
        ((*name).to_owned(), NamespaceCost { usd, stored_usd, ..NamespaceCost::default() })
    };
    NamespaceCosts { first: date, last: date, costs: names.iter().map(one).collect() }
}

fn by_namespace(reply: &Value) -> BTreeMap<String, f64> {
    let rows = reply["breakdown_by_namespace"].as_array().unwrap().iter();
    let row = |row: &Value| {
        let name = row["namespace"].as_str().unwrap().to_owned();
        (name, row["total_cost"].as_f64().unwrap())
    };
    rows.map(row).collect()
}

#[test]
fn what_rows_lack_by_namespace_adds_up_to_what_they_lack() {
    let (yesterday, today) = (day("2026-11-19"), day("2026-11-20"));
    let mut costs = account(vec![cost(yesterday, 8.0, 9.0), cost(today, 20.0, 15.0)]);
    costs.namespaces = vec![
        group(yesterday, &[("shop", 8.0, 5.0), ("", 0.0, 4.0)]),
        group(today, &[("shop", 16.0, 9.0), ("", 4.0, 6.0)]),
    ];
    let asked = whole_days("2026-11-19", "2026-11-20");
    let now = today.end_seconds();
    let reply = cluster_costs(&costs, &asked, terms(now, true));
    assert_eq!(reply["total_cost"], 5.0, "of yesterday the rows lack nothing");
    let wanted = BTreeMap::from([("shop".to_owned(), 7.0), ("__cluster__".to_owned(), -2.0)]);
    assert_eq!(by_namespace(&reply), wanted);
    // Rates are those of the whole cost: nobody adds rows to rates.
    let rates = metrics(&costs, &asked, now);
    let rate = &rates["metrics"][CLUSTER_TOTAL]["data"]["result"][0]["value"][1];
    assert_eq!(rate.as_str().unwrap().parse::<f64>().unwrap(), 28.0 / 48.0);
    assert_eq!((&rates["cloud_account_id"], &rates["end_date"]), (&json!("a-1"), &json!(now)));
}

#[test]
fn parts_are_answered_where_they_are_known_of_all_costs() {
    let today = day("2026-11-20");
    let composition = made_of(&[(Part::Cpu, 6.0), (Part::LoadBalancer, 4.0)], 0.5);
    let mut costs = account(vec![DayCost { composition, ..cost(today, 10.0, 0.0) }]);
    let shop = NamespaceCost {
        usd: 10.0,
        composition: made_of(&[(Part::Cpu, 6.0), (Part::LoadBalancer, 4.0)], 0.25),
        ..NamespaceCost::default()
    };
    let names = BTreeMap::from([("shop".to_owned(), shop)]);
    costs.namespaces = vec![NamespaceCosts { first: today, last: today, costs: names }];
    let (start, end) = (today.start_seconds(), today.end_seconds());
    let half = question(start, start + 12 * HOUR);
    let reply = cluster_costs(&costs, &half, terms(end, false));
    let wanted = json!({"total_cost": 5.0, "cpu_cost": 3.0, "load_balancer_cost": 2.0});
    assert_eq!((&reply["summary"], &reply["breakdown"]), (&wanted, &wanted));
    assert_eq!((&reply["cpu_cost"], &reply["total_cost"]), (&json!(3.0), &json!(5.0)));
    assert_eq!(reply["efficiency"], json!({"cpu_efficiency": 0.5}));
    let row = json!({"namespace": "shop", "total_cost": 5.0, "cpu_cost": 3.0,
        "load_balancer_cost": 2.0, "cpu_efficiency": 0.25});
    assert_eq!(reply["breakdown_by_namespace"], json!([row]));
    // With a day of which they are not known, and of what rows lack, there are none.
    let before = cost(today.previous(), 1.0, 1.0);
    costs.days.insert(0, before);
    for (asked, is_ledger_added) in
        [(whole_days("2026-11-19", "2026-11-20"), false), (question(start, end), true)]
    {
        let reply = cluster_costs(&costs, &asked, terms(end, is_ledger_added));
        assert!(reply["summary"]["total_cost"].is_number());
        assert!(reply["summary"].get("cpu_cost").is_none(), "{reply}");
    }
}

#[test]
fn an_answer_is_ok_only_where_all_of_its_days_are() {
    let (first, last) = (day("2026-11-18"), day("2026-11-19"));
    let now = last.end_seconds() + HOUR;
    for (state, said) in [
        (Some(DayState::Ok), "ok"),
        (Some(DayState::Partial), "partial"),
        (Some(DayState::Approximate), "partial"),
        (Some(DayState::Late), "partial"),
        (Some(DayState::Failed), "partial"),
        (None, "partial"),
    ] {
        let costs = account(vec![cost(first, 1.0, 1.0), DayCost { state, ..cost(last, 2.0, 2.0) }]);
        let asked = whole_days("2026-11-18", "2026-11-19");
        let data = &cluster_costs(&costs, &asked, terms(now, false))["data"];
        assert_eq!(data["state"], said, "{state:?}");
    }
}
