//! What the program says of itself while it works.

pub mod logging;
