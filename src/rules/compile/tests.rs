//! What rules look at in requests and answers.

use crate::rules::{Reuse, RuleSet};

fn pack(text: &str) -> RuleSet {
    RuleSet::parse("pack.yaml", text).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let found = RuleSet::parse("pack.yaml", text).err().unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn a_rule_may_look_into_the_query() {
    let set = pack(
        "api: none\nreads:\n\
         - {path: '/vm/{n}', ttl: 10s, query: {name: $expand, matches: ['*instanceView*']}}\n\
         - {path: '/vm/{n}', ttl: 20s, query: [{name: a, matches: ['1']}, {name: b, matches: ['', x]}]}\n\
         - {path: '/vm/{n}', ttl: 30s}\n",
    );
    let cases = [
        (None, 2),
        (Some("api-version=1"), 2),
        (Some("api-version=1&$expand=instanceView"), 0),
        (Some("%24Expand=userData%2CINSTANCEVIEW"), 0),
        (Some("$expand=userData"), 2),
        (Some("x$expand=instanceView"), 2),
        (Some("a=1"), 2),
        (Some("b&A=1"), 1),
        (Some("b=x&a=1"), 1),
        (Some("b=y&a=1"), 2),
    ];
    for (query, rule) in cases {
        assert_eq!(set.read("/vm/x", query).map(|found| found.index), Some(rule), "{query:?}");
    }
}

#[test]
fn what_is_asked_by_post_is_a_read_of_its_own() {
    let set = pack(
        "api: none\nreads:\n\
         - {path: '/**/list*', methods: [POST], ttl: pass}\n\
         - {path: '/**', ttl: 5s, methods: [GET, HEAD]}\n",
    );
    assert_eq!(set.posted("/a/listKeys", None).map(|found| found.rule.reuse), Some(Reuse::Pass));
    assert!(set.posted("/a/start", None).is_none());
    assert_eq!(set.read("/a/listKeys", None).map(|found| found.index), Some(1));
    let wrong = mistakes(
        "api: none\nreads:\n\
         - {path: '/a', methods: [POST], ttl: 5s}\n\
         - {path: '/b', methods: [PUT], ttl: pass}\n\
         - {path: '/c', methods: [GET], ttl: pass}\n\
         - {path: '/d', methods: [POST], ttl: pass}\n\
         - {path: '/**', methods: [POST], ttl: pass}\n\
         - {path: '/d', methods: [POST], ttl: pass}\n",
    );
    let told = [
        ":3:38: what is asked by POST is not stored",
        ":4:25: the methods of a read are GET and HEAD",
        ":5:25: the methods of a read are GET and HEAD",
        ":8:3: rule can never match: line 6 comes first",
    ];
    assert_eq!(wrong.len(), told.len(), "{wrong:#?}");
    for (mistake, told) in wrong.iter().zip(told) {
        assert!(mistake.contains(told), "{mistake}: {told}");
    }
}

#[test]
fn texts_of_the_body_are_compared_with_words() {
    let set = pack(
        "api: none\nmatch: {case_insensitive: true}\nreads:\n\
         - path: /a\n  ttl: 5s\n  only: [{json: '/**/method', none_of: [Dynamic]}]\n  \
         unless: [{json: '/value/*/state', other_than: [Done, Failed]}, {json: /state, any_of: [Busy]}]\n",
    );
    let rule = &set.reads[0];
    let cases = [
        (r#"{"value":[{"state":"Done"},{"state":"failed"},{}]}"#, [true, false, false]),
        (r#"{"value":[{"state":"Done"},{"state":"Updating"}]}"#, [true, true, false]),
        (r#"{"state":"BUSY","x":[{"method":"Static"}]}"#, [true, false, true]),
        (r#"{"x":[{"method":"dynamic"},{"method":"Static"}]}"#, [false, false, false]),
        ("{}", [true, false, false]),
    ];
    for (body, expected) in cases {
        let value = serde_json::from_str(body).expect(body);
        let conditions = rule.only.iter().chain(&rule.unless);
        let found: Vec<bool> = conditions.map(|condition| condition.holds(200, Some(&value))).collect();
        assert_eq!(found, expected, "{body}");
    }
    for condition in [
        "{json: /a, any_of: []}",
        "{json: /a, any_of: [x], none_of: [y]}",
        "{json: /a, any_of: [x], present: true}",
        "{any_of: [x]}",
        "{json: '/a/**', any_of: [x]}",
        "{json: a, other_than: [x]}",
    ] {
        let text = format!("api: none\nreads:\n- {{path: /a, ttl: 5s, unless: {condition}}}\n");
        assert!(!mistakes(&text).is_empty(), "{condition}");
    }
}
