//! The command line as people and programs meet it, over the embedded store: no server is needed.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod build;
mod counts;
mod help;
mod refusals;
mod schemas;
mod support;
mod terminal;
