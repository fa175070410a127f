//! Files that are there whole or not at all, and that nobody else can put in their place.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Readable and writable by its owner alone.
const PRIVATE: u32 = 0o600;

/// Writes a file that only its owner can read.
///
/// It is written beside the path under a random name, which must not exist, and renamed: a link
/// that somebody else has laid at either name is not followed.
///
/// # Errors
/// When it cannot be written; then nothing is left, and what was there stays.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    write(path, text, PRIVATE)
}

/// The same, but a file that is there keeps its mode: its readers may be other users. A new file
/// is its owner's alone.
///
/// # Errors
/// When it cannot be written; then nothing is left, and what was there stays.
pub fn write_keeping_mode(path: &Path, text: &str) -> io::Result<()> {
    let mode = match path.symlink_metadata() {
        Ok(there) if there.is_file() => there.permissions().mode() & 0o777,
        _ => PRIVATE,
    };
    write(path, text, mode)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("names no file"))?;
    // Collectors of metrics read names that end in .prom; this one does not.
    let mut beside = name.to_owned();
    beside.push(format!(".{}.new", uuid::Uuid::new_v4().simple()));
    let beside = path.with_file_name(beside);
    let file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&beside)?;
    fill(file, text, mode).and_then(|()| std::fs::rename(&beside, path)).inspect_err(|_| {
        // The first error is the one to report.
        let _ = std::fs::remove_file(&beside);
    })
}

fn fill(mut file: File, text: &str, mode: u32) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().permissions().mode() & 0o777
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_its_owners_alone_and_replaced_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("plan.json");
        write_private(&path, "one").unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!((mode(&path), std::fs::read_to_string(&path).unwrap()), (0o600, "two".into()));
        assert_eq!(names(directory.path()), ["plan.json"]);
    }

    #[test]
    fn readers_that_a_file_was_opened_to_keep_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.prom");
        write_keeping_mode(&path, "one").unwrap();
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        write_keeping_mode(&path, "two").unwrap();
        assert_eq!((mode(&path), std::fs::read_to_string(&path).unwrap()), (0o644, "two".into()));
    }

    #[test]
    fn a_link_is_replaced_and_what_it_leads_to_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (path, victim) = (directory.path().join("plan.json"), directory.path().join("victim"));
        std::fs::write(&victim, "precious").unwrap();
        for write in [write_private, write_keeping_mode] {
            std::os::unix::fs::symlink(&victim, &path).unwrap();
            write(&path, "plan").unwrap();
            assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "plan");
            assert!(!path.is_symlink() && mode(&path) == 0o600);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("inside"), "").unwrap();
        write_private(&taken, "x").unwrap_err();
        write_private(&directory.path().join("no/such/plan.json"), "x").unwrap_err();
        write_private(Path::new("/"), "x").unwrap_err();
        assert_eq!(names(directory.path()), ["taken"]);
    }
}
