//! The cost model: days, money, names and sums as functions of values.
//!
//! Nothing here does input or output, reads a clock or an environment; `tests/it/documents.rs` checks
//! the imports. What belongs here: [`day::Day`], [`cost::Cost`], [`identity::ResourceKey`],
//! [`model::DayCosts`] and [`rollup::roll_up`]. What does not: how costs are asked for (`query`)
//! and how they are stored (`resources`, `ledger`).

pub mod cost;
pub mod day;
pub mod identity;
pub mod model;
pub mod rollup;

pub use cost::Cost;
pub use day::Day;
pub use identity::{AccountId, ResourceKey};
pub use model::{ClusterCosts, DayCosts, Level, Levels, NamespaceCosts, PodCosts};
pub use rollup::{CostLine, RollUp, roll_up};
