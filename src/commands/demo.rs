//! `demo`: the whole job over recorded input.

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
    output::demo(&mut std::io::stdout().lock(), &report?, context.is_json)?;
    Ok(0)
}
