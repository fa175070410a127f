//! Replies in the API's form.

use serde_json::{Value, json};

/// A status and a body, or a refusal.
pub(crate) type Answer = Result<(u16, Option<Value>), ApiError>;

/// A refusal.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    params: Vec<String>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: &str, params: &[&str]) -> Self {
        let params = params.iter().map(|&param| param.to_owned()).collect();
        Self { status, code: code.to_owned(), params }
    }

    /// Wrong arguments.
    pub(crate) fn wrong(code: &str, params: &[&str]) -> Self {
        Self::new(400, code, params)
    }

    /// Something that there is not.
    pub(crate) fn missing(kind: &str, id: &str) -> Self {
        Self::new(404, "OE0002", &[kind, id])
    }

    /// An exception that nobody caught.
    pub(crate) fn internal() -> Self {
        Self::new(500, "U0500", &[])
    }

    /// What the API answers with a status, whatever was asked.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            401 => Self::new(401, "OE0237", &[]),
            403 => Self::new(403, "OE0236", &[]),
            404 => Self::new(404, "OE0002", &["CloudAccount", "x"]),
            _ => Self::new(status, &format!("U0{status}"), &[]),
        }
    }

    pub(crate) fn body(&self) -> Value {
        json!({"error": {
            "status_code": self.status,
            "error_code": self.code,
            "reason": format!("refused: {}", self.params.join(", ")),
            "params": self.params,
        }})
    }
}
