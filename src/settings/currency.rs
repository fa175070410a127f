//! The ledger's currency, and the rates by which costs in others are converted.

use std::collections::BTreeMap;

use crate::cost::Day;

use super::raw::Setting;
use super::reader::{ReadSettings, Reader};
use super::worker_names as names;

/// Largest file of exchange rates, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The ledger's currency and the rates of others.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrencyConfig {
    /// The ledger's currency, such as `USD`.
    pub code: String,
    /// By currency: from which day on one unit of it costs how much of the ledger's.
    rates: BTreeMap<String, BTreeMap<Day, f64>>,
}

impl Default for CurrencyConfig {
    fn default() -> Self {
        Self { code: "USD".to_owned(), rates: BTreeMap::new() }
    }
}

impl CurrencyConfig {
    /// What one unit of a currency costs on a day: the last rate that was given until then.
    #[must_use]
    pub fn rate(&self, code: &str, day: Day) -> Option<f64> {
        if code == self.code {
            return Some(1.0);
        }
        self.rates.get(code)?.range(..=day).next_back().map(|(_, rate)| *rate)
    }
}

impl ReadSettings for CurrencyConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let code = code(reader, names::CURRENCY);
        let rates = match reader.optional_text(names::EXCHANGE_RATES_FILE) {
            None => Some(BTreeMap::new()),
            Some(path) => {
                let rates = read(&path).and_then(|text| parse(&text));
                let wrong = |what: String| {
                    reader.error(names::EXCHANGE_RATES_FILE, &format!("'{path}' {what}"));
                };
                rates.map_err(wrong).ok()
            }
        };
        Some(Self { code: code?, rates: rates? })
    }
}

/// A currency: three capital letters.
pub(super) fn code(reader: &mut Reader<'_>, setting: Setting) -> Option<String> {
    let code = reader.text(setting).unwrap_or_default();
    if !is_code(&code) {
        reader.error(setting, &format!("'{code}' is no currency; an example: USD"));
        return None;
    }
    Some(code)
}

fn is_code(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}

fn read(path: &str) -> Result<String, String> {
    let size = std::fs::metadata(path).map(|file| file.len());
    match size {
        Ok(bytes) if bytes > FILE_BYTES_MAX => {
            Err(format!("is longer than {FILE_BYTES_MAX} bytes"))
        }
        Ok(_) => std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}")),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}

/// Rates as TOML: a table for each currency, a rate for each day from which on it holds.
fn parse(text: &str) -> Result<BTreeMap<String, BTreeMap<Day, f64>>, String> {
    let parsed: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| format!("is no TOML: {}", error.message()))?;
    let mut rates = BTreeMap::new();
    for (code, days) in parsed {
        if !is_code(&code) {
            return Err(format!("has the table [{code}], which is no currency such as EUR"));
        }
        let table =
            days.as_table().ok_or_else(|| format!("has {code} as no table: write [{code}]"))?;
        let mut by_day = BTreeMap::new();
        for (day, rate) in table {
            let known = day.parse::<Day>().ok();
            let number = rate.as_float().or_else(|| rate.as_integer().map(|whole| whole as f64));
            match (known, number) {
                (Some(day), Some(rate)) if rate.is_finite() && rate > 0.0 => {
                    by_day.insert(day, rate);
                }
                _ => {
                    return Err(format!(
                        "has '{day} = {rate}' for {code}; an example: 2026-11-01 = 1.08"
                    ));
                }
            }
        }
        rates.insert(code, by_day);
    }
    Ok(rates)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;
    use crate::settings::worker::SETTINGS;

    fn given(pairs: &[(&str, &str)]) -> (Option<CurrencyConfig>, Vec<String>) {
        let mut raw = RawSettings::of(SETTINGS, pairs);
        let config = CurrencyConfig::read(&mut Reader::new(&mut raw));
        (config, raw.errors.iter().map(|e| format!("{}: {}", e.name, e.what)).collect())
    }

    #[test]
    fn the_last_rate_until_a_day_holds() {
        let text = "[EUR]\n2026-11-01 = 1.08\n2026-11-20 = 1.1\n[JPY]\n2026-01-01 = 1\n";
        let config = CurrencyConfig { rates: parse(text).unwrap(), ..CurrencyConfig::default() };
        let rate = |code: &str, day: &str| config.rate(code, day.parse().unwrap());
        assert_eq!(rate("EUR", "2026-11-19"), Some(1.08));
        assert_eq!(rate("EUR", "2026-11-20"), Some(1.1));
        assert_eq!(rate("EUR", "2026-10-31"), None);
        assert_eq!(rate("JPY", "2026-11-20"), Some(1.0));
        assert_eq!(rate("CHF", "2026-11-20"), None);
        assert_eq!(rate("USD", "1999-01-01"), Some(1.0));
    }

    #[test]
    fn what_is_no_rate_is_named() {
        for (text, part) in [
            ("EUR = 1.08", "EUR as no table"),
            ("[EUR]\n2026-11-01 = \"1.08\"", "2026-11-01"),
            ("[EUR]\n2026-11-01 = -1.0", "-1"),
            ("[EUR]\n2026-13-01 = 1.0", "2026-13-01"),
            ("[euro]\n2026-11-01 = 1.0", "[euro]"),
            ("[EUR", "no TOML"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn settings_are_read_and_their_errors_named() {
        assert_eq!(given(&[]), (Some(CurrencyConfig::default()), vec![]));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[USD]\n2026-11-01 = 0.9\n").unwrap();
        let path = file.path().to_str().unwrap();
        let (config, errors) = given(&[("CURRENCY", "EUR"), ("EXCHANGE_RATES_FILE", path)]);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(config.unwrap().rate("USD", "2026-11-02".parse().unwrap()), Some(0.9));
        let (_, errors) = given(&[("CURRENCY", "euro"), ("EXCHANGE_RATES_FILE", "/no/such/file")]);
        let text = errors.join("\n");
        assert!(text.contains("CURRENCY: 'euro'") && text.contains("/no/such/file"), "{text}");
    }
}
