//! Which accounts a command works on.

use sha2::{Digest, Sha256};

use crate::cost::AccountId;

use super::reader::{ReadSettings, Reader};
use super::resources::RestConfig;
use super::store::{MongoConfig, StoreKind};
use super::worker_names as names;

/// Most workers that accounts may be spread among.
const SHARDS_MAX: u64 = 1_000;

/// Which accounts, and which of them are this worker's.
#[derive(Clone, Debug)]
pub struct AccountSelection {
    /// Where the accounts are listed.
    pub accounts: AccountsConfig,
    /// Which share of them is this worker's.
    pub shard: Shard,
    /// Whether there must be exactly one account: the cost source cannot keep accounts apart.
    pub is_one_tenant: bool,
}

/// Where accounts are listed.
#[derive(Clone, Debug)]
pub enum AccountsConfig {
    /// In MongoDB's `cloud_account` or `cloudaccount`.
    Mongo {
        /// The database.
        mongo: MongoConfig,
        /// Whether there must be one: with `ACCOUNTS=auto` none there means that the accounts are
        /// somewhere else.
        must_exist: bool,
    },
    /// By the REST API.
    Rest(RestConfig),
    /// In the settings.
    List(Vec<AccountId>),
}

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

impl AccountSelection {
    /// Reads the settings; `is_one_tenant` says whether the command's cost source holds one account
    /// only.
    pub(super) fn read(reader: &mut Reader<'_>, is_one_tenant: bool) -> Option<Self> {
        let accounts = AccountsConfig::read(reader);
        let shard = Shard::read(reader);
        let accounts = accounts?;
        if let (true, AccountsConfig::List(ids)) = (is_one_tenant, &accounts)
            && ids.len() != 1
        {
            let what = format!(
                "names {} accounts, but a server of one tenant (TENANT_LABEL empty, or \
                 QUERY_LAYER=allocation-api) serves exactly one",
                ids.len()
            );
            reader.error(names::ACCOUNTS, &what);
        }
        Some(Self { accounts, shard: shard?, is_one_tenant })
    }
}

impl ReadSettings for AccountsConfig {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let text = reader.text(names::ACCOUNTS).unwrap_or_default();
        let rest = RestConfig::optional(reader);
        match (text.as_str(), rest) {
            ("auto", Some(rest)) => Some(Self::Rest(rest)),
            ("auto" | "mongo", _) => mongo(reader, &text),
            ("rest", _) => RestConfig::required(reader, "ACCOUNTS=rest needs it").map(Self::Rest),
            _ => list(reader, &text),
        }
    }
}

fn mongo(reader: &mut Reader<'_>, accounts: &str) -> Option<AccountsConfig> {
    if let StoreKind::Sqlite(_) = StoreKind::read(reader)? {
        let what =
            format!("is '{accounts}', but STORE=sqlite has no MongoDB: give a comma list of ids");
        reader.error(names::ACCOUNTS, &what);
        return None;
    }
    let mongo = MongoConfig::read(reader)?;
    Some(AccountsConfig::Mongo { mongo, must_exist: accounts == "auto" })
}

fn list(reader: &mut Reader<'_>, text: &str) -> Option<AccountsConfig> {
    let mut ids = Vec::new();
    for id in text.split(',').map(str::trim) {
        match AccountId::new(id) {
            Ok(id) => ids.push(id),
            Err(error) => reader.error(names::ACCOUNTS, &error.to_string()),
        }
    }
    Some(AccountsConfig::List(ids))
}

impl ReadSettings for Shard {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let count = reader.number(names::SHARD_COUNT, 1, SHARDS_MAX);
        let index = reader.number(names::JOB_COMPLETION_INDEX, 0, SHARDS_MAX);
        let (count, index) = (count?, index?);
        // Without shards an index that some Job set for other reasons means nothing.
        if count > 1 && index >= count {
            let what = format!("'{index}' is not below SHARD_COUNT, which is {count}");
            reader.error(names::JOB_COMPLETION_INDEX, &what);
        }
        Some(Self { count, index: if count > 1 { index } else { 0 } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::RawSettings;

    fn shard(count: &str, index: &str) -> Result<Shard, String> {
        let pairs = [("SHARD_COUNT", count), ("JOB_COMPLETION_INDEX", index)];
        let raw = RawSettings::of(names::SETTINGS, &pairs);
        Shard::validate(raw).map_err(|errors| errors.to_string())
    }

    #[test]
    fn an_index_outside_the_shards_is_refused_and_one_without_shards_is_not() {
        for (count, index, part) in [
            ("3", "3", "JOB_COMPLETION_INDEX: '3' is not below"),
            ("3", "x", "JOB_COMPLETION_INDEX: 'x' is no whole number"),
            ("0", "0", "SHARD_COUNT: '0' is no whole number from 1"),
        ] {
            let error = shard(count, index).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert_eq!(shard("1", "7").unwrap().index, 0);
        assert_eq!(shard("3", "2").unwrap(), Shard { count: 3, index: 2 });
        let alone = Shard::validate(RawSettings::of(names::SETTINGS, &[])).unwrap();
        assert_eq!(alone, Shard { count: 1, index: 0 });
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
}
