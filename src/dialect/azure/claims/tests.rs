use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const BEARER: &[u8] = super::super::credential::BEARER;

/// A token with this payload, as ARM's issuer writes it.
fn token(payload: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"typ":"JWT","alg":"RS256"}"#), part(payload), part("signature"))
}

fn of(payload: &str) -> Claims {
    claims(&[BEARER, token(payload).as_bytes()])
}

/// A user with everything that counts.
fn user() -> Json {
    json!({
        "aud": "https://management.azure.com/", "iss": "https://sts.windows.net/t/", "iat": 1, "nbf": 1,
        "exp": 1_800_000_000, "uti": "u1", "aio": "a1", "rh": "r1", "tid": "t", "oid": "o", "appid": "a",
        "idtyp": "user", "scp": "user_impersonation x", "wids": ["w1", "w2"], "groups": ["g1", "g2"],
        "amr": ["pwd", "mfa"], "xms_cc": {"b": [1, true], "a": null}
    })
}

fn with(name: &str, value: Json) -> Json {
    let mut payload = user();
    payload[name] = value;
    payload
}

fn without(name: &str) -> Json {
    let mut payload = user();
    payload.as_object_mut().unwrap().remove(name);
    payload
}

#[test]
fn tokens_of_one_caller_name_one_principal_however_they_are_written() {
    let first = of(&user().to_string());
    assert_eq!(first.ends, Some(1_800_000_000));
    assert!(first.principal.is_some());
    for (name, value) in [
        ("iat", json!(2)),
        ("nbf", json!(2)),
        ("uti", json!("u2")),
        ("aio", json!("a2")),
        ("rh", json!("r2")),
        ("exp", json!(1_800_000_001)),
        ("wids", json!(["w2", "w1"])),
        ("groups", json!(["g2", "g1", "g2"])),
        ("scp", json!("x user_impersonation")),
        ("amr", json!(["mfa", "pwd"])),
    ] {
        assert_eq!(of(&with(name, value.clone()).to_string()).principal, first.principal, "{name}: {value}");
    }
    // The order of claims, and how their letters are written, mean nothing.
    let mut backwards: Vec<String> =
        user().as_object().unwrap().iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
    backwards.reverse();
    let respelled = format!("{{ {} }}", backwards.join(" , ")).replace("\"o\"", "\"\\u006f\"");
    assert_eq!(of(&respelled).principal, first.principal);
}

#[test]
fn what_may_tell_two_callers_apart_does() {
    let first = of(&user().to_string()).principal;
    for (name, value) in [
        ("tid", json!("t2")),
        ("oid", json!("o2")),
        ("appid", json!("a2")),
        ("idtyp", json!("app")),
        ("scp", json!("user_impersonation")),
        ("wids", json!(["w1"])),
        ("wids", json!([])),
        ("groups", json!(["g1", "g3"])),
        ("roles", json!(["r"])),
        ("amr", json!(["pwd"])),
        ("acrs", json!(["c1"])),
        ("acrs", json!("c1")),
        ("aud", json!("https://management.core.windows.net/")),
        ("xms_mirid", json!("/subscriptions/s/x")),
        ("xms_cc", json!({"b": [true, 1], "a": null})),
        ("xms_new", json!(1)),
        ("xms_new", json!("1")),
        ("xms_new", json!(-1)),
        ("xms_new", json!([])),
        ("xms_new", json!({})),
        ("xms_new", json!("[]")),
    ] {
        let other = of(&with(name, value.clone()).to_string()).principal;
        assert!(other.is_some() && other != first, "{name}: {value}");
    }
    for name in ["wids", "groups", "amr", "aud"] {
        let other = of(&without(name).to_string()).principal;
        assert!(other.is_some() && other != first, "{name}");
    }
}

#[test]
fn what_is_not_clear_names_nobody() {
    let mut payloads: Vec<String> =
        ["tid", "oid", "appid", "idtyp", "scp", "exp"].iter().map(|name| without(name).to_string()).collect();
    for (name, value) in [
        // Too many groups: they stand elsewhere.
        ("_claim_names", json!({"groups": "src1"})),
        ("_claim_sources", json!({})),
        ("hasgroups", json!(true)),
        ("hasgroups", json!("true")),
        ("groups", json!("g1")),
        ("groups", json!([1])),
        ("groups", json!(null)),
        ("roles", json!({"a": 1})),
        ("wids", json!([["w1"]])),
        ("scp", json!(["user_impersonation"])),
        ("tid", json!("")),
        ("oid", json!(1)),
        ("oid", json!(null)),
        ("appid", json!(["a"])),
        ("azp", json!("a")),
        ("idtyp", json!("device")),
        ("exp", json!("1800000000")),
        ("exp", json!(1.5)),
        ("exp", json!(-1)),
        ("x", json!(1.5)),
    ] {
        payloads.push(with(name, value).to_string());
    }
    // A name that stands twice: who knows which counts.
    let plain = user().to_string();
    payloads.push(plain.replacen('{', r#"{"oid":"o","#, 1));
    payloads.push(plain.replacen('{', r#"{"\u006fid":"other","#, 1));
    payloads.push(plain.replacen('{', r#"{"uti":"other","#, 1));
    payloads.push(plain.replacen('{', r#"{"z":{"a":1,"a":2},"#, 1));
    payloads.push(plain.replacen('{', &format!(r#"{{"z":{}1{},"#, "[".repeat(500), "]".repeat(500)), 1));
    payloads.push(with("groups", (0..=MOST).map(|n| json!(n.to_string())).collect()).to_string());
    payloads.extend([format!("{plain} x"), format!("[{plain}]"), "{}".into(), "null".into(), String::new()]);
    for payload in payloads {
        assert_eq!(of(&payload).principal, None, "{payload}");
    }
    let whole = token(&plain);
    let [header, payload, signature] = whole.split('.').collect::<Vec<_>>()[..] else {
        panic!("three parts")
    };
    for other in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!("{whole}.x"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}A.{signature}"),
        format!("{header}.+{payload}.{signature}"),
        format!("{header}..{signature}"),
        format!("{header}.{payload}.{}", "s".repeat(LONGEST)),
        "opaque".into(),
    ] {
        assert_eq!(claims(&[BEARER, other.as_bytes()]), Claims::default(), "{other}");
    }
    assert_eq!(claims(&[b"basic", whole.as_bytes()]), Claims::default());
    assert_eq!(of(&with("_claim_names", json!({})).to_string()).ends, Some(1_800_000_000));
}

/// Claims of a few names and values, so that equal ones come up.
fn any_claims() -> impl Strategy<Value = Json> {
    let text = prop::sample::select(vec!["a", "b", "\"a\",", "a,b", "", "\u{e9}", "a b"]);
    let list = prop::collection::vec(text.clone(), 0..3);
    let value = prop_oneof![
        text.prop_map(Json::from),
        list.prop_map(|items| json!(items)),
        (0..3).prop_map(Json::from),
        any::<bool>().prop_map(Json::from),
    ];
    let name = prop::sample::select(vec!["groups", "roles", "wids", "x", "y", "x\":\"a", "scp", "uti"]);
    prop::collection::btree_map(name, value, 0..4).prop_map(|claims| {
        let mut payload = user();
        for (name, value) in claims {
            payload[name] = value;
        }
        payload
    })
}

/// What counts of claims, read without any cleverness.
fn counted(payload: &Json) -> Json {
    let mut counted = payload.clone();
    let members = counted.as_object_mut().unwrap();
    members.retain(|name, _| !OF_ONE_TOKEN.contains(&name.as_str()));
    for (name, value) in members {
        match value {
            Json::Array(items) if SETS.contains(&name.as_str()) => {
                items.sort_by_key(|item| item.to_string());
                items.dedup();
            }
            Json::String(scopes) if name == "scp" => {
                let mut words: Vec<&str> = scopes.split(' ').filter(|word| !word.is_empty()).collect();
                words.sort_unstable();
                words.dedup();
                *value = json!(words.join(" "));
            }
            _ => {}
        }
    }
    counted
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn two_tokens_name_one_principal_only_if_all_that_counts_is_equal(one in any_claims(), other in any_claims()) {
        let names = [&one, &other].map(|payload| of(&payload.to_string()).principal);
        if let [Some(first), Some(second)] = &names {
            prop_assert_eq!(first == second, counted(&one) == counted(&other));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), payload in "\\PC{0,60}") {
        claims(&[BEARER, &bytes]);
        of(&payload);
        of(&format!("{{{payload}}}"));
    }
}
