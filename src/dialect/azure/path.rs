//! Paths as ARM reads them.

use std::borrow::Cow;

use super::super::decode;

/// Decoded once, without empty segments, case folded: groups, resources and the names in a path are
/// compared without regard to case (the contract, "Case sensitivity").
///
/// What some servers would decode once more, or take for a slash, has no certain reading.
pub(in crate::dialect) fn read_path(raw: &str) -> Option<Cow<'_, str>> {
    let decoded = decode(raw)?;
    if decoded.len() < raw.len() {
        let separates = |bytes: &[u8]| {
            bytes[0] == b'%'
                && (bytes[1..].eq_ignore_ascii_case(b"2f") || bytes[1..].eq_ignore_ascii_case(b"5c"))
        };
        if raw.as_bytes().windows(3).any(separates) || decoded.contains(['%', '\0']) {
            return None;
        }
    }
    if decoded.contains('\\') {
        return None;
    }
    let folded = !decoded.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    let whole = !decoded.contains("//") && (decoded.len() == 1 || !decoded.ends_with('/'));
    if folded && whole {
        return Some(decoded);
    }
    let mut path = String::with_capacity(decoded.len());
    for segment in decoded.split('/').filter(|segment| !segment.is_empty()) {
        path.push('/');
        fold(segment, &mut path);
    }
    if path.is_empty() {
        path.push('/');
    }
    Some(Cow::Owned(path))
}

/// Letters that the API may take for the same become the same: character by character, whatever stands
/// beside it, and over the upper case, so that those which only meet there meet too.
fn fold(segment: &str, path: &mut String) {
    if segment.is_ascii() {
        let start = path.len();
        path.push_str(segment);
        path[start..].make_ascii_lowercase();
        return;
    }
    path.extend(segment.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
}
