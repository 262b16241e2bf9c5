use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const BASE: &str = "http://127.0.0.1:8443";

fn links() -> Links {
    Dialect::Azure
        .links([("https", "management.azure.com", 443), ("http", "127.0.0.1", 9000)])
        .expect("has them")
}

/// The body as clients get it, when it came in pieces of these lengths.
fn rewritten(body: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut rewriter = links().rewriter(Addressed::Pages, BASE);
    let (mut out, mut rest) = (Vec::new(), Bytes::copy_from_slice(body));
    for length in lengths {
        let piece = rest.split_to((*length).min(rest.len()));
        rewriter.push(&piece, |bytes| out.extend_from_slice(&bytes));
    }
    rewriter.push(&rest, |bytes| out.extend_from_slice(&bytes));
    out.extend_from_slice(&rewriter.finish());
    out
}

/// The same by the places of a whole body.
fn spliced(body: &[u8]) -> Vec<u8> {
    let (mut out, mut from) = (Vec::new(), 0);
    for place in links().places(Addressed::Pages, body) {
        out.extend_from_slice(&body[from..place.range.start]);
        out.extend_from_slice(BASE.as_bytes());
        out.extend_from_slice(place.prefix.as_bytes());
        from = place.range.end;
    }
    out.extend_from_slice(&body[from..]);
    out
}

#[track_caller]
fn check(body: &str, expected: &str) {
    for length in 1..=body.len().max(1) {
        let lengths = vec![length; body.len() / length];
        let got = rewritten(body.as_bytes(), &lengths);
        assert_eq!(String::from_utf8_lossy(&got), expected, "in pieces of {length}");
    }
    assert_eq!(String::from_utf8_lossy(&spliced(body.as_bytes())), expected, "as a whole");
}

#[track_caller]
fn untouched(body: &str) {
    check(body, body);
}

#[test]
fn links_at_the_top_of_an_object_lead_back() {
    let to = |path: &str| format!(r#"{{"value":[{{"id":1}}],"nextLink":"{BASE}{path}"}}"#);
    let cases = [
        ("https://management.azure.com/a?b=c%3d%3D&d", "/a?b=c%3d%3D&d"),
        ("https://management.azure.com/", "/"),
        ("https://management.azure.com:443/a", "/~r/:443/a"),
        ("https://eastus2.management.azure.com/a", "/~r/eastus2/a"),
        ("https://eastus.management.azure.com:443/a", "/~r/eastus:443/a"),
        ("http://127.0.0.1:9000/a", "/a"),
        (r"https:\/\/management.azure.com\/a\/b", r"\/a\/b"),
        (r"https:\/\/eastus.management.azure.com\/", r"/~r/eastus\/"),
        (r#"https://management.azure.com/a\"b\u00e4"#, r#"/a\"b\u00e4"#),
        ("https://management.azure.com//evil.example/", "//evil.example/"),
    ];
    for (link, path) in cases {
        check(&format!(r#"{{"value":[{{"id":1}}],"nextLink":"{link}"}}"#), &to(path));
    }
    check(
        "\u{feff} {\n \"@odata.nextLink\" : \"https://management.azure.com/a\" , \"nextLink\":\t\"https://management.azure.com/b\"}",
        &format!("\u{feff} {{\n \"@odata.nextLink\" : \"{BASE}/a\" , \"nextLink\":\t\"{BASE}/b\"}}"),
    );
}

#[test]
fn what_is_not_certainly_an_address_of_the_api_stays() {
    let links = [
        "http://management.azure.com/a",
        "https://management.azure.com",
        "https://management.azure.com?a=/",
        "https://management.azure.com#/",
        "https://management.azure.com:8443/a",
        "https://management.azure.com:443@evil.example/",
        "https://management.azure.com:0443/a",
        "https://management.azure.com./a",
        "https://management.azure.com.evil.example/a",
        "https://management.azure.com@evil.example/a",
        "https://user@management.azure.com/a",
        "https://user:management.azure.com@evil.example/a",
        "https://evil.example/a",
        "https://evil.example#management.azure.com/a",
        "https://evil.example/https://management.azure.com/a",
        "https://evilmanagement.azure.com/a",
        "https://-.management.azure.com/a",
        "https://EastUS.management.azure.com/a",
        "https://a.b.management.azure.com/a",
        "https://.management.azure.com/a",
        "HTTPS://management.azure.com/a",
        "https://Management.azure.com/a",
        "https://management%2eazure.com/a",
        "https://management\u{3002}azure\u{3002}com/a",
        "https://management.azure.com%2f/a",
        "//management.azure.com/a",
        "/subscriptions/a",
        "https:/management.azure.com/a/b",
        "https:///management.azure.com/a",
        r"https:\\management.azure.com\\a",
        r"https://management.azure.com\\a/b",
        r"\u0068ttps://management.azure.com/a",
        r"https://management.azure.com\u002fa",
        r"https://management.azure.com\r\n/a",
        "https://management.azure.com/~r/eastus/a",
        r"https://management.azure.com\/~r\/eastus\/a",
        "https://eastus.management.azure.com/~r/",
        "http://127.0.0.1/a",
        "https://127.0.0.1:9000/a",
        "",
    ];
    for link in links {
        untouched(&format!(r#"{{"nextLink":"{link}","a":[1,2]}}"#));
    }
    let long = "a".repeat(300);
    untouched(&format!(r#"{{"nextLink":"https://{long}.management.azure.com/"}}"#));
}

#[test]
fn nothing_else_in_a_body_is_touched() {
    let link = "https://management.azure.com/a";
    for body in [
        format!(r#"{{"id":"{link}","nextlink":"{link}","NextLink":"{link}","odata.nextLink":"{link}"}}"#),
        format!(r#"{{"properties":{{"nextLink":"{link}"}},"value":[{{"nextLink":"{link}"}}]}}"#),
        format!(r#"[{{"nextLink":"{link}"}}]"#),
        format!(r#""{{\"nextLink\":\"{link}\"}}""#),
        format!(r#"{{"a":"{{\"nextLink\":\"{link}\"}}","b":"\\\"nextLink\":\"{link}"}}"#),
        format!(r#"{{"nextLink":["{link}"],"a":{{"nextLink":"{link}"}}}}"#),
        format!(r#"{{"next\u004cink":"{link}"}}"#),
        format!(r#"{{}}{{"nextLink":"{link}"}}"#),
        format!(r#"{{"a":]"nextLink":"{link}"}}"#),
        format!(r#"<a>{{"nextLink":"{link}"}}</a>"#),
        format!("\u{feff}\u{feff}{{\"nextLink\":\"{link}\"}}"),
        format!(r#"{{"nextLink" "{link}"}}"#),
        r#"{"nextLink":null}"#.to_owned(),
        r#"{"nextLink":"https://manage"#.to_owned(),
        "{\"nextLink\":\"https:\\".to_owned(),
        "}}}}".to_owned(),
        String::new(),
    ] {
        untouched(&body);
    }
    let deep = "[".repeat(100_000);
    let body = format!(r#"{{"a":{deep}"nextLink":"{link}""#);
    assert_eq!(rewritten(body.as_bytes(), &[70_000]), body.as_bytes());
}

#[test]
fn a_name_is_looked_for_behind_any_value() {
    for value in
        [r#""a""#, "1", "null", "[]", "{}", r#"[{"a":"]"},"}"]"#, r#"{"a":{"b":[1,"\"}"]}}"#, r#""\\""#]
    {
        check(
            &format!(r#"{{"a":{value},"nextLink":"https://management.azure.com/b","c":{value}}}"#),
            &format!(r#"{{"a":{value},"nextLink":"{BASE}/b","c":{value}}}"#),
        );
    }
}

#[test]
fn a_field_has_no_escapes() {
    let turned = |value: &str| links().turn_field(value.as_bytes());
    assert_eq!(turned("https://management.azure.com/a"), Some(Turn { replaced: 28, prefix: String::new() }));
    assert_eq!(turned(r"https:\/\/management.azure.com\/a"), None);
    assert_eq!(turned(r"https://management.azure.com/\a"), None);
    assert_eq!(turned("https://management.azure.com"), None);
    assert_eq!(turned("/a"), None);
}

#[test]
fn a_request_says_which_host_an_address_had() {
    let host = |region, prefix| Inward::Host { region, prefix };
    let cases = [
        ("/", Inward::Plain),
        ("/subscriptions/~r/eastus/", Inward::Plain),
        ("/~r", Inward::Plain),
        ("/~R/eastus/a", Inward::Plain),
        ("//~r/eastus/a", Inward::Plain),
        ("/%7Er/eastus/a", Inward::Plain),
        ("/~r/eastus2/a", host(Some("eastus2"), 11)),
        ("/~r/eastus:443/a", host(Some("eastus"), 14)),
        ("/~r/:443/a", host(None, 8)),
        ("/~r/eastus//evil.example/", host(Some("eastus"), 10)),
        ("/~r/", Inward::Wrong),
        ("/~r//a", Inward::Wrong),
        ("/~r/eastus", Inward::Wrong),
        ("/~r/EastUS/a", Inward::Wrong),
        ("/~r/east%75s/a", Inward::Wrong),
        ("/~r/evil.example/a", Inward::Wrong),
        ("/~r/evil.example:443/a", Inward::Wrong),
        ("/~r/eastus:80/a", Inward::Wrong),
        ("/~r/eastus@evil/a", Inward::Wrong),
        ("/~r/../a", Inward::Wrong),
        ("/~r/eastus/~r/westus/a", Inward::Wrong),
        ("/~r/:443/~r/westus/a", Inward::Wrong),
    ];
    for (path, expected) in cases {
        assert_eq!(links().inward(path), expected, "{path}");
    }
    let of = |region, host| Dialect::Azure.regional_host(region, host);
    assert_eq!(
        of("eastus", "management.azure.com"),
        Some(HeaderValue::from_static("eastus.management.azure.com"))
    );
    assert_eq!(of("eastus", "127.0.0.1"), None);
    assert_eq!(of("evil.example/", "management.azure.com"), None);
}

/// The address that a rewritten one stands for.
fn back(link: &str) -> Option<String> {
    let path = link.strip_prefix(BASE)?;
    Some(match links().inward(path) {
        Inward::Plain => format!("https://management.azure.com{path}"),
        Inward::Host { prefix, .. } => {
            let (host, path) = path.split_at(prefix);
            let host = host.strip_prefix("/~r/")?;
            let dot = if host.is_empty() || host.starts_with(':') { "" } else { "." };
            let (region, port) = host.split_at(host.find(':').unwrap_or(host.len()));
            format!("https://{region}{dot}management.azure.com{port}{path}")
        }
        Inward::Wrong => return None,
    })
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let link = "https://management.azure.com/x";
    let text = prop_oneof![
        Just(link.to_owned()),
        Just(format!("\"nextLink\":\"{link}\"")),
        Just(format!("{{\"nextLink\":\"{link}")),
        "[ -~\u{e4}\\\\\"]{0,12}",
    ];
    let name =
        prop_oneof![Just("nextLink".to_owned()), Just("@odata.nextLink".to_owned()), "[a-z\\\\\"]{0,6}"];
    let leaf =
        prop_oneof![text.prop_map(serde_json::Value::from), any::<i32>().prop_map(serde_json::Value::from)];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn addresses_come_back_as_they_were(
        region in "([a-z0-9]{1,8}\\.)?",
        port in "(:443)?",
        path in "/[ -~]{0,30}",
    ) {
        let link = format!("https://{region}management.azure.com{port}{path}");
        let body = serde_json::json!({"value": [1], "nextLink": link}).to_string();
        let got = rewritten(body.as_bytes(), &[]);
        let got: serde_json::Value = serde_json::from_slice(&got).expect("still JSON");
        let turned = got["nextLink"].as_str().expect("still a string");
        if path.starts_with("/~r/") {
            prop_assert_eq!(turned, &link);
        } else {
            prop_assert!(turned.strip_prefix(BASE).is_some_and(|path| path.starts_with('/')));
            prop_assert_eq!(back(turned), Some(link));
        }
    }

    #[test]
    fn only_links_at_the_top_change(
        members in prop::collection::vec((prop_oneof![Just("nextLink".to_owned()), "[a-z]{1,4}"], value()), 0..5),
        lengths in prop::collection::vec(1usize..40, 0..20),
        pretty in any::<bool>(),
    ) {
        let body: serde_json::Value = serde_json::Value::Object(members.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.expect("JSON");
        let got = rewritten(text.as_bytes(), &lengths);
        prop_assert_eq!(&got, &spliced(text.as_bytes()));
        let mut expected = body;
        for name in ["nextLink", "@odata.nextLink"] {
            let link = expected.get(name).and_then(|link| link.as_str());
            if let Some(path) = link.and_then(|link| link.strip_prefix("https://management.azure.com")).filter(|p| p.starts_with('/')) {
                expected[name] = format!("{BASE}{path}").into();
            }
        }
        prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&got).expect("still JSON"), expected);
    }

    #[test]
    fn any_bytes_pass_in_any_pieces(
        body in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b':'), Just(b'/'), any::<u8>()], 0..80),
        lengths in prop::collection::vec(1usize..9, 0..20),
    ) {
        prop_assert_eq!(rewritten(&body, &lengths), body);
    }
}

#[test]
fn only_the_host_of_a_region_names_one() {
    for (host, region) in [
        ("westeurope.management.azure.com", Some("westeurope")),
        ("management.azure.com", None),
        ("a.b.management.azure.com", None),
        ("xmanagement.azure.com", None),
        ("westeurope.management.azure.com.evil.example", None),
        (".management.azure.com", None),
    ] {
        assert_eq!(Dialect::Azure.region_of(host), region, "{host}");
        assert_eq!(Dialect::Plain.region_of(host), None);
    }
}
