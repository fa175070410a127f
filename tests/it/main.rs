//! Tests against real servers: ClickHouse, MongoDB's protocol, Prometheus 2 and 3.
//!
//! `bash tests/servers/prepare` makes the servers available; `support::servers` starts them. Each
//! test has databases or accounts of its own, so tests may run at once. A server that cannot be
//! had fails the test: nothing is skipped.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/contract/mod.rs"]
mod contract;
mod bad_input;
mod bad_input_settings;
mod bad_input_size;
mod bad_input_stores;
mod contract_suites;
mod command_line;
mod secrets;
mod support;
mod three_days;
