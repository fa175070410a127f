//! The settings tables as a document: `docs/CONFIGURATION.md` is made from them.

use std::fmt::Write as _;

use super::raw::Setting;

/// A Markdown table of settings.
#[must_use]
pub fn table(settings: &[Setting]) -> String {
    let mut out = String::from("| environment | flag | default | meaning |\n|---|---|---|---|\n");
    for setting in settings {
        let default = match setting.default {
            None => "-".to_owned(),
            Some("") => "empty".to_owned(),
            Some(text) => format!("`{text}`"),
        };
        let names = if setting.is_secret {
            format!("`{0}` or `{0}_FILE` (secret)", setting.name)
        } else {
            format!("`{}`", setting.name)
        };
        let help = setting.help.replace('|', "\\|");
        // Cannot fail: writing to a String.
        let _ = writeln!(out, "| {names} | `--{}` | {default} | {help} |", setting.flag());
    }
    out
}
