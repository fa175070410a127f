//! `demo`: the whole job over recorded input.

use std::io::Write;
use std::path::PathBuf;

use super::{CliError, Context, output};

/// `demo`: the whole job over recorded input.
///
/// # Errors
/// When the SQLite file cannot be used, or the job fails.
pub async fn demo(context: &Context) -> Result<u8, CliError> {
    let kept = kept(context.argument("keep"))?;
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

/// The file that is kept, if one is. The page is written beside it with the ending `.html`.
fn kept(asked: Option<&str>) -> Result<Option<PathBuf>, CliError> {
    let Some(text) = asked else { return Ok(None) };
    let path = PathBuf::from(text);
    let is_page = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("html"));
    if path.file_name().is_none() || is_page {
        return Err(CliError::Argument(format!(
            "--keep '{text}' names no SQLite file (the page is written beside it, as .html); an \
             example: --keep demo.sqlite"
        )));
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn what_the_page_would_be_written_over_is_not_kept() {
        for bad in ["", "demo.html", "/tmp/Demo.HTML", "..", "/"] {
            let said = kept(Some(bad)).unwrap_err().to_string();
            assert!(said.contains(&format!("--keep '{bad}'")), "{said}");
        }
        let path = kept(Some("demo.html.sqlite")).unwrap();
        assert_eq!(path.as_deref(), Some(std::path::Path::new("demo.html.sqlite")));
        assert!(kept(None).unwrap().is_none());
    }
}
