//! Which requests are the same read.

use crate::support::Rig;

/// Whether `second` is answered by what `first` left behind.
async fn meets(first: &str, second: &str) -> bool {
    let rig = Rig::start().await;
    rig.warm(first).await;
    let got = rig.get(second).send().await;
    assert_eq!(got.status, 200, "{second}");
    let hit = got.is_hit();
    rig.finish().await;
    hit
}

#[tokio::test]
async fn spellings() {
    let cases = [
        ("/api2/json/item/1?a=1&b=2", "/api2/json/item/1?b=2&a=1", true),
        ("/api2/json/item/1?a=1&b=2", "/api2/json/item/1?b=2;a=1", true),
        ("/api2/json/item/1?a=1&a=2", "/api2/json/item/1?a=2&a=1", false),
        ("/api2/json/item/1", "/api2/json/item/1?_dc=1700000000", true),
        ("/api2/json/item/1?_dc=1", "/api2/json/item/1?_dc=2", true),
        ("/api2/json/item/1", "/api2/json/item/1?a=1", false),
        ("/api2/json/item/1?a=1", "/api2/json/item/1?a=2", false),
        ("/api2/json/item/1?a=%31", "/api2/json/item/1?a=1", false),
        ("/api2/json/item/1", "/api2/extjs/item/1", false),
        ("/api2/json/item/1", "/api2/json/item/%31", false),
        ("/api2/json/item/1", "/api2/json//item/1", false),
        ("/api2/json/item/1", "/api2/json/item/1/", false),
        ("/api2/json/item/a", "/api2/json/item/A", false),
    ];
    for (first, second, same) in cases {
        assert_eq!(meets(first, second).await, same, "{first} {second}");
    }
}

#[tokio::test]
async fn every_spelling_is_forwarded_as_it_was_written_and_reached_by_writes() {
    let spellings = [
        "/api2/json/item/%31?x=%20&&b;c",
        "/api2/json//item/1/",
        "/api2/json%2Fitem%2f1",
        "/api2/%6Ason/item/1",
        "/api2/json/item/1?a=1",
    ];
    for spelling in spellings {
        let rig = Rig::start().await;
        rig.warm(spelling).await;
        assert_eq!(rig.origin().calls()[0].target, spelling);
        rig.ask("POST", "/api2/json/item/1").send().await;
        assert!(!rig.get(spelling).send().await.is_hit(), "{spelling}");
        rig.finish().await;
    }
    // And the other way round: writes in another spelling.
    for spelling in &spellings[..4] {
        let rig = Rig::start().await;
        rig.warm("/api2/json/item/1").await;
        rig.ask("POST", spelling).send().await;
        assert!(!rig.get("/api2/json/item/1").send().await.is_hit(), "{spelling}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn paths_that_could_be_read_in_two_ways_are_refused_or_passed() {
    let rig = Rig::start().await;
    for path in ["/api2/json/item/../item/1", "/api2/json/item/%2e%2E/1", "/api2/json/./item/1"] {
        let got = rig.get(path).send().await;
        assert_eq!((got.status, got.cache()), (400, "detail=bad-request"), "{path}");
    }
    assert!(rig.origin().calls().is_empty());
    for path in ["/api2/json/item/%ff", "/api2/json/item/%zz"] {
        for _ in 0..2 {
            let got = rig.get(path).send().await;
            assert_eq!(got.cache(), "fwd=bypass; detail=unmatched", "{path}");
        }
    }
    rig.finish().await;
}
