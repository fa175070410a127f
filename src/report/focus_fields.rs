//! Values of FOCUS records.

use std::collections::BTreeMap;

/// The values of a record by column; a column without one is null.
pub(super) type Fields = BTreeMap<&'static str, String>;

/// A value as the specification wants text: without control characters and outer blanks; empty
/// where there is none, which is null.
pub(super) fn text(value: &str) -> String {
    value.chars().filter(|c| !c.is_control()).collect::<String>().trim().to_owned()
}

/// Tags as a JSON object.
pub(super) fn tags_json(tags: &BTreeMap<String, String>) -> String {
    serde_json::to_string(tags).unwrap_or_else(|_| "{}".to_owned())
}
