//! What ARM itself must answer, and what is never kept.

use super::super::support::Reply;
use super::{GROUP, VM, arm, rig};

#[tokio::test]
async fn what_is_asked_by_post_is_neither_kept_nor_a_write() {
    let rig = rig("azure").await;
    let account = format!("{GROUP}/providers/Microsoft.Storage/storageAccounts/state");
    rig.origin().on(&format!("GET {account}"), arm("{}"));
    let ask = |method: &str, target: &str| rig.ask(method, target).bearer("one");
    ask("GET", &account).send().await;
    for round in 1..=2 {
        let keys = ask("POST", &format!("{account}/listKeys?api-version=2023-01-01")).body("{}").send().await;
        assert_eq!((keys.status, keys.cache()), (200, "fwd=method; detail=pass"));
        assert_eq!(rig.origin().count(&format!("POST {account}/listKeys")), round, "each is a call");
    }
    let query =
        ask("POST", "/providers/Microsoft.ResourceGraph/resources").body(r#"{"query":"x"}"#).send().await;
    assert_eq!(query.cache(), "fwd=method; detail=pass");
    let sent = rig.origin().last("POST /providers/Microsoft.ResourceGraph/resources");
    assert_eq!(sent.body, br#"{"query":"x"}"#);
    assert!(ask("GET", &account).send().await.is_hit(), "nothing was overtaken");
    // What changes something is a write, whatever it is called.
    ask("POST", &format!("{account}/regenerateKey")).body("{}").send().await;
    assert!(!ask("GET", &account).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_head_is_a_question_of_its_own() {
    let rig = rig("azure").await;
    rig.origin().on(&format!("GET {GROUP}"), arm("{}"));
    rig.origin().on(&format!("HEAD {GROUP}"), Reply::status(204, "No Content").with_body(""));
    let ask = |method: &str| rig.ask(method, GROUP).bearer("one");
    ask("GET").send().await;
    assert!(ask("GET").send().await.is_hit());
    // `az group exists` takes a 200 for an error.
    let exists = ask("HEAD").send().await;
    assert_eq!((exists.status, exists.cache()), (204, "fwd=bypass; detail=request"));
    rig.finish().await;
}

#[tokio::test]
async fn conditions_ranges_and_other_forms_pass_and_languages_are_kept_apart() {
    let rig = rig("azure").await;
    let nic = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/nic");
    rig.origin().on(&format!("GET {nic}"), arm("{}").field("ETag", "W/\"9\""));
    let ask = || rig.get(&nic).bearer("one");
    let first = ask().send().await;
    assert_eq!(first.field("etag"), Some("W/\"9\""));
    assert!(ask().send().await.is_hit());
    for (name, value) in [
        ("If-None-Match", "W/\"9\""),
        ("If-Match", "W/\"9\""),
        ("If-Modified-Since", "Sat, 21 Nov 2026 00:00:00 GMT"),
        ("Range", "bytes=0-1"),
        ("Accept", "application/xml"),
    ] {
        let passed = ask().field(name, value).send().await;
        assert_eq!(passed.cache(), "fwd=bypass; detail=request", "{name}");
        assert_eq!(rig.origin().last(&format!("GET {nic}")).field(name), Some(value));
    }
    for accept in ["*/*", "application/json", "application/json; charset=utf-8; IEEE754Compatible=false"] {
        assert!(ask().field("Accept", accept).send().await.is_hit(), "{accept}");
    }
    let german = || ask().field("Accept-Language", "de").send();
    assert!(!german().await.is_hit());
    assert!(german().await.is_hit());
    assert!(!ask().field("Accept-Language", "fr").send().await.is_hit());
    assert!(ask().send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn forebay_makes_no_validator_of_its_own() {
    let rig = rig("azure").await;
    rig.origin().on(&format!("GET {VM}"), arm(&format!(r#"{{"name":"{}"}}"#, "x".repeat(4000))));
    for coding in ["identity", "gzip", "gzip"] {
        let got = rig.get(VM).bearer("one").field("Accept-Encoding", coding).send().await;
        assert_eq!(got.field("etag"), None, "{}", got.head);
    }
    // One of ARM's own stays, in whatever coding: clients copy it into a write.
    let nic = format!("{GROUP}/providers/Microsoft.Network/networkInterfaces/nic");
    let body = arm(&format!(r#"{{"name":"{}"}}"#, "x".repeat(4000)));
    rig.origin().on(&format!("GET {nic}"), body.field("ETag", "W/\"9\""));
    for coding in ["identity", "identity", "gzip"] {
        let got = rig.get(&nic).bearer("one").field("Accept-Encoding", coding).send().await;
        assert_eq!(got.field("etag"), Some("W/\"9\""), "{}", got.head);
        assert_eq!(got.field("content-encoding"), (coding == "gzip").then_some("gzip"));
    }
    rig.finish().await;
}

#[tokio::test]
async fn redirects_errors_and_cookies_are_not_kept() {
    let rig = rig("azure").await;
    let elsewhere = Reply::status(307, "Temporary Redirect").field("Location", "https://other.example/x");
    rig.origin().on_each(
        &format!("GET {VM}"),
        [
            elsewhere.with_body(""),
            Reply::status(404, "Not Found").with_body(r#"{"error":{"code":"ResourceNotFound"}}"#),
            Reply::status(403, "Forbidden").with_body(r#"{"error":{"code":"AuthorizationFailed"}}"#),
            arm("{}").field("Set-Cookie", "affinity=1"),
            arm("{}"),
        ],
    );
    let ask = || rig.get(VM).bearer("one").send();
    let redirect = ask().await;
    assert_eq!((redirect.status, redirect.field("location")), (307, Some("https://other.example/x")));
    let statuses = [ask().await.status, ask().await.status];
    assert_eq!(statuses, [404, 403]);
    assert_eq!(ask().await.field("set-cookie"), Some("affinity=1"));
    let kept = ask().await;
    assert_eq!((kept.is_hit(), kept.field("set-cookie")), (false, None));
    rig.finish().await;
}

#[tokio::test]
async fn addresses_of_operations_and_signed_ones_are_never_kept() {
    let rig = rig("azure").await;
    let status = r#"{"status":"InProgress"}"#;
    for target in [
        "/subscriptions/s/providers/Microsoft.Compute/locations/eastus/operations/0?api-version=1",
        "/subscriptions/s/providers/Microsoft.Compute/locations/eastus/DiskOperations/0",
        "/subscriptions/s/operationresults/eyJ?api-version=1",
        &format!("{VM}?api-version=1&monitor=true"),
        &format!("{VM}?api-version=1&t=1&c=MIIH&s=x&h=y"),
    ] {
        let path = target.split('?').next().unwrap_or_default();
        rig.origin().on(&format!("GET {path}"), arm(status));
        for _ in 0..2 {
            let got = rig.get(target).bearer("one").send().await;
            assert!(got.cache().starts_with("fwd=bypass"), "{target}: {}", got.cache());
        }
        assert_eq!(rig.origin().last(&format!("GET {path}")).target, target, "byte for byte");
    }
    rig.finish().await;
}
