//! Pool and owner of an account's resources, by the API's own formula.
//!
//! When an account is made, the API makes a pool below the organization's root pool, named after
//! the account, and a rule that gives the account's resources that pool and its default owner. A
//! resource that no rule fits goes to the root pool and its default owner. The rules themselves,
//! and the list of all pools, are shown to users only, not to the bearer of the cluster secret; so
//! the account's own pool is recognised by its name and the time it was made. Rules that users
//! added (by name, by tag) are applied by the bulk call alone.

use async_trait::async_trait;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::cost::AccountId;
use crate::service::failure::Failure;

use super::accounts::{CloudAccount, is_live};
use super::client::{Call, RestClient};
use super::form::path_part;

/// Looks up the pool and the owner of an account's resources.
#[async_trait]
pub trait AccountOwner: Send + Sync {
    /// The account's own pool and its default owner; where it has none, the organization's root
    /// pool and its default owner. `None` where the API shows neither with an owner that exists.
    ///
    /// # Errors
    /// When a call fails, or the API does not have the account.
    async fn pool_owner(&self, account: &AccountId) -> Result<Option<ResolvedOwner>, Failure>;
}

/// How long after its account a pool is made at most, seconds: one request makes both.
const POOL_DELAY_SECONDS_MAX: i64 = 120;

/// A pool and its default owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedOwner {
    /// `pool_id` of a resource.
    pub pool_id: String,
    /// `employee_id` of a resource.
    pub employee_id: String,
    /// Which pool it is.
    pub source: PoolSource,
}

/// Which pool a [`ResolvedOwner`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolSource {
    /// The account's own.
    Account,
    /// The organization's root pool.
    Root,
}

#[derive(Clone, Debug, Deserialize)]
struct OrganizationPool {
    #[serde(default)]
    pool_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Pool {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(default)]
    default_owner_id: Option<String>,
    #[serde(default)]
    deleted_at: Option<i64>,
    #[serde(default)]
    created_at: Option<i64>,
    #[serde(default)]
    children: Vec<Pool>,
}

/// The pool that was made for an account, among all pools below the root.
fn own_pool<'a>(account: &CloudAccount, root_id: &str, pools: &'a [Pool]) -> Option<&'a Pool> {
    if let Some(id) = &account.pool_id {
        return pools.iter().find(|pool| pool.id == *id && is_live(pool.deleted_at));
    }
    let name = account.name.as_deref().filter(|name| !name.is_empty())?;
    let below_root: Vec<&Pool> = pools
        .iter()
        .filter(|pool| pool.parent_id.as_deref() == Some(root_id) && is_live(pool.deleted_at))
        .collect();
    let delay = |pool: &Pool| Some(pool.created_at? - account.created_at?);
    let only = |fits: &dyn Fn(&Pool) -> bool| {
        let mut found = below_root.iter().filter(|pool| fits(pool));
        match (found.next(), found.next()) {
            (Some(pool), None) => Some(*pool),
            _ => None,
        }
    };
    // A name that is taken gets a number at its end.
    only(&|pool| {
        pool.name.starts_with(name)
            && delay(pool).is_some_and(|delay| (0..=POOL_DELAY_SECONDS_MAX).contains(&delay))
    })
    .or_else(|| {
        // A pool that is older than the account was not made for it.
        only(&|pool| pool.name == name && delay(pool).is_none_or(|delay| delay >= 0))
    })
}

impl RestClient {
    /// Whether the API has an employee.
    async fn has_employee(&self, id: &str) -> Result<bool, Failure> {
        let path = format!("/restapi/v2/employees/{}", path_part(id));
        match self.get::<IgnoredAny>(path).await {
            Ok(IgnoredAny) => Ok(true),
            Err(refusal) if refusal.is_missing() => Ok(false),
            Err(refusal) => Err(refusal.into()),
        }
    }

    async fn root_pool(&self, organization: &str) -> Result<Option<Pool>, Failure> {
        let path = format!("/restapi/v2/organizations/{}", path_part(organization));
        let organization: OrganizationPool = self.get(path).await?;
        let Some(id) = organization.pool_id else { return Ok(None) };
        let call = Call {
            query: &[("children", "true")],
            ..Call::get(format!("/restapi/v2/pools/{}", path_part(&id)))
        };
        Ok(Some(self.call(&call, self.request_timeout()).await?))
    }
}

#[async_trait]
impl AccountOwner for RestClient {
    async fn pool_owner(&self, account: &AccountId) -> Result<Option<ResolvedOwner>, Failure> {
        let account = self.cloud_account(account).await?;
        let Some(organization) = &account.organization_id else { return Ok(None) };
        let Some(root) = self.root_pool(organization).await? else { return Ok(None) };
        let own = own_pool(&account, &root.id, &root.children);
        let candidates = own
            .map(|pool| (pool, PoolSource::Account))
            .into_iter()
            .chain([(&root, PoolSource::Root)]);
        for (pool, source) in candidates {
            let Some(employee_id) = &pool.default_owner_id else { continue };
            if self.has_employee(employee_id).await? {
                let (pool_id, employee_id) = (pool.id.clone(), employee_id.clone());
                return Ok(Some(ResolvedOwner { pool_id, employee_id, source }));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, created_at: Option<i64>) -> CloudAccount {
        CloudAccount {
            id: AccountId::new("a").unwrap(),
            name: Some(name.to_owned()),
            organization_id: Some("o".to_owned()),
            pool_id: None,
            auto_import: None,
            last_import_at: None,
            last_import_attempt_at: None,
            last_import_attempt_error: None,
            created_at,
        }
    }

    fn pool(id: &str, name: &str, created_at: i64) -> Pool {
        let (id, name) = (id.to_owned(), name.to_owned());
        let (parent_id, created_at) = (Some("root".to_owned()), Some(created_at));
        Pool { id, name, parent_id, created_at, ..Pool::default() }
    }

    fn found(account: &CloudAccount, pools: &[Pool]) -> Option<String> {
        own_pool(account, "root", pools).map(|pool| pool.id.clone())
    }

    #[test]
    fn the_pool_made_with_the_account_is_its_own() {
        let team = pool("team", "prod", 10);
        let made = pool("made", "prod 1", 1_002);
        let later = pool("later", "prod 2", 9_000);
        let all = [team.clone(), made, later.clone()];
        assert_eq!(found(&account("prod", Some(1_000)), &all).as_deref(), Some("made"));
        let others = [team, later];
        assert_eq!(found(&account("prod", Some(1_000)), &others), None, "older, or renamed");
    }

    #[test]
    fn a_pool_of_the_accounts_name_is_its_own_where_no_other_has_it() {
        let named = pool("named", "prod", 5_000);
        assert_eq!(
            found(&account("prod", Some(1_000)), std::slice::from_ref(&named)).as_deref(),
            Some("named")
        );
        assert_eq!(
            found(&account("prod", None), std::slice::from_ref(&named)).as_deref(),
            Some("named")
        );
        assert_eq!(found(&account("prod", None), &[named.clone(), named.clone()]), None);
        let below = Pool { parent_id: Some("team".to_owned()), ..named.clone() };
        let deleted = Pool { deleted_at: Some(7), ..named.clone() };
        assert_eq!(found(&account("prod", None), &[below, deleted]), None);
        assert_eq!(found(&account("", None), &[named]), None);
    }

    #[test]
    fn a_pool_that_the_account_shows_is_taken_for_it() {
        let shown = CloudAccount { pool_id: Some("x".to_owned()), ..account("prod", None) };
        let pools = [pool("named", "prod", 1), pool("x", "other", 1)];
        assert_eq!(found(&shown, &pools).as_deref(), Some("x"));
        assert_eq!(found(&shown, &pools[..1]), None, "it is gone");
    }
}
