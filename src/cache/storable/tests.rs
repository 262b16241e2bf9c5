use super::*;
use crate::rules::RuleSet;

fn rule(policy: &str) -> ReadRule {
    let pack = format!("api: none\nreads:\n  - path: /a\n{policy}\nwrites: []\n");
    RuleSet::parse("test", &pack).expect("a test's rule is valid").reads.remove(0)
}

fn head(status: u16, fields: &[(&'static str, &str)]) -> Head {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(*name, value.parse().expect("a test's field value is valid"));
    }
    Head { status: StatusCode::from_u16(status).expect("valid"), reason: None, fields: map }
}

/// Seconds of freshness, or how else the answer is handled.
fn judged(policy: &str, status: u16, fields: &[(&'static str, &str)]) -> String {
    match judge_head(&rule(policy), &head(status, fields), None, 1000) {
        HeadVerdict::Keep(lifetimes) => format!("keep {}", lifetimes.fresh.as_secs()),
        HeadVerdict::ShareOnly => "share".into(),
        HeadVerdict::Alone => "alone".into(),
    }
}

#[test]
fn heads() {
    const FIVE: &str = "    ttl: 5s";
    const ORIGIN: &str = "    ttl: origin";
    let date = ("date", "Fri, 20 Nov 2026 10:00:00 GMT");
    type Field = (&'static str, &'static str);
    let cases: &[(&str, u16, &[Field], &str)] = &[
        (FIVE, 200, &[], "keep 5"),
        (FIVE, 200, &[("cache-control", "max-age=0, no-cache")], "keep 5"),
        (FIVE, 200, &[("cache-control", "no-store")], "alone"),
        (FIVE, 200, &[("cache-control", "private")], "alone"),
        ("    ttl: 5s\n    override: [no-store]", 200, &[("cache-control", "no-store")], "keep 5"),
        ("    ttl: 5s\n    override: []", 200, &[("cache-control", "no-cache")], "share"),
        ("    ttl: 5s\n    override: []", 200, &[("cache-control", "max-age=2")], "keep 2"),
        ("    ttl: 5s\n    override: []", 200, &[("cache-control", "max-age=60")], "keep 5"),
        (FIVE, 200, &[("set-cookie", "a=b")], "alone"),
        (FIVE, 200, &[("vary", "*")], "alone"),
        (FIVE, 200, &[("vary", "Origin")], "alone"),
        (FIVE, 200, &[("vary", "Accept-Encoding, Authorization")], "keep 5"),
        (FIVE, 200, &[("content-encoding", "gzip")], "alone"),
        (FIVE, 206, &[], "alone"),
        (FIVE, 404, &[], "share"),
        (FIVE, 595, &[], "share"),
        ("    ttl: 5s\n    only: {statuses: [200, 404]}", 404, &[], "keep 5"),
        ("    ttl: 0s", 200, &[], "share"),
        (ORIGIN, 200, &[], "share"),
        (ORIGIN, 200, &[("cache-control", "max-age=7")], "keep 7"),
        (ORIGIN, 200, &[("cache-control", "max-age=7, s-maxage=9")], "keep 9"),
        (ORIGIN, 200, &[("cache-control", "max-age=7, no-cache")], "share"),
        (ORIGIN, 200, &[("expires", "Fri, 20 Nov 2026 10:00:30 GMT"), date], "keep 30"),
        (ORIGIN, 200, &[("expires", "0"), date], "share"),
    ];
    for (policy, status, fields, expected) in cases {
        assert_eq!(&judged(policy, *status, fields), expected, "{policy} {status} {fields:?}");
    }
}

#[test]
fn what_is_too_large_by_its_own_length_is_for_one_alone() {
    let (rule, head) = (rule("    ttl: 5s"), head(200, &[]));
    assert!(matches!(judge_head(&rule, &head, Some(1000), 1000), HeadVerdict::Keep(_)));
    assert_eq!(judge_head(&rule, &head, Some(1001), 1000), HeadVerdict::Alone);
}

#[test]
fn must_revalidate_takes_the_right_to_be_stale() {
    let rule = rule("    ttl: 5s\n    stale_while_revalidate: 10s\n    stale_if_error: 1h");
    let lifetimes = |fields| match judge_head(&rule, &head(200, fields), None, 1000) {
        HeadVerdict::Keep(lifetimes) => (lifetimes.stale_while_revalidate, lifetimes.stale_if_error),
        other => panic!("{other:?}"),
    };
    assert_eq!(lifetimes(&[]), (Duration::from_secs(10), Duration::from_secs(3600)));
    assert_eq!(lifetimes(&[("cache-control", "must-revalidate")]), (Duration::ZERO, Duration::ZERO));
}

#[test]
fn bodies() {
    let rule = rule(
        "    ttl: 5s\n    only: [{statuses: [200]}, {json: /success, equals: 1}]\n    unless: {json: /data/lock, present: true}",
    );
    let cases = [
        (r#"{"success":1,"data":{}}"#, BodyVerdict::Keep),
        (r#"{"success":1,"data":{"lock":null}}"#, BodyVerdict::Keep),
        (r#"{"success":1,"data":{"lock":"clone"}}"#, BodyVerdict::KeepShortly),
        (r#"{"success":0,"data":{}}"#, BodyVerdict::Refuse),
        ("no json", BodyVerdict::Refuse),
    ];
    for (body, expected) in cases {
        assert_eq!(judge_body(&rule, body.as_bytes()), expected, "{body}");
    }
}
