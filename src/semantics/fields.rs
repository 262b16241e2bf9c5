//! Fields that belong to one connection and must not be forwarded or stored (RFC 9110 §7.6.1).

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

/// Whether a field describes the connection or the message framing, not the content.
pub fn is_connection_specific(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Removes the fields whose names are `unwanted`. To look at the few that are there costs less than to
/// ask for each of many that are not.
pub fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let found: SmallVec<[HeaderName; 8]> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Removes the connection-specific fields and those that `Connection` names.
pub fn remove_connection_specific(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove_where(headers, is_connection_specific);
}

/// Removes the fields that `Connection` names.
pub fn remove_named_by_connection(headers: &mut HeaderMap) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
}

/// The fields that `Connection` names, but for those that no request would go on with anyway.
pub fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    // The common values name only `keep-alive` and `close`, which are in the fixed list.
    let is_usual = |line: &HeaderValue| {
        let line = line.as_bytes();
        line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close")
    };
    let lines = headers.get_all(header::CONNECTION).iter().filter(|line| !is_usual(line));
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name| !is_connection_specific(name))
        .collect()
}

/// Whether the sender of a request bears trailer fields in the answer (RFC 9110 §10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|line| {
        line.to_str()
            .is_ok_and(|line| line.split(',').any(|coding| coding.trim().eq_ignore_ascii_case("trailers")))
    })
}

/// HTTP/2 may split a cookie field; HTTP/1.1 may not (RFC 9113 §8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, joined);
    }
}

/// Whether a field may be kept with a stored answer: connection-specific fields and the length are
/// not (the length follows from the body), nor are `Set-Cookie` and `Age`, which speak of one
/// moment, nor `Trailer`, because trailers are not kept.
pub fn is_storable(name: &HeaderName) -> bool {
    !is_connection_specific(name)
        && *name != header::CONTENT_LENGTH
        && *name != header::SET_COOKIE
        && *name != header::AGE
        && *name != header::TRAILER
}

/// Other versions of HTTP, and TLS within HTTP: a tunnel of these would carry requests past every rule,
/// and a server may ignore any of them (RFC 9110 §7.8).
fn is_http(protocols: &HeaderValue) -> bool {
    let Ok(protocols) = protocols.to_str() else { return true };
    protocols.split(',').map(str::trim).any(|protocol| {
        let name = protocol.split('/').next().unwrap_or_default();
        ["h2c", "h2", "http", "tls"].iter().any(|http| name.eq_ignore_ascii_case(http))
    })
}

/// Whether the request asks to switch to a protocol that is not HTTP (RFC 9110 §7.8).
pub fn asks_upgrade(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|protocols| !is_http(protocols))
        && headers.get_all(header::CONNECTION).iter().any(|line| {
            line.to_str()
                .is_ok_and(|line| line.split(',').any(|name| name.trim().eq_ignore_ascii_case("upgrade")))
        })
}

/// Whether a request field tells one request from another that asks for the same: who sends it, and how it is
/// traced. No answer depends on it.
pub fn tells_requests_apart(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "user-agent"
            | "date"
            | "traceparent"
            | "tracestate"
            | "request-id"
            | "x-request-id"
            | "x-correlation-id"
    )
}

/// Whether a write stands for itself by its fields: it is conditional (RFC 9110 §13.1, RFC 4918 §10.4), waits
/// for leave to send its content (§10.1.1), means a part of something (§14), asks for another protocol (§7.8)
/// or has fields behind its content (§6.5).
pub fn stands_alone(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        name.starts_with("if-")
            || matches!(name, "if" | "expect" | "range" | "content-range" | "upgrade" | "trailer")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_and_what_it_names_go() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("accept", "*/*"),
        ] {
            headers.append(name.parse::<HeaderName>().expect("valid"), value.parse().expect("valid"));
        }
        remove_connection_specific(&mut headers);
        assert_eq!(headers.keys().map(|k| k.as_str()).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn conditions_and_parts_stand_alone() {
        for (name, alone) in [
            ("if-match", true),
            ("if-unmodified-since", true),
            ("if", true),
            ("expect", true),
            ("content-range", true),
            ("upgrade", true),
            ("trailer", true),
            ("accept", false),
            ("content-type", false),
            ("iffy", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name.parse::<HeaderName>().expect("valid"), HeaderValue::from_static("x"));
            assert_eq!(stands_alone(&headers), alone, "{name}");
        }
    }

    #[test]
    fn upgrade_needs_both_fields() {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!asks_upgrade(&headers));
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        assert!(asks_upgrade(&headers));
        for http in ["h2c", "websocket, h2c", "HTTP/2.0", "TLS/1.2"] {
            headers.insert(header::UPGRADE, http.parse().expect("a test's field value is valid"));
            assert!(!asks_upgrade(&headers), "{http}");
        }
    }
}
