//! The last known state in place of an outage: for whom, and when not.

use std::time::Duration;

use crate::support::{Gate, Options, Reply, Rig};

const PATH: &str = "/api2/json/sie/1";
const CALL: &str = "GET /api2/json/sie/1";

#[tokio::test]
async fn statuses_of_an_outage_are_stood_in_for_and_others_are_not() {
    let cases = [
        (Reply::status(502, "Bad Gateway"), Some("fwd=stale; fwd-status=502; detail=stale-if-error")),
        (Reply::status(503, "Service Unavailable"), Some("fwd=stale; fwd-status=503; detail=stale-if-error")),
        (Reply::status(504, "Gateway Timeout"), Some("fwd=stale; fwd-status=504; detail=stale-if-error")),
        (Reply::status(595, "No route to host"), Some("fwd=stale; fwd-status=595; detail=stale-if-error")),
        (Reply::status(596, "Broken pipe"), Some("fwd=stale; fwd-status=596; detail=stale-if-error")),
        (
            Reply::status(599, "Too many redirections"),
            Some("fwd=stale; fwd-status=599; detail=stale-if-error"),
        ),
        (Reply::status(429, "Slow down"), Some("fwd=stale; fwd-status=429; detail=stale-if-error")),
        (Reply::reset(), Some("fwd=stale; detail=stale-if-error")),
        (Reply::garbage(), Some("fwd=stale; detail=stale-if-error")),
        (Reply::status(400, "Parameter verification failed"), None),
        (Reply::status(401, "No ticket"), None),
        (Reply::status(403, "Permission check failed"), None),
        (Reply::status(404, "Not found"), None),
        (Reply::status(500, "VM 1 does not exist"), None),
        (Reply::status(501, "Not implemented"), None),
    ];
    for (reply, stands_in) in cases {
        let rig = Rig::start().await;
        let old = rig.warm(PATH).await;
        rig.origin().on(CALL, reply);
        rig.seconds(11).await;
        let got = rig.get(PATH).send().await;
        match stands_in {
            Some(cache) => {
                assert_eq!((got.status, got.reason.as_str(), got.cache()), (200, "OK", cache));
                assert_eq!((got.text(), got.field("age")), (old.as_str(), Some("11")));
            }
            None => {
                assert!(got.status >= 400 && got.cache() == "fwd=stale", "{} {}", got.status, got.cache())
            }
        }
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_stood_in_for() {
    for reply in [Reply::numbered().cut(), Reply::numbered().chunked().cut()] {
        let rig = Rig::start().await;
        let old = rig.warm(PATH).await;
        rig.origin().on(CALL, reply);
        rig.seconds(11).await;
        let got = rig.get(PATH).send().await;
        assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", old.as_str()));
        // Whoever knows nothing older gets what there is of it.
        let stranger = rig.get(PATH).token("two").send().await;
        assert_eq!((stranger.status, stranger.whole), (200, false));
        rig.finish().await;
    }
}

#[tokio::test]
async fn only_who_could_have_something_older_waits_for_more_than_the_head() {
    let rig = Rig::start().await;
    let item = "/api2/json/item/1";
    let held = |path: &str| {
        let gate = Gate::new();
        let reply = Reply::body("0123456789").held_in_body(&gate);
        rig.origin().on(&format!("GET {path}"), reply);
        gate
    };
    for path in [PATH, item] {
        rig.warm(path).await;
    }
    rig.seconds(11).await;
    let no_cache = ("Cache-Control", "no-cache");
    for (path, ask) in [
        ("the rule shows nothing that has expired", rig.get(item)),
        ("nobody else's", rig.get(PATH).token("two")),
        ("it asks for the API's own", rig.get(PATH).field(no_cache.0, no_cache.1)),
    ]
    .map(|(why, ask)| (if why.starts_with("the rule") { item } else { PATH }, ask))
    {
        let gate = held(path);
        // In less time than who waits for the whole of it is kept waiting, which is ten seconds.
        let opened = tokio::time::timeout(Duration::from_secs(5), ask.open()).await;
        let reader = opened.expect("the head alone is waited for");
        assert_eq!(reader.status(), 200);
        gate.open();
        assert!(reader.rest().await.whole);
        rig.quiet().await;
    }
    rig.seconds(11).await;
    // With something older: it comes when the answer is whole,
    let gate = held(PATH);
    let reader = rig.get(PATH).spawn();
    rig.waiting(1).await;
    gate.open();
    assert_eq!(reader.await.expect("answered").text(), "0123456789");
    rig.quiet().await;
    // or does not come any more, which is not waited for for ever.
    rig.seconds(11).await;
    let gate = held(PATH);
    let reader = rig.get(PATH).spawn();
    rig.origin().came(CALL, rig.origin().count(CALL)).await;
    rig.waiting(1).await;
    rig.seconds(11).await;
    let got = reader.await.expect("answered");
    assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", "0123456789"));
    // Who wrote waits for the head alone.
    rig.ask("POST", "/api2/json/item/7").send().await;
    let reader = rig.get(PATH).open().await;
    gate.open();
    assert!(reader.rest().await.whole);
    rig.finish().await;
}

#[tokio::test]
async fn a_refusal_on_refresh_ends_the_entry() {
    for (status, reason) in [(401, "No ticket"), (403, "No"), (404, "Gone"), (500, "does not exist")] {
        let rig = Rig::start().await;
        rig.warm(PATH).await;
        let down = Reply::status(503, "Later");
        rig.origin().on_each(CALL, [Reply::status(status, reason), down]);
        rig.seconds(11).await;
        assert_eq!(rig.get(PATH).send().await.status, status);
        assert_eq!(rig.get(PATH).send().await.status, 503, "after {status}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_refused_connection_is_stood_in_for_until_the_time_is_over() {
    let mut rig = Rig::start().await;
    let old = rig.warm(PATH).await;
    rig.origins[0].stop().await;
    rig.seconds(11).await;
    let got = rig.get(PATH).send().await;
    assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", old.as_str()));
    // Acceptances stand still meanwhile: the credential was accepted for a minute.
    for _ in 0..5 {
        rig.seconds(600).await;
        let got = rig.get(PATH).send().await;
        assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", old.as_str()));
    }
    let forced = rig.get(PATH).field("Cache-Control", "no-cache").send().await;
    assert_eq!((forced.status, forced.cache()), (502, "detail=unreachable"));
    let other = rig.get(PATH).token("two").send().await;
    assert_eq!(other.status, 502, "nobody else's");
    rig.seconds(600).await;
    let got = rig.get(PATH).send().await;
    assert_eq!((got.status, got.cache()), (502, "detail=unreachable"));
    rig.origins[0].restart().await;
    rig.seconds(10).await;
    assert_eq!(rig.get(PATH).send().await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn an_api_that_comes_back_for_one_and_fails_again_is_stood_in_for() {
    let down = || Reply::status(503, "Service Unavailable");
    for silent in [true, false] {
        let mut rig = Rig::start().await;
        let old = rig.warm(PATH).await;
        match silent {
            true => rig.origins[0].stop().await,
            false => rig.origin().on(CALL, down()),
        }
        // Longer than an acceptance counts.
        for _ in 0..2 {
            rig.seconds(50).await;
            assert_eq!(rig.get(PATH).send().await.text(), old);
            rig.quiet().await;
        }
        if silent {
            rig.origins[0].restart().await;
        }
        rig.origin().on(CALL, Reply::numbered());
        assert_eq!(rig.get("/api2/json/item/1").token("two").send().await.status, 200, "{silent}");
        rig.origin().on(CALL, down());
        let got = rig.get(PATH).send().await;
        assert_eq!((got.status, got.text()), (200, old.as_str()), "{silent}");
        rig.quiet().await;
        rig.seconds(61).await;
        rig.get("/api2/json/item/2").token("two").send().await;
        rig.seconds(61).await;
        assert_eq!(rig.get(PATH).send().await.status, 503, "not for ever");
        rig.finish().await;
    }
}

#[tokio::test]
async fn while_the_api_is_silent_what_is_fresh_is_for_whoever_was_in() {
    let rules = crate::support::RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 1h");
    let mut rig = Rig::with(Options { rules, ..Options::default() }).await;
    let item = "/api2/json/item/1";
    let old = rig.warm(item).await;
    rig.origins[0].stop().await;
    rig.seconds(11).await;
    assert_eq!(rig.get(PATH).send().await.status, 502, "it is silent");
    rig.seconds(600).await;
    let got = rig.get(item).send().await;
    assert!(got.is_hit() && got.text() == old, "{}", got.cache());
    assert_eq!(rig.get(item).token("two").send().await.status, 502, "nobody else");
    rig.origins[0].restart().await;
    rig.seconds(10).await;
    assert_eq!(rig.get(PATH).token("two").send().await.status, 200);
    // It answers again, so it must have accepted this one lately.
    assert!(!rig.get(item).send().await.is_hit());
    rig.finish().await;
}

#[tokio::test]
async fn while_the_api_asks_to_be_left_alone_acceptances_stand_still_for_a_time() {
    let retry = "retry: {throttled: {attempts: 1}}".to_owned();
    let rig = Rig::with(Options { upstream: retry, ..Options::default() }).await;
    let busy = || Reply::status(429, "Slow down").field("Retry-After", "30");
    let old = rig.warm(PATH).await;
    rig.origin().on(CALL, busy());
    rig.seconds(11).await;
    let mut passed = 11;
    // It answers now and then, and never this one.
    while passed < 590 {
        let got = rig.get(PATH).send().await;
        let expected = (200, "fwd=stale; fwd-status=429; detail=stale-if-error", old.as_str());
        assert_eq!((got.status, got.cache(), got.text()), expected, "after {passed} s");
        rig.quiet().await;
        rig.seconds(10).await;
        let got = rig.get(PATH).send().await;
        assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", old.as_str()));
        rig.quiet().await;
        rig.seconds(20).await;
        passed += 30;
    }
    let stranger = rig.get(PATH).token("two").send().await;
    assert_eq!(stranger.status, 429, "nobody else's");
    rig.quiet().await;
    rig.seconds(31).await;
    assert_eq!(rig.get(PATH).send().await.status, 429, "not for longer than ten minutes");
    rig.quiet().await;
    rig.origin().on(CALL, Reply::numbered());
    rig.seconds(31).await;
    assert_eq!(rig.get(PATH).send().await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn a_pause_counts_whose_call_is_sent_again() {
    let rig = Rig::start().await;
    let busy = || Reply::status(429, "Slow down").field("Retry-After", "2");
    let old = rig.warm(PATH).await;
    let began = rig.clock.now();
    let other = "/api2/json/item/1";
    rig.origin().on_each(&format!("GET {other}"), [busy(), Reply::numbered()]);
    let reader = rig.get(other).token("two").spawn();
    rig.origin().came(&format!("GET {other}"), 1).await;
    rig.pass_until("the second call is answered", || reader.is_finished()).await;
    assert_eq!(reader.await.expect("answered").status, 200);
    rig.origin().on(CALL, busy());
    // Time was moved in halves of a second.
    let warmed = rig.clock.now().since(began).as_secs_f64();
    rig.advance(Duration::from_secs_f64(61.0 - warmed)).await;
    let got = rig.get(PATH).send().await;
    assert_eq!((got.status, got.text()), (200, old.as_str()));
    rig.finish().await;
}

#[tokio::test]
async fn whoever_wrote_gets_the_error() {
    let rig = Rig::start().await;
    for path in [PATH, "/api2/json/all/1"] {
        rig.warm(path).await;
        rig.get(path).token("two").send().await;
    }
    rig.ask("POST", "/api2/json/item/7").send().await;
    for path in ["sie", "all"] {
        rig.origin().on(&format!("GET /api2/json/{path}/1"), Reply::status(503, "Service Unavailable"));
    }
    rig.seconds(11).await;
    let actor = rig.get(PATH).send().await;
    assert_eq!(
        (actor.status, actor.reason.as_str(), actor.cache()),
        (503, "Service Unavailable", "fwd=stale")
    );
    assert_eq!(rig.get(PATH).token("two").send().await.status, 200, "a watcher");
    assert_eq!(rig.get("/api2/json/all/1").send().await.status, 200, "where the rule says everyone");
    rig.finish().await;
}

#[tokio::test]
async fn what_a_write_has_overtaken_is_never_shown_again() {
    let rig = Rig::start().await;
    let path = "/api2/json/item/1/sub";
    rig.get(path).send().await;
    rig.get(path).token("two").send().await;
    assert!(rig.get(path).token("two").send().await.is_hit());
    rig.ask("POST", "/api2/json/item/1").send().await;
    rig.origin().on(&format!("GET {path}"), Reply::status(503, "Service Unavailable"));
    for seconds in [0, 11] {
        rig.seconds(seconds).await;
        assert_eq!(rig.get(path).token("two").send().await.status, 503);
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_write_that_lands_during_the_failing_fetch_counts_too() {
    let rig = Rig::start().await;
    let path = "/api2/json/item/1/sub";
    let call = format!("GET {path}");
    rig.get(path).token("two").send().await;
    let gate = Gate::new();
    rig.origin().on(&call, Reply::status(503, "Service Unavailable").held(&gate));
    rig.seconds(11).await;
    let reader = rig.get(path).token("two").spawn();
    rig.origin().came(&call, 2).await;
    rig.ask("POST", "/api2/json/item/1").send().await;
    gate.open();
    assert_eq!(reader.await.expect("answered").status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn silence_is_an_outage() {
    let rig = Rig::start().await;
    let old = rig.warm(PATH).await;
    let never = Gate::new();
    rig.origin().on(CALL, Reply::numbered().held(&never));
    rig.seconds(11).await;
    let reader = rig.get(PATH).spawn();
    rig.origin().came(CALL, 2).await;
    rig.advance(Duration::from_secs(61)).await;
    let got = reader.await.expect("answered");
    assert_eq!((got.cache(), got.text()), ("fwd=stale; detail=stale-if-error", old.as_str()));
    rig.finish().await;
}
