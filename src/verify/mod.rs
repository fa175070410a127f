//! `kubecost-worker verify`: checks every hop from the exporter to the REST API, and names the first broken one,
//! its likely cause and the fix.
//!
//! `probe_*` ask and bring back facts, each probe in at most [`http::PROBE_TIMEOUT`]; `judge_*` are
//! pure functions from facts to findings. What does not belong here: changing anything.

use std::sync::Arc;

use futures_util::StreamExt;
use serde::Serialize;

use crate::accounts::connect;
use crate::cost::AccountId;
use crate::service::clock::Clock;
use crate::service::failure::Failure;
use crate::settings::worker::VerifySettings;

use account_check::AccountCheck;

mod account_check;
pub mod finding;
pub mod http;
pub mod judge_documents;
pub mod judge_query;
pub mod judge_reader;
pub mod judge_rest;
pub mod judge_source;
pub mod judge_stores;
mod probe_query;
mod probe_rest;
mod probe_source;
mod probe_stores;

pub use finding::{Check, HopFinding, HopState};

/// Most accounts that are checked when none is named: all of it shall end within ten seconds.
const ACCOUNTS_MAX: usize = 8;
/// How many accounts are checked at once.
const ACCOUNTS_AT_ONCE: usize = 8;

/// What verifying came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// 0: no hop is broken; 1: some is.
    pub exit_code: u8,
    /// The first broken hop, if any.
    pub first_broken: Option<Check>,
    /// All hops, in the order in which costs pass them, account by account.
    pub hops: Vec<Check>,
    /// Accounts that were left out, because too many are configured to look at all of them.
    pub accounts_left: usize,
}

/// Checks all hops, of one account or of those configured.
pub async fn verify(
    config: &VerifySettings,
    clock: &Arc<dyn Clock>,
    account: Option<AccountId>,
) -> Report {
    let now_seconds = clock.now_seconds();
    // All accounts are listed even where one is named: a tenant that is none of them is a finding.
    let (listed, listing) = accounts(config).await;
    let known: Vec<String> = listed.iter().chain(&account).map(ToString::to_string).collect();
    let known = known.as_slice();
    let accounts = account.map_or(listed, |id| vec![id]);
    let accounts_left = accounts.len().saturating_sub(ACCOUNTS_MAX);
    let is_alone = accounts.len() <= 1;
    let mut checked: Vec<Option<AccountId>> =
        accounts.into_iter().take(ACCOUNTS_MAX).map(Some).collect();
    if checked.is_empty() {
        checked.push(None);
    }
    let listing = listing.as_ref();
    let checks = checked.into_iter().map(|account| async move {
        let account = account.as_ref();
        let check = AccountCheck { config, account, is_alone, known, listing, now_seconds };
        check.hops().await
    });
    let hops: Vec<Check> = futures_util::stream::iter(checks)
        .buffered(ACCOUNTS_AT_ONCE)
        .collect::<Vec<_>>()
        .await
        .into_iter()
        .flatten()
        .collect();
    let first_broken = hops.iter().find(|check| check.state == HopState::Broken).cloned();
    Report { exit_code: u8::from(first_broken.is_some()), first_broken, hops, accounts_left }
}

/// The configured accounts; when they cannot be listed, none and why.
async fn accounts(config: &VerifySettings) -> (Vec<AccountId>, Option<Failure>) {
    let listed = async {
        let accounts = connect::accounts(&config.selection).await?.accounts().await?;
        Ok(accounts.into_iter().map(|account| account.id).collect())
    };
    match http::within("listing the accounts", listed).await {
        Ok(accounts) => (accounts, None),
        Err(failure) => (Vec::new(), Some(failure)),
    }
}
