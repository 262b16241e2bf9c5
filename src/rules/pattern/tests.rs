use proptest::prelude::*;

use super::super::index::Index;
use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What the captures of `text` hold in `path`.
fn captured<'p>(text: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let captures = pattern(text).matches(path, false)?;
    Some((0..captures.len()).map(|position| captures.get(path, position)).collect())
}

#[test]
fn patterns_match_and_capture() {
    for (text, path, expected) in [
        ("/", "/", Some(&[][..])),
        ("/", "/a", None),
        ("/a", "/", None),
        ("/a/b", "/a/b", Some(&[])),
        ("/a/b", "/A/b", None),
        ("/a/b", "/a/b/", None),
        ("/nodes/{node}/qemu/{vmid}", "/nodes/pve1/qemu/100", Some(&["pve1", "100"])),
        ("/nodes/{node}/qemu/{vmid}", "/nodes/pve1/qemu", None),
        ("/nodes/{node}", "/nodes/", None),
        ("/nodes/*/qemu/{vmid}", "/nodes/pve1/qemu/100", Some(&["100"])),
        ("/**", "/", Some(&[])),
        ("/**", "/a/b/c", Some(&[])),
        ("/a/**", "/a", Some(&[])),
        ("/a/**/z", "/a/z", Some(&[])),
        ("/a/**/z", "/a/z/z", Some(&[])),
        ("/a/**/z", "/a/z/y", None),
        ("/**/providers/{kind}", "/x/providers/y/providers/z", Some(&["z"])),
        ("/**/{last}", "/x/y/z", Some(&["z"])),
        ("/{first}/**/{last}", "/x/z", Some(&["x", "z"])),
        ("/**/a/{x}/**/b/{y}", "/1/a/2/3/b/4", Some(&["2", "4"])),
        ("/**/a/{x}/b", "/a/1/a/2/b", Some(&["2"])),
        ("/**/list*", "/a/listKeys", Some(&[])),
        ("/**/list*", "/a/list", Some(&[])),
        ("/**/list*", "/a/lis", None),
        ("/**/list*", "/a/listKeys/b", None),
        ("/list*/{x}", "/listKeys/b", Some(&["b"])),
    ] {
        assert_eq!(captured(text, path).as_deref(), expected, "{text} on {path}");
    }
    assert!(pattern("/Nodes/{node}").matches("/nODES/Pve1", true).is_some());
}

#[test]
fn what_is_no_pattern_is_refused() {
    for (text, expected) in [
        ("", PatternError::NotAbsolute),
        ("a", PatternError::NotAbsolute),
        ("/a/", PatternError::EmptySegment),
        ("/a//b", PatternError::EmptySegment),
        ("/a{b}", PatternError::BadSegment("a{b}".into())),
        ("/{}", PatternError::BadSegment("{}".into())),
        ("/{a.b}", PatternError::BadSegment("{a.b}".into())),
        ("/{a", PatternError::BadSegment("{a".into())),
        ("/*a", PatternError::BadSegment("*a".into())),
        ("/a*b", PatternError::BadSegment("a*b".into())),
        ("/{a}*", PatternError::BadSegment("{a}*".into())),
        ("/***", PatternError::BadSegment("***".into())),
        ("/a*\u{e9}", PatternError::BadSegment("a*\u{e9}".into())),
        ("/{\u{e9}", PatternError::BadSegment("{\u{e9}".into())),
        ("/{a}/{a}", PatternError::Repeated("a".into())),
    ] {
        assert_eq!(Pattern::parse(text), Err(expected), "{text}");
    }
    assert_eq!(Pattern::parse(&"/a".repeat(65)), Err(PatternError::TooLong));
}

#[test]
fn covering_is_seen() {
    for (ours, theirs, expected) in [
        ("/a/{x}", "/a/{y}", true),
        ("/a/*", "/a/b", true),
        ("/a/b", "/a/*", false),
        ("/**", "/", true),
        ("/a/**", "/a/b/**/c", true),
        ("/a/**", "/b", false),
        ("/**/c", "/a/b/c", true),
        ("/**/c", "/a/**", false),
        ("/**/*", "/*/**", true),
        ("/*", "/**", false),
        ("/**/a/**", "/x/a", true),
    ] {
        assert_eq!(pattern(ours).covers(&pattern(theirs), false), expected, "{ours} covers {theirs}");
    }
    assert!(pattern("/A").covers(&pattern("/a"), true));
    assert!(!pattern("/A").covers(&pattern("/a"), false));
}

/// The definition of matching, without any cleverness.
fn oracle(pattern: &[PatternSegment], path: &[&str], fold: bool) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((PatternSegment::Rest, rest)), _) => {
            (0..=path.len()).any(|skipped| oracle(rest, &path[skipped..], fold))
        }
        (Some(_), None) => false,
        (Some((PatternSegment::One(_), rest)), Some((_, after))) => oracle(rest, after, fold),
        (Some((PatternSegment::Literal(literal), rest)), Some((segment, after))) => {
            let equal =
                if fold { literal.to_lowercase() == segment.to_lowercase() } else { literal == segment };
            equal && oracle(rest, after, fold)
        }
        (Some((PatternSegment::Prefix(prefix), rest)), Some((segment, after))) => {
            let begins = match fold {
                true => segment.to_lowercase().starts_with(&prefix.to_lowercase()),
                false => segment.starts_with(prefix),
            };
            begins && oracle(rest, after, fold)
        }
    }
}

/// Short and long ones, among them some that differ only in the case of letters, in length, in how they begin or end.
const LITERALS: &[&str] = &[
    "a",
    "b",
    "A",
    "ab",
    "aa",
    "a\0",
    "seven.b",
    "eight..b",
    "nine...b.",
    "Namespace.a",
    "Namespace.b",
    "namespace.A",
    "a.namespace",
    "b.namespace",
    "c.namespace",
    "\u{e9}t\u{e9}",
    "\u{e9}t\u{e9}\u{e9}",
];

fn any_pattern() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => prop::sample::select(LITERALS),
        2 => prop::sample::select(vec!["a*", "A*", "ab*"]),
        2 => Just("*"),
        2 => Just("{}"),
        2 => Just("**"),
    ];
    prop::collection::vec(segment, 0..6).prop_map(|segments| {
        let name = |(index, segment): (usize, &&str)| match *segment {
            "{}" => format!("/{{x{index}}}"),
            other => format!("/{other}"),
        };
        let text: String = segments.iter().enumerate().map(name).collect();
        if text.is_empty() { "/".to_owned() } else { text }
    })
}

fn any_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select([LITERALS, &["c", "Namespace.a\0", "\u{e9}T\u{e9}"]].concat());
    prop::collection::vec(segment, 0..7).prop_map(|segments| format!("/{}", segments.join("/")))
}

fn split(path: &str) -> Vec<&str> {
    path[1..].split('/').filter(|segment| !segment.is_empty()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn one_pattern_matches_as_defined(text in any_pattern(), path in any_path(), fold: bool) {
        let pattern = pattern(&text);
        let found = pattern.matches(&path, fold);
        prop_assert_eq!(found.is_some(), oracle(pattern.segments(), &split(&path), fold));
        if let Some(captures) = found {
            // With its captures filled in the pattern still matches: they stand where they should.
            let mut position = 0;
            let filled: Vec<PatternSegment> = pattern.segments().iter().map(|segment| match segment {
                PatternSegment::One(Some(_)) => {
                    position += 1;
                    PatternSegment::Literal(captures.get(&path, position - 1).to_owned())
                }
                other => other.clone(),
            }).collect();
            prop_assert_eq!(captures.len(), position);
            prop_assert!(oracle(&filled, &split(&path), fold));
        }
    }

    #[test]
    fn the_index_finds_the_first(texts in prop::collection::vec(any_pattern(), 0..12), path in any_path(), fold: bool) {
        let patterns: Vec<Pattern> = texts.iter().map(|text| pattern(text)).collect();
        let index = Index::new(patterns.iter().enumerate(), fold);
        let first = |accept: fn(usize) -> bool| {
            let segments = split(&path);
            (0..patterns.len()).find(|rule| accept(*rule) && oracle(patterns[*rule].segments(), &segments, fold))
        };
        let segments = Segments::of(&path);
        let found = index.first(&path, &segments, |_| true);
        prop_assert_eq!(found, first(|_| true));
        prop_assert_eq!(index.first(&path, &segments, |rule| rule % 2 == 1), first(|rule| rule % 2 == 1));
        if let Some(found) = found.map(|found| &patterns[found]) {
            prop_assert_eq!(Some(found.captures_of(&path, &segments, fold)), found.matches(&path, fold));
        }
    }

    #[test]
    fn a_covered_pattern_matches_nothing_more(ours in any_pattern(), theirs in any_pattern(), path in any_path(), fold: bool) {
        let (ours, theirs) = (pattern(&ours), pattern(&theirs));
        if ours.covers(&theirs, fold) && theirs.matches(&path, fold).is_some() {
            prop_assert!(ours.matches(&path, fold).is_some());
        }
    }
}

#[test]
fn patterns_overlap_where_a_path_fits_both() {
    let cases = [
        ("/a/b", "/a/b", true),
        ("/a/b", "/a/c", false),
        ("/a/B", "/a/b", false),
        ("/a/{x}", "/a/b", true),
        ("/{x}/b", "/a/{y}", true),
        ("/{x}/b", "/a/c", false),
        ("/a", "/a/b", false),
        ("/a/**", "/a", true),
        ("/a/**", "/a/b/c", true),
        ("/a/**", "/b/**", false),
        ("/**", "/a/b", true),
        ("/**/x", "/a/**", true),
        ("/**/x", "/a/y", false),
        ("/a/**/x/**", "/**/b/x", true),
        ("/a/**/x", "/a/{y}", true),
        ("/a/**/x", "/a/*/y", false),
        ("/a/**/b", "/a/**/c", false),
    ];
    for (one, other, overlap) in cases {
        let parse = |text| Pattern::parse(text).expect("a pattern");
        assert_eq!(parse(one).overlaps(&parse(other), false), overlap, "{one} {other}");
        assert_eq!(parse(other).overlaps(&parse(one), false), overlap, "{other} {one}");
    }
    let (small, large) = (Pattern::parse("/a/b").expect("a pattern"), Pattern::parse("/A/{x}").expect("one"));
    assert!(small.overlaps(&large, true) && !small.overlaps(&large, false));
}
