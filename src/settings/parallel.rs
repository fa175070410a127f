//! How many accounts a run works on at a time.

use std::time::Duration;

use super::reader::{ReadSettings, Reader};
use super::worker_names as names;

/// Fewest batches at a time where the number follows the machine.
const CONCURRENCY_MIN: usize = 4;
const CONCURRENCY_MAX: u64 = 64;
const BATCH_ACCOUNTS_MAX: u64 = 1_000;

/// How many accounts a run works on at a time, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParallelConfig {
    /// Most questions to the query layer under way, and batches of accounts at a time.
    pub concurrency: usize,
    /// Most accounts that one question or statement is about.
    pub batch_accounts: usize,
    /// Time a whole run may take.
    pub run_deadline: Duration,
}

impl Default for ParallelConfig {
    fn default() -> Self {
        Self {
            concurrency: CONCURRENCY_MIN,
            batch_accounts: 25,
            run_deadline: Duration::from_secs(3_600),
        }
    }
}

impl ParallelConfig {
    /// Most accounts that are worked on at a time.
    #[must_use]
    pub fn accounts_at_once(&self) -> usize {
        self.concurrency.saturating_mul(self.batch_accounts)
    }
}

impl ReadSettings for ParallelConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let concurrency = concurrency(reader);
        let batch_accounts = reader.number(names::BATCH_ACCOUNTS, 1, BATCH_ACCOUNTS_MAX);
        let run_deadline = reader.duration(
            names::RUN_DEADLINE_SECONDS,
            Duration::from_secs(10),
            Duration::from_secs(86_400),
        );
        Some(Self {
            concurrency: concurrency?,
            batch_accounts: usize::try_from(batch_accounts?).ok()?,
            run_deadline: run_deadline?,
        })
    }
}

fn concurrency(reader: &mut Reader<'_>) -> Option<usize> {
    if reader.text(names::CONCURRENCY)? == "auto" {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        return Some(cores.max(CONCURRENCY_MIN));
    }
    usize::try_from(reader.number(names::CONCURRENCY, 1, CONCURRENCY_MAX)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;

    fn read(pairs: &[(&str, &str)]) -> Result<ParallelConfig, String> {
        let raw = RawSettings::of(names::SETTINGS, pairs);
        ParallelConfig::validate(raw).map_err(|errors| errors.to_string())
    }

    #[test]
    fn at_least_four_batches_are_worked_on_at_a_time_by_default() {
        let config = read(&[]).unwrap();
        assert!(config.concurrency >= CONCURRENCY_MIN);
        assert_eq!(
            config,
            ParallelConfig { concurrency: config.concurrency, ..Default::default() }
        );
    }

    #[test]
    fn all_that_is_wrong_is_named_at_once() {
        let wrong =
            [("CONCURRENCY", "many"), ("BATCH_ACCOUNTS", "0"), ("RUN_DEADLINE_SECONDS", "soon")];
        let error = read(&wrong).unwrap_err();
        assert!(wrong.iter().all(|(name, _)| error.contains(&format!("{name}: "))), "{error}");
        let right = [("CONCURRENCY", "2"), ("BATCH_ACCOUNTS", "3"), ("RUN_DEADLINE_SECONDS", "60")];
        assert_eq!(read(&right).unwrap().accounts_at_once(), 6);
    }
}
