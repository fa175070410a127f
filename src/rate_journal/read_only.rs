//! A journal that is only read.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::{RateJournal, SlotHead, SlotRates};

/// The journal of a run at a made-up time (`--at`): what is seen now is no rate of that time, so
/// nothing is noted. Notes are dropped without an error.
pub struct ReadOnlyJournal(Arc<dyn RateJournal>);

impl ReadOnlyJournal {
    /// A journal with the slots of this one.
    #[must_use]
    pub fn new(journal: Arc<dyn RateJournal>) -> Self {
        Self(journal)
    }
}

#[async_trait]
impl RateJournal for ReadOnlyJournal {
    async fn note(&self, _slot: &SlotRates) -> Result<(), Failure> {
        Ok(())
    }

    async fn slots(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotRates>, Failure> {
        self.0.slots(account, from_seconds, until_seconds).await
    }

    async fn heads(
        &self,
        account: &AccountId,
        from_seconds: i64,
        until_seconds: i64,
    ) -> Result<Vec<SlotHead>, Failure> {
        self.0.heads(account, from_seconds, until_seconds).await
    }
}
