//! Settings as they were typed: flags over environment over the configuration file.
//!
//! One table names every setting of a program; flags, `--help`, the file's keys and the documents
//! are all made from it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;

use clap::{Arg, ArgMatches};

/// The longest configuration file that is read, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What is wrong with a value of the environment that is no text.
const NO_TEXT: &str = "is not valid UTF-8";

/// One setting of a program.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The environment's name, such as `PROMETHEUS_URL`; the flag is `--prometheus-url`, the
    /// file's key `prometheus_url`.
    pub name: &'static str,
    /// What holds when it is not set; `None`: nothing does.
    pub default: Option<&'static str>,
    /// Whether it is a secret: then it is no flag, and `NAME_FILE` names a file that holds it.
    pub is_secret: bool,
    /// What it means, with units.
    pub help: &'static str,
}

impl Setting {
    /// The setting's flag without dashes in front.
    #[must_use]
    pub fn flag(&self) -> String {
        let name = self.name.to_ascii_lowercase().replace('_', "-");
        if self.is_secret { format!("{name}-file") } else { name }
    }
}

/// Something is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name in the environment.
    pub name: String,
    /// What is wrong and what would be right. Never holds a secret.
    pub what: String,
}

/// All that is wrong with the settings, at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.lines())]
pub struct ConfigErrors(pub Vec<SettingError>);

impl ConfigErrors {
    fn lines(&self) -> String {
        let lines: Vec<_> = self.0.iter().map(|e| format!("{}: {}", e.name, e.what)).collect();
        lines.join("\n")
    }
}

/// Values by setting name, the strongest source already chosen.
#[derive(Debug, Default)]
pub struct RawSettings {
    values: BTreeMap<&'static str, String>,
    /// What went wrong while values were collected.
    pub errors: Vec<SettingError>,
    /// The names of settings that were read.
    pub(super) read: BTreeSet<&'static str>,
}

/// Makes the flags of a settings table, with their environment names and defaults in the help.
#[must_use]
pub fn flags(table: &[Setting]) -> Vec<Arg> {
    table
        .iter()
        .map(|setting| {
            let default = setting.default.map_or(String::new(), |d| {
                let shown = if d.is_empty() { "empty" } else { d };
                format!(" [default: {shown}]")
            });
            let env = if setting.is_secret {
                format!(" [env: {0} or {0}_FILE]", setting.name)
            } else {
                format!(" [env: {}]", setting.name)
            };
            Arg::new(setting.name)
                .long(setting.flag())
                .value_name(if setting.is_secret { "FILE" } else { "VALUE" })
                .help(format!("{}{default}{env}", setting.help))
                .help_heading("Settings")
                .hide_short_help(true)
                .global(true)
        })
        .collect()
}

impl RawSettings {
    /// Collects values from flags, then the environment, then the file at `config_path`.
    #[must_use]
    pub fn collect(
        table: &'static [Setting],
        matches: &ArgMatches,
        environment: &dyn Fn(&str) -> Option<String>,
        config_path: Option<&Path>,
    ) -> Self {
        let mut raw = Self::default();
        let file = config_path.map_or_else(BTreeMap::new, |path| raw.read_file(table, path));
        for setting in table {
            let flag = matches.get_one::<String>(setting.name).cloned();
            if flag.is_none() {
                raw.note_what_is_no_text(setting);
            }
            if let Some(value) = raw.strongest(setting, flag, environment, &file) {
                // Secrets written by editors and `echo` end in a line break that is no part of them.
                let value = match setting.is_secret {
                    true => value.trim_end_matches(['\n', '\r']).to_owned(),
                    false => value,
                };
                raw.values.insert(setting.name, value);
            }
        }
        raw
    }

    /// Values given directly, for tests and for the demo.
    #[must_use]
    pub fn of(table: &'static [Setting], pairs: &[(&str, &str)]) -> Self {
        let mut raw = Self::default();
        for (name, value) in pairs {
            match table.iter().find(|setting| setting.name == *name) {
                Some(setting) => {
                    raw.values.insert(setting.name, (*value).to_owned());
                }
                None => raw.error(name, "is no setting of this program"),
            }
        }
        raw
    }

    /// The values of a configuration file's text alone. Secrets' files are not read.
    #[must_use]
    pub fn of_toml(table: &'static [Setting], text: &str) -> Self {
        let mut raw = Self::default();
        let file = raw.take_toml(table, text, "the file");
        for setting in table {
            if let Some(value) = file.get(&setting.name.to_ascii_lowercase()) {
                raw.values.insert(setting.name, value.clone());
            }
        }
        raw
    }

    /// Notes values of this process' environment that are no text: whoever asks for one as text gets
    /// none, as though the setting were not set.
    fn note_what_is_no_text(&mut self, setting: &Setting) {
        let of_file = setting.is_secret.then(|| format!("{}_FILE", setting.name));
        for name in std::iter::once(setting.name.to_owned()).chain(of_file) {
            if std::env::var_os(&name).is_some_and(|value| value.to_str().is_none()) {
                self.error(&name, NO_TEXT);
            }
        }
    }

    fn strongest(
        &mut self,
        setting: &Setting,
        flag: Option<String>,
        environment: &dyn Fn(&str) -> Option<String>,
        file: &BTreeMap<String, String>,
    ) -> Option<String> {
        let key = setting.name.to_ascii_lowercase();
        if !setting.is_secret {
            return flag.or_else(|| environment(setting.name)).or_else(|| file.get(&key).cloned());
        }
        let file_name = format!("{}_FILE", setting.name);
        if let Some(path) = flag {
            return self.read_secret(&file_name, &path);
        }
        let (value, path) = (environment(setting.name), environment(&file_name));
        match (value, path) {
            (Some(_), Some(_)) => {
                self.error(setting.name, &format!("is set, and {file_name} too: set one of them"));
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(path)) => self.read_secret(&file_name, &path),
            (None, None) => match (file.get(&key), file.get(&format!("{key}_file"))) {
                (_, Some(path)) => self.read_secret(&file_name, path),
                (value, None) => value.cloned(),
            },
        }
    }

    fn read_secret(&mut self, name: &str, path: &str) -> Option<String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                self.error(
                    name,
                    &format!("names the file '{path}', which cannot be read: {error}"),
                );
                None
            }
        }
    }

    fn read_file(&mut self, table: &[Setting], path: &Path) -> BTreeMap<String, String> {
        let shown = path.display();
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) => {
                self.error("--config", &format!("'{shown}' cannot be read: {error}"));
                return BTreeMap::new();
            }
        };
        self.take_toml(table, &text, &shown.to_string())
    }

    /// The values of a configuration file's text, which messages call `shown`.
    fn take_toml(
        &mut self,
        table: &[Setting],
        text: &str,
        shown: &str,
    ) -> BTreeMap<String, String> {
        let parsed: toml::Table = match text.parse() {
            Ok(parsed) => parsed,
            Err(error) => {
                let error: toml::de::Error = error;
                self.error("--config", &format!("'{shown}' is no TOML: {}", error.message()));
                return BTreeMap::new();
            }
        };
        let mut values = BTreeMap::new();
        for (key, value) in parsed {
            let known = table.iter().any(|setting| {
                let name = setting.name.to_ascii_lowercase();
                key == name || (setting.is_secret && key == format!("{name}_file"))
            });
            match (known, scalar(&value)) {
                (false, _) => self.error(&key, &format!("in '{shown}' is no known setting")),
                (true, None) => self.error(&key, &format!("in '{shown}' is no single value")),
                (true, Some(text)) => {
                    values.insert(key, text);
                }
            }
        }
        values
    }

    /// The value of a setting, or its default.
    #[must_use]
    pub fn value(&self, setting: &Setting) -> Option<&str> {
        self.values.get(setting.name).map(String::as_str).or(setting.default)
    }

    /// Notes that a setting is wrong; once, however many commands and parts read it.
    pub fn error(&mut self, name: &str, what: &str) {
        let error = SettingError { name: name.to_owned(), what: what.to_owned() };
        let is_no_text =
            self.errors.iter().any(|known| known.name == name && known.what == NO_TEXT);
        // That it counts as not set or as its default is no other error.
        if !is_no_text && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

/// Reads a configuration file that is no larger than one can be.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// A TOML value as the text the environment would hold; lists of words are joined by commas.
fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let words: Option<Vec<String>> =
                items.iter().map(|v| v.as_str().map(str::to_owned)).collect();
            words.map(|words| words.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static TABLE: [Setting; 2] = [
        Setting { name: "KEY", default: None, is_secret: true, help: "" },
        Setting { name: "WORD", default: None, is_secret: false, help: "" },
    ];

    fn key(environment: &dyn Fn(&str) -> Option<String>, config: Option<&Path>) -> String {
        let matches = clap::Command::new("x").args(flags(&TABLE)).get_matches_from(["x"]);
        let raw = RawSettings::collect(&TABLE, &matches, environment, config);
        assert!(raw.errors.is_empty(), "{:?}", raw.errors);
        raw.value(&TABLE[0]).unwrap_or_default().to_owned()
    }

    #[test]
    fn line_breaks_at_the_end_are_no_part_of_a_secret_wherever_it_comes_from() {
        for written in ["hunter2", "hunter2\n", "hunter2\r\n", "hunter2\n\n"] {
            let from_environment = |name: &str| (name == "KEY").then(|| written.to_owned());
            assert_eq!(key(&from_environment, None), "hunter2", "{written:?}");
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key");
            std::fs::write(&path, written).unwrap();
            let named = path.to_str().unwrap().to_owned();
            let from_file = |name: &str| (name == "KEY_FILE").then(|| named.clone());
            assert_eq!(key(&from_file, None), "hunter2", "{written:?}");
            let config = directory.path().join("config.toml");
            let quoted = written.replace('\n', "\\n").replace('\r', "\\r");
            std::fs::write(&config, format!("key = \"{quoted}\"")).unwrap();
            assert_eq!(key(&|_| None, Some(&config)), "hunter2", "{written:?}");
        }
        let with_spaces = |name: &str| (name == "KEY").then(|| " a b \n".to_owned());
        assert_eq!(key(&with_spaces, None), " a b ", "only line breaks");
    }
}
