//! Nobody else's data: who may see what was fetched by whom.

use crate::support::{Ask, Gate, Options, RULES, Reply, Rig};

const PATH: &str = "/api2/json/item/1";
const CALL: &str = "GET /api2/json/item/1";
const TICKET: &str = "PVE:root@pam:65F0A1B2::c2lnbmF0dXJl";

/// Every way to come with one credential, each another one.
fn callers(rig: &Rig) -> Vec<Ask> {
    let ask = || rig.get(PATH).anonymous();
    vec![
        ask(),
        ask().field("Authorization", "PVEAPIToken=a@pve!one=secret"),
        ask().field("Authorization", "PVEAPIToken=a@pve!one=other"),
        ask().field("Authorization", "PVEAPIToken=a@pve!two=secret"),
        ask().field("Cookie", &format!("PVEAuthCookie={TICKET}")),
        ask().field("Cookie", &format!("PVEAuthCookie={TICKET}x")),
        ask().field("Authorization", &format!("PVEAuthCookie={TICKET}")),
    ]
}

#[tokio::test]
async fn hits_are_for_the_same_credential_alone() {
    let rig = Rig::start().await;
    for (n, caller) in callers(&rig).into_iter().enumerate() {
        let first = caller.clone().send().await;
        assert_eq!(first.cache(), "fwd=uri-miss; stored", "caller {n}");
        assert_eq!(rig.origin().count(CALL), n + 1);
        let second = caller.send().await;
        assert!(second.is_hit() && second.body == first.body);
    }
    rig.finish().await;
}

#[tokio::test]
async fn flights_are_for_the_same_credential_alone() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let mut readers = Vec::new();
    // Four strangers fit at once.
    for caller in callers(&rig).into_iter().take(4) {
        readers.push(caller.clone().spawn());
        readers.push(caller.spawn());
    }
    rig.waiting(8).await;
    rig.origin().came(CALL, 4).await;
    gate.open();
    let mut bodies = Vec::new();
    for reader in readers {
        bodies.push(reader.await.expect("answered").body);
    }
    for pair in bodies.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!((bodies.len(), rig.origin().count(CALL)), (4, 4));
    rig.finish().await;
}

#[tokio::test]
async fn neither_head_nor_a_validator_nor_staleness_tells_of_others() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/sie/1").await;
    let etag = rig.get("/api2/json/sie/1").send().await.field("etag").expect("an etag").to_owned();
    for asks in [rig.get("/api2/json/sie/1").token("two"), rig.get("/api2/json/sie/1").anonymous()] {
        let cached = asks.clone().field("Cache-Control", "only-if-cached").send().await;
        assert_eq!(cached.status, 504);
        let named = asks.field("If-None-Match", &etag).send().await;
        assert_eq!((named.status, named.is_hit()), (200, false));
    }
    let head = rig.ask("HEAD", "/api2/json/sie/1").token("three").send().await;
    assert!(!head.is_hit());
    rig.seconds(10).await;
    rig.origin().on("GET /api2/json/sie/1", Reply::status(503, "Later"));
    assert_eq!(rig.get("/api2/json/sie/1").token("three").send().await.status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn more_than_one_credential_passes_uncached() {
    let rig = Rig::start().await;
    let cookie = format!("PVEAuthCookie={TICKET}");
    let token = "PVEAPIToken=a@pve!one=secret";
    let cases: [&[(&str, &str)]; 6] = [
        &[("Cookie", &cookie), ("Authorization", token)],
        &[("Cookie", &cookie), ("Cookie", &cookie)],
        &[("Cookie", "PVEAuthCookie=a; PVEAuthCookie=b")],
        &[("Cookie", "x=1;PVEAuthCookie=b")],
        &[("Authorization", token), ("Authorization", token)],
        &[("Authorization", "Bearer x")],
    ];
    for (n, fields) in cases.into_iter().enumerate() {
        for _ in 0..2 {
            let ask = rig.get(PATH).anonymous();
            let got = fields.iter().fold(ask, |ask, (name, value)| ask.field(name, value)).send().await;
            assert_eq!(got.cache(), "fwd=bypass; detail=ambiguous-credential", "case {n}");
        }
        assert_eq!(rig.origin().count(CALL), 2 * (n + 1));
    }
    // Cookies beside the ticket are no credential.
    let beside = |more: &str| rig.get(PATH).anonymous().field("Cookie", &format!("{more}; {cookie}"));
    beside("PVELangCookie=de").send().await;
    assert!(beside("PVELangCookie=en").send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_empties_the_partition() {
    for refused in [
        "GET /api2/json/item/2",
        "GET /api2/json/passed/1",
        "GET /api2/json/unknown",
        "HEAD /api2/json/item/2",
    ] {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        rig.get(PATH).token("two").send().await;
        rig.origin().on(refused, Reply::status(401, "permission denied - invalid PVE ticket"));
        let (method, path) = refused.split_once(' ').expect("two words");
        let got = rig.ask(method, path).send().await;
        assert_eq!((got.status, got.reason.as_str()), (401, "permission denied - invalid PVE ticket"));
        rig.seconds(1).await;
        assert!(!rig.get(PATH).send().await.is_hit(), "{refused}");
        assert!(rig.get(PATH).token("two").send().await.is_hit());
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_answer_under_way_at_a_refusal_is_not_stored() {
    let rig = Rig::start().await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::body("before").held(&gate), Reply::body("after")]);
    let early = rig.get(PATH).spawn();
    rig.origin().came(CALL, 1).await;
    rig.seconds(1).await;
    rig.origin().on("GET /api2/json/item/2", Reply::status(401, "No ticket"));
    rig.get("/api2/json/item/2").send().await;
    gate.open();
    assert_eq!(early.await.expect("answered").text(), "before");
    rig.quiet().await;
    assert_eq!(rig.get(PATH).send().await.text(), "after");
    rig.finish().await;
}

#[tokio::test]
async fn acceptance_ends_and_one_call_renews_it() {
    let rules = RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 1h");
    let rig = Rig::with(Options { rules, ..Default::default() }).await;
    let old = rig.warm(PATH).await;
    rig.seconds(59).await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.seconds(1).await;
    let gate = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&gate));
    let readers: Vec<_> = (0..5).map(|_| rig.get(PATH).spawn()).collect();
    rig.waiting(5).await;
    gate.open();
    for reader in readers {
        let got = reader.await.expect("answered");
        assert_ne!(got.text(), old);
        assert!(got.cache().contains("detail=unaccepted"), "{}", got.cache());
    }
    assert_eq!(rig.origin().count(CALL), 2);
    // Any read that the API answers renews it for all.
    rig.seconds(50).await;
    rig.get("/api2/json/passed/1").send().await;
    rig.seconds(50).await;
    assert!(rig.get(PATH).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn what_needs_no_credential_accepts_none() {
    let calls = [
        ("GET", "/api2/json/public/1"),
        ("GET", "/api2/json/unknown"),
        ("HEAD", "/api2/json/unknown"),
        ("POST", "/api2/json/access/ticket"),
        ("POST", "/api2/json/item/9"),
        ("OPTIONS", "/api2/json/item/9"),
        // The body says what became of it.
        ("GET", "/api2/extjs/passed/1"),
        ("HEAD", "/api2/extjs/item/1"),
        ("GET", "/api2/extjs/item/1"),
    ];
    for (method, path) in calls {
        let rig = Rig::start().await;
        let odd = "GET /api2/json/odd/1";
        // Stored, but by a status that accepts nobody.
        rig.origin().on(odd, Reply::status(404, "Not found"));
        let failed = Reply::body(r#"{"success":0,"status":400,"message":"no"}"#);
        rig.origin().on("GET /api2/extjs/passed/1", failed.clone());
        rig.origin().on("GET /api2/extjs/item/1", failed);
        let forged = |ask: Ask| ask.anonymous().field("Cookie", "PVEAuthCookie=PVE:root@pam:0::forged");
        forged(rig.get("/api2/json/odd/1")).send().await;
        assert_eq!(forged(rig.ask(method, path)).send().await.status, 200);
        let got = forged(rig.get("/api2/json/odd/1")).send().await;
        assert!(!got.is_hit(), "{method} {path}: {}", got.cache());
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_public_answer_is_kept_by_credential_all_the_same() {
    let rig = Rig::start().await;
    rig.warm("/api2/json/public/1").await;
    assert!(!rig.get("/api2/json/public/1").anonymous().send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn fields_of_the_clusters_own_nodes_never_come_from_clients() {
    let rig = Rig::start().await;
    for method in ["GET", "POST", "HEAD"] {
        let ask = rig.ask(method, PATH).field("PVEDisableProxy", "1").field("PVEClientIP", "1.2.3.4");
        ask.field("Connection", "X-Hop").field("X-Hop", "1").field("X-Kept", "1").send().await;
        let call = rig.origin().last(&format!("{method} {PATH}"));
        for gone in ["pvedisableproxy", "pveclientip", "x-hop"] {
            assert_eq!(call.field(gone), None, "{}", call.head);
        }
        assert_eq!(call.field("x-kept"), Some("1"));
        assert_eq!(call.field("authorization"), Some("PVEAPIToken=user@pve!one=secret"));
        assert_eq!(call.field("host"), Some(rig.origin().address.to_string().as_str()));
    }
    rig.finish().await;
}

/// A field that `Connection` names goes no further, so the API answers somebody else.
#[tokio::test]
async fn a_credential_that_is_kept_back_is_none() {
    let rig = Rig::start().await;
    let token = || rig.get(PATH).anonymous().field("Authorization", "PVEAPIToken=a@pve!one=secret");
    for connection in ["Authorization", "close, authorization", "keep-alive, Authorization, x"] {
        for _ in 0..2 {
            let answer = token().field("Connection", connection).send().await;
            assert_eq!(answer.cache(), "fwd=bypass; detail=ambiguous-credential", "{connection}");
        }
    }
    assert_eq!(token().send().await.cache(), "fwd=uri-miss; stored");
    // Fields that say nothing of the caller may be named.
    let named = token().field("Connection", "X-Trace").field("X-Trace", "1").send().await;
    assert!(named.is_hit());
    rig.finish().await;
}
