//! `demo`: the whole job over recorded input.

use std::io::Write;

use super::{CliError, Context, output};

/// `demo`: the whole job over recorded input.
///
/// # Errors
/// When the SQLite file cannot be used, or the job fails.
pub async fn demo(context: &Context) -> Result<u8, CliError> {
    let kept = context.argument("keep").map(std::path::PathBuf::from);
    let name = format!("kubecost-worker-demo-{}.sqlite", uuid::Uuid::new_v4().simple());
    let path = kept.clone().unwrap_or_else(|| std::env::temp_dir().join(name));
    let report = crate::demo::demonstrate(&path).await;
    if kept.is_none() {
        for end in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            // What is not there need not be removed.
            let _ = std::fs::remove_file(file);
        }
    }
    let report = report?;
    let page = path.with_extension("html");
    std::fs::write(&page, &report.page)?;
    let mut out = std::io::stdout().lock();
    output::demo(&mut out, &report, context.is_json)?;
    if !context.is_json {
        writeln!(out, "\nThe same as a page to read in a browser: {}", page.display())?;
    }
    Ok(0)
}
