//! Finds, over any range of days, what is wrong with what is stored: `kubecost-worker audit`.
//!
//! [`finding`] decides as a function of what the stores hold; [`load_stored_state`] reads that;
//! [`adopt`] says what goes over from documents of earlier software, and
//! [`repair()`] puts right what can be put right from the stores alone. What does not belong here:
//! the source of costs. A day that lost rows by a repair stays open until a run or a backfill has
//! computed it again.

pub mod adopt;
pub mod day_record;
pub mod days;
pub mod finding;
pub mod kinds;
pub mod repair;
pub mod stored_state;

pub use finding::{Finding, FindingKind, RepairedBy, StoredState, findings};
pub use repair::{RepairReport, repair};
pub use stored_state::{Audited, load_stored_state};
