//! The exporter and the allocation API's client against recorded and hand-written replies.
//!
//! Everything runs on loopback; `promtool` and `prometheus` must be installed. Clocks are put by
//! hand; waiting is polling of a condition with a bound, never a fixed pause.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on must fail")]

mod boundary;
mod client;
mod coverage;
mod doubts;
mod floods;
mod idle;
mod program;
mod prometheus;
mod query;
mod recorded;
mod scrape;
mod support;
