//! The form of MongoDB's connection string, as far as it can be checked before anything is
//! connected. No message holds a part of it: a password that is not percent-encoded may turn up in
//! any part.

use mongodb::options::ConnectionString;

use super::secret::Secret;

/// What the form of a connection string should be.
pub const FIX_URL: &str = "check MONGO_URL: its form is mongodb://user:password@host:port/, with \
                           '@', ':', '/', '?', '#' and '%' of user and password percent-encoded";

/// Whether the driver can read a connection string; nothing is looked up or connected.
///
/// # Errors
/// What its form should be, without a part of `url`.
pub fn check_url(url: &Secret) -> Result<(), &'static str> {
    let is_read = !has_bare_at_sign(url.expose()) && ConnectionString::parse(url.expose()).is_ok();
    if is_read { Ok(()) } else { Err(FIX_URL) }
}

/// Whether an `@` stands where only a password with a bare `/` or `?` can have put it: then the
/// driver would take the rest of the password for host and database, and show them.
#[must_use]
pub fn has_bare_at_sign(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    authority.matches('@').count() > 1 || (after.contains('@') && !authority.contains('@'))
}
