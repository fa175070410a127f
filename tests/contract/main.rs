//! The contracts of the stores, on their twins in memory and on the embedded store. The servers'
//! implementations run the same suites in the integration tests.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/contract/mod.rs"]
mod contract;

mod memory;
mod sqlite;
