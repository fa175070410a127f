//! From texts to values of settings: each reader notes its errors and goes on, so that all of
//! them are reported at once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::raw::{ConfigErrors, RawSettings, Setting};
use super::secret::{Endpoint, Secret};

/// Settings of one program or command, read as a whole.
pub trait ReadSettings: Sized {
    /// Reads every value that is needed, noting all that is wrong; `None` where something is.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// Validates raw settings.
    ///
    /// # Errors
    /// All errors at once, each naming its setting.
    fn validate(mut raw: RawSettings) -> Result<Self, ConfigErrors> {
        let settings = Self::read(&mut Reader::new(&mut raw));
        match settings {
            Some(settings) if raw.errors.is_empty() => Ok(settings),
            _ => Err(ConfigErrors(raw.errors)),
        }
    }
}

impl RawSettings {
    /// The names of the settings that `S` reads at these values, whether they are right or not.
    #[must_use]
    pub fn names_read<S: ReadSettings>(mut self) -> BTreeSet<&'static str> {
        // What is wrong is of no interest.
        let _ = S::read(&mut Reader::new(&mut self));
        self.read
    }
}

/// Reads values of settings. A value that is wrong is noted and read as `None`.
#[derive(Debug)]
pub struct Reader<'a> {
    raw: &'a mut RawSettings,
}

impl<'a> Reader<'a> {
    /// A reader of these raw values.
    pub fn new(raw: &'a mut RawSettings) -> Self {
        Self { raw }
    }

    /// The text of a setting, if set or defaulted; it may be empty.
    pub fn text(&mut self, setting: Setting) -> Option<String> {
        self.raw.read.insert(setting.name);
        self.raw.value(&setting).map(str::to_owned)
    }

    /// A text that is set and not empty: charts set what they have no value for to nothing.
    pub fn optional_text(&mut self, setting: Setting) -> Option<String> {
        self.text(setting).filter(|text| !text.trim().is_empty())
    }

    /// The text of a setting that must not be empty.
    pub fn required_text(&mut self, setting: Setting, why: &str) -> Option<String> {
        let text = self.text(setting).filter(|text| !text.is_empty());
        if text.is_none() {
            self.error(setting, &format!("is not set; {why}"));
        }
        text
    }

    /// A secret, if set.
    pub fn secret(&mut self, setting: Setting) -> Option<Secret> {
        self.text(setting).map(Secret::new)
    }

    /// A secret that is set and not empty.
    pub fn optional_secret(&mut self, setting: Setting) -> Option<Secret> {
        self.optional_text(setting).map(Secret::new)
    }

    /// A secret that must be set.
    pub fn required_secret(&mut self, setting: Setting, why: &str) -> Option<Secret> {
        let text = self.text(setting).filter(|text| !text.is_empty());
        if text.is_none() {
            let name = setting.name;
            self.error(setting, &format!("is not set; {why} ({name}_FILE may name a file)"));
        }
        text.map(Secret::new)
    }

    /// An HTTP address, if set and not empty.
    pub fn optional_endpoint(&mut self, setting: Setting) -> Option<Endpoint> {
        let text = self.optional_text(setting)?;
        self.parse_endpoint(setting, &text)
    }

    /// An HTTP address that must be set.
    pub fn required_endpoint(&mut self, setting: Setting, why: &str) -> Option<Endpoint> {
        let text = self.required_text(setting, why)?;
        self.parse_endpoint(setting, &text)
    }

    fn parse_endpoint(&mut self, setting: Setting, text: &str) -> Option<Endpoint> {
        match Endpoint::parse(text) {
            Ok(endpoint) => Some(endpoint),
            Err(what) => {
                self.error(setting, &format!("{what}; an example: http://host:9090"));
                None
            }
        }
    }

    /// A duration: a number of seconds, or `90s`, `5m`, `3h`, `2d`.
    pub fn duration(
        &mut self,
        setting: Setting,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.text(setting).unwrap_or_default();
        let what = match parse_duration(&text) {
            Some(duration) if (least..=most).contains(&duration) => return Some(duration),
            Some(_) => {
                let (least, most) = (least.as_secs(), most.as_secs());
                format!("'{text}' is not between {least} and {most} seconds")
            }
            None => format!("'{text}' is no duration: a number of seconds, or 90s, 5m, 3h, 2d"),
        };
        self.error(setting, &what);
        None
    }

    /// A whole number within bounds.
    pub fn number(&mut self, setting: Setting, least: u64, most: u64) -> Option<u64> {
        let text = self.text(setting).unwrap_or_default();
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.error(setting, &format!("'{text}' is no whole number from {least} to {most}"));
        }
        number
    }

    /// A share from 0 to 1.
    pub fn share(&mut self, setting: Setting) -> Option<f64> {
        let text = self.text(setting).unwrap_or_default();
        let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            self.error(setting, &format!("'{text}' is no number from 0 to 1"));
        }
        share
    }

    /// `true` or `false`.
    pub fn flag(&mut self, setting: Setting) -> Option<bool> {
        self.choice(setting, &[("true", true), ("false", false)])
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, setting: Setting, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(setting).unwrap_or_default();
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            self.error(setting, &format!("'{text}' is not one of {}", words.join(", ")));
        }
        found
    }

    /// Notes that a setting is wrong.
    pub fn error(&mut self, setting: Setting, what: &str) {
        self.raw.error(setting.name, what);
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
