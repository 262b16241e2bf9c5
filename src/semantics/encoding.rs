//! Which content coding a client accepts (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

/// The content codings that forebay keeps of one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// The body as the upstream gave it.
    Identity,
    /// The body compressed here, once.
    Gzip,
}

/// The coding to answer with: gzip when the client accepts it with any weight but zero.
pub fn preferred(headers: &HeaderMap) -> Coding {
    let mut star = false;
    for line in headers.get_all(header::ACCEPT_ENCODING) {
        let Ok(line) = line.to_str() else { continue };
        for item in line.split(',') {
            let mut parts = item.split(';');
            let name = parts.next().unwrap_or("").trim();
            let refused = parts.any(|parameter| {
                let parameter = parameter.trim();
                parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")).is_some_and(is_zero)
            });
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                return if refused { Coding::Identity } else { Coding::Gzip };
            }
            star |= name == "*" && !refused;
        }
    }
    if star { Coding::Gzip } else { Coding::Identity }
}

fn is_zero(weight: &str) -> bool {
    weight.trim().bytes().all(|b| b == b'0' || b == b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negotiation() {
        let cases = [
            ("", Coding::Identity),
            ("gzip, deflate", Coding::Gzip),
            ("GZIP;q=0.5", Coding::Gzip),
            ("gzip;q=0", Coding::Identity),
            ("gzip; q=0.000, *", Coding::Identity),
            ("*", Coding::Gzip),
            ("*;q=0", Coding::Identity),
            ("identity", Coding::Identity),
            ("deflate, br", Coding::Identity),
        ];
        for (line, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, line.parse().expect("a test's field value is valid"));
            assert_eq!(preferred(&headers), expected, "{line}");
        }
    }
}
