//! Azure Resource Manager (ARM): `/subscriptions/{id}/resourceGroups/{group}/providers/...`.
//!
//! Facts are from Azure/azure-resource-manager-rpc ("the contract" below), Microsoft's documentation and
//! recorded answers; each one that surprises is named where it is used.

pub(super) mod casing;
mod claims;
mod credential;
pub(super) mod links;
pub(super) mod operations;
mod own;
pub(super) mod pages;
mod passing;
mod path;
pub(super) mod promotion;
mod quota;

use std::time::Duration;

use http::{HeaderValue, StatusCode};

use super::{ErrorForm, ServerLimits};

pub(super) use claims::claims;
pub(super) use credential::credential;
pub(super) use own::{numbers_requests, sign, without_own};
pub(super) use passing::{passes, variant};
pub(super) use path::read_path;
pub(super) use quota::{QUOTA_READING, charges, is_poll, payer};

pub(super) const SERVER_LIMITS: ServerLimits = ServerLimits {
    http2: true,
    // Azure's load balancers forget a connection that is idle for four minutes; a kept one stays with the
    // region that took a write and sees it.
    pool_idle: Duration::from_secs(90),
    // The contract gives a provider 60 s, then the front door answers 504: waiting as long would take a
    // late answer for none.
    first_byte: Duration::from_secs(65),
    chunked_requests: true,
    requests_per_connection: None,
    header_lines: None,
    // How much it takes is not published: at least 16 KiB of path and query, since the addresses of its
    // operations carry a certificate and a signature, and at least 32 KiB of head, with up to four tokens.
    header_bytes: None,
    stray_close: false,
};

/// `{"error": {"code", "message"}}` (the contract's error format). Clients show the code, and tell by it
/// what to do.
pub(super) fn error(status: StatusCode, message: &str) -> ErrorForm {
    let body = serde_json::json!({ "error": { "code": code(status), "message": message } });
    ErrorForm {
        body: body.to_string().into(),
        content_type: HeaderValue::from_static("application/json; charset=utf-8"),
        reason: None,
    }
}

/// The code that ARM itself has for a status, where it has one.
fn code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "AuthenticationFailed",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        408 => "RequestTimeout",
        409 => "Conflict",
        412 => "PreconditionFailed",
        413 => "RequestContentTooLarge",
        414 => "RequestUriTooLong",
        429 => "TooManyRequests",
        431 => "RequestHeaderFieldsTooLarge",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        504 => "GatewayTimeout",
        _ if status.is_client_error() => "BadRequest",
        _ => "InternalServerError",
    }
}

#[cfg(test)]
mod tests;
