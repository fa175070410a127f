//! What the integration tests share.

pub(crate) mod metrics;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod small;
pub(crate) mod worker;
