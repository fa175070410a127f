//! How far work is: accounts of a run, days of a backfill.

use std::sync::Arc;

use super::summary::AccountSummary;

/// Is shown how far work is.
pub trait Progress: Send + Sync {
    /// There is so much to do: accounts of a run, days of accounts of a backfill.
    fn begin(&self, count: u64);
    /// One more is done.
    fn step(&self, done: &AccountSummary);
}

/// Where progress is shown, if anywhere.
#[derive(Clone, Default)]
pub struct ProgressTo(Option<Arc<dyn Progress>>);

impl ProgressTo {
    /// Shown there.
    #[must_use]
    pub fn shown(progress: Arc<dyn Progress>) -> Self {
        Self(Some(progress))
    }

    pub(super) fn begin(&self, count: usize) {
        if let Some(progress) = &self.0 {
            progress.begin(count as u64);
        }
    }

    pub(super) fn step(&self, done: &AccountSummary) {
        if let Some(progress) = &self.0 {
            progress.step(done);
        }
    }
}

impl std::fmt::Debug for ProgressTo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("ProgressTo").field(&self.0.is_some()).finish()
    }
}
