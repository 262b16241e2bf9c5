//! What people are shown of a rule: every key that the schema has, by `/api/rules` and by `explain`.
//!
//! The packs here say something of their own for every key. A key that is added to the schema and not shown, or
//! not tried here, fails.

use forebay::proxy::explain;
use forebay::rules::RuleSet;
use forebay::rules::raw::RawPack;
use http::Method;
use serde_json::{Map, Value, json};

use super::support::{Ask, Options, Rig};

const PACK: &str = "\
api: azure
match: {case_insensitive: true, fold_case: true}
reads:
  - path: '/subscriptions/{s}/nics/{id}'
    query: {name: full, matches: ['1']}
    ttl: 5s
    stale_while_revalidate: 6s
    stale_if_error: 7s
    stale_to: everyone
    share: principal
    disk: false
    override: [private]
    groups: ['item/{id}']
    ignore_query: [stamp]
    only: {statuses: [200, 203]}
    unless: {json: /data/state, equals: moving}
    bypass: {header: x-caller, matches: [waiter]}
    moving: [/data/uptime]
    promote: {list: '/subscriptions/{s}/nics', items: /data, match: id}
    keep_warm: {every: 8s}
  - {path: '/subscriptions/{s}/nics', ttl: 5s, groups: [items], methods: [GET, HEAD], anonymous: true, per_endpoint: true}
writes:
  - methods: [PUT]
    path: '/subscriptions/{s}/nics/{id}'
    invalidates: ['item/{id}']
    reason: that is what it shows
    operation: arm
    settle: 9s
    collapse: true
    idempotent: true
    batch: {window: 2s, critical: {field: delete}}
  - {methods: [POST], path: '/subscriptions/{s}/nics', invalidates: [items]}
tasks:
  - {types: [change], invalidates: ['item/{task.id}'], reason: what it is about, holds: false, settle: 4s}
";

/// The kinds of rules, and their shapes in the schema.
const KINDS: [(&str, &str); 3] = [("read", "RawRead"), ("write", "RawWrite"), ("task", "RawTask")];

/// The keys that the schema has for a shape.
fn keys_of(shape: &str) -> Vec<String> {
    let schema = serde_json::to_value(schemars::schema_for!(RawPack)).expect("a schema is JSON");
    let properties = match shape {
        "RawPack" => &schema["properties"],
        other => &schema["$defs"][other]["properties"],
    };
    properties
        .as_object()
        .unwrap_or_else(|| panic!("{shape} is none of {schema:#}"))
        .keys()
        .cloned()
        .collect()
}

/// What some rule of a kind says of a key, other than a rule that says nothing of it.
fn said(rules: &RuleSet, kind: &str, key: &str) -> Option<Value> {
    let chosen: Vec<Map<String, Value>> = match kind {
        "read" => rules.reads.iter().map(|rule| rule.written.chosen()).collect(),
        "write" => rules.writes.iter().map(|rule| rule.written.chosen()).collect(),
        _ => rules.tasks.iter().map(|rule| rule.written.chosen()).collect(),
    };
    chosen.into_iter().find_map(|mut keys| keys.remove(key))
}

#[tokio::test]
async fn the_list_of_rules_has_every_key_of_each() {
    let rules = RuleSet::parse("rules.yaml", PACK).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let rig =
        Rig::with(Options { rules: PACK.into(), upstream: "audit: 0.1%\n".into(), ..Options::default() })
            .await;
    let admin = rig.app.admin_address().expect("an admin address");
    let got = Ask::new(admin, "GET", "/api/rules").anonymous().field("Host", "localhost").send().await;
    let shown: Value = serde_json::from_str(got.text()).expect("JSON");
    let list = shown["rules"].as_array().unwrap_or_else(|| panic!("{}", got.text()));
    assert_eq!(list.len(), 5, "{shown:#}");
    for (kind, shape) in KINDS {
        for key in keys_of(shape) {
            let expected = said(&rules, kind, &key)
                .unwrap_or_else(|| panic!("{kind}: the pack here says nothing of `{key}`"));
            let mut of_kind = list.iter().filter(|rule| rule["kind"] == kind);
            assert!(of_kind.clone().all(|rule| rule.get(&key).is_some()), "{kind}: `{key}` is not shown");
            assert!(of_kind.any(|rule| rule[&key] == expected), "{kind}: `{key}` is not {expected}");
        }
    }
    // What counts for a pack as a whole stands once; its rules are the list.
    let whole = &shown["upstreams"]["lab"];
    for key in keys_of("RawPack") {
        let is_list = ["reads", "writes", "tasks"].contains(&key.as_str());
        assert!(is_list || whole.get(&key).is_some(), "`{key}` is not shown: {whole}");
    }
    for key in keys_of("RawMatch") {
        assert_eq!(whole["match"][&key], json!(true), "`{key}`");
    }
    assert_eq!(whole["audit"], json!("0.1%"));
    let [read, task] = [&list[0], &list[4]];
    assert_eq!((&read["requests"], &read["tasks_may_change"]), (&json!({}), &json!(false)));
    assert_eq!(
        (&read["only"], &read["keep_warm"]["while_used_within"]),
        (&json!([{"statuses": [200, 203]}]), &json!("10m"))
    );
    assert_eq!((task.get("requests"), task.get("path")), (None, None));
    rig.finish().await;
}

#[test]
fn explain_has_every_key_of_the_rule() {
    let rules = RuleSet::parse("rules.yaml", PACK).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let item = "/subscriptions/s/nics/1?api-version=1&full=1";
    for (kind, shape, requests) in [
        ("read", "RawRead", [(Method::GET, item), (Method::GET, "/subscriptions/s/nics?api-version=1")]),
        ("write", "RawWrite", [(Method::PUT, item), (Method::POST, "/subscriptions/s/nics")]),
    ] {
        let found = requests.map(|(method, url)| explain(&rules, &method, url));
        for key in keys_of(shape) {
            let expected = said(&rules, kind, &key).unwrap_or_else(|| panic!("{kind}: nothing of `{key}`"));
            assert!(found.iter().all(|found| found.written.contains_key(&key)), "{kind}: `{key}`");
            let has_it = |found: &&forebay::proxy::Explanation| found.written[&key] == expected;
            let text = found.iter().find(has_it).unwrap_or_else(|| panic!("{kind}: `{key}`")).to_string();
            // For people it stands under its name, or in the words of the list of groups and lifetimes.
            let heading = match key.as_str() {
                "path" => "rule ",
                "groups" | "ttl" | "share" | "moving" => key.as_str(),
                "invalidates" => "overtakes ",
                other => &format!(" {other}: "),
            };
            assert!(text.contains(heading), "{kind}: `{key}` is not in:\n{text}");
        }
    }
    let read = explain(&rules, &Method::GET, item);
    assert_eq!(read.tasks, ["change"]);
    for sentence in
        ["What somebody used within 10m is fetched again", "never written to disk", "`unless` is about"]
    {
        assert!(read.reason.contains(sentence), "{sentence}: {}", read.reason);
    }
}
