//! Tests against real servers: ClickHouse, MongoDB's protocol, Prometheus 2 and 3.
//!
//! `bash tests/servers/prepare` makes the servers available; `support::servers` starts them. Each
//! test has databases or accounts of its own, so tests may run at once. A server that cannot be
//! had fails the test: nothing is skipped.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it went through"
)]

mod accuracy;
mod adopt;
mod audit;
mod audit_days;
mod authorities;
mod bad_input;
mod bad_input_settings;
mod bad_input_size;
mod bad_input_stores;
mod catch_up;
mod checkpoints;
mod clock;
mod cloudtuner;
mod clusters;
mod command_line;
#[path = "../support/contract/mod.rs"]
mod contract;
mod contract_suites;
mod currencies;
mod documents;
mod doubled;
mod earlier_exporter;
mod explains;
mod imports;
mod kill;
mod labels;
mod late_rows;
mod limits;
mod metroculus;
mod migrations;
#[path = "../support/mongo_contract.rs"]
mod mongo_contract;
mod nodes;
mod outages;
mod own_metrics;
mod parts;
mod pieces;
mod pinned_settings;
mod proxies;
mod query_layers;
mod raw_metrics;
mod readers;
mod recommendations;
mod recomputed;
mod replicas;
mod reports;
mod reruns;
#[path = "../support/rest_api/mod.rs"]
#[expect(dead_code, reason = "its faults and its documents in memory are for other tests")]
mod rest_api;
mod rest_documents;
mod secrets;
mod series_limits;
mod side_by_side;
mod signals;
mod simulated;
mod support;
mod three_days;
mod today_refresh;
mod totals;
#[path = "../support/truth.rs"]
mod truth;
mod two_ways;
mod verify;
mod versions;
mod wholes;
mod windows;
