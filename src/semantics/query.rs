//! The query of a target URI as a cache key sees it: the order of names does not matter, the order
//! of the values of one name does.

/// Which characters separate the pairs of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separators {
    /// `&` alone (the URL standard).
    Ampersand,
    /// `&` and `;`, as Perl's CGI parsers read it.
    AmpersandAndSemicolon,
}

fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Calls `each` with the raw `name=value` pairs in canonical order: sorted by name, equal names in
/// the client's order, without the pairs whose name is in `ignored`. Bytes are not decoded: two
/// spellings of one query are two keys, which costs a call and never confuses.
pub fn canonical<'q>(
    query: &'q str,
    separators: Separators,
    ignored: &[String],
    mut each: impl FnMut(&'q str),
) {
    let separates = |c: char| c == '&' || (c == ';' && separators == Separators::AmpersandAndSemicolon);
    let kept = |pair: &&str| !pair.is_empty() && !ignored.iter().any(|i| i == name(pair));
    if !query.contains(separates) {
        return Some(query).filter(kept).into_iter().for_each(each);
    }
    let mut pairs: smallvec::SmallVec<[&str; 8]> = query.split(separates).filter(kept).collect();
    pairs.sort_by_key(|pair| name(pair));
    pairs.into_iter().for_each(&mut each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_order() {
        let ignored = ["_dc".to_string()];
        let cases = [
            ("", ""),
            ("a=1", "a=1"),
            ("b=2&a=1", "a=1|b=2"),
            ("b=2;a=1", "a=1|b=2"),
            ("a=2&a=1", "a=2|a=1"),
            ("_dc=123", ""),
            ("a=1&_dc=123&&", "a=1"),
            ("_dcx=1", "_dcx=1"),
            ("a", "a"),
        ];
        for (query, expected) in cases {
            let mut seen = Vec::new();
            canonical(query, Separators::AmpersandAndSemicolon, &ignored, |pair| seen.push(pair));
            assert_eq!(seen.join("|"), expected, "{query}");
        }
        let mut seen = Vec::new();
        canonical("b=1;a=2&a=3", Separators::Ampersand, &[], |pair| seen.push(pair));
        assert_eq!(seen, ["a=3", "b=1;a=2"]);
    }
}
