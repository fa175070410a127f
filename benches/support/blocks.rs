//! Blocks of Prometheus from samples as text.

use std::path::Path;
use std::process::Command;

use crate::servers::promtool;

/// Has promtool write OpenMetrics text as blocks of `hours` hours at the most; it reads the text
/// once for each.
pub(crate) fn write_blocks(text: &Path, directory: &Path, hours: u32) {
    let duration = format!("--max-block-duration={hours}h");
    let made = Command::new(promtool())
        .args(["tsdb", "create-blocks-from", &duration, "openmetrics", "--quiet"])
        .args([text, directory])
        .status()
        .unwrap();
    assert!(made.success());
}
