//! The query of a target URI as a cache key sees it: the order of names does not matter, the order
//! of the values of one name does.

use smallvec::SmallVec;

/// How an API reads a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// `&` alone separates (the URL standard), and names are what was written.
    Plain,
    /// `&` and `;` separate, as Perl's CGI parsers read it.
    Semicolons,
    /// `&` separates; names are percent-decoded, and their ASCII case does not matter.
    FoldedNames,
}

/// How many pairs are sorted without memory of their own.
const PAIRS: usize = 8;

fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Calls `each` with the `name=value` pairs in canonical order: sorted by name, equal names in the
/// client's order, without the pairs whose name is in `ignored`. Values are never decoded, nor names
/// where the API's reading of them is not known: two spellings of one query are two keys, which costs a
/// call and never confuses.
pub fn canonical(query: &str, syntax: Syntax, ignored: &[String], mut each: impl FnMut(&str)) {
    if syntax == Syntax::FoldedNames {
        return folded(query, ignored, each);
    }
    let separates = |c: char| c == '&' || (c == ';' && syntax == Syntax::Semicolons);
    let kept = |pair: &&str| !pair.is_empty() && !ignored.iter().any(|i| i == name(pair));
    if !query.contains(separates) {
        return Some(query).filter(kept).into_iter().for_each(each);
    }
    let mut pairs: SmallVec<[&str; PAIRS]> = query.split(separates).filter(kept).collect();
    pairs.sort_by_key(|pair| name(pair));
    pairs.into_iter().for_each(&mut each);
}

/// A name as it is compared: `%24Expand` is `$expand`.
type Name = SmallVec<[u8; 24]>;

fn folded(query: &str, ignored: &[String], mut each: impl FnMut(&str)) {
    let mut pairs: SmallVec<[(Name, &str); PAIRS]> = SmallVec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let raw = name(pair);
        let folded = fold(raw);
        if !ignored.iter().any(|ignored| ignored.as_bytes().eq_ignore_ascii_case(&folded)) {
            pairs.push((folded, &pair[raw.len()..]));
        }
    }
    pairs.sort_by(|one, other| one.0.cmp(&other.0));
    let mut text: SmallVec<[u8; 256]> = SmallVec::new();
    for (name, value) in pairs {
        text.clear();
        text.extend_from_slice(&name);
        text.extend_from_slice(value.as_bytes());
        each(std::str::from_utf8(&text).expect("a name is ASCII or as it came, and a value is a text"));
    }
}

/// Only names of plain characters are decoded: one with an encoded `=` would read like another name and
/// its value.
fn fold(raw: &str) -> Name {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"$-._~@".contains(&byte);
    let decoded: Name =
        percent_encoding::percent_decode_str(raw).map(|byte| byte.to_ascii_lowercase()).collect();
    if decoded.iter().all(|byte| plain(*byte)) { decoded } else { raw.as_bytes().into() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            canonical(query, Syntax::Semicolons, &ignored, |pair| seen.push(pair.to_owned()));
            assert_eq!(seen.join("|"), expected, "{query}");
        }
        let mut seen = Vec::new();
        canonical("b=1;a=2&a=3", Syntax::Plain, &[], |pair| seen.push(pair.to_owned()));
        assert_eq!(seen, ["a=3", "b=1;a=2"]);
    }

    #[test]
    fn names_fold_and_values_stay_as_they_are() {
        let ignored = ["$Ignored".to_string()];
        let cases = [
            ("$expand=instanceView&api-version=1", "$expand=instanceView|api-version=1"),
            ("API-Version=1&%24Expand=instanceView", "$expand=instanceView|api-version=1"),
            ("api-version=2026-03-01&%24skipToken=aB%3d%3D", "$skiptoken=aB%3d%3D|api-version=2026-03-01"),
            ("a=1&A=2", "a=1|a=2"),
            ("A=2&a=1", "a=2|a=1"),
            ("%24ignored=1&b=1", "b=1"),
            // An encoded name that would read as another name and its value, or is no text.
            ("a%3Db=c", "a%3Db=c"),
            ("A%26b", "A%26b"),
            ("%FF=1&%zz=2", "%FF=1|%zz=2"),
            ("&&a&a=", "a|a="),
            ("\u{e4}=1", "\u{e4}=1"),
            ("a;b=1", "a;b=1"),
        ];
        for (query, expected) in cases {
            let mut seen = Vec::new();
            canonical(query, Syntax::FoldedNames, &ignored, |pair| seen.push(pair.to_owned()));
            assert_eq!(seen.join("|"), expected, "{query}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        /// However names are written and in whatever order they stand, one query is one key; another value,
        /// or another order of the values of one name, is another.
        #[test]
        fn spelling_and_order_of_names_mean_nothing_and_values_everything(
            values in prop::collection::vec("[aA%3dD=$]{0,3}", 1..6),
            spelling in prop::collection::vec(0u8..3, 30),
            turn in 0usize..6,
            changed in 0usize..6,
        ) {
            let names = ["$expand", "$filter", "api-version", "$skiptoken", "t", "statusonly"];
            let mut letters = spelling.iter().cycle();
            let mut write = |name: &str| -> String {
                let spelt = name.bytes().map(|byte| match letters.next() {
                    Some(0) => char::from(byte.to_ascii_uppercase()).to_string(),
                    Some(1) => format!("%{byte:02x}"),
                    _ => char::from(byte).to_string(),
                });
                spelt.collect()
            };
            let plain: Vec<String> =
                values.iter().zip(names).map(|(value, name)| format!("{name}={value}")).collect();
            let mut other: Vec<String> =
                values.iter().zip(names).map(|(value, name)| format!("{}={value}", write(name))).collect();
            let turn = turn % other.len();
            other.rotate_left(turn);
            let key = |pairs: &[String]| {
                let mut seen = Vec::new();
                canonical(&pairs.join("&"), Syntax::FoldedNames, &[], |pair| seen.push(pair.to_owned()));
                seen
            };
            prop_assert_eq!(key(&plain), key(&other));
            let place = changed % other.len();
            other[place].push('x');
            prop_assert_ne!(key(&plain), key(&other));
        }
    }
}
