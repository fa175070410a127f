//! What the integration tests share.

pub(crate) mod metrics;
pub(crate) mod servers;
pub(crate) mod worker;
