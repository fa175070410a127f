//! What is found at CloudTuner's REST API.

use serde_json::Value;

use crate::service::failure::Failure;

use super::finding::HopFinding;
use super::http::HttpReply;
use super::judge_source::likely_cause;

/// What is asked of the API for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// The account itself.
    Account,
    /// `available_filters`.
    Filters,
    /// `clean_expenses`.
    Expenses,
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Self::Account => "the account",
            Self::Filters => "available_filters",
            Self::Expenses => "clean_expenses",
        }
    }
}

/// The body of a good answer, or what is wrong with it.
///
/// # Errors
/// The finding of a bad answer.
pub fn body(question: Question, asked: &Result<HttpReply, Failure>) -> Result<Value, HopFinding> {
    let reply = match asked {
        Ok(reply) => reply,
        Err(failure) => return Err(HopFinding::failed(failure, likely_cause(failure))),
    };
    let name = question.name();
    let (cause, fix) = match (reply.status, serde_json::from_str(&reply.body)) {
        (200..=299, Ok(body)) => return Ok(body),
        (200..=299, Err(_)) => ("something else answers there", "set REST_URL without /restapi"),
        (401 | 403, _) => {
            ("the credentials are refused", "set CLUSTER_SECRET_FILE, or REST_TOKEN_FILE of a user")
        }
        (404, _) if question == Question::Account => (
            "the REST API does not know the account",
            "create it, or set REST_URL without /restapi",
        ),
        (404, _) => (
            "the organization or the call is not there",
            "see that REST_URL is CloudTuner's REST API, of a version with this call",
        ),
        (500.., _) => (
            "it failed inside: often a document whose tags or meta is no object, or a store is down",
            "see restapi's log; MongoDB and ClickHouse must be reachable from it",
        ),
        _ => ("it does not take the question", "see restapi's log and its version"),
    };
    Err(HopFinding::broken(format!("{name}: {}", reply.excerpt()), cause, fix))
}

/// Whether CloudTuner's own importer leaves the account alone.
#[must_use]
pub fn auto_import(account: &Value) -> HopFinding {
    match account["auto_import"].as_bool() {
        Some(false) => HopFinding::ok("CloudTuner's own importer leaves the account alone"),
        None => HopFinding::ok("the REST API shows no auto_import"),
        Some(true) => HopFinding::broken(
            "auto_import is on",
            "CloudTuner's own importer stores the account's costs a second time and overwrites its \
             import status",
            format!(
                "kubecost-worker accounts --disable-auto-import {}",
                account["id"].as_str().unwrap_or("ID")
            ),
        ),
    }
}

/// A value to filter by; null stands for resources without one.
fn is_value(value: &Value) -> bool {
    value.is_string() || value.is_object()
}

/// Whether the filters offer Kubernetes namespaces.
#[must_use]
pub fn filters(asked: &Result<HttpReply, Failure>) -> HopFinding {
    let body = match body(Question::Filters, asked) {
        Ok(body) => body,
        Err(finding) => return finding,
    };
    let values = body.get("filter_values").unwrap_or(&body);
    match values.get("k8s_namespace").and_then(Value::as_array) {
        Some(names) if names.iter().any(is_value) => {
            let count = |field: &str| {
                let offered = values.get(field).and_then(Value::as_array);
                offered.map_or(0, |list| list.iter().filter(|one| is_value(one)).count())
            };
            let (nodes, services, tags) = (count("k8s_node"), count("k8s_service"), count("tag"));
            HopFinding::ok(format!(
                "{} namespaces, {nodes} nodes, {services} services and {tags} tags to filter by",
                names.len()
            ))
        }
        Some(_) => HopFinding::broken(
            "it offers no namespaces",
            "no namespace document is visible to it: it reads another collection or database",
            "see that RESOURCES_COLLECTION and MONGO_DATABASE are those of the REST API",
        ),
        None => HopFinding::broken(
            "its answer has no k8s_namespace",
            "the REST API is of a version without Kubernetes filters",
            "deploy a CloudTuner with k8s_namespace in available_filters",
        ),
    }
}

/// Whether costs come out.
#[must_use]
pub fn expenses(asked: &Result<HttpReply, Failure>) -> HopFinding {
    let body = match body(Question::Expenses, asked) {
        Ok(body) => body,
        Err(finding) => return finding,
    };
    match body.get("clean_expenses").and_then(Value::as_array) {
        Some(list) if list.is_empty() => HopFinding::broken(
            "it shows no expense of the account for yesterday and today",
            "rows and documents do not meet: another database, or resource_id is no _id",
            "see that MongoDB and ClickHouse here are those of the REST API",
        ),
        Some(list) if has_costs_of_metroculus(&body) => HopFinding::broken(
            format!("{} resources with costs, and k8s_costs beside them", list.len()),
            "the REST API adds Metroculus' total to the rows: each dollar is shown twice",
            "switch off in the REST API that it asks Metroculus for accounts that this worker \
             writes",
        ),
        Some(list) => HopFinding::ok(format!("{} resources with costs", list.len())),
        None => HopFinding::broken(
            "its answer has no clean_expenses",
            "something else answers there",
            "set REST_URL to CloudTuner's REST API",
        ),
    }
}

/// Whether an answer holds costs that the REST API asked Metroculus for.
fn has_costs_of_metroculus(body: &Value) -> bool {
    let total = |one: &Value| {
        let total = one["breakdown"]["total_cost"].as_f64();
        total.or(one["total_cost"].as_f64()).unwrap_or(0.0)
    };
    body.get("k8s_costs")
        .and_then(Value::as_array)
        .is_some_and(|list| list.iter().any(|one| total(one) > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::HopState;

    fn reply(status: u16, body: &str) -> Result<HttpReply, Failure> {
        Ok(HttpReply { status, body: body.to_owned(), server_seconds: None })
    }

    #[test]
    fn good_answers_are_ok_in_both_shapes() {
        for body in [
            r#"{"filter_values": {"k8s_namespace": ["shop"]}}"#,
            r#"{"k8s_namespace": [null, {"name": "shop"}]}"#,
        ] {
            assert_eq!(filters(&reply(200, body)).state, HopState::Ok, "{body}");
        }
        let offered = r#"{"k8s_namespace": ["a"], "k8s_node": [null, "n"], "tag": ["x", "y"]}"#;
        let found = filters(&reply(200, offered));
        assert_eq!(found.what, "1 namespaces, 1 nodes, 0 services and 2 tags to filter by");
        let shown = expenses(&reply(200, r#"{"clean_expenses": [{}, {}]}"#));
        assert_eq!(shown, HopFinding::ok("2 resources with costs"));
    }

    #[test]
    fn an_importer_that_is_still_on_is_named_with_the_command() {
        let of = |auto_import: Value| auto_import_of(&auto_import);
        assert_eq!(of(false.into()).state, HopState::Ok);
        assert_eq!(of(Value::Null).state, HopState::Ok);
        let on = of(true.into());
        assert_eq!(on.state, HopState::Broken);
        assert!(on.fix.ends_with("--disable-auto-import a-1"), "{on:?}");
    }

    fn auto_import_of(value: &Value) -> HopFinding {
        auto_import(&serde_json::json!({ "id": "a-1", "auto_import": value }))
    }

    #[test]
    fn bad_answers_are_named() {
        for (status, body, part) in [
            (500, "boom", "failed inside"),
            (404, "{}", "not there"),
            (403, "{}", "refused"),
            (200, "<html>", "something else"),
            (200, "{}", "without Kubernetes filters"),
            (200, r#"{"filter_values": {"k8s_namespace": [null]}}"#, "no namespace document"),
        ] {
            let finding = filters(&reply(status, body));
            assert_eq!(finding.state, HopState::Broken, "{body}");
            assert!(finding.cause.contains(part), "{finding:?}");
        }
        let twice =
            r#"{"clean_expenses": [{}], "k8s_costs": [{"breakdown": {"total_cost": 9.5}}]}"#;
        let finding = expenses(&reply(200, twice));
        assert!(finding.cause.contains("shown twice"), "{finding:?}");
        let none = twice.replace("9.5", "0");
        assert_eq!(expenses(&reply(200, &none)).state, HopState::Ok);
        let finding = expenses(&reply(200, r#"{"clean_expenses": []}"#));
        assert!(finding.cause.contains("do not meet"), "{finding:?}");
    }
}
