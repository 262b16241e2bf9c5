//! The built-in rules for ARM against what is known of it: every write reaches the reads that it changes, nothing
//! is kept that must not be, nor for longer than it may.
//!
//! `tests/data/azure-changes.txt` has the facts; it knows neither rules nor groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::Duration;

use forebay::dialect::Dialect;
use forebay::rules::{self, Fields, Group, Reuse, RuleSet};
use http::{HeaderMap, Method};
use proptest::prelude::*;

const FACTS: &str = include_str!("../../data/azure-changes.txt");

/// What stands for the names in a path: the first is what a write is made of.
const SAMPLES: [(&str, [&str; 2]); 3] =
    [("{s}", ["s1", "other"]), ("{g}", ["g1", "g2"]), ("{n}", ["n1", "other"])];

fn pack() -> &'static RuleSet {
    static PACK: LazyLock<RuleSet> = LazyLock::new(|| {
        let text = rules::builtin("azure").expect("the pack is built in");
        RuleSet::parse("azure", text).unwrap_or_else(|mistakes| {
            panic!("{}", mistakes.iter().map(|mistake| format!("{mistake}\n")).collect::<String>())
        })
    });
    &PACK
}

/// Every path that a template stands for.
fn instances(template: &str) -> Vec<String> {
    let mut paths = vec![template.to_owned()];
    for (name, values) in SAMPLES {
        paths = paths
            .iter()
            .flat_map(|path| match path.contains(name) {
                true => values.iter().map(|value| path.replace(name, value)).collect(),
                false => vec![path.clone()],
            })
            .collect();
    }
    paths
}

/// The same of a write: its names are the first samples.
fn instance(template: &str) -> String {
    SAMPLES.iter().fold(template.to_owned(), |path, (name, values)| path.replace(name, values[0]))
}

fn split(target: &str) -> (&str, Option<&str>) {
    target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)))
}

fn read_path(path: &str) -> String {
    Dialect::Azure.read_path(path).expect("a plain path").into_owned()
}

/// How long a read is kept, if it is.
fn kept(pack: &RuleSet, target: &str) -> Option<Duration> {
    let (path, query) = split(target);
    let path = read_path(path);
    if Dialect::Azure.passes(&Method::GET, &path, query, &HeaderMap::new()) {
        return None;
    }
    match pack.read(&path, query)?.rule.reuse {
        Reuse::For(time) => Some(time),
        Reuse::Origin => Some(Duration::MAX),
        Reuse::CollapseOnly | Reuse::Pass => None,
    }
}

/// What a kept read belongs to: its rule's groups, its path and the paths above.
fn groups_of_read(pack: &RuleSet, target: &str) -> BTreeSet<Group> {
    let (path, query) = split(target);
    let path = read_path(path);
    let found = pack.read(&path, query).expect("it is kept");
    let render = |group: &rules::GroupTemplate| group.render(&path, &found.captures, &Fields::default());
    let mut groups: BTreeSet<Group> = found.rule.groups.iter().filter_map(render).collect();
    groups.insert(Group::Path(path.clone()));
    groups.insert(Group::Subtree("/".to_owned()));
    for (end, _) in path.match_indices('/').filter(|(end, _)| *end > 0) {
        groups.insert(Group::Subtree(path[..end].to_owned()));
    }
    groups.insert(Group::Subtree(path));
    groups
}

fn groups_of_write(pack: &RuleSet, method: &Method, path: &str) -> (BTreeSet<Group>, Duration) {
    let path = read_path(path);
    assert!(*method != Method::POST || pack.posted(&path, None).is_none(), "{path} counts as a read");
    let found = pack.write(method, &path).unwrap_or_else(|| panic!("no rule for {method} {path}"));
    let render = |group: &rules::GroupTemplate| group.render(&path, &found.captures, &Fields::default());
    (found.rule.invalidates.iter().filter_map(render).collect(), found.rule.settle)
}

/// Whether a pattern of reads takes in a path.
fn takes(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), None) => takes(rest, path),
        (Some((&"**", rest)), Some((_, tail))) => takes(rest, path) || takes(pattern, tail),
        (Some((segment, rest)), Some((value, tail))) => {
            (segment == value || *segment == "*") && takes(rest, tail)
        }
        _ => false,
    }
}

/// The lines that begin with `word`, without it.
fn lines(word: &str) -> Vec<&'static str> {
    let mut found = Vec::new();
    for line in FACTS.lines() {
        found.extend(line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' ')));
    }
    assert!(!found.is_empty(), "{word}");
    found
}

/// A line about a write.
struct Change {
    methods: Vec<Method>,
    path: String,
    hold: Duration,
    /// Patterns of reads, split.
    reads: Vec<String>,
}

fn changes(word: &str) -> Vec<Change> {
    let mut lists: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in FACTS.lines().filter(|line| line.starts_with('@')) {
        let (name, words) = line.split_once('=').expect(line);
        let words = words.split_whitespace().flat_map(|word| match lists.get(word) {
            Some(list) => list.clone(),
            None => vec![word.to_owned()],
        });
        let words = words.collect();
        lists.insert(name.trim(), words);
    }
    let change = |line: &str| {
        let (write, reads) = line.split_once(" : ").expect(line);
        let mut methods = Vec::new();
        let (mut path, mut hold) = (String::new(), Duration::ZERO);
        for word in write.split_whitespace() {
            match word.split_once("hold=") {
                Some((_, seconds)) => hold = Duration::from_secs(seconds.parse().expect(line)),
                None if word.starts_with('/') => path = instance(word),
                None => methods.push(word.parse().expect(line)),
            }
        }
        let reads = reads.split_whitespace().flat_map(|word| match word.starts_with('@') {
            true => lists.get(word).expect(word).clone(),
            false => vec![word.to_owned()],
        });
        Change { methods, path, hold, reads: reads.map(|read| instance(&read)).collect() }
    };
    lines(word).into_iter().map(change).collect()
}

/// Every read that may be kept.
fn reads() -> Vec<(Duration, String)> {
    let read = |line: &str| {
        let (seconds, target) = line.split_once(' ').expect("seconds and a target");
        let most = Duration::from_secs(seconds.parse().expect("seconds"));
        instances(target).into_iter().map(move |target| (most, target)).collect::<Vec<_>>()
    };
    lines("read").into_iter().flat_map(read).collect()
}

#[test]
fn the_pack_raises_no_doubts() {
    let pack = pack();
    assert_eq!((pack.api.as_str(), pack.case_insensitive), ("azure", true));
    let doubts: Vec<String> = pack.warnings().iter().map(ToString::to_string).collect();
    assert!(doubts.is_empty(), "{doubts:#?}");
    assert!(pack.reads.iter().all(|rule| rule.groups.len() <= 8));
}

#[test]
fn nothing_is_kept_longer_than_it_may() {
    let pack = pack();
    let mut used = BTreeSet::new();
    for (most, target) in reads() {
        let time = kept(pack, &target);
        match most.is_zero() {
            true => assert_eq!(time, None, "{target} is never kept"),
            false => assert!(time.is_some_and(|time| time <= most), "{target}: {time:?} of {most:?}"),
        }
        let (path, query) = split(&target);
        used.extend(pack.read(&read_path(path), query).map(|found| found.index));
    }
    // What shows a model is kept only when that has reached its end, and never where somebody acts on it.
    for rule in used.into_iter().map(|index| &pack.reads[index]) {
        let Reuse::For(time) = rule.reuse else { continue };
        if time < Duration::from_secs(300) && !rule.name.contains("Microsoft.Authorization") {
            assert!(!rule.unless.is_empty() && !rule.bypass.is_empty(), "{}", rule.name);
        }
        assert!(rule.stale_if_error.is_zero() && rule.stale_while_revalidate.is_zero(), "{}", rule.name);
    }
}

#[test]
fn posts_that_change_nothing_are_reads() {
    let pack = pack();
    for line in lines("post") {
        let path = instance(line);
        let found =
            pack.posted(&read_path(&path), None).unwrap_or_else(|| panic!("{path} counts as a write"));
        assert_eq!(found.rule.reuse, Reuse::Pass, "{path}");
    }
}

#[test]
fn every_write_reaches_the_reads_that_it_changes() {
    let pack = pack();
    let kept: Vec<(String, BTreeSet<Group>)> = reads()
        .into_iter()
        .filter(|(most, _)| !most.is_zero())
        .map(|(_, target)| (split(&target).0.to_owned(), groups_of_read(pack, &target)))
        .collect();
    let mut missed = BTreeSet::new();
    for (word, reached) in [("write", true), ("keep", false)] {
        for Change { methods, path, hold, reads } in changes(word) {
            for pattern in &reads {
                let pattern: Vec<&str> = pattern.split('/').collect();
                let named =
                    kept.iter().filter(|(read, _)| takes(&pattern, &read.split('/').collect::<Vec<_>>()));
                let mut any = false;
                for (read, groups) in named {
                    any = true;
                    for method in &methods {
                        let (write, settle) = groups_of_write(pack, method, &path);
                        if groups.is_disjoint(&write) == reached {
                            missed.insert(format!("{word} {method} {path}: {read}"));
                        }
                        assert!(settle >= hold, "{method} {path} settles too early");
                    }
                }
                assert!(any, "no read of the list is {pattern:?} of {path}");
            }
        }
    }
    assert!(missed.is_empty(), "{} are missed: {missed:#?}", missed.len());
}

#[test]
fn every_write_has_a_rule() {
    let pack = pack();
    for method in [Method::PUT, Method::PATCH, Method::POST, Method::DELETE] {
        for path in ["/", "/x", "/subscriptions/s", "/subscriptions/s/x/y", "/providers/microsoft.x/y/z"] {
            let found = pack.write(&method, path).unwrap_or_else(|| panic!("no rule for {method} {path}"));
            assert!(!found.rule.invalidates.is_empty());
        }
    }
}

/// A path with another casing, and with some of its letters percent-encoded.
fn written(path: &str, choices: &[u8]) -> String {
    let letter = |(index, byte): (usize, u8)| match choices[index % choices.len()] {
        0 => char::from(byte.to_ascii_uppercase()).to_string(),
        1 if byte.is_ascii_alphanumeric() => format!("%{byte:02X}"),
        2 if byte.is_ascii_alphanumeric() => format!("%{:02x}", byte.to_ascii_uppercase()),
        _ => char::from(byte).to_string(),
    };
    path.bytes().enumerate().map(letter).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// However a write and a read are written, the one reaches the other as it does in plain letters.
    #[test]
    fn casing_and_coding_change_nothing(
        choices in prop::collection::vec(0u8..6, 1..40),
        others in prop::collection::vec(0u8..6, 1..40),
        which in 0usize..1000,
    ) {
        let pack = pack();
        let changes = changes("write");
        let Change { methods, path, .. } = &changes[which % changes.len()];
        let all = reads();
        let (_, target) = &all[which % all.len()];
        let (read, query) = split(target);
        let respelled = match query {
            Some(query) => format!("{}?{query}", written(read, &others)),
            None => written(read, &others),
        };
        prop_assert_eq!(kept(pack, &respelled), kept(pack, target));
        prop_assert_eq!(
            groups_of_write(pack, &methods[0], &written(path, &choices)),
            groups_of_write(pack, &methods[0], path)
        );
        if kept(pack, target).is_some() {
            prop_assert_eq!(groups_of_read(pack, &respelled), groups_of_read(pack, target));
        }
    }
}
