//! From texts to values of settings: each reader notes its errors and goes on, so that all of
//! them are reported at once.

use std::time::Duration;

use super::raw::{RawSettings, Setting};
use super::secret::{Endpoint, Secret};

/// Reads the values of one settings table.
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'static [Setting],
    raw: &'a mut RawSettings,
}

impl<'a> Reader<'a> {
    /// A reader of these raw values.
    pub fn new(table: &'static [Setting], raw: &'a mut RawSettings) -> Self {
        Self { table, raw }
    }

    fn find(&self, name: &str) -> Option<Setting> {
        self.table.iter().find(|setting| setting.name == name).copied()
    }

    /// The text of a setting, if set or defaulted.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.find(name) {
            Some(setting) => self.raw.value(&setting).map(str::to_owned),
            None => {
                self.raw.error(name, "is not in the table of settings");
                None
            }
        }
    }

    /// The text of a setting that must not be empty.
    pub fn required_text(&mut self, name: &str, why: &str) -> String {
        let text = self.text(name).unwrap_or_default();
        if text.is_empty() {
            self.error(name, &format!("is not set; {why}"));
        }
        text
    }

    /// A secret, if set.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.text(name).map(Secret::new)
    }

    /// A secret that must be set.
    pub fn required_secret(&mut self, name: &str, why: &str) -> Secret {
        match self.text(name) {
            Some(text) if !text.is_empty() => Secret::new(text),
            _ => {
                self.error(name, &format!("is not set; {why} ({name}_FILE may name a file)"));
                Secret::new("")
            }
        }
    }

    /// An HTTP address, if set.
    pub fn endpoint(&mut self, name: &str) -> Option<Endpoint> {
        let text = self.text(name)?;
        match Endpoint::parse(&text) {
            Ok(endpoint) => Some(endpoint),
            Err(what) => {
                self.error(name, &format!("{what}; an example: http://host:9090"));
                None
            }
        }
    }

    /// An HTTP address that must be set.
    pub fn required_endpoint(&mut self, name: &str, why: &str) -> Option<Endpoint> {
        if self.text(name).is_none_or(|text| text.is_empty()) {
            self.error(name, &format!("is not set; {why}"));
            return None;
        }
        self.endpoint(name)
    }

    /// A duration: a number of seconds, or `90s`, `5m`, `3h`, `2d`.
    pub fn duration(&mut self, name: &str, least: Duration, most: Duration) -> Duration {
        let text = self.text(name).unwrap_or_default();
        match parse_duration(&text) {
            Some(duration) if duration >= least && duration <= most => duration,
            Some(_) => {
                let bounds = format!("{} and {} seconds", least.as_secs(), most.as_secs());
                self.error(name, &format!("'{text}' is not between {bounds}"));
                least
            }
            None => {
                self.error(
                    name,
                    &format!("'{text}' is no duration: a number of seconds, or 90s, 5m, 3h, 2d"),
                );
                least
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, name: &str, least: u64, most: u64) -> u64 {
        let text = self.text(name).unwrap_or_default();
        match text.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.error(name, &format!("'{text}' is no whole number from {least} to {most}"));
                least
            }
        }
    }

    /// A share from 0 to 1.
    pub fn share(&mut self, name: &str) -> f64 {
        let text = self.text(name).unwrap_or_default();
        match text.parse::<f64>() {
            Ok(share) if (0.0..=1.0).contains(&share) => share,
            _ => {
                self.error(name, &format!("'{text}' is no number from 0 to 1"));
                0.0
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        self.choice(name, &[("true", true), ("false", false)]).unwrap_or(false)
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(name).unwrap_or_default();
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.error(name, &format!("'{text}' is not one of {}", words.join(", ")));
        }
        found
    }

    /// Notes that a setting is wrong.
    pub fn error(&mut self, name: &str, what: &str) {
        self.raw.error(name, what);
    }
}

/// A number of seconds, or a number with `s`, `m`, `h` or `d`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit_seconds) = match text.bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3_600),
        b'd' => (&text[..text.len() - 1], 86_400),
        _ => (text, 1),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(unit_seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_seconds_or_have_a_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("5m", 300), ("3h", 10_800), ("2d", 172_800)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1", "1.5h", "5 m", "1w", "１"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
