//! Many accounts spread among workers: each takes those whose hash is its own.

use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::{Account, AccountSource};

/// Which share of the accounts is a worker's. The same on every run, so that an account stays with
/// its worker and one that fails is retried alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Among how many workers accounts are spread, at least 1.
    pub count: u64,
    /// Which of them this is, from 0.
    pub index: u64,
}

impl Shard {
    /// Whether the account is this worker's: the first 8 bytes of its id's SHA-256, as a
    /// big-endian number, modulo the count.
    #[must_use]
    pub fn has(self, account: &AccountId) -> bool {
        let digest = Sha256::digest(account.as_str().as_bytes());
        let number = digest.iter().take(8).fold(0_u64, |all, byte| (all << 8) | u64::from(*byte));
        number % self.count.max(1) == self.index
    }
}

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

    /// Worked out with another program: `printf ID | sha256sum`, first 16 digits, modulo 5.
    #[test]
    fn the_hash_is_the_one_written_down() {
        for (id, index) in [("bc55eb8c-5db2-4c32-b976-2df0edb0619a", 3), ("account-1", 1)] {
            let id = AccountId::new(id).unwrap();
            assert!(Shard { count: 5, index }.has(&id), "{id}");
            assert!(!Shard { count: 5, index: (index + 1) % 5 }.has(&id), "{id}");
        }
    }

    #[test]
    fn one_shard_has_everything() {
        assert!(ids(50).iter().all(|id| Shard { count: 1, index: 0 }.has(id)));
    }
}
