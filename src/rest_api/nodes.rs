//! The nodes tab of an account's page: on which machines its clusters run now.
//!
//! The call replaces the account's whole list: a node that is not in it is deleted. The tab shows
//! nodes whose `last_seen` is not before the account's `last_import_at`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Method;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::json;

use crate::cost::{AccountId, NodeFacts};
use crate::service::failure::Failure;

use super::client::{Call, RestClient};
use super::form::{SECONDS_MAX, TEXT_CHARACTERS_MAX, check_text, path_part};

/// Keeps the nodes tab of an account.
#[async_trait]
pub trait NodesTab: Send + Sync {
    /// Has the tab show these nodes, seen at a time in Unix seconds, and no others. `false` where
    /// this API has no such call.
    ///
    /// # Errors
    /// When the call fails.
    async fn show_nodes(
        &self,
        account: &AccountId,
        nodes: &[TabNode],
        seen_seconds: i64,
    ) -> Result<bool, Failure>;
}

const GIB: f64 = 1_073_741_824.0;
/// By these the API knows the cloud of a machine; it shows any other as a cloud that there is not.
const CLOUDS: [&str; 4] = ["aws", "alicloud", "azure", "gce"];

/// A node as the tab shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TabNode {
    /// Its name, which documents and rows have as `k8s_node`.
    pub name: String,
    /// Cores.
    pub cpu: i64,
    /// GiB, rounded up.
    pub memory: i64,
    /// Such as `m5.2xlarge`; known if and only if `provider_id` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flavor: Option<String>,
    /// The cloud's name of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// USD per hour; where it is absent, the API shows the account's own price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hourly_price: Option<f64>,
}

/// Nodes that the tab can show, and those that it cannot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TabNodes {
    /// By name and `provider_id`, each once.
    pub shown: Vec<TabNode>,
    /// Names of those whose cores or memory are not known: the API has no word for that.
    pub unknown: Vec<String>,
}

/// What the tab is to show of nodes.
#[must_use]
pub fn tab_nodes<'a>(nodes: impl Iterator<Item = (&'a str, &'a NodeFacts)>) -> TabNodes {
    let mut shown = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, facts) in nodes {
        match tab_node(name, facts) {
            Some(node) => {
                shown.entry((node.name.clone(), node.provider_id.clone())).or_insert(node);
            }
            None => unknown.push(name.to_owned()),
        }
    }
    TabNodes { shown: shown.into_values().collect(), unknown }
}

fn tab_node(name: &str, facts: &NodeFacts) -> Option<TabNode> {
    let is_text = |text: &str| check_text("text", text, TEXT_CHARACTERS_MAX).is_ok();
    let machine = facts.instance_type.clone().zip(facts.provider_id.clone());
    let has_cloud =
        |id: &str| id.split_once("://").is_some_and(|(cloud, _)| CLOUDS.contains(&cloud));
    let machine = machine.filter(|(flavor, id)| is_text(flavor) && is_text(id) && has_cloud(id));
    let (flavor, provider_id) = machine.unzip();
    Some(TabNode {
        name: Some(name.to_owned()).filter(|name| is_text(name))?,
        cpu: whole(facts.cores?.round())?,
        memory: whole((facts.memory_bytes? / GIB).ceil())?,
        flavor,
        provider_id,
        hourly_price: facts.price_usd_hourly.filter(|price| whole(*price).is_some()),
    })
}

/// A number as the API takes it.
fn whole(number: f64) -> Option<i64> {
    // Exact: the greatest is far below 2^53.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "see above")]
    (0.0..=SECONDS_MAX as f64).contains(&number).then_some(number as i64)
}

#[async_trait]
impl NodesTab for RestClient {
    async fn show_nodes(
        &self,
        account: &AccountId,
        nodes: &[TabNode],
        seen_seconds: i64,
    ) -> Result<bool, Failure> {
        let stamped = nodes.iter().map(|node| {
            let mut node = json!(node);
            node["last_seen"] = json!(seen_seconds);
            node
        });
        let call = Call {
            method: Method::POST,
            path: format!("/restapi/v2/cloud_accounts/{}/nodes/bulk", path_part(account.as_str())),
            query: &[],
            body: Some(json!({ "nodes": stamped.collect::<Vec<_>>() })),
        };
        match self.call::<IgnoredAny>(&call, self.bulk_timeout()).await {
            Ok(IgnoredAny) => Ok(true),
            // An account that it does not have is another 404.
            Err(refusal) if matches!(refusal.status, Some(404 | 405)) && !refusal.is_missing() => {
                Ok(false)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> NodeFacts {
        NodeFacts {
            instance_type: Some("m5.large".into()),
            provider_id: Some("aws:///eu-west-1a/i-1".into()),
            cores: Some(2.0),
            memory_bytes: Some(7.5 * GIB),
            price_usd_hourly: Some(0.096),
            ..NodeFacts::default()
        }
    }

    fn one(facts: NodeFacts) -> TabNodes {
        tab_nodes([("n", &facts)].into_iter())
    }

    #[test]
    fn a_node_is_shown_with_whole_cores_and_gibibytes() {
        let wanted = TabNode {
            name: "n".into(),
            cpu: 2,
            memory: 8,
            flavor: Some("m5.large".into()),
            provider_id: Some("aws:///eu-west-1a/i-1".into()),
            hourly_price: Some(0.096),
        };
        assert_eq!(one(facts()), TabNodes { shown: vec![wanted], unknown: Vec::new() });
    }

    #[test]
    fn a_size_that_is_unknown_is_never_a_zero() {
        for cores in [None, Some(f64::NAN), Some(-1.0), Some(1e12)] {
            assert_eq!(one(NodeFacts { cores, ..facts() }).unknown, ["n"], "{cores:?}");
        }
        assert_eq!(one(NodeFacts { memory_bytes: None, ..facts() }).unknown, ["n"]);
    }

    #[test]
    fn a_machine_has_a_flavor_and_a_cloud_or_neither() {
        let no_cloud = ["i-1", "kind://docker/kind/n", "", "://x"];
        let ids = no_cloud.map(|id| NodeFacts { provider_id: Some(id.into()), ..facts() });
        let no_flavor = [None, Some(String::new()), Some("x".repeat(256))];
        let flavors = no_flavor.map(|instance_type| NodeFacts { instance_type, ..facts() });
        for facts in ids.into_iter().chain(flavors) {
            let [node] = &one(facts.clone()).shown[..] else { panic!("{facts:?}") };
            assert_eq!((&node.flavor, &node.provider_id), (&None, &None), "{facts:?}");
            assert_eq!(node.hourly_price, Some(0.096));
        }
    }

    #[test]
    fn two_clusters_may_each_have_a_node_of_one_name() {
        let other = NodeFacts { provider_id: Some("aws:///i-2".into()), ..facts() };
        let same = facts();
        let nodes = [("n", &same), ("n", &other), ("n", &same)];
        assert_eq!(tab_nodes(nodes.into_iter()).shown.len(), 2);
    }
}
