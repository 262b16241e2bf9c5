//! How long an answer is used, and what a client may ask of its age.

use crate::support::{Gate, Reply, Rig};

#[tokio::test]
async fn a_hit_tells_its_age_its_status_and_a_validator() {
    let rig = Rig::start().await;
    let first = rig.get("/api2/json/item/1").send().await;
    assert_eq!((first.status, first.cache()), (200, "fwd=uri-miss; stored"));
    assert_eq!(first.field("age"), None);
    rig.seconds(3).await;
    let hit = rig.get("/api2/json/item/1").send().await;
    assert_eq!((hit.status, hit.reason.as_str(), hit.cache()), (200, "OK", "hit; ttl=7"));
    assert_eq!(hit.field("age"), Some("3"));
    assert_eq!(hit.field("content-type"), Some("application/json;charset=UTF-8"));
    assert!(hit.field("etag").is_some_and(|etag| etag.starts_with("\"fb-")), "{}", hit.head);
    assert_eq!(hit.body, first.body);
    assert!(hit.whole);
    rig.finish().await;
}

#[tokio::test]
async fn what_has_expired_is_fetched_again() {
    let rig = Rig::start().await;
    let old = rig.warm("/api2/json/item/1").await;
    rig.seconds(10).await;
    let new = rig.get("/api2/json/item/1").send().await;
    assert_eq!(new.cache(), "fwd=stale; stored");
    assert_ne!(new.text(), old);
    assert!(rig.get("/api2/json/item/1").send().await.is_hit());
    assert_eq!(rig.origin().count("GET /api2/json/item/1"), 2);
    rig.finish().await;
}

#[tokio::test]
async fn an_age_from_upstream_counts() {
    let rig = Rig::start().await;
    rig.origin().on("GET /api2/json/item/1", Reply::numbered().field("Age", "4"));
    rig.warm("/api2/json/item/1").await;
    let hit = rig.get("/api2/json/item/1").send().await;
    assert_eq!((hit.field("age"), hit.cache()), (Some("4"), "hit; ttl=6"));
    rig.finish().await;
}

#[tokio::test]
async fn stale_while_it_is_revalidated_by_one_call() {
    let rig = Rig::start().await;
    let call = "GET /api2/json/swr/1";
    let old = rig.warm("/api2/json/swr/1").await;
    let gate = Gate::new();
    rig.origin().on(call, Reply::numbered().held(&gate));
    rig.seconds(14).await;
    for _ in 0..5 {
        let stale = rig.get("/api2/json/swr/1").send().await;
        assert_eq!((stale.text(), stale.field("age")), (old.as_str(), Some("14")));
        assert_eq!(stale.cache(), "hit; ttl=-4; detail=stale-while-revalidate");
    }
    rig.origin().came(call, 2).await;
    gate.open();
    rig.quiet().await;
    let new = rig.get("/api2/json/swr/1").send().await;
    assert_eq!(new.cache(), "hit; ttl=10");
    assert_ne!(new.text(), old);
    assert_eq!(rig.origin().count(call), 2);
    rig.seconds(30).await;
    assert_eq!(rig.get("/api2/json/swr/1").send().await.cache(), "fwd=stale; stored", "too old by then");
    rig.finish().await;
}

#[tokio::test]
async fn a_client_may_want_an_answer_that_is_younger() {
    // What is asked of an entry 6 s old that lives for 10 s, and whether the entry will do.
    let cases = [
        ("max-age=7", true),
        ("max-age=6", true),
        ("max-age=5", false),
        ("max-age=0", false),
        ("min-fresh=4", true),
        ("min-fresh=5", false),
        ("no-cache", false),
        ("no-store", false),
        ("only-if-cached", true),
        ("max-stale=100", true),
    ];
    for (asks, does) in cases {
        let rig = Rig::start().await;
        rig.warm("/api2/json/item/1").await;
        rig.seconds(6).await;
        let got = rig.get("/api2/json/item/1").field("Cache-Control", asks).send().await;
        assert_eq!(got.is_hit(), does, "{asks}: {}", got.cache());
        assert_eq!(rig.origin().count("GET /api2/json/item/1"), if does { 1 } else { 2 }, "{asks}");
        if !does {
            assert_eq!(
                rig.origin().last("GET /api2/json/item/1").field("cache-control"),
                match asks {
                    "no-store" => Some("no-store"),
                    _ => None,
                }
            );
            let next = rig.get("/api2/json/item/1").send().await;
            let refreshed = if asks == "no-store" { "hit; ttl=4" } else { "hit; ttl=10" };
            assert_eq!(next.cache(), refreshed, "{asks}");
        }
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_forced_fetch_leaves_after_the_request_came() {
    let rig = Rig::start().await;
    let call = "GET /api2/json/item/1";
    let gate = Gate::new();
    rig.origin().on_each(call, [Reply::body("old").held(&gate), Reply::body("new")]);
    let early = rig.get("/api2/json/item/1").spawn();
    rig.origin().came(call, 1).await;
    let forced = rig.get("/api2/json/item/1").field("Cache-Control", "no-cache").send().await;
    assert_eq!(forced.text(), "new");
    gate.open();
    assert_eq!(early.await.expect("answered").text(), "old");
    assert_eq!(rig.get("/api2/json/item/1").send().await.text(), "new", "the older answer is not stored");
    rig.finish().await;
}

#[tokio::test]
async fn only_if_cached_never_calls() {
    let rig = Rig::start().await;
    let targets = ["item/1", "joined/1", "passed/1", "unknown/1"];
    for target in targets {
        for also in ["", ", no-store", ", no-cache"] {
            let ask = rig.get(&format!("/api2/json/{target}"));
            let got = ask.field("Cache-Control", &format!("only-if-cached{also}")).send().await;
            assert_eq!((got.status, got.cache()), (504, "detail=only-if-cached"), "{target}{also}");
        }
    }
    assert!(rig.origin().calls().is_empty());
    rig.finish().await;
}
