//! Certificates for the driver, which reads them from files only.

use std::path::PathBuf;
use std::sync::OnceLock;

use mongodb::options::{ClientOptions, Tls as DriverTls};

use crate::service::failure::{Failure, Hop, Kind};
use crate::service::nameless_file::NamelessFile;
use crate::service::tls;

/// Files that hold what this process joined. The driver opens them again for each server that it
/// discovers, so they last as long as the process.
type Kept = OnceLock<Result<NamelessFile, String>>;

static TRUSTED: Kept = OnceLock::new();
static IDENTITY: Kept = OnceLock::new();

/// Has the driver trust the authorities of this process and show its certificate, where the
/// connection string turns TLS on and names none of its own.
///
/// # Errors
/// When what was joined cannot be handed to the driver.
pub(super) fn apply(options: &mut ClientOptions) -> Result<(), Failure> {
    let Some(DriverTls::Enabled(driver)) = &mut options.tls else { return Ok(()) };
    if driver.ca_file_path.is_none()
        && let Some(pem) = tls::of_process().trusted_pem()
    {
        driver.ca_file_path = Some(kept(&TRUSTED, pem)?);
    }
    if driver.cert_key_file_path.is_none()
        && let Some(pem) = tls::of_process().identity_pem()
    {
        driver.cert_key_file_path = Some(kept(&IDENTITY, pem)?);
    }
    Ok(())
}

fn kept(file: &'static Kept, pem: &[u8]) -> Result<PathBuf, Failure> {
    let holding = || NamelessFile::holding(pem).map_err(|error| error.to_string());
    file.get_or_init(holding).as_ref().map(NamelessFile::path).map_err(|error| {
        let what = format!("the certificates could not be handed to MongoDB's driver: {error}");
        let fix = "let the directory of temporary files (TMPDIR, or /tmp) be writable";
        Failure::new(Hop::MongoDb, Kind::Internal, what, fix)
    })
}
