//! The form of what is sent: times, texts and ids in paths.

/// The latest time that the API takes, Unix seconds.
pub const SECONDS_MAX: i64 = 2_147_483_647;

/// A text that the API counts as blank: its white space is Python's, four control characters more
/// than Unicode's.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

/// The longest text that most of the API's fields take, characters.
pub(super) const TEXT_CHARACTERS_MAX: usize = 255;

/// Why the API does not take a text of a field.
pub(super) fn check_text(field: &str, text: &str, characters_max: usize) -> Result<(), String> {
    let count = text.chars().count();
    if count == 0 {
        Err(format!("{field} is empty"))
    } else if is_blank(text) {
        Err(format!("{field} is blank"))
    } else if count > characters_max {
        Err(format!("{field} has {count} characters, and {characters_max} are taken at most"))
    } else {
        Ok(())
    }
}

/// An id as one part of a path.
pub(super) fn path_part(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect::<String>().replace('+', "%20")
}
