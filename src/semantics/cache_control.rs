//! `Cache-Control` of requests and answers (RFC 9111 §5.2).

use std::time::Duration;

use http::{HeaderMap, header};

/// What a client asks of the cache (RFC 9111 §5.2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-cache`, or `max-age=0`, which asks for the same.
    pub no_cache: bool,
    /// `no-store`: the request and its answer leave no trace here.
    pub no_store: bool,
    /// `only-if-cached`: no call may go upstream.
    pub only_if_cached: bool,
    /// `max-age`: the oldest answer that is wanted.
    pub max_age: Option<Duration>,
    /// `min-fresh`: how long the answer must stay fresh.
    pub min_fresh: Option<Duration>,
}

/// What an upstream says of its answer (RFC 9111 §5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`.
    pub no_store: bool,
    /// `private`, with or without field names: a shared cache keeps nothing of it.
    pub private: bool,
    /// `no-cache`, with or without field names.
    pub no_cache: bool,
    /// `must-revalidate` or `proxy-revalidate`: never served stale.
    pub must_revalidate: bool,
    /// `public`.
    pub public: bool,
    /// `max-age`.
    pub max_age: Option<Duration>,
    /// `s-maxage`, which a shared cache prefers.
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
}

impl RequestDirectives {
    /// Reads every `Cache-Control` line of a request; most requests have none.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for_each_directive(headers, |name, value| match name {
            "no-cache" => found.no_cache = true,
            "no-store" => found.no_store = true,
            "only-if-cached" => found.only_if_cached = true,
            "max-age" => {
                let age = seconds(value);
                found.max_age = Some(age);
                found.no_cache |= age.is_zero();
            }
            "min-fresh" => found.min_fresh = Some(seconds(value)),
            _ => {}
        });
        found
    }
}

impl ResponseDirectives {
    /// Reads every `Cache-Control` line of an answer.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for_each_directive(headers, |name, value| match name {
            "no-store" => found.no_store = true,
            "private" => found.private = true,
            "no-cache" => found.no_cache = true,
            "must-revalidate" | "proxy-revalidate" => found.must_revalidate = true,
            "public" => found.public = true,
            "max-age" => found.max_age = Some(seconds(value)),
            "s-maxage" => found.s_maxage = Some(seconds(value)),
            "stale-while-revalidate" => found.stale_while_revalidate = Some(seconds(value)),
            "stale-if-error" => found.stale_if_error = Some(seconds(value)),
            _ => {}
        });
        found
    }
}

/// A delta-seconds value; what is no number counts as zero, the most careful reading
/// (RFC 9111 §4.2.1 asks to treat invalid freshness as stale).
fn seconds(value: &str) -> Duration {
    Duration::from_secs(value.trim_matches('"').parse::<u32>().unwrap_or(0).into())
}

fn for_each_directive(headers: &HeaderMap, mut each: impl FnMut(&str, &str)) {
    for line in headers.get_all(header::CACHE_CONTROL) {
        let Ok(line) = line.to_str() else { continue };
        for item in split_outside_quotes(line) {
            let (name, value) = item.split_once('=').unwrap_or((item, ""));
            each(name.trim().to_ascii_lowercase().as_str(), value.trim());
        }
    }
}

/// Splits at commas, but not at those inside a quoted string (`private="a, b"`).
fn split_outside_quotes(line: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    line.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append(header::CACHE_CONTROL, line.parse().expect("a test's field value is valid"));
        }
        map
    }

    #[test]
    fn requests() {
        let cases: [(&[&str], RequestDirectives); 6] = [
            (&[], RequestDirectives::default()),
            (&["No-Cache"], RequestDirectives { no_cache: true, ..Default::default() }),
            (
                &["max-age=0"],
                RequestDirectives { no_cache: true, max_age: Some(Duration::ZERO), ..Default::default() },
            ),
            (
                &["max-age=5, only-if-cached"],
                RequestDirectives {
                    only_if_cached: true,
                    max_age: Some(Duration::from_secs(5)),
                    ..Default::default()
                },
            ),
            (&["foo=\"a, no-store\""], RequestDirectives::default()),
            (
                &["no-store", "min-fresh=\"3\""],
                RequestDirectives {
                    no_store: true,
                    min_fresh: Some(Duration::from_secs(3)),
                    ..Default::default()
                },
            ),
        ];
        for (lines, expected) in cases {
            assert_eq!(RequestDirectives::of(&headers(lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn responses() {
        let read = ResponseDirectives::of(&headers(&[
            "private=\"set-cookie, x\", max-age=60",
            "s-maxage=10,stale-while-revalidate=5",
        ]));
        assert!(read.private && !read.no_store);
        assert_eq!(read.max_age, Some(Duration::from_secs(60)));
        assert_eq!(read.s_maxage, Some(Duration::from_secs(10)));
        assert_eq!(read.stale_while_revalidate, Some(Duration::from_secs(5)));
        assert_eq!(ResponseDirectives::of(&headers(&["max-age=x"])).max_age, Some(Duration::ZERO));
    }
}
