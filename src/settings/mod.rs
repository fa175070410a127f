//! Settings: raw text in, validated values out, every error at once, nothing connected before.
//!
//! `raw` collects texts from flags, environment and file; `parse` reads single values; `worker`
//! and `exporter` say which settings each binary has and what they mean together.

pub mod auth;
pub mod cloudtuner;
pub mod document;
pub mod exporter;
pub mod operation;
pub mod parse;
pub mod raw;
pub mod secret;
pub mod table;
pub mod worker;

pub use exporter::ExporterConfig;
pub use raw::{ConfigErrors, RawSettings, Setting, SettingError};
pub use secret::{Endpoint, Secret};
pub use worker::WorkerConfig;
