//! Values of FOCUS records.

use std::collections::BTreeMap;

use super::csv::spreadsheet_text;

/// The values of a record by column; a column without one is null.
pub(super) type Fields = BTreeMap<&'static str, String>;

/// A value as the specification wants text: without control characters and outer blanks; empty
/// where there is none, which is null. What a spreadsheet would compute has an apostrophe in front.
pub(super) fn text(value: &str) -> String {
    let plain: String = value.chars().filter(|c| !c.is_control()).collect();
    spreadsheet_text(plain.trim()).into_owned()
}

/// Tags as a JSON object.
pub(super) fn tags_json(tags: &BTreeMap<String, String>) -> String {
    serde_json::to_string(tags).unwrap_or_else(|_| "{}".to_owned())
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn a_text_is_no_formula_whatever_stands_before_it() {
        for value in ["=1+1", " =1+1", "\t=1+1", "\r\n=1+1 "] {
            assert_eq!(text(value), "'=1+1", "{value:?}");
        }
        assert_eq!((text(" shop\n").as_str(), text("\t").as_str()), ("shop", ""));
    }
}
