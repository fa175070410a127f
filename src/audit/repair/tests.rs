//! Inserts that fail, in the middle of a repair: the day's status is a mark by then.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::*;
use crate::account_writer::Writers;
use crate::day_status::memory::MemoryDayStatus;
use crate::day_status::stored_form::tests::complete;
use crate::day_status::{DayState, DayStatusWriter};
use crate::documents::memory::MemoryResources;
use crate::lease::memory::MemoryLeases;
use crate::ledger::memory::{MemoryLedger, StoredRow};
use crate::ledger::{DayTotal, Dimensions, LedgerWriter, ReadBack, ResourceTotal};
use crate::service::clock::FixedClock;
use crate::service::failure::{Hop, Kind};

/// How an insert fails.
#[derive(Clone, Copy)]
enum Fault {
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is acknowledged, and its rows never show.
    Hidden,
}

struct Faulty {
    ledger: MemoryLedger,
    fault: Fault,
}

#[async_trait]
impl LedgerReader for Faulty {
    async fn check(&self) -> Result<(), Failure> {
        self.ledger.check().await
    }

    async fn states(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.ledger.states(account, day).await
    }

    async fn collapsed(&self, account: &AccountId, day: Day) -> Result<Vec<KeyState>, Failure> {
        self.ledger.collapsed(account, day).await
    }

    async fn resource_totals(
        &self,
        account: &AccountId,
        resource_ids: &[String],
    ) -> Result<Vec<ResourceTotal>, Failure> {
        self.ledger.resource_totals(account, resource_ids).await
    }

    async fn day_totals(
        &self,
        account: &AccountId,
        first: Day,
        last: Day,
    ) -> Result<Vec<DayTotal>, Failure> {
        self.ledger.day_totals(account, first, last).await
    }
}

#[async_trait]
impl LedgerWriter for Faulty {
    async fn append(
        &self,
        account: &AccountId,
        day: Day,
        entries: &[Entry],
    ) -> Result<(), Failure> {
        match self.fault {
            Fault::Hidden => Ok(()),
            Fault::AnswerLost => {
                self.ledger.append(account, day, entries).await?;
                Err(Failure::new(Hop::ClickHouse, Kind::Timeout, "inserting: no answer", ""))
            }
        }
    }
}

fn day() -> Day {
    "2026-08-01".parse().unwrap()
}

fn account() -> AccountId {
    AccountId::new("a").unwrap()
}

/// Repairs a row of no document; returns the failure, the status of the day, and what was done.
async fn repaired_with(fault: Fault) -> (Failure, DayStatus, RepairReport) {
    let ledger = Arc::new(Faulty { ledger: MemoryLedger::default(), fault });
    let date_seconds = day().start_seconds();
    ledger.ledger.insert_raw(StoredRow {
        account: account(),
        resource_id: "nobody".into(),
        date_seconds,
        cost_usd: 1.0,
        sign: 1,
        dimensions: Dimensions::default(),
    });
    let status = Arc::new(MemoryDayStatus::default());
    status.put(&complete(day())).await.unwrap();
    let documents = Arc::new(MemoryResources::default());
    let pause = Duration::ZERO;
    let writers = Writers {
        documents: documents.clone(),
        ledger: ledger.clone(),
        status: status.clone(),
        leases: Arc::new(MemoryLeases::new(Arc::new(FixedClock::at(0)))),
        lease_length: Duration::from_secs(60),
        read_back: ReadBack { pause, pause_max: pause, looks_max: 2 },
    };
    let writer = writers.open(&account(), "x").await.unwrap();
    let work = Repairing {
        ledger: ledger.as_ref(),
        documents: documents.as_ref(),
        status: status.as_ref(),
        writer: &writer,
        default_owner: None,
        keeps_document_costs: false,
        run_id: "x",
        now_seconds: 7,
    };
    let kind = FindingKind::RowWithoutDocument;
    let finding = Finding {
        account: account(),
        kind,
        repaired_by: kind.repaired_by(),
        resource_id: "nobody".into(),
        date_seconds: Some(date_seconds),
        day: Some(day()),
        usd: 1.0,
        what: "no document".into(),
    };
    let mut done = RepairReport::default();
    let failure = repair(&work, &[finding], &mut done).await.unwrap_err();
    let mut statuses = status.statuses(&account(), day(), day()).await.unwrap();
    (failure, statuses.remove(0), done)
}

#[tokio::test]
async fn an_insert_of_unknown_outcome_leaves_the_day_pending() {
    let (failure, status, done) = repaired_with(Fault::AnswerLost).await;
    assert_eq!((failure.kind, done), (Kind::Timeout, RepairReport::default()));
    let attempt = &status.attempt;
    assert!(attempt.is_pending && !attempt.is_settled, "{attempt:?}");
    assert_eq!(attempt.state, DayState::Failed);
    assert!(attempt.cause.contains("audit x began"), "{attempt:?}");
    assert_eq!(status.stored, complete(day()).stored);
}

#[tokio::test]
async fn rows_that_do_not_show_leave_the_day_pending_with_that_cause() {
    let (failure, status, _) = repaired_with(Fault::Hidden).await;
    assert_eq!(failure.kind, Kind::NotVisible);
    assert!(status.attempt.is_pending && !status.attempt.is_settled);
    assert_eq!(status.attempt.cause, failure.to_string());
}
