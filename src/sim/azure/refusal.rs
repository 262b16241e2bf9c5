//! The refusals that a test asks for: bodies and fields as recorded answers have them.

use serde_json::json;

use super::answer::{Body, Reply};
use super::{SUBSCRIPTION, TENANT};

/// An answer that takes the place of the real one ([`super::Sim::inject`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401 for a token that has expired.
    Expired,
    /// 401 with a claims challenge (continuous access evaluation).
    ClaimsChallenge,
    /// 403 of the front door.
    Forbidden,
    /// 409 because something else is changing the same resource.
    Conflict,
    /// 412.
    PreconditionFailed,
    /// 429 of the front door: a principal's reads of a subscription.
    ThrottledSubscription,
    /// 429 of the front door: a type with a limit of its own.
    ThrottledResourceType,
    /// 429 of the front door: an action with a limit of its own, to be tried again after more than a minute.
    ThrottledAction,
    /// 429 of the front door: its own storage is behind (on writes).
    ThrottledBackend,
    /// 429 of the compute provider.
    ThrottledCompute,
    /// 429 of the network provider.
    ThrottledNetwork,
    /// 429 of the network provider that is no rate limit: another operation holds the resource.
    LockedNetwork,
    /// 429 of the storage provider.
    ThrottledStorage,
    /// 429 as plain text without `Retry-After`.
    ThrottledPlain,
    /// 500.
    Internal,
    /// 503 with `Retry-After`.
    Unavailable,
    /// 504 of the front door.
    Timeout,
}

impl Refusal {
    /// The nine kinds of 429.
    pub const THROTTLED: [Refusal; 9] = [
        Self::ThrottledSubscription,
        Self::ThrottledResourceType,
        Self::ThrottledAction,
        Self::ThrottledBackend,
        Self::ThrottledCompute,
        Self::ThrottledNetwork,
        Self::LockedNetwork,
        Self::ThrottledStorage,
        Self::ThrottledPlain,
    ];

    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Expired => unauthorized(
                "ExpiredAuthenticationToken",
                "The access token expiry UTC time '6/12/2025 9:00:00 AM' is earlier than current UTC time \
                 '6/12/2025 9:05:00 AM'.",
                "error=\"invalid_token\", error_description=\"The access token is expired.\"",
            ),
            Self::ClaimsChallenge => claims_challenge(1_750_000_000),
            Self::Forbidden => Reply::gateway(
                403,
                "AuthorizationFailed",
                "The client does not have authorization to perform the action over the scope or the scope is \
                 invalid. If access was recently granted, please refresh your credentials.",
            ),
            Self::Conflict => Reply::conflict(),
            Self::PreconditionFailed => Reply::precondition_failed(),
            Self::ThrottledSubscription => subscription(SUBSCRIPTION, "read", "any", 10),
            Self::ThrottledResourceType => resource_type("Microsoft.Authorization", 120, "00:01:00", 5),
            Self::ThrottledAction => Reply::gateway(
                429,
                "ResourceRequestsThrottled",
                "Number of requests for action 'Microsoft.Cdn/profiles/read' exceeded the limit of '50' for time \
                 interval '00:05:00'. Please try again after '372' seconds.",
            )
            .with("Retry-After", "372"),
            Self::ThrottledBackend => Reply::error(
                429,
                "SubscriptionRequestsThrottled",
                format!(
                    "Number of requests for subscription '{SUBSCRIPTION}' and operation \
                     'POST/SUBSCRIPTIONS/RESOURCEGROUPS/PROVIDERS/MICROSOFT.COMPUTE/VIRTUALMACHINES/START' exceeded \
                     the backend storage limit. Please try again after '6' seconds."
                ),
            )
            .with("Retry-After", "6"),
            Self::ThrottledCompute => compute("HighCostGetSubscriptionMaximum", 900, 60),
            Self::ThrottledNetwork => network(SUBSCRIPTION, 30),
            Self::LockedNetwork => locked_network(),
            Self::ThrottledStorage => storage("Read", 17),
            Self::ThrottledPlain => Reply {
                status: 429,
                fields: vec![("Content-Type", "text/plain".to_owned())],
                body: Body::Text("Too Many Requests"),
            },
            Self::Internal => Reply::error(
                500,
                "InternalServerError",
                "Encountered internal server error. Diagnostic information: timestamp.",
            ),
            Self::Unavailable => {
                Reply::error(503, "ServiceUnavailable", "The service is temporarily unavailable.")
                    .with("Retry-After", "5")
            }
            Self::Timeout => Reply::gateway(
                504,
                "GatewayTimeout",
                "The gateway did not receive a response from Microsoft.Compute within the specified time period.",
            ),
        }
    }
}

/// A 401 with the challenge that says where to get a token.
pub(super) fn unauthorized(code: &str, message: impl Into<String>, challenge: &str) -> Reply {
    let field = format!("Bearer authorization_uri=\"https://login.windows.net/{TENANT}\", {challenge}");
    Reply::error(401, code, message).with("WWW-Authenticate", field)
}

/// The 401 that asks for a token issued after `since` (seconds since 1970).
pub(super) fn claims_challenge(since: u64) -> Reply {
    use base64::Engine as _;
    let claims = json!({ "access_token": { "nbf": { "essential": true, "value": since.to_string() } } });
    let claims = base64::engine::general_purpose::STANDARD.encode(claims.to_string());
    unauthorized(
        "InvalidAuthenticationToken",
        "The access token is invalid. Claims challenge: token revoked.",
        &format!("error=\"insufficient_claims\", claims=\"{claims}\""),
    )
}

/// The front door's 429 for a principal's share of a subscription (`read`, `write` or `delete`).
pub(super) fn subscription(subscription: &str, operation: &str, actor: &str, after: u64) -> Reply {
    let message = format!(
        "Number of '{operation}' requests for subscription '{subscription}' actor '{actor}' exceeded. \
         Please try again after '{after}' seconds."
    );
    Reply::gateway(429, "SubscriptionRequestsThrottled", message).with("Retry-After", after.to_string())
}

/// The front door's 429 for a tenant's calls outside every subscription.
pub(super) fn tenant(operation: &str, actor: &str, after: u64) -> Reply {
    let message = format!(
        "Number of '{operation}' requests for tenant '{TENANT}' actor '{actor}' exceeded. \
         Please try again after '{after}' seconds."
    );
    Reply::gateway(429, "TenantRequestsThrottled", message).with("Retry-After", after.to_string())
}

/// The front door's 429 for a provider with a limit of its own there.
pub(super) fn resource_type(what: &str, limit: u32, interval: &str, after: u64) -> Reply {
    let message = format!(
        "Number of requests for {what} exceeded the limit of '{limit}' for time interval '{interval}'. \
         Please try again after '{after}' seconds."
    );
    Reply::gateway(429, "ResourceRequestsThrottled", message).with("Retry-After", after.to_string())
}

/// The compute provider's 429: the policy is named in `details`, and in a field with nothing left.
pub(super) fn compute(policy: &str, allowed: u32, after: u64) -> Reply {
    let detail = format!(
        "{{\"operationGroup\": \"{policy}\", \"startTime\": \"2025-06-12T09:14:46.1108753+00:00\", \"endTime\": \
         \"2025-06-12T09:15:46.1108753+00:00\", \"allowedRequestCount\": {allowed}, \"measuredRequestCount\": {}}}",
        allowed + allowed / 4 + 1
    );
    let body = json!({ "error": {
        "code": "OperationNotAllowed",
        "message": "The server rejected the request because too many requests have been received for this subscription.",
        "details": [{ "code": "TooManyRequests", "target": policy, "message": detail }],
    }});
    Reply::json(429, body)
        .with("Retry-After", after.to_string())
        .with("x-ms-ratelimit-remaining-resource", format!("Microsoft.Compute/{policy};0"))
}

/// The network provider's 429.
pub(super) fn network(id: &str, after: u64) -> Reply {
    let message = format!(
        "Subscription {id} was used to perform too many calls within last 5 minutes. \
         The number of calls exceeds Microsoft.Network throttling limit."
    );
    let body = json!({ "error": {
        "code": "RetryableErrorDueToTooManyCalls", "message": message, "details": [],
    }});
    Reply::json(429, body).with("Retry-After", after.to_string())
}

/// The network provider's 429 that is no rate limit.
pub(super) fn locked_network() -> Reply {
    let message = "Operation PutNicOperation is canceled or superseded: another operation on the resource is in \
                   progress.";
    let body = json!({ "error": {
        "code": "RetryableErrorDueToAnotherOperation", "message": message, "details": [],
    }});
    Reply::json(429, body).with("Retry-After", "10")
}

/// The storage provider's 429 (`Read`, `List` or `Write`).
pub(super) fn storage(kind: &str, after: u64) -> Reply {
    let window = if kind == "Write" { "01:00:00" } else { "00:05:00" };
    let message = format!(
        "The request is being throttled as the limit has been reached for operation type - \
         {kind}_ObservationWindow_{window}. For more information, see - https://aka.ms/srpthrottlinglimits"
    );
    Reply::error(429, "TooManyRequests", message).with("Retry-After", after.to_string())
}

/// The quota of Resource Graph queries is used up.
pub(super) fn graph(after: u64) -> Reply {
    Reply::error(429, "RateLimiting", "Please provide below info when asking for support.")
        .with("Retry-After", after.to_string())
        .with("x-ms-user-quota-remaining", "0")
        .with("x-ms-user-quota-resets-after", format!("00:00:{after:02}"))
}
