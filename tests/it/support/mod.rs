//! What the integration tests share.

pub(crate) mod answers;
pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod bulk_made;
pub(crate) mod cluster;
pub(crate) mod document;
pub(crate) mod early_answer;
pub(crate) mod embedded;
pub(crate) mod exporters;
pub(crate) mod fake_prometheus;
pub(crate) mod http;
pub(crate) mod layer;
pub(crate) mod metrics;
pub(crate) mod opencost;
pub(crate) mod proxy;
pub(crate) mod readers;
pub(crate) mod remote_write;
pub(crate) mod rest_documents;
pub(crate) mod servers;
pub(crate) mod small;
pub(crate) mod stored;
pub(crate) mod three_accounts;
pub(crate) mod trouble;
pub(crate) mod version_0_1_0;
pub(crate) mod worker;
pub(crate) mod world;
