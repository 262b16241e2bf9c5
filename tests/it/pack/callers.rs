//! What everyone shares, one by one, against what the published API says of who may call it and whether
//! its answers depend on who does.

use std::collections::BTreeMap;

use forebay::rules::Sharing;

use super::{api, instance, pack, reads};

const CALLERS: &str = include_str!("../../data/proxmox-callers.txt");

/// What is known of each read there: `None` where answers depend on who asks, else who may call it.
fn callers() -> BTreeMap<&'static str, Option<&'static str>> {
    let lines = CALLERS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let fact = |line: &'static str| match *line.split(' ').collect::<Vec<_>>() {
        [path, "same", who] => (path, Some(who)),
        [path, "by-caller"] => (path, None),
        _ => panic!("no fact: {line}"),
    };
    lines.map(fact).collect()
}

#[test]
fn what_everyone_shares_is_the_same_for_everyone() {
    let (pack, facts) = (pack(), callers());
    assert_eq!(facts.values().flatten().count(), 46, "as many as the sources tell");
    let mut shared = Vec::new();
    for read in reads() {
        let rule = pack.read(&api(&instance(read.path)), None).expect("every read has a policy").rule;
        if rule.share != Sharing::Everyone {
            continue;
        }
        let fact = facts.get(read.path).unwrap_or_else(|| panic!("nothing is known of {}", read.path));
        let who = fact.unwrap_or_else(|| panic!("{} depends on who asks", read.path));
        assert!(["login", "world"].contains(&who), "{} asks for more than a login: {who}", read.path);
        assert_eq!(rule.anonymous, who == "world", "{}", read.path);
        shared.push(read.path);
    }
    // What could be shared by everyone and is not costs calls; what is left are answers that nobody keeps.
    let fit = facts.iter().filter(|(_, who)| matches!(**who, Some("login" | "world")));
    let left: Vec<&str> = fit.map(|(path, _)| *path).filter(|path| !shared.contains(path)).collect();
    assert_eq!(left, [] as [&str; 0]);
    assert_eq!(shared.len(), 39);
}

#[test]
fn facts_of_callers_agree_with_the_list_of_calls() {
    let facts = callers();
    for read in reads() {
        match facts.get(read.path) {
            Some(Some(who @ ("login" | "world"))) => assert_eq!(read.mark, *who, "{}", read.path),
            Some(Some("right" | "root")) => assert_eq!(read.mark, "", "{}", read.path),
            _ => {}
        }
    }
    let published = reads();
    let unknown: Vec<&&str> =
        facts.keys().filter(|path| !published.iter().any(|read| read.path == **path)).collect();
    assert!(unknown.is_empty(), "no published read: {unknown:?}");
}
