//! Many accounts spread among workers: each takes those whose hash is its own.

use std::sync::Arc;

use async_trait::async_trait;

use crate::service::failure::Failure;

use super::{Account, AccountSource};

pub use crate::settings::worker::Shard;

/// The accounts of a source that are one worker's.
pub struct ShardedAccounts {
    source: Arc<dyn AccountSource>,
    shard: Shard,
}

impl ShardedAccounts {
    /// The share of a source.
    #[must_use]
    pub fn new(source: Arc<dyn AccountSource>, shard: Shard) -> Self {
        Self { source, shard }
    }
}

#[async_trait]
impl AccountSource for ShardedAccounts {
    fn describe(&self) -> String {
        let Shard { count, index } = self.shard;
        format!("{}, shard {index} of {count}", self.source.describe())
    }

    async fn accounts(&self) -> Result<Vec<Account>, Failure> {
        let mut accounts = self.source.accounts().await?;
        accounts.retain(|account| self.shard.has(&account.id));
        Ok(accounts)
    }
}

#[cfg(test)]
mod tests {
    use super::super::AccountList;
    use super::*;
    use crate::cost::AccountId;

    fn ids(count: usize) -> Vec<AccountId> {
        (0..count).map(|n| AccountId::new(format!("account-{n}")).unwrap()).collect()
    }

    #[tokio::test]
    async fn each_account_is_in_exactly_one_shard() {
        let all = ids(300);
        let mut seen = Vec::new();
        for index in 0..7 {
            let source = Arc::new(AccountList::new(all.clone()));
            let sharded = ShardedAccounts::new(source, Shard { count: 7, index });
            let of_shard = sharded.accounts().await.unwrap();
            assert!((20..70).contains(&of_shard.len()), "shard {index}: {}", of_shard.len());
            seen.extend(of_shard.into_iter().map(|account| account.id));
        }
        seen.sort();
        let mut all = all;
        all.sort();
        assert_eq!(seen, all);
    }

    #[test]
    fn one_shard_has_everything() {
        assert!(ids(50).iter().all(|id| Shard { count: 1, index: 0 }.has(id)));
    }
}
