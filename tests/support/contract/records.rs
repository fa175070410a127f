//! What every store of day status and the rate journal must do.

use std::collections::BTreeMap;

use kubecost_worker::cost::{AccountId, Composition, Day, Efficiency, Part};
use kubecost_worker::day_status::{
    Attempt, ClusterCoverage, Coverage, DayState, DayStatus, DayStatusStore, Guard, OtherRows,
    Override, StoredCosts,
};
use kubecost_worker::rate_journal::{RateJournal, SLOT_SECONDS, SeenRate, SeenWindow, SlotRates};
use kubecost_worker::source::checkpoint::{Answer, Checkpoint};
use kubecost_worker::source::labels::Labels;
use kubecost_worker::source::{Phase, Presence};

use super::{account, day};

fn status(account: &AccountId, day: Day) -> DayStatus {
    DayStatus {
        account: account.clone(),
        day,
        stored: StoredCosts {
            phase: Some(Phase::Exporter),
            coverage: Coverage {
                covered_minutes: 1_320,
                expected_minutes: 1_440,
                // Names that a store may not take as names of fields.
                clusters: ["", "$a.b", "c"]
                    .map(|cluster| ClusterCoverage {
                        cluster: cluster.into(),
                        covered_minutes: 1_320,
                    })
                    .to_vec(),
            },
            // Numbers whose last bit an inexact way through text would lose.
            source_total_usd: 121.487_919_511_619_45,
            total_usd: 31.245_270_191_439_438,
            rows: 12,
            exchange_rates: [("EUR".to_owned(), 1.081_3)].into(),
            bound: None,
            pods_at: None,
            pods_read_at: None,
            composition: Composition {
                parts: Some([(Part::Cpu, 0.1 + 0.2), (Part::LoadBalancer, 30.945_270_191)].into()),
                efficiency: Efficiency { cpu: Some(1.0 / 3.0), ram: None },
            },
        },
        other_rows: OtherRows { rows: 1, total_usd: 0.1 + 0.2 },
        seen: Presence {
            raw_minutes: 0,
            exporter_minutes: 1_320,
            raw_samples: 0,
            exporter_samples: u64::from(u32::MAX) + 1,
            all_samples: Some(u64::from(u32::MAX) + 2),
        },
        attempt: Attempt {
            state: DayState::Partial,
            cause: "120 of 1440 minutes are missing; \"é\"".into(),
            is_pending: false,
            is_settled: true,
            run_id: "run-1".into(),
            at_seconds: day.end_seconds() + 60,
        },
        overrides: Vec::new(),
    }
}

/// Runs the suite of day status.
pub(crate) async fn day_status_contract(store: &dyn DayStatusStore, tag: &str) {
    // Their ids, and whatever a store makes of them, must not run into each other.
    let (own, other) = (account(tag, "days"), account(tag, "days:2026-11-20"));
    let (first, last) = (day(), day().next());
    assert_eq!(store.statuses(&own, first, last).await.unwrap(), []);
    for of_day in [last, first, first.previous()] {
        store.put(&status(&own, of_day)).await.unwrap();
    }
    store.put(&status(&other, first)).await.unwrap();
    let wanted = [status(&own, first), status(&own, last)];
    assert_eq!(store.statuses(&own, first, last).await.unwrap(), wanted);
    assert_eq!(store.statuses(&own, last, first).await.unwrap(), []);
    assert_eq!(store.statuses(&other, first, last).await.unwrap(), [status(&other, first)]);
    let mut changed = status(&own, first);
    changed.stored.phase = None;
    (changed.attempt.state, changed.attempt.run_id) = (DayState::Ok, "run-2".into());
    let reason = "the second cluster is gone".into();
    changed.overrides = vec![Override { guard: Guard::LostCluster, reason }];
    store.put(&changed).await.unwrap();
    assert_eq!(store.statuses(&own, first, first).await.unwrap(), [changed]);
}

/// Runs the suite of checkpoints, for stores that keep them.
pub(crate) async fn checkpoint_contract(store: &dyn DayStatusStore, tag: &str) {
    let (own, other) = (account(tag, "checkpoint"), account(tag, "checkpoint:other"));
    assert_eq!(store.checkpoint(&own).await.unwrap(), None);
    let labels = Labels::from_iter([("$a.b", "\"é\"")]);
    let answer = Answer { start: 60, until: 3_000, values: BTreeMap::from([(labels, 0.1 + 0.2)]) };
    let mut checkpoint = Checkpoint {
        day: day(),
        until: day().start_seconds() + 3_600,
        samples: u64::from(u32::MAX) + 1,
        answers: BTreeMap::from([("a question".to_owned(), answer)]),
    };
    store.put_checkpoint(&own, &checkpoint).await.unwrap();
    assert_eq!(store.checkpoint(&own).await.unwrap().as_ref(), Some(&checkpoint));
    assert_eq!(store.checkpoint(&other).await.unwrap(), None);
    checkpoint.until += 3_600;
    store.put_checkpoint(&own, &checkpoint).await.unwrap();
    assert_eq!(store.checkpoint(&own).await.unwrap(), Some(checkpoint));
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
        is_approximate: false,
        windows: vec![SeenWindow {
            cluster: "prod".into(),
            end_seconds: slot_seconds,
            length_seconds: 3_600,
            is_incomplete: true,
        }],
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
    let heads = journal.heads(&ours, start, range.1).await.unwrap();
    let wanted: Vec<_> = slots[..3].iter().map(SlotRates::head).collect();
    assert_eq!(heads, wanted);
    assert_eq!(journal.slots(&ours, range.1, range.0).await.unwrap(), []);
    let empty = SlotRates { rates: Vec::new(), lag_seconds: None, ..slot(&ours, start - 300, 0.0) };
    journal.note(&empty).await.unwrap();
    assert_eq!(journal.heads(&ours, start - 300, start).await.unwrap(), [empty.head()]);
    assert_eq!(journal.slots(&ours, start - 300, start).await.unwrap(), [empty]);
}
