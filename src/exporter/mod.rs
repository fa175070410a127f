//! The allocation exporter: an allocation API in, Prometheus gauges out.
//!
//! ```text
//! poller ──► allocation_api ──► snapshot ──► accepted ──► render ──► server (/metrics)
//! (asks)     (reads, judges)    (gauges)     (last good answer)
//! ```
//!
//! The API is asked off the scrape path; a scrape shows the last answer that was accepted. Only
//! `poller` and `server` do input and output; `snapshot`, `fold`, `accepted` and `render` are
//! functions of values.

pub mod accepted;
mod fold;
pub mod poller;
pub mod render;
pub mod run;
pub mod server;
pub mod snapshot;
