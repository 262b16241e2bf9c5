//! Validators and conditional requests (RFC 9110 §8.8.3, §13.1).
//!
//! Validators of forebay's own have a shape by which they are known again, also by another process and after
//! a restart. Anybody can write one; all that comes of it is that a condition of their own is judged here
//! or left out.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, header};

/// What stands before the digits of a validator of forebay's own.
const OWN: &str = "\"fb-";

/// A validator of forebay's own.
pub fn own(number: u128) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut tag = String::with_capacity(OWN.len() + 33);
    tag.push_str(OWN);
    for byte in number.to_be_bytes() {
        tag.push(DIGITS[usize::from(byte >> 4)].into());
        tag.push(DIGITS[usize::from(byte & 15)].into());
    }
    tag.push('"');
    tag
}

fn is_own(tag: &str) -> bool {
    let strong = tag.strip_prefix("W/").unwrap_or(tag);
    let digits = strong.strip_prefix(OWN).and_then(|rest| rest.strip_suffix('"'));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The validators that a field lists. Those with a comma in them come in pieces, which are nobody's own.
fn tags<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|tag| !tag.is_empty())
}

/// The validators of forebay's own that a field lists.
pub fn own_tags(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    if !headers.contains_key(name) {
        return Vec::new();
    }
    tags(headers, name).filter(|tag| is_own(tag)).map(str::to_owned).collect()
}

/// Whether a field lists validators that are not forebay's own.
pub fn names_others(headers: &HeaderMap, name: &HeaderName) -> bool {
    tags(headers, name).any(|tag| !is_own(tag))
}

/// Takes validators of forebay's own out of a request: no API knows them.
pub fn remove_own(headers: &mut HeaderMap) {
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if own_tags(headers, &name).is_empty() {
            continue;
        }
        let others: Vec<_> = tags(headers, &name).filter(|tag| !is_own(tag)).collect();
        // Parts of a valid value, put together as a list, are valid.
        match HeaderValue::from_str(&others.join(", ")) {
            Ok(others) if !others.is_empty() => drop(headers.insert(name, others)),
            _ => drop(headers.remove(name)),
        }
    }
    // A range of what nobody but forebay names so: the whole is always right (RFC 9110 §13.1.5).
    if !own_tags(headers, &header::IF_RANGE).is_empty() {
        headers.remove(header::IF_RANGE);
        headers.remove(header::RANGE);
    }
}

/// Whether an `If-None-Match` of the request names `etag` (weak comparison, RFC 9110 §8.8.3.2), so
/// that a 304 is the answer.
pub fn none_match_names(headers: &HeaderMap, etag: &str) -> bool {
    let wanted = etag.strip_prefix("W/").unwrap_or(etag);
    headers.get_all(header::IF_NONE_MATCH).iter().any(|line| {
        line.to_str().is_ok_and(|line| {
            line.split(',')
                .map(str::trim)
                .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == wanted)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_our_own_is_taken_out() {
        let (a, b) = (own(1), own(u128::MAX));
        let cases = [
            ("if-match", a.clone(), None),
            ("if-match", format!("\"x\", W/{a},{b}"), Some("\"x\"")),
            ("if-none-match", format!("{a}, \"y, z\", \"fb-1\""), Some("\"y, z\", \"fb-1\"")),
            ("if-none-match", "*".to_owned(), Some("*")),
            ("if-none-match", "\"x\",\"y\"".to_owned(), Some("\"x\",\"y\"")),
            ("if-range", "\"x\"".to_owned(), Some("\"x\"")),
            ("if-range", b.clone(), None),
        ];
        for (name, line, left) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, line.parse().expect("a test's field value is valid"));
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-1"));
            remove_own(&mut headers);
            assert_eq!(headers.get(name).map(|line| line.to_str().expect("text")), left, "{name}: {line}");
            let whole = name == "if-range" && left.is_none();
            assert_eq!(headers.contains_key(header::RANGE), !whole, "{name}: {line}");
        }
    }

    #[test]
    fn if_none_match() {
        let cases = [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"ab\"", false),
            ("a", false),
        ];
        for (line, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, line.parse().expect("a test's field value is valid"));
            assert_eq!(none_match_names(&headers, "\"a\""), expected, "{line}");
        }
        assert!(!none_match_names(&HeaderMap::new(), "\"a\""));
    }
}
