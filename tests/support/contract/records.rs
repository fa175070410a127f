//! What every keeper of records, leases and the rate journal must do.

use std::sync::Arc;

use kubecost_worker::cost::{AccountId, Day};
use kubecost_worker::day_status::{AccountDay, ClusterCoverage, DayRecords, DayState};
use kubecost_worker::lease::{Acquired, Lease, Leases};
use kubecost_worker::rate_journal::{RateJournal, SLOT_SECONDS, SeenRate, SlotRates};

use super::{account, day};

fn record(account: &AccountId, day: Day) -> AccountDay {
    AccountDay {
        account: account.clone(),
        day,
        state: DayState::Partial,
        cause: "120 of 1440 minutes are missing; \"é\"".into(),
        phase: Some(2),
        covered_minutes: 1_320,
        // Names that a store may not take as names of fields.
        clusters: ["", "$a.b", "c"]
            .map(|cluster| ClusterCoverage { cluster: cluster.into(), covered_minutes: 1_320 })
            .to_vec(),
        expected_minutes: 1_440,
        // Numbers whose last bit an inexact way through text would lose.
        source_total_usd: 121.487_919_511_619_45,
        stored_total_usd: 31.245_270_191_439_438,
        rows: 12,
        foreign_total_usd: 0.0,
        foreign_rows: 0,
        pending: false,
        settled: true,
        raw_minutes: 0,
        exporter_minutes: 1_320,
        raw_samples: 0,
        exporter_samples: u64::from(u32::MAX) + 1,
        forced_reason: None,
        run_id: "run-1".into(),
        updated_at: day.end_seconds() + 60,
    }
}

/// Runs the suite of the records of days.
pub(crate) async fn day_records_contract(records: &dyn DayRecords, tag: &str) {
    // Their ids, and whatever a store makes of them, must not run into each other.
    let (ours, other) = (account(tag, "days"), account(tag, "days:2026-11-20"));
    let (first, last) = (day(), day().next());
    assert_eq!(records.days(&ours, first, last).await.unwrap(), []);
    for of_day in [last, first, first.previous()] {
        records.put(&record(&ours, of_day)).await.unwrap();
    }
    records.put(&record(&other, first)).await.unwrap();
    let wanted = [record(&ours, first), record(&ours, last)];
    assert_eq!(records.days(&ours, first, last).await.unwrap(), wanted);
    assert_eq!(records.days(&ours, last, first).await.unwrap(), []);
    assert_eq!(records.days(&other, first, last).await.unwrap(), [record(&other, first)]);
    let changed = AccountDay {
        state: DayState::Ok,
        phase: None,
        forced_reason: Some("told to".into()),
        run_id: "run-2".into(),
        ..record(&ours, first)
    };
    records.put(&changed).await.unwrap();
    assert_eq!(records.days(&ours, first, first).await.unwrap(), [changed]);
}

async fn granted(leases: &dyn Leases, of: &AccountId, holder: &str, now: i64) -> Lease {
    match leases.acquire(of, holder, now, 120).await.unwrap() {
        Acquired::Granted(lease) => lease,
        Acquired::HeldBy(lease) => panic!("held by {lease:?}"),
    }
}

async fn holder_in_the_way(leases: &dyn Leases, of: &AccountId, now: i64) -> Lease {
    match leases.acquire(of, "late", now, 120).await.unwrap() {
        Acquired::Granted(lease) => panic!("granted {lease:?}"),
        Acquired::HeldBy(lease) => lease,
    }
}

/// Runs the suite of leases. The time is the suite's own, so nothing waits.
pub(crate) async fn leases_contract(leases: &dyn Leases, tag: &str) {
    let (ours, other) = (account(tag, "lease"), account(tag, "lease-other"));
    let start = day().start_seconds();
    let first = granted(leases, &ours, "first", start).await;
    let wanted =
        Lease { account: ours.clone(), holder: "first".into(), token: 1, expires_at: start + 120 };
    assert_eq!(first, wanted);
    assert_eq!(holder_in_the_way(leases, &ours, start + 119).await, first);
    granted(leases, &other, "elsewhere", start).await;

    assert!(leases.renew(&first, start + 100, 120).await.unwrap());
    assert_eq!(holder_in_the_way(leases, &ours, start + 219).await.expires_at, start + 220);

    // Expired: nobody took it, yet it is no longer the first holder's to renew.
    assert!(!leases.renew(&first, start + 220, 120).await.unwrap());
    let second = granted(leases, &ours, "second", start + 220).await;
    assert_eq!((second.token, second.holder.as_str()), (2, "second"));
    assert!(!leases.renew(&first, start + 221, 120).await.unwrap());
    leases.release(&first).await.unwrap();
    assert_eq!(holder_in_the_way(leases, &ours, start + 221).await, second);

    leases.release(&second).await.unwrap();
    assert!(!leases.renew(&second, start + 222, 120).await.unwrap());
    let third = granted(leases, &ours, "third", start + 222).await;
    assert_eq!(third.token, 3);
    leases.release(&third).await.unwrap();
    leases.release(&third).await.unwrap();

    // A holder that asks again, as after a lost answer, is told that it is held.
    let fourth = granted(leases, &ours, "fourth", start + 300).await;
    assert_eq!(
        leases.acquire(&ours, "fourth", start + 301, 120).await,
        Ok(Acquired::HeldBy(fourth))
    );
}

/// Of many who ask at once, exactly one gets the lease: of a new account, of a given back and of
/// an expired lease.
pub(crate) async fn leases_race_contract(contenders: Vec<Arc<dyn Leases>>, tag: &str) {
    let ours = account(tag, "race");
    let start = day().start_seconds();
    for (round, now) in [(1, start), (2, start + 120), (3, start + 500)] {
        let gate = Arc::new(tokio::sync::Barrier::new(contenders.len()));
        let asked: Vec<_> = (contenders.iter().cloned().enumerate())
            .map(|(number, leases)| {
                let (gate, ours) = (gate.clone(), ours.clone());
                tokio::spawn(async move {
                    gate.wait().await;
                    leases.acquire(&ours, &format!("contender-{number}"), now, 120).await.unwrap()
                })
            })
            .collect();
        let (mut winners, mut held) = (Vec::new(), Vec::new());
        for answer in asked {
            match answer.await.unwrap() {
                Acquired::Granted(lease) => winners.push(lease),
                Acquired::HeldBy(lease) => held.push(lease),
            }
        }
        let [winner] = winners.as_slice() else { panic!("round {round}: {winners:?}") };
        assert_eq!(winner.token, round);
        assert!(held.iter().all(|lease| lease == winner), "{held:?}");
    }
}

fn slot(account: &AccountId, slot_seconds: i64, usd_per_hour: f64) -> SlotRates {
    let cluster = SeenRate {
        cluster: "prod".into(),
        namespace: None,
        pod: None,
        node: None,
        service: None,
        usd_per_hour,
    };
    let pod = SeenRate {
        namespace: Some("shop".into()),
        pod: Some("web-1".into()),
        node: Some("node-1".into()),
        ..cluster.clone()
    };
    let rates = vec![cluster, pod];
    SlotRates {
        account: account.clone(),
        slot_seconds,
        phase: 2,
        lag_seconds: Some(3_600),
        refused: 0,
        rates,
    }
}

/// Runs the suite of the rate journal.
pub(crate) async fn rate_journal_contract(journal: &dyn RateJournal, tag: &str) {
    let (ours, other) = (account(tag, "rates"), account(tag, "rates-other"));
    let start = day().start_seconds();
    let slots: Vec<SlotRates> =
        (0..4).map(|number| slot(&ours, start + number * SLOT_SECONDS, 0.1 + 0.2)).collect();
    for slot in slots.iter().rev() {
        journal.note(slot).await.unwrap();
    }
    journal.note(&slot(&other, start, 9.0)).await.unwrap();
    journal.note(&SlotRates { lag_seconds: None, ..slot(&ours, start, 5.0) }).await.unwrap();
    let range = (start + SLOT_SECONDS, start + 3 * SLOT_SECONDS);
    let found = journal.slots(&ours, range.0, range.1).await.unwrap();
    assert_eq!(found, slots[1..3], "from its start on, before its end, in order");
    let found = journal.slots(&ours, start, range.1 + SLOT_SECONDS).await.unwrap();
    assert_eq!(found, slots, "the first note of a slot stands");
    assert_eq!(journal.slots(&ours, range.1, range.0).await.unwrap(), []);
    let empty = SlotRates { rates: Vec::new(), lag_seconds: None, ..slot(&ours, start - 300, 0.0) };
    journal.note(&empty).await.unwrap();
    assert_eq!(journal.slots(&ours, start - 300, start).await.unwrap(), [empty]);
}
