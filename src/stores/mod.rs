//! The servers behind the stores: connections and bounded calls, without any role.

pub mod mongo;
pub mod sqlite;
