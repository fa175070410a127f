//! The exporter and the allocation API's client against recorded and hand-written replies.
//!
//! Everything runs on loopback; `promtool` and `prometheus` must be installed. Clocks are put by
//! hand; waiting is polling of a condition with a bound, never a fixed pause.

mod boundary;
mod query;
mod recorded;
mod support;
