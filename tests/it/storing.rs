//! What is stored, and what never is.

use crate::support::{Options, Reply, Rig};

/// Whether two reads of `path` that get `reply` cost one call.
async fn is_kept(path: &str, reply: Reply) -> bool {
    let rig = Rig::with(Options { upstream: "retry: {attempts: 1}".into(), ..Options::default() }).await;
    let call = format!("GET {path}");
    rig.warm("/api2/json/item/accepted").await;
    rig.origin().on(&call, reply);
    let first = rig.get(path).send().await;
    assert!(first.whole, "{path}: {}", first.head);
    let second = rig.get(path).send().await;
    assert_eq!(
        (first.status, &first.reason, first.text().is_empty()),
        (second.status, &second.reason, second.text().is_empty())
    );
    let kept = rig.origin().count(&call) == 1;
    assert_eq!(second.is_hit(), kept);
    rig.finish().await;
    kept
}

#[tokio::test]
async fn only_what_the_rule_allows_is_kept() {
    let item = "/api2/json/item/1";
    let odd = "/api2/json/odd/1";
    let extjs = "/api2/extjs/item/1";
    let lock = "/api2/json/lock/1";
    let cases = [
        ("an answer", item, Reply::numbered(), true),
        ("one in chunks", item, Reply::numbered().chunked(), true),
        ("one that ends with its connection", item, Reply::numbered().closed(), false),
        ("an empty one", item, Reply::body(""), true),
        ("a cookie", item, Reply::numbered().field("Set-Cookie", "a=b"), false),
        ("no-store", item, Reply::numbered().field("Cache-Control", "no-store"), false),
        ("private", item, Reply::numbered().field("Cache-Control", "max-age=60, private"), false),
        (
            "no-cache, which the rule overrides",
            item,
            Reply::numbered().field("Cache-Control", "no-cache"),
            true,
        ),
        (
            "max-age=0, which the rule overrides",
            item,
            Reply::numbered().field("Cache-Control", "max-age=0"),
            true,
        ),
        ("an unknown Vary", item, Reply::numbered().field("Vary", "User-Agent"), false),
        ("Vary: *", item, Reply::numbered().field("Vary", "*"), false),
        ("a Vary that the key knows", item, Reply::numbered().field("Vary", "Accept-Encoding"), true),
        ("a coding that nobody asked for", item, Reply::numbered().field("Content-Encoding", "gzip"), false),
        ("201", item, Reply::status(201, "Created"), false),
        ("206", item, Reply::status(206, "Partial Content"), false),
        ("301", item, Reply::status(301, "Moved").field("Location", "/x"), false),
        ("401", item, Reply::status(401, "No ticket"), false),
        ("403", item, Reply::status(403, "Forbidden"), false),
        ("404", item, Reply::status(404, "Not here"), false),
        ("500", item, Reply::status(500, "VM 1 does not exist"), false),
        ("595", item, Reply::status(595, "No route to host"), false),
        ("404 where the rule names it", odd, Reply::status(404, "Not here"), true),
        ("595 where the rule names it", odd, Reply::status(595, "No route to host"), true),
        ("201 where the rule does not name it", odd, Reply::status(201, "Created"), false),
        ("extjs", extjs, Reply::body(r#"{"success":1,"data":{}}"#), true),
        ("extjs, failed", extjs, Reply::body(r#"{"success":0,"status":500,"message":"no"}"#), false),
        ("extjs, unreadable", extjs, Reply::body("no JSON"), false),
        ("without a lock", lock, Reply::body(r#"{"data":{"name":"a"}}"#), true),
        ("with a lock of null", lock, Reply::body(r#"{"data":{"lock":null}}"#), true),
        ("a body that cannot be looked into", lock, Reply::body("no JSON"), false),
        ("a rule that only collapses", "/api2/json/joined/1", Reply::numbered(), false),
        ("a rule that passes", "/api2/json/passed/1", Reply::numbered(), false),
        ("no rule", "/api2/json/unknown/1", Reply::numbered(), false),
    ];
    for (what, path, reply, kept) in cases {
        assert_eq!(is_kept(path, reply).await, kept, "{what}");
    }
}

#[tokio::test]
async fn a_body_in_transition_is_kept_for_a_second() {
    let rig = Rig::start().await;
    let path = "/api2/json/lock/1";
    rig.origin().on("GET /api2/json/lock/1", Reply::body(r#"{"data":{"lock":"backup"}}"#));
    rig.warm(path).await;
    rig.seconds(1).await;
    assert!(!rig.get(path).send().await.is_hit());
    rig.seconds(1).await;
    rig.origin().on("GET /api2/json/lock/1", Reply::status(503, "Service Unavailable"));
    assert_eq!(rig.get(path).send().await.status, 503, "nor for an outage");
    rig.finish().await;
}

#[tokio::test]
async fn stored_fields_and_reasons_are_those_of_the_upstream() {
    let rig = Rig::start().await;
    let reply = Reply::status(595, "Errors during connection establishment")
        .with_body(r#"{"data":null}"#)
        .field("X-Odd", "1")
        .field("X-Odd", "2")
        .field("Date", "Sun, 06 Nov 1994 08:49:37 GMT")
        .field("Server", "pve-api-daemon/3.0")
        .field("Connection", "X-Hop")
        .field("X-Hop", "hop");
    rig.warm("/api2/json/item/accepted").await;
    rig.origin().on("GET /api2/json/odd/1", reply);
    let first = rig.get("/api2/json/odd/1").send().await;
    let hit = rig.get("/api2/json/odd/1").send().await;
    assert!(hit.is_hit());
    for got in [first, hit] {
        assert_eq!(got.status, 595);
        assert_eq!(got.reason, "Errors during connection establishment");
        assert_eq!(got.head.to_ascii_lowercase().matches("x-odd: ").count(), 2, "{}", got.head);
        assert_eq!(got.field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(got.field("server"), Some("pve-api-daemon/3.0"));
        assert_eq!(got.field("x-hop"), None);
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_failure_in_an_extjs_body_ends_the_entry() {
    let path = "/api2/extjs/sie/1";
    for (status, ends) in [(500, true), (404, true), (403, true), (401, true), (400, false)] {
        let rig = Rig::start().await;
        let call = format!("GET {path}");
        let failed = format!(r#"{{"success":0,"status":{status},"message":"no"}}"#);
        let fine = Reply::body(r#"{"success":1,"data":1}"#);
        rig.origin().on_each(&call, [fine, Reply::body(failed), Reply::status(503, "Later")]);
        rig.warm(path).await;
        rig.seconds(10).await;
        assert!(rig.get(path).send().await.text().contains("no"));
        let got = rig.get(path).send().await;
        assert_eq!(got.status == 503, ends, "{status}: {}", got.cache());
        rig.finish().await;
    }
}

#[tokio::test]
async fn stored_is_only_said_of_what_will_be() {
    let rig = Rig::start().await;
    rig.origin().on("GET /api2/extjs/item/1", Reply::body(r#"{"success":0,"status":500,"message":"no"}"#));
    let failed = rig.get("/api2/extjs/item/1").send().await;
    assert_eq!(failed.cache(), "fwd=uri-miss");
    rig.finish().await;
}
