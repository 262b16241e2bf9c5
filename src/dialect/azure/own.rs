//! Fields that speak of one call: its numbers, what it left of a quota, which server answered.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");
static CLIENT_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
static WANTS_CLIENT_ID: HeaderName = HeaderName::from_static("x-ms-return-client-request-id");

/// By name, or by how the name begins. Tools act on what is left of a quota, and a browser would pin the
/// name of this proxy by the field for strict transport. What an error says to whoever gets it (`Retry-After`,
/// `WWW-Authenticate`, `x-ms-failure-cause`) stays.
fn is_own(name: &HeaderName) -> bool {
    match name.as_str() {
        "strict-transport-security" | "set-cookie" | "x-msedge-ref" | "x-cache" => true,
        name => name.strip_prefix("x-ms-").is_some_and(|name| {
            const OWN: [&str; 15] = [
                "ratelimit-",
                "request-id",
                "request-charge",
                "correlation-request-id",
                "routing-request-id",
                "client-request-id",
                "client-session-id",
                "original-request-ids",
                "arm-service-request-id",
                "service-request-id",
                "operation-identifier",
                "served-by",
                "user-quota-",
                "throttling-version",
                "resource-graph-request-duration",
            ];
            OWN.iter().any(|own| name.starts_with(own))
        }),
    }
}

pub(in crate::dialect) fn without_own(fields: &HeaderMap) -> Option<HeaderMap> {
    if !fields.keys().any(is_own) {
        return None;
    }
    let mut left = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter().filter(|(name, _)| !is_own(name)) {
        left.append(name, value.clone());
    }
    Some(left)
}

/// A number of its own ("must be globally unique", Microsoft's guidelines), the caller's number of what
/// belongs together or else the same, and the caller's own number where it asks for that (the contract,
/// "Response Headers").
pub(in crate::dialect) fn sign(request: &HeaderMap, fields: &mut HeaderMap) {
    let id = uuid();
    let correlation = request.get(&CORRELATION_ID).unwrap_or(&id).clone();
    fields.insert(CORRELATION_ID.clone(), correlation);
    fields.insert(REQUEST_ID.clone(), id);
    let wants = request.get(&WANTS_CLIENT_ID);
    if wants.is_some_and(|wants| wants.as_bytes().trim_ascii().eq_ignore_ascii_case(b"true"))
        && let Some(own) = request.get(&CLIENT_ID)
    {
        fields.insert(CLIENT_ID.clone(), own.clone());
    }
    debug_assert!(!fields.contains_key(header::SET_COOKIE));
}

/// The caller's own numbers, of which each answer has its own back ([`sign`]).
pub(in crate::dialect) fn numbers_requests(name: &HeaderName) -> bool {
    [&CLIENT_ID, &CORRELATION_ID, &WANTS_CLIENT_ID].contains(&name)
        || ["x-ms-client-session-id", "x-ms-correlation-id"].contains(&name.as_str())
}

/// A random number in the form of RFC 9562 §5.4.
fn uuid() -> HeaderValue {
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    let mut random = fastrand::u128(..);
    let mut text = [b'-'; 36];
    for place in (0..text.len()).filter(|place| !DASHES.contains(place)) {
        let digit = match place {
            14 => 4,
            19 => 8 | (random & 3) as u32,
            _ => (random & 15) as u32,
        };
        random >>= 4;
        text[place] = char::from_digit(digit, 16).expect("below sixteen") as u8;
    }
    HeaderValue::from_bytes(&text).expect("digits and dashes")
}
