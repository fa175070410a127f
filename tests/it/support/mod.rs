//! What the integration tests share.

pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod fake_prometheus;
pub(crate) mod http;
pub(crate) mod metrics;
pub(crate) mod proxy;
pub(crate) mod servers;
pub(crate) mod worker;
pub(crate) mod world;
