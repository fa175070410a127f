//! The OpenAPI document of `serve`.

use serde_json::{Map, Value, json};

use crate::cost::Part;

use super::reply::part_key;

fn parameter(name: &str, is_required: bool, schema: &Value, description: &str) -> Value {
    json!({
        "name": name, "in": "query", "required": is_required,
        "schema": schema, "description": description,
    })
}

fn parameters(more: Vec<Value>) -> Vec<Value> {
    let time = json!({"type": "integer", "format": "int64", "minimum": 0});
    let mut all = vec![
        parameter("cloud_account_id", true, &json!({"type": "string"}), "The cloud account's id"),
        parameter("start_date", true, &time, "Unix seconds, included"),
        parameter("end_date", true, &time, "Unix seconds, not included; at most 400 days later"),
    ];
    all.extend(more);
    all
}

fn page(summary: &str, parameters: &[Value], schema: &str) -> Value {
    let content = |schema: &str| {
        let reference = format!("#/components/schemas/{schema}");
        json!({"application/json": {"schema": {"$ref": reference}}})
    };
    let mut responses = Map::new();
    responses
        .insert("200".to_owned(), json!({"description": "The answer", "content": content(schema)}));
    for (status, description) in [
        ("400", "A parameter cannot be used"),
        ("401", "The header Secret is missing or wrong"),
        ("404", "There is no such account"),
        ("405", "The page answers GET only"),
        ("503", "A store cannot be read"),
        ("504", "No answer came about in time"),
    ] {
        let error = json!({"description": description, "content": content("Error")});
        responses.insert(status.to_owned(), error);
    }
    json!({"get": {
        "summary": summary,
        "parameters": parameters,
        "security": [{"secret": []}],
        "responses": responses,
    }})
}

/// The total and what it is made of.
fn costs(number: &Value) -> Value {
    let parts = Part::ALL.map(|part| (part_key(part).to_owned(), number.clone()));
    let mut costs: Map<String, Value> = parts.into_iter().collect();
    let total = json!({"type": "number", "description": "Absent where nothing is known"});
    costs.insert("total_cost".to_owned(), total);
    Value::Object(costs)
}

/// The members of both objects.
fn joined(one: &Value, other: &Value) -> Map<String, Value> {
    let all = [one, other].into_iter().filter_map(Value::as_object).flatten();
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn data_schema(number: &Value) -> Value {
    json!({"type": "object", "required": ["state"], "properties": {
        "state": {"type": "string", "enum": ["ok", "partial", "waiting", "no-data"]},
        "phase": {"type": ["integer", "null"], "enum": [1, 2, null]},
        "days_missing": {"type": "integer"},
        "causes": {"type": "array", "items": {"type": "string"}},
        "days": {"type": "array", "items": {"type": "object", "properties": {
            "date": {"type": "string", "format": "date"},
            "state": {"type": ["string", "null"]},
            "source": {"type": "string", "enum": ["ledger", "query-layer"]},
            "total_cost": number, "ledger_cost": number, "share": number,
        }}},
    }})
}

fn schemas() -> Value {
    let number = json!({"type": "number"});
    let costs = costs(&number);
    let total = json!({"type": "object", "properties": costs});
    let efficiency = json!({"cpu_efficiency": number, "ram_efficiency": number});
    let mut namespace = joined(&costs, &efficiency);
    namespace.insert("namespace".to_owned(), json!({"type": "string"}));
    let point = json!({"type": "object", "properties": {
        "timestamp": number, "value": number,
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    }});
    let points = json!({"type": "array", "items": point});
    json!({
        "ClusterCosts": {
            "type": "object", "required": ["summary", "data"],
            "properties": joined(&costs, &json!({
                "summary": total, "breakdown": total,
                "efficiency": {"type": "object", "properties": efficiency},
                "cloud_account_id": {"type": "string"}, "currency": {"type": "string"},
                "start_date": {"type": "integer"}, "end_date": {"type": "integer"},
                "breakdown_by_namespace": {
                    "type": "array", "items": {"type": "object", "properties": namespace},
                },
                "data": data_schema(&number),
            })),
        },
        "Metrics": {"type": "object", "required": ["metrics"], "properties": {
            "cloud_account_id": {"type": "string"},
            "start_date": {"type": "integer"}, "end_date": {"type": "integer"},
            "metrics": {"type": "object", "additionalProperties": {"type": "object"}},
        }},
        "Savings": {
            "type": "object", "required": ["cpu_savings", "memory_savings"],
            "properties": {
                "cpu_savings": points, "memory_savings": points,
                "data": {
                    "type": "object", "description": "There where a list is cut",
                    "properties": {
                        "state": {"type": "string", "enum": ["partial"]},
                        "causes": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
        "Error": {"type": "object", "required": ["error"], "properties": {
            "error": {"type": "object", "required": ["status_code", "error_code", "reason"],
                "properties": {
                    "status_code": {"type": "integer"}, "error_code": {"type": "string"},
                    "reason": {"type": "string"}, "params": {"type": "array", "items": {}},
                }},
        }},
    })
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let level = json!({"type": "string", "enum": ["cluster", "namespace"]});
    let level = parameter("detail_level", false, &level, "Whether costs by namespace are added");
    let metrics = parameter(
        "metrics",
        false,
        &json!({"type": "string"}),
        "Names of metrics, by commas; not given: all that are known",
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "kubecost-worker serve",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Metroculus' answers about Kubernetes costs, from the ledger",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/metroculus/v2"}],
        "paths": {
            "/kubecost_cluster_costs":
                page("What an account costs", &parameters(vec![level]), "ClusterCosts"),
            "/kubecost_metrics":
                page("Mean rates, USD per hour", &parameters(vec![metrics]), "Metrics"),
            "/kubecost_savings":
                page("Savings that the source reports", &parameters(Vec::new()), "Savings"),
        },
        "components": {
            "securitySchemes": {"secret": {"type": "apiKey", "in": "header", "name": "Secret"}},
            "schemas": schemas(),
        },
    })
}
