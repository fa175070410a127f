//! What every implementation of a role must do, written once and run on each of them.
//!
//! Every suite works on accounts of its own, whose ids begin with `tag`, so that suites may share
//! a server; a merge alone is about all accounts. Doors are the ways past a trait: what another
//! writer or a user did.

pub(crate) mod leases;
pub(crate) mod ledger;
mod odd_documents;
pub(crate) mod records;
pub(crate) mod resources;

use kubecost_worker::cost::{AccountId, Day};

/// The day that the suites are about.
pub(crate) fn day() -> Day {
    "2026-11-20".parse().unwrap()
}

/// An account of a suite's own.
pub(crate) fn account(tag: &str, name: &str) -> AccountId {
    AccountId::new(format!("{tag}-{name}")).unwrap()
}
