//! The servers behind the stores: connections and bounded calls, without any role.

use std::time::Duration;

pub mod bson;
pub mod mongo;
pub mod mongo_bulk;
mod mongo_tls;
pub mod mongo_update;
pub mod sqlite;

/// The longest that one write may take, whichever store it goes to.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
