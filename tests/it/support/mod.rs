//! What the integration tests share.

pub(crate) mod document;
pub(crate) mod metrics;
pub(crate) mod opencost;
pub(crate) mod remote_write;
pub(crate) mod servers;
pub(crate) mod stored;
pub(crate) mod worker;
