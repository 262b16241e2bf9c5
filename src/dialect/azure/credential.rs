//! Which fields of a request are a credential.

use http::HeaderMap;
use http::header::{self, HeaderName};
use smallvec::smallvec;

use super::super::Credential;

/// Up to three more tokens, of other tenants (Microsoft's "Authenticate requests across tenants").
static AUXILIARY: HeaderName = HeaderName::from_static("x-ms-authorization-auxiliary");

/// The first part of a credential.
pub(super) const BEARER: &[u8] = b"bearer";

/// One `Authorization: Bearer TOKEN`. With tokens of other tenants beside it, which may show more, nobody
/// shares the answer; some clients send that field empty. Cookies are no credential here: what ARM sets
/// only keeps a client with one server.
pub(in crate::dialect) fn credential<'r>(headers: &'r HeaderMap, extra: &[HeaderName]) -> Credential<'r> {
    let more = headers.get_all(&AUXILIARY).iter().any(|line| !line.as_bytes().trim_ascii().is_empty());
    if more || extra.iter().any(|name| headers.contains_key(name)) {
        return Credential::Ambiguous;
    }
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Credential::Absent,
        (Some(line), None) => match token(line.as_bytes()) {
            Some(token) => Credential::Present(smallvec![BEARER, token]),
            None => Credential::Ambiguous,
        },
        _ => Credential::Ambiguous,
    }
}

/// The token of a field, in the characters of RFC 6750 §2.1 and nothing else.
fn token(line: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = line.split_at_checked(BEARER.len() + 1)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let is_bearer = scheme[..BEARER.len()].eq_ignore_ascii_case(BEARER) && scheme[BEARER.len()] == b' ';
    (is_bearer && !token.is_empty() && token.iter().all(plain)).then_some(token)
}
