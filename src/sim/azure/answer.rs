//! What a call comes to before it is written: status, fields and a JSON body, and the error bodies.

use serde_json::{Value, json};

/// An answer without what every answer carries (`exchange` adds that).
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) body: Body,
}

/// The body of an answer; 202 and 204 have none and no `Content-Type` either.
#[derive(Clone, Debug)]
pub(super) enum Body {
    None,
    Json(Value),
    Text(&'static str),
}

/// A call's answer, or the refusal that ended it early.
pub(super) type Outcome = Result<Reply, Reply>;

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, fields: Vec::new(), body: Body::Json(body) }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::json(200, body)
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Body::None }
    }

    /// The same with one more field.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// An error as ARM writes it.
    pub(super) fn error(status: u16, code: &str, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::json(status, json!({ "error": { "code": code, "message": message } }))
    }

    /// An error that the front door itself makes, without asking a provider.
    pub(super) fn gateway(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self::error(status, code, message).with("x-ms-failure-cause", "gateway")
    }

    pub(super) fn group_not_found(group: &str) -> Self {
        Self::gateway(404, "ResourceGroupNotFound", format!("Resource group '{group}' could not be found."))
    }

    pub(super) fn resource_not_found(kind: &str, name: &str, group: &str) -> Self {
        let message = format!(
            "The Resource '{kind}/{name}' under resource group '{group}' was not found. \
             For more details please go to https://aka.ms/ARMResourceNotFoundFix"
        );
        Self::gateway(404, "ResourceNotFound", message)
    }

    pub(super) fn precondition_failed() -> Self {
        Self::error(412, "PreconditionFailed", "Precondition failed.")
    }

    pub(super) fn conflict() -> Self {
        let message = "The request failed due to conflict with a concurrent request. To resolve it, please refer \
                       to https://aka.ms/activitylog to get more details on the conflicting requests.";
        Self::error(409, "Conflict", message)
    }

    pub(super) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::error(400, code, message)
    }
}
