//! Brings Kubernetes costs from Kubecost and OpenCost into CloudTuner.
//!
//! ```text
//! query ──► allocation ──► resources (MongoDB documents, first: they give the ids)
//!                     └──► ledger    (ClickHouse rows, keyed by those ids)
//! ```
//!
//! `worker` drives one run over these in steps; `records` keeps what each run did and who may
//! write; `exporter` is the other half, in the customer's cluster. `docs/ARCHITECTURE.md` walks
//! through a run.

pub mod accounts;
pub mod allocation;
pub mod allocation_api;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod embedded;
pub mod exporter;
pub mod failure;
pub mod http;
pub mod ledger;
pub mod migrate;
pub mod mongo;
pub mod query;
pub mod records;
pub mod resources;
pub mod telemetry;
pub mod verify;
pub mod worker;
