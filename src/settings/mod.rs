//! Settings: raw text in, validated values out, every error at once, nothing connected before.
//!
//! `table` declares settings, `worker_names` and `exporter_names` are all there are, each named
//! once. `raw` collects texts from flags, environment and file; `reader` reads single values; the
//! other modules say which settings belong together, and `worker` which of them a command has.

pub mod accounts;
pub mod auth;
pub mod cluster_label;
pub mod currency;
pub mod document;
pub mod exporter;
pub mod exporter_names;
pub mod former_names;
pub mod headers;
pub mod metrics;
pub mod mongo_url;
pub mod parallel;
pub mod raw;
pub mod reader;
pub mod resources;
pub mod run;
pub mod secret;
pub mod serving;
pub mod source;
pub mod store;
mod table;
pub mod tls;
pub mod verify;
pub mod worker;
pub mod worker_names;

pub use exporter::ExporterConfig;
pub use raw::{ConfigErrors, RawSettings, Setting, SettingError};
pub use reader::ReadSettings;
pub use secret::{Endpoint, Secret};
