//! Validators and conditional requests (RFC 9110 §8.8.3, §13.1.2).

use http::{HeaderMap, header};

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
