//! Names and words of settings that the earlier exporter had: taken with a warning, or refused by
//! name, so that none is ignored.
//!
//! Pure: an environment in, the same environment in today's names out.

use super::raw::SettingError;

/// What became of a name, or of a word of a setting that kept its name.
#[derive(Clone, Copy)]
enum Becomes {
    /// Another setting, with the value that it has there; `None`: that value has no meaning today.
    Setting(&'static str, fn(&str) -> Option<String>),
    /// The value itself is written differently today; `None`: it is one of today's.
    Word(fn(&str) -> Option<String>),
    /// Nothing, as long as it has one of these values; with the reason.
    Nothing(&'static [&'static str], &'static str),
    /// Nothing, whatever its value: it never changed a cost; with the reason.
    Anything(&'static str),
}

use Becomes::{Anything, Nothing, Setting, Word};

const NAMES: &[(&str, Becomes)] = &[
    ("EXPORTER_PORT", Setting("LISTEN_ADDR", listen)),
    ("ENABLE_POD_METRICS", Setting("POD_METRICS", truth)),
    ("INCLUDE_IDLE", Word(other_truth)),
    ("POD_METRICS", Word(other_truth)),
    ("SHARE_IDLE", Word(share_idle)),
    ("WINDOW", Word(window)),
    ("ACCUMULATE", Nothing(&["true"], "a window is always read as a whole")),
    ("TIME_SERIES", Nothing(&["false"], "gauges have no history")),
    ("AGGREGATION_LEVEL", Nothing(&["namespace"], "clusters and namespaces are always exported")),
    ("STEP", Nothing(&["", "1h", "1d", "24h"], "a window is always read as a whole")),
    ("TOP_N_PODS", Nothing(&["", "0"], "MAX_SERIES bounds all series, and the rest is summed")),
    ("SCRAPE_JITTER_MAX", Anything("a scrape does not ask the allocation API")),
];

/// An environment in today's names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// Values by today's names; these are to be taken where they are.
    pub values: Vec<(&'static str, String)>,
    /// What was taken for what.
    pub warnings: Vec<String>,
    /// What has no meaning today.
    pub errors: Vec<SettingError>,
}

impl Translation {
    /// The value of a setting, if a former name or word gave it.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
    }

    fn error(&mut self, name: &str, what: String) {
        self.errors.push(SettingError { name: name.to_owned(), what });
    }
}

/// Translates the earlier exporter's names and words in an environment.
#[must_use]
pub fn translate(environment: &dyn Fn(&str) -> Option<String>) -> Translation {
    let mut found = Translation::default();
    for (name, becomes) in NAMES {
        let Some(value) = environment(name) else { continue };
        match becomes {
            Setting(new, _) if environment(new).is_some() => {
                found.error(name, format!("is the former name of {new}, which is set too"));
            }
            Setting(new, convert) => match convert(&value) {
                Some(value) => {
                    let warning = format!("{name} is taken for {new}={value}: set that instead");
                    found.warnings.push(warning);
                    found.values.push((new, value));
                }
                None => {
                    let what = format!("'{value}' is no value of {new}, as this is called today");
                    found.error(name, what);
                }
            },
            Word(convert) => {
                if let Some(word) = convert(&value) {
                    let warning = format!("{name}={value} is taken for {name}={word}: set that");
                    found.warnings.push(warning);
                    found.values.push((name, word));
                }
            }
            Nothing(values, why) => {
                if values.contains(&value.to_ascii_lowercase().as_str()) {
                    found.warnings.push(format!("{name} is no setting any more: {why}"));
                } else {
                    found.error(name, format!("'{value}' cannot be had any more: {why}"));
                }
            }
            Anything(why) => {
                found.warnings.push(format!("{name} is no setting any more: {why}"));
            }
        }
    }
    found
}

fn listen(port: &str) -> Option<String> {
    port.parse::<u16>().ok().map(|port| format!("0.0.0.0:{port}"))
}

fn truth(word: &str) -> Option<String> {
    match word.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Some("true".to_owned()),
        "false" | "0" | "no" => Some("false".to_owned()),
        _ => None,
    }
}

/// A truth that is not written as today.
fn other_truth(word: &str) -> Option<String> {
    truth(word).filter(|today| today != word)
}

fn share_idle(word: &str) -> Option<String> {
    match word.to_ascii_lowercase().as_str() {
        "none" => Some("false".to_owned()),
        lower if lower != word => Some(lower.to_owned()),
        _ => None,
    }
}

/// `24h` is a day; the others are written as today.
fn window(word: &str) -> Option<String> {
    (word == "24h").then(|| "1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Translation {
        translate(&|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_earlier_exporters_values_are_taken_with_a_warning_each() {
        let found = of(&[
            ("EXPORTER_PORT", "9103"),
            ("ENABLE_POD_METRICS", "True"),
            ("INCLUDE_IDLE", "True"),
            ("SHARE_IDLE", "none"),
            ("WINDOW", "24h"),
            ("ACCUMULATE", "True"),
        ]);
        assert_eq!(found.errors, []);
        assert_eq!(found.warnings.len(), 6, "{:?}", found.warnings);
        for (name, value) in [
            ("LISTEN_ADDR", "0.0.0.0:9103"),
            ("POD_METRICS", "true"),
            ("INCLUDE_IDLE", "true"),
            ("SHARE_IDLE", "false"),
            ("WINDOW", "1d"),
        ] {
            assert_eq!(found.value(name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_has_no_meaning_any_more_is_refused_by_name() {
        for (name, value) in [
            ("EXPORTER_PORT", "http"),
            ("ENABLE_POD_METRICS", "maybe"),
            ("TOP_N_PODS", "50"),
            ("ACCUMULATE", "false"),
            ("TIME_SERIES", "true"),
            ("AGGREGATION_LEVEL", "controller"),
        ] {
            let found = of(&[(name, value)]);
            assert_eq!(found.errors.len(), 1, "{name}");
            assert_eq!(found.errors[0].name, name);
            assert_eq!(found.values, []);
        }
    }

    #[test]
    fn a_former_name_beside_todays_is_refused() {
        let found = of(&[("EXPORTER_PORT", "9103"), ("LISTEN_ADDR", "0.0.0.0:19090")]);
        assert_eq!(found.errors[0].name, "EXPORTER_PORT");
        assert!(found.errors[0].what.contains("LISTEN_ADDR, which is set too"));
    }

    #[test]
    fn todays_words_are_left_alone() {
        let today = [("INCLUDE_IDLE", "true"), ("SHARE_IDLE", "weighted"), ("WINDOW", "6h")];
        assert_eq!(of(&today), Translation::default());
    }
}
