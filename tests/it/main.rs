//! Tests against real servers: ClickHouse, MongoDB's protocol, Prometheus 2 and 3.
//!
//! `bash tests/servers/prepare` makes the servers available; `support::servers` starts them. Each
//! test has databases or accounts of its own, so tests may run at once. A server that cannot be
//! had fails the test: nothing is skipped.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accuracy;
#[path = "../support/contract/mod.rs"]
mod contract;
mod contract_suites;
#[path = "../support/mongo_contract.rs"]
mod mongo_contract;
mod own_metrics;
mod support;
mod three_days;
#[path = "../support/truth.rs"]
mod truth;
mod verify;
