use super::*;
use crate::cache::groups::Groups;
use crate::cache::key::Secret;
use crate::clock::Clock;

fn entry(fields: &[(&str, &str)], body: &[&'static str], at: Timestamp) -> Entry {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(name.parse::<HeaderName>().expect("valid"), value.parse().expect("valid"));
    }
    let head = Head { status: StatusCode::OK, reason: None, fields: map };
    let chunks: Vec<Bytes> = body.iter().map(|c| Bytes::from_static(c.as_bytes())).collect();
    let about = Provenance {
        target: "/a?b=1".into(),
        rule: "rule".into(),
        share: crate::rules::Sharing::Credential,
        maker: crate::cache::key::CredentialId::ANONYMOUS,
        site: 3,
        sequence: Groups::new(Secret::random()).next(),
        groups: [].into(),
        at,
        initial_age: Duration::from_secs(1),
        lifetimes: Lifetimes {
            fresh: Duration::from_secs(5),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        },
    };
    Entry::assemble(&head, &chunks, about, Some("\"e\""))
}

#[test]
fn what_goes_in_comes_out_but_for_what_must_not_be_stored() {
    let fields = [
        ("content-type", "application/json"),
        ("x-own", "1"),
        ("x-own", "2"),
        ("set-cookie", "secret"),
        ("connection", "close"),
        ("content-length", "5"),
        ("age", "1"),
    ];
    let entry = entry(&fields, &["ab", "cde"], Clock::manual().now());
    assert_eq!(entry.target(), "/a?b=1");
    assert_eq!(&entry.body()[..], b"abcde");
    let mut map = HeaderMap::new();
    entry.write_fields(&mut map);
    let read: Vec<(String, String)> =
        map.iter().map(|(n, v)| (n.to_string(), v.to_str().expect("text").to_owned())).collect();
    let expected = [("content-type", "application/json"), ("x-own", "1"), ("x-own", "2"), ("etag", "\"e\"")];
    assert_eq!(read, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
}

#[test]
fn freshness_counts_the_age_it_came_with() {
    let clock = Clock::manual();
    let entry = entry(&[], &[""], clock.now());
    assert_eq!(entry.freshness(clock.now()), Freshness::Fresh(Duration::from_secs(4)));
    clock.advance(Duration::from_secs(4));
    assert_eq!(entry.freshness(clock.now()), Freshness::Stale(Duration::ZERO));
    clock.advance(Duration::from_secs(2));
    assert_eq!(entry.freshness(clock.now()), Freshness::Stale(Duration::from_secs(2)));
}

#[test]
fn a_soft_purge_ends_freshness() {
    let clock = Clock::manual();
    let entry = entry(&[], &[""], clock.now());
    entry.expire_softly();
    assert_eq!(entry.freshness(clock.now()), Freshness::Stale(Duration::ZERO));
}
