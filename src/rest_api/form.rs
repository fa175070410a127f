//! The form of what is sent: times, texts and ids in paths.

/// The latest time that the API takes, Unix seconds.
pub const SECONDS_MAX: i64 = 2_147_483_647;

/// A text that the API counts as blank: its white space is Python's, four control characters more
/// than Unicode's.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// An id as one part of a path.
pub(super) fn path_part(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}
