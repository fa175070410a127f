//! Recommendations in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::{RecommendationReader, RecommendationWriter, Set};

/// Sets by account and module.
#[derive(Debug, Default)]
pub struct MemoryRecommendations(Mutex<BTreeMap<(AccountId, String), Set>>);

#[async_trait]
impl RecommendationReader for MemoryRecommendations {
    async fn sets(&self, account: &AccountId) -> Result<Vec<Set>, Failure> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(sets.values().filter(|set| set.cloud_account_id == *account).cloned().collect())
    }
}

#[async_trait]
impl RecommendationWriter for MemoryRecommendations {
    async fn replace(&self, set: &Set) -> Result<(), Failure> {
        let key = (set.cloud_account_id.clone(), set.module.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, set.clone());
        Ok(())
    }
}
