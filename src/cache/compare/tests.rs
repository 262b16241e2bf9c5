use super::*;

const PACK: &str = "api: none\nreads:\n  - {path: /a, ttl: 1s, moving: [MOVING]}\n";

fn moving(pointers: &str) -> Vec<Moving> {
    let pack = PACK.replace("MOVING", pointers);
    crate::rules::RuleSet::parse("p", &pack).expect("a right pack").reads.remove(0).moving
}

fn random(kept: &str, now: &str, pointers: &str) -> Vec<String> {
    names(compare(kept.as_bytes(), now.as_bytes(), &moving(pointers), ListOrder::Random))
}

fn names(comparison: Comparison) -> Vec<String> {
    match comparison {
        Comparison::Same => Vec::new(),
        Comparison::Differs(names) => {
            assert!(!names.is_empty(), "a difference has a name");
            names
        }
    }
}

#[test]
fn the_same_in_another_order_is_the_same() {
    let same = [
        (r#"{"a": 1, "b": [1, 2]}"#, r#"{"b":[2,1],"a":1}"#),
        (r#"[{"x": [{"y": 1}, {"y": 2}]}, 3]"#, r#"[3, {"x": [{"y": 2}, {"y": 1}]}]"#),
        (r#"[1, 1, 2]"#, r#"[2, 1, 1]"#),
    ];
    for (kept, now) in same {
        assert_eq!(random(kept, now, ""), [""; 0], "{kept} {now}");
    }
    let (kept, now) = (br#"{"a":[1,2]}"#, br#"{"a":[2,1]}"#);
    assert_eq!(names(compare(kept, now, &[], ListOrder::Kept)), ["/a/*"]);
    assert_eq!(compare(b"text", b"text", &[], ListOrder::Kept), Comparison::Same);
}

#[test]
fn what_differs_is_told_by_name_and_never_by_value() {
    let cases = [
        (r#"{"data": {"a": 1, "b": 2}}"#, r#"{"data": {"a": 1, "b": 3}}"#, vec!["/data/b"]),
        (r#"{"data": {"a": 1}}"#, r#"{"data": {"c~/d": 1}}"#, vec!["/data/a", "/data/c~0~1d"]),
        (r#"{"data": 1}"#, r#"{"data": "1"}"#, vec!["/data"]),
        (r#"[1, 1, 2]"#, r#"[2, 2, 1]"#, vec!["/*"]),
        (r#"{"data": [1]}"#, r#"{"data": []}"#, vec!["/data/*"]),
        (r#"{"a": 1}"#, r#"[]"#, vec!["body"]),
        ("{}", "no JSON", vec!["body"]),
        ("text", "other", vec!["body"]),
        (r#"{"a\nb": 1}"#, r#"{"a\nb": 2}"#, vec![r"/a\nb"]),
    ];
    for (kept, now, expected) in cases {
        assert_eq!(random(kept, now, ""), expected, "{kept} {now}");
    }
}

#[test]
fn an_item_that_changed_is_compared_with_itself() {
    let kept = r#"{"data": [{"id": 1, "name": "a", "status": "running"}, {"id": 2, "name": "b", "status": "stopped"}]}"#;
    let now = r#"{"data": [{"id": 2, "name": "b", "status": "running"}, {"id": 1, "name": "a", "status": "paused"}]}"#;
    assert_eq!(random(kept, now, ""), ["/data/*/status"]);
    let fewer = r#"{"data": [{"id": 1, "name": "a", "status": "paused"}]}"#;
    assert_eq!(random(kept, fewer, ""), ["/data/*", "/data/*/status"]);
}

#[test]
fn what_moves_is_left_out() {
    let kept = r#"{"data": [{"id": 1, "cpu": 0.1}, {"id": 2, "cpu": 0.9}]}"#;
    let now = r#"{"data": [{"cpu": 0.5, "id": 2}, {"id": 1}]}"#;
    assert_eq!(random(kept, now, "/data/*/cpu"), [""; 0]);
    assert_eq!(random(kept, now, "/data/*/mem"), ["/data/*/cpu"]);
}

#[test]
fn the_names_are_few_and_short() {
    let object = |value: u32| {
        let members: Vec<_> = (0..50).map(|n| format!("\"{n:02}{}\": {value}", "x".repeat(200))).collect();
        format!("{{{}}}", members.join(","))
    };
    let found = random(&object(1), &object(2), "");
    assert_eq!(found.len(), MAX_NAMES);
    assert!(found.iter().all(|name| name.len() < LONGEST_NAME + 4 && name.ends_with('…')), "{found:?}");
    let list = |from: u32| format!("{:?}", (from..from + 100).collect::<Vec<_>>());
    assert_eq!(random(&list(0), &list(1000), ""), ["/*"]);
}
