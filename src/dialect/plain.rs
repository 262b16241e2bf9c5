//! An HTTP API of which nothing special is known.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{Credential, ErrorForm, ServerLimits, decode};

pub(super) const SERVER_LIMITS: ServerLimits = ServerLimits {
    http2: true,
    // Below the keep-alive of the common servers (nginx 75 s, Node 5 s is the shortest in wide use).
    pool_idle: Duration::from_millis(4500),
    first_byte: Duration::from_secs(60),
    // As every server of HTTP/1.1 must (RFC 9112 §7.1).
    chunked_requests: true,
    requests_per_connection: None,
    header_lines: None,
    header_bytes: None,
    stray_close: false,
};

/// The fields that carry a credential when nothing else is known (RFC 9110 §11.6.2, §11.7.2,
/// RFC 6265, and the common API key field).
static CREDENTIAL_FIELDS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
];

/// Decoded once; an encoded slash stays a part of its segment.
pub(super) fn read_path(raw: &str) -> Option<Cow<'_, str>> {
    if raw.contains('%') && (raw.contains("%2F") || raw.contains("%2f")) {
        let protected = raw.replace("%2F", "%252F").replace("%2f", "%252F");
        return Some(Cow::Owned(decode(&protected)?.into_owned()));
    }
    decode(raw)
}

pub(super) fn credential<'r>(headers: &'r HeaderMap, extra: &[HeaderName]) -> Credential<'r> {
    let mut bytes = smallvec::SmallVec::new();
    for (position, name) in CREDENTIAL_FIELDS.iter().chain(extra).enumerate() {
        for line in headers.get_all(name) {
            // The position stands for the name, so that one value in two fields is two credentials.
            bytes.push(POSITIONS.get(position).map_or(&[0xff][..], std::slice::from_ref));
            bytes.push(line.as_bytes());
        }
    }
    if bytes.is_empty() { Credential::Absent } else { Credential::Present(bytes) }
}

static POSITIONS: [u8; 32] = {
    let mut positions = [0; 32];
    let mut i = 0;
    while i < positions.len() {
        positions[i] = i as u8;
        i += 1;
    }
    positions
};

pub(super) fn error(status: StatusCode, message: &str) -> ErrorForm {
    let body = serde_json::json!({ "error": { "status": status.as_u16(), "message": message } });
    ErrorForm {
        body: body.to_string().into(),
        content_type: HeaderValue::from_static("application/json"),
        reason: None,
    }
}
