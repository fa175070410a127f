//! Asks CloudTuner's REST API.

use reqwest::Client;

use crate::cost::{AccountId, Day};
use crate::service::failure::Failure;
use crate::settings::Endpoint;
use crate::settings::worker::HopsConfig;

use super::http::{HttpReply, send, within};
use super::judge_rest::Question;

/// The API, and who asks.
#[derive(Clone, Copy)]
pub(super) struct RestProbe<'a> {
    pub(super) client: &'a Client,
    pub(super) endpoint: &'a Endpoint,
    pub(super) hops: &'a HopsConfig,
    pub(super) account: &'a AccountId,
    pub(super) now: i64,
}

impl RestProbe<'_> {
    async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<HttpReply, Failure> {
        let url = self.endpoint.join(&format!("restapi/v2/{path}"));
        let mut request = self.client.get(url).query(parameters);
        if let Some(secret) = &self.hops.secret {
            request = request.header("Secret", secret.expose());
        }
        if let Some(token) = &self.hops.rest_token {
            request = request.bearer_auth(token.expose());
        }
        send(request, self.endpoint.redacted()).await
    }

    /// The account, which names its organization.
    pub(super) async fn account(&self) -> Result<HttpReply, Failure> {
        self.get(&format!("cloud_accounts/{}", self.account), &[]).await
    }

    /// A question about yesterday and today, of resources by a field's value where one is given: under the organization's path, as upstream has it, or
    /// else with the organization as a parameter, as the fork has it.
    pub(super) async fn ask(
        &self,
        question: Question,
        organization: &str,
        filter: Option<(&str, &str)>,
    ) -> Result<HttpReply, Failure> {
        let call = match question {
            Question::Expenses => "clean_expenses",
            _ => "available_filters",
        };
        let start = Day::of_unix(self.now).previous().start_seconds();
        let mut parameters = vec![
            ("start_date", start.to_string()),
            ("end_date", self.now.to_string()),
            ("cloud_account_id", self.account.to_string()),
        ];
        parameters.extend(filter.map(|(field, value)| (field, value.to_owned())));
        let asked = async {
            let path = format!("organizations/{organization}/{call}");
            let reply = self.get(&path, &parameters).await?;
            if reply.status != 404 {
                return Ok(reply);
            }
            parameters.push(("organization_id", organization.to_owned()));
            self.get(call, &parameters).await
        };
        within("asking the REST API", asked).await
    }
}
