//! The contracts of the stores, on their twins in memory and on the embedded store. The servers'
//! implementations run the same suites in the integration tests. And the client of CloudTuner's
//! REST API, on a fake of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/contract/mod.rs"]
mod contract;

mod healing;
mod memory;
#[path = "../support/rest_api/mod.rs"]
mod rest_api;
mod rest_client;
mod rest_faults;
mod rest_nodes;
mod rest_rules;
mod rest_writes;
mod sqlite;
