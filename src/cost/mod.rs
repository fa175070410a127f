//! The cost model: days, money, names and sums as functions of values.
//!
//! Nothing here does input or output, reads a clock or an environment; `tests/it/documents.rs` checks
//! the imports. What belongs here: [`day::Day`], [`money::Cost`], [`resource_id::ResourceKey`],
//! [`costs::DayCosts`] and [`rollup::roll_up`]. What does not: how costs are asked for (`source`)
//! and how they are stored (`documents`, `ledger`).

pub mod bound;
pub mod breakdown;
pub mod composition;
pub mod costs;
pub mod day;
pub mod kubernetes;
pub mod limits;
pub mod money;
pub mod names;
pub mod odd_days;
pub mod phase;
pub mod resource_id;
pub mod rollup;
pub mod row_parts;

pub use breakdown::{Breakdown, Part, Parts, add_known_parts, add_parts};
pub use composition::{Composition, Efficiency};
pub use costs::{
    ClusterCosts, DayCosts, Level, Levels, NamespaceCosts, NodeCosts, NodeFacts, NodeLevel,
    PodCosts,
};
pub use day::Day;
pub use kubernetes::KubernetesFacts;
pub use limits::{Limits, OverLimit};
pub use money::Cost;
pub use phase::Phase;
pub use resource_id::{AccountId, ResourceKey};
pub use rollup::{Contradiction, CostLine, Excess, RollUp, roll_up};
pub use row_parts::{RowParts, row_parts};
