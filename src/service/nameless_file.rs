//! Files for libraries that read files only: private, and gone with the process however it ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// A file that has no name in any directory. Dropping it ends it.
#[derive(Debug)]
pub struct NamelessFile(File);

impl NamelessFile {
    /// A file with these bytes, in the directory of temporary files. Its name is removed before
    /// anything is written, so a process that is killed leaves nothing behind.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn holding(bytes: &[u8]) -> io::Result<Self> {
        let name = format!(".kubecost-worker.{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        file.write_all(bytes)?;
        Ok(Self(file))
    }

    /// Where this process, and no other user's, can open it for reading.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_can_be_read_again_and_again_and_has_no_name() {
        let file = NamelessFile::holding(b"-----BEGIN").unwrap();
        for _ in 0..2 {
            assert_eq!(std::fs::read(file.path()).unwrap(), b"-----BEGIN");
        }
        let metadata = file.0.metadata().unwrap();
        assert_eq!((metadata.nlink(), metadata.mode() & 0o777), (0, 0o600));
    }
}
