//! Whether a reader of the REST API finds what the stores have: by each filter that it offers, and
//! in total.

use serde_json::Value;

use crate::service::failure::Failure;
use crate::service::usd::Usd;

use super::finding::{HopFinding, HopState};
use super::http::HttpReply;
use super::judge_rest::{self, Question, body};

/// The filters that are tried.
pub const FIELDS: [&str; 5] = ["k8s_namespace", "k8s_node", "k8s_service", "tag", "resource_type"];
/// By how much a total may differ, as a share: a run may write between two questions.
const SHARE_MAX: f64 = 0.001;
/// By how much it always may, USD: readers round.
const USD_MAX: f64 = 0.01;

/// A filter that is tried, and what came.
#[derive(Clone, Debug)]
pub struct Tried {
    /// One of [`FIELDS`].
    pub field: &'static str,
    /// The value, as the parameter of a question has it.
    pub value: String,
    /// `clean_expenses` with that filter.
    pub asked: Result<HttpReply, Failure>,
}

/// A value of each filter, of those that the answer offers: fields as in [`FIELDS`].
#[must_use]
pub fn offered(answer: &Value) -> Vec<(&'static str, String)> {
    let values = answer.get("filter_values").unwrap_or(answer);
    let first = |field: &'static str| {
        let list = values.get(field)?.as_array()?;
        let mut texts = list.iter().filter_map(|value| parameter(field, value));
        // Other importers' types may be there too.
        let value = match field {
            "resource_type" => texts.find(|value| value.starts_with("K8s "))?,
            _ => texts.next()?,
        };
        Some((field, value))
    };
    FIELDS.into_iter().filter_map(first).collect()
}

/// An offered value as a question's parameter; `None` for "not set".
fn parameter(field: &str, value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let name = value.get("name")?.as_str()?;
    match (field, value.get("type").and_then(Value::as_str)) {
        ("resource_type", Some(kind)) => Some(format!("{name}:{kind}")),
        _ => Some(name.to_owned()),
    }
}

/// Whether each filter gives the resources of its value, and no others.
#[must_use]
pub fn filtered(tried: &[Tried]) -> HopFinding {
    for Tried { field, value, asked } in tried {
        let answer = match body(Question::Expenses, asked) {
            Ok(answer) => answer,
            Err(finding) => return finding,
        };
        let list = answer.get("clean_expenses").and_then(Value::as_array);
        let list = list.map_or(&[][..], Vec::as_slice);
        if list.is_empty() {
            return HopFinding::broken(
                format!("{field}={value} is offered and gives no resource"),
                "the REST API filters expenses by another field than it offers, or its rows and \
                 documents do not meet",
                "see that available_filters and clean_expenses are of one version of CloudTuner",
            );
        }
        let others = list.iter().filter(|one| !is_of(one, field, value)).count();
        if others > 0 {
            return HopFinding::broken(
                format!("{field}={value} gives {others} resources of other values"),
                "the REST API does not know this filter of expenses and leaves it out",
                format!("deploy a CloudTuner with {field} in clean_expenses"),
            );
        }
    }
    let has = |field: &&str| tried.iter().any(|one| one.field == *field);
    let (with, without): (Vec<&str>, Vec<&str>) = FIELDS.iter().copied().partition(|f| has(f));
    if with.is_empty() {
        return HopFinding::skipped("the REST API offers nothing to filter by");
    }
    let mut what = format!("{} give their resources", with.join(", "));
    if !without.is_empty() {
        what += &format!("; nothing is offered by {}", without.join(", "));
    }
    HopFinding::ok(what)
}

/// Whether a resource is of a filter's value, as far as it shows that field.
fn is_of(resource: &Value, field: &str, value: &str) -> bool {
    match field {
        "tag" => resource["tags"].as_object().is_none_or(|tags| tags.contains_key(value)),
        "resource_type" => {
            let kind = value.split_once(':').map_or(value, |(kind, _)| kind);
            resource[field].as_str().is_none_or(|shown| shown == kind)
        }
        _ => resource[field].as_str().is_none_or(|shown| shown == value),
    }
}

/// What an answer of `clean_expenses` comes to, USD; `None` where it shows a page of it only.
fn shown_usd(answer: &Value) -> Option<f64> {
    if let Some(total) = answer["total_cost"].as_f64() {
        return Some(total);
    }
    let list = answer["clean_expenses"].as_array()?;
    let is_whole = answer["total_count"].as_u64().is_none_or(|count| count <= list.len() as u64);
    let costs = || list.iter().map(|one| one["cost"].as_f64());
    is_whole.then(|| costs().sum::<Option<f64>>()).flatten()
}

/// Whether costs come out, and as many as the ledger has of the same days, where that is known.
#[must_use]
pub fn expenses(asked: &Result<HttpReply, Failure>, ledger_usd: Option<f64>) -> HopFinding {
    let found = judge_rest::expenses(asked);
    let answer = body(Question::Expenses, asked).ok().filter(|_| found.state == HopState::Ok);
    let wrong = answer.zip(ledger_usd).and_then(|(answer, usd)| total(&answer, usd));
    wrong.unwrap_or(found)
}

/// What is wrong where an answer does not come to what the ledger has of the same days.
fn total(answer: &Value, ledger_usd: f64) -> Option<HopFinding> {
    let shown = shown_usd(answer)?;
    let difference = shown - ledger_usd;
    if difference.abs() <= USD_MAX.max(ledger_usd.abs() * SHARE_MAX) {
        return None;
    }
    let what = format!("it shows ${:.2}, and the ledger has ${:.2}", Usd(shown), Usd(ledger_usd));
    Some(if difference > 0.0 {
        HopFinding::broken(
            what,
            "costs are added to the rows, such as Metroculus' total: dollars are shown twice",
            "switch off in the REST API that it asks Metroculus for accounts that this worker \
             writes; see kubecost-worker audit for rows of other software",
        )
    } else {
        HopFinding::broken(
            what,
            "documents of some rows are not visible to it",
            "see the hop documents, and kubecost-worker audit",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::HopState;
    use serde_json::json;

    fn tried(field: &'static str, value: &str, list: Value) -> Tried {
        let body = json!({ "clean_expenses": list }).to_string();
        let asked = Ok(HttpReply { status: 200, body, server_seconds: None });
        Tried { field, value: value.to_owned(), asked }
    }

    #[test]
    fn a_value_of_each_filter_is_tried_in_the_form_of_a_parameter() {
        let answer = json!({"filter_values": {
            "k8s_namespace": [null, "shop"],
            "k8s_node": [{"name": "n1"}],
            "k8s_service": [null],
            "tag": ["app"],
            "resource_type": [{"name": "Instance", "type": "regular"},
                {"name": "K8s Pod", "type": "regular"}],
        }});
        let wanted = [
            ("k8s_namespace", "shop"),
            ("k8s_node", "n1"),
            ("tag", "app"),
            ("resource_type", "K8s Pod:regular"),
        ];
        assert_eq!(offered(&answer), wanted.map(|(field, value)| (field, value.to_owned())));
        assert!(offered(&json!({})).is_empty());
    }

    #[test]
    fn filters_that_give_their_resources_are_ok() {
        let of_all = [
            tried("k8s_namespace", "shop", json!([{"k8s_namespace": "shop"}, {}])),
            tried("tag", "app", json!([{"tags": {"app": "web"}}])),
            tried("resource_type", "K8s Pod:regular", json!([{"resource_type": "K8s Pod"}])),
        ];
        let finding = filtered(&of_all);
        let wanted = "k8s_namespace, tag, resource_type give their resources; nothing is offered \
                      by k8s_node, k8s_service";
        assert_eq!(finding, HopFinding::ok(wanted));
        assert_eq!(filtered(&[]).state, HopState::Skipped);
    }

    #[test]
    fn filters_that_find_nothing_or_others_are_named() {
        let none = filtered(&[tried("k8s_node", "n1", json!([]))]);
        assert!(none.what.contains("k8s_node=n1 is offered and gives no"), "{none:?}");
        for (field, value, other) in [
            ("k8s_node", "n1", json!({"k8s_node": "n2"})),
            ("tag", "app", json!({"tags": {"team": "a"}})),
            ("resource_type", "K8s Pod:regular", json!({"resource_type": "K8s Node"})),
        ] {
            let finding = filtered(&[tried(field, value, json!([other]))]);
            assert_eq!(finding.state, HopState::Broken);
            assert!(finding.what.contains("1 resources of other values"), "{finding:?}");
        }
        let failed = Tried { asked: Ok(HttpReply { status: 500, ..good() }), ..of_good() };
        assert!(filtered(&[failed]).cause.contains("failed inside"));
    }

    fn good() -> HttpReply {
        HttpReply { status: 200, body: "{}".into(), server_seconds: None }
    }

    fn of_good() -> Tried {
        tried("tag", "app", json!([]))
    }

    #[test]
    fn a_total_is_held_against_the_ledger() {
        let list = json!({"clean_expenses": [{"cost": 10.0}, {"cost": 2.5}]});
        assert_eq!(total(&list, 12.505), None);
        let twice = total(&json!({"total_cost": 25.0}), 12.5).unwrap();
        assert!(twice.cause.contains("shown twice"), "{twice:?}");
        assert!(total(&list, 20.0).unwrap().cause.contains("not visible"));
        let asked = Ok(HttpReply { body: list.to_string(), ..good() });
        assert_eq!(expenses(&asked, Some(20.0)).state, HopState::Broken);
        assert_eq!(expenses(&asked, Some(12.5)).state, HopState::Ok);
        assert_eq!(expenses(&asked, None).state, HopState::Ok);
        let page = json!({"clean_expenses": [{"cost": 10.0}], "total_count": 7});
        assert_eq!(total(&page, 100.0), None, "a page is no total");
    }
}
