//! Brings Kubernetes costs from Kubecost and OpenCost into CloudTuner.
//!
//! ```text
//! source ──► cost ──► documents (MongoDB, first: they give the ids)
//!                └──► ledger    (ClickHouse rows, keyed by those ids)
//! ```
//!
//! `run` drives one run over these in steps; `day_status` keeps what each run did, `lease` who may
//! write; `exporter` is the other half, in the customer's cluster. `docs/ARCHITECTURE.md` walks
//! through a run.

pub mod account_writer;
pub mod accounts;
pub mod allocation_api;
pub mod audit;
pub mod commands;
pub mod cost;
pub mod day_status;
pub mod demo;
pub mod documents;
pub mod explain;
pub mod exporter;
pub mod lease;
pub mod ledger;
pub mod migrate;
pub mod rate_journal;
pub mod recommend;
pub mod recommendations;
pub mod report;
pub mod rest_api;
pub mod run;
pub mod serve;
pub mod service;
pub mod settings;
pub mod source;
pub mod stores;
pub mod verify;
