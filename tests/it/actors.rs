//! Actors and watchers: the last known state is for those who have not written lately.

use std::net::{IpAddr, Ipv4Addr};

use crate::support::{Ask, Gate, Options, Reply, Rig, until};

const SIE: &str = "/api2/json/sie/1";
const SWR: &str = "/api2/json/swr/1";
const WRITE: &str = "/api2/json/item/7";

/// How the API fails.
const FAILURES: [fn() -> Reply; 4] = [
    || Reply::status(503, "Service Unavailable"),
    || Reply::status(596, "Connection timed out"),
    Reply::reset,
    Reply::garbage,
];

/// A rig in which `one` and `two` have read both.
async fn warmed() -> Rig {
    let rig = Rig::start().await;
    for path in [SIE, SWR] {
        for token in ["one", "two"] {
            assert_eq!(rig.get(path).token(token).send().await.status, 200);
            assert!(rig.get(path).token(token).send().await.is_hit());
        }
    }
    rig
}

fn fails(rig: &Rig, reply: &Reply) {
    for path in [SIE, SWR] {
        rig.origin().on(&format!("GET {path}"), reply.clone());
    }
}

/// Whether `ask` is given the last known state when the API fails.
async fn is_watcher(rig: &Rig, ask: Ask) -> bool {
    let got = ask.send().await;
    match got.status {
        200 => assert!(got.cache().contains("detail=stale-if-error"), "{}", got.cache()),
        status => assert!(status >= 500, "{status} {}", got.cache()),
    }
    rig.quiet().await;
    got.status == 200
}

#[tokio::test]
async fn an_actor_gets_the_error_however_the_api_fails() {
    for failure in FAILURES {
        let rig = warmed().await;
        assert_eq!(rig.ask("PUT", WRITE).send().await.status, 200);
        rig.seconds(11).await;
        fails(&rig, &failure());
        assert!(!is_watcher(&rig, rig.get(SIE)).await);
        assert!(is_watcher(&rig, rig.get(SIE).token("two")).await);
        // An hour after the write it watches again. Its acceptance stands still while nobody is accepted.
        rig.seconds(3580).await;
        assert!(!is_watcher(&rig, rig.get(SIE)).await);
        rig.finish().await;
    }
}

#[tokio::test]
async fn an_actor_is_one_for_the_window_and_no_longer() {
    let upstream = "actor_window: 30s".to_owned();
    let rig = Rig::with(Options { upstream, ..Options::default() }).await;
    rig.warm(SIE).await;
    rig.ask("PUT", WRITE).send().await;
    fails(&rig, &Reply::status(503, "Later"));
    rig.seconds(29).await;
    assert!(!is_watcher(&rig, rig.get(SIE)).await);
    rig.seconds(1).await;
    assert!(is_watcher(&rig, rig.get(SIE)).await);
    rig.finish().await;
}

#[tokio::test]
async fn an_actor_waits_for_the_truth_where_a_watcher_is_served_while_it_is_fetched() {
    let rig = warmed().await;
    rig.ask("PUT", WRITE).send().await;
    rig.seconds(11).await;
    for method in ["GET", "HEAD"] {
        let watcher = rig.ask(method, SWR).token("two").send().await;
        assert_eq!(watcher.cache(), "hit; ttl=-1; detail=stale-while-revalidate", "{method}");
        rig.quiet().await;
        rig.seconds(11).await;
        let actor = rig.ask(method, SWR).send().await;
        assert!(actor.status == 200 && actor.cache().starts_with("fwd=stale"), "{method}: {}", actor.cache());
        rig.quiet().await;
        assert_eq!(
            rig.get(SWR).token("two").send().await.cache(),
            "hit; ttl=-1; detail=stale-while-revalidate"
        );
        rig.quiet().await;
        rig.seconds(11).await;
    }
    // While the API fails it gets the error, within the time of stale-while-revalidate too.
    fails(&rig, &Reply::status(503, "Later"));
    assert_eq!(rig.get(SWR).send().await.status, 503);
    assert_eq!(rig.get(SWR).token("two").send().await.status, 200);
    rig.finish().await;
}

#[tokio::test]
async fn a_range_or_a_head_of_an_actor_is_no_way_around_it() {
    let rig = warmed().await;
    rig.ask("PUT", WRITE).send().await;
    rig.seconds(11).await;
    fails(&rig, &Reply::status(503, "Later"));
    for (token, status) in [("one", 503), ("two", 200)] {
        let ranged = rig.get(SIE).token(token).field("Range", "bytes=0-3").send().await;
        assert_eq!(ranged.status, status, "{token}");
        let conditional = rig.get(SIE).token(token).field("If-None-Match", "\"x\"").send().await;
        assert_eq!(conditional.status, status, "{token}");
    }
    rig.origin().on(&format!("HEAD {SIE}"), Reply::status(503, "Later"));
    assert_eq!(rig.ask("HEAD", SIE).send().await.status, 503);
    rig.finish().await;
}

#[tokio::test]
async fn whoever_was_in_before_an_outage_sees_it_through_as_a_watcher_only() {
    // The API answers that it is down, or does not answer at all.
    for failure in [Reply::status(503, "Later"), Reply::reset()] {
        let rig = warmed().await;
        rig.ask("PUT", WRITE).send().await;
        rig.seconds(11).await;
        fails(&rig, &failure);
        rig.get(SIE).token("three").send().await;
        // Longer than acceptances last.
        rig.seconds(120).await;
        assert!(!is_watcher(&rig, rig.get(SIE)).await);
        assert!(is_watcher(&rig, rig.get(SIE).token("two")).await);
        rig.finish().await;
    }
}

#[tokio::test]
async fn every_attempt_to_write_makes_an_actor_but_of_whom_the_api_does_not_know() {
    let call = format!("PUT {WRITE}");
    let cases = [
        (Reply::numbered(), true),
        (Reply::status(400, "Parameter verification failed"), true),
        (Reply::status(403, "Permission check failed"), true),
        (Reply::status(409, "Conflict"), true),
        (Reply::status(429, "Slow down"), true),
        (Reply::status(500, "no such item"), true),
        (Reply::status(501, "Not implemented"), true),
        (Reply::status(596, "Timeout"), true),
        (Reply::reset(), true),
        // Of a credential that it refuses the answer is the same for anybody who made it up.
        (Reply::status(401, "No ticket"), false),
    ];
    for (reply, acts) in cases {
        let rig = Rig::start().await;
        rig.origin().on(&call, reply);
        // A stranger: the first that it does is to write.
        let status = rig.ask("PUT", WRITE).token("two").send().await.status;
        rig.get(SIE).token("two").send().await;
        rig.seconds(31).await;
        rig.get(SIE).token("two").send().await;
        rig.seconds(11).await;
        fails(&rig, &Reply::status(503, "Later"));
        assert_eq!(!is_watcher(&rig, rig.get(SIE).token("two")).await, acts, "{status}");
        rig.finish().await;
    }
}

#[tokio::test]
async fn a_write_that_never_left_makes_an_actor_of_whom_the_api_knows() {
    let mut rig = warmed().await;
    rig.origins[0].stop().await;
    rig.seconds(11).await;
    assert!(is_watcher(&rig, rig.get(SIE)).await);
    assert_eq!(rig.ask("PUT", WRITE).send().await.status, 502);
    assert!(!is_watcher(&rig, rig.get(SIE)).await);
    assert!(is_watcher(&rig, rig.get(SIE).token("two")).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_write_under_way_makes_an_actor_before_its_answer() {
    let rig = warmed().await;
    let gate = Gate::new();
    let call = format!("PUT {WRITE}");
    rig.origin().on(&call, Reply::numbered().held(&gate));
    let write = rig.ask("PUT", WRITE).spawn();
    rig.origin().came(&call, 1).await;
    rig.seconds(11).await;
    fails(&rig, &Reply::status(503, "Later"));
    assert!(!is_watcher(&rig, rig.get(SIE)).await);
    gate.open();
    write.await.expect("answered");
    rig.finish().await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_write_is_an_actor() {
    let rig = warmed().await;
    let gate = Gate::new();
    let call = format!("PUT {WRITE}");
    rig.origin().on(&call, Reply::reset().held(&gate));
    let opened = rig.ask("PUT", WRITE).sent().await;
    rig.origin().came(&call, 1).await;
    opened.abort();
    gate.open();
    rig.seconds(11).await;
    fails(&rig, &Reply::status(503, "Later"));
    assert!(!is_watcher(&rig, rig.get(SIE)).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_login_or_a_console_makes_no_actor() {
    let rig = warmed().await;
    for path in ["/api2/json/access/ticket", "/api2/json/nodes/pve1/qemu/100/vncproxy"] {
        assert_eq!(rig.ask("POST", path).send().await.status, 200);
    }
    rig.seconds(11).await;
    fails(&rig, &Reply::status(503, "Later"));
    assert!(is_watcher(&rig, rig.get(SIE)).await);
    rig.finish().await;
}

#[tokio::test]
async fn a_writer_that_has_no_name_is_known_by_its_address() {
    let elsewhere = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let both = |ask: Ask| ask.field("Cookie", "PVEAuthCookie=PVE%3Aroot@pam%3A65F0A1B2%3A%3Ac2ln");
    for ambiguous in [false, true] {
        let rig = Rig::start().await;
        let reader = || if ambiguous { rig.get(SIE) } else { rig.get(SIE).anonymous() };
        reader().send().await;
        assert!(reader().send().await.is_hit());
        let write = rig.ask("PUT", WRITE);
        let write = if ambiguous { both(write) } else { write.anonymous() };
        assert_eq!(write.send().await.status, 200);
        rig.seconds(11).await;
        fails(&rig, &Reply::status(503, "Later"));
        assert!(!is_watcher(&rig, reader()).await);
        assert!(is_watcher(&rig, reader().from(elsewhere)).await);
        rig.finish().await;
    }
}

#[tokio::test]
async fn when_too_many_wrote_nobody_is_shown_the_past() {
    let rig = warmed().await;
    let shared = rig.app.shared().clone();
    let (actors, now) = (&shared.actors, shared.clock.now());
    for name in 0.. {
        use forebay::cache::actors::{Name, Standing};
        actors.wrote(0, Name(name), Standing::Known, now);
        if actors.overflows() > 0 {
            break;
        }
    }
    rig.seconds(11).await;
    fails(&rig, &Reply::status(503, "Later"));
    assert!(!is_watcher(&rig, rig.get(SIE).token("two")).await);
    let metrics = Ask::new(rig.app.admin_address().expect("named"), "GET", "/metrics").send().await;
    for line in [r#"{bound="writers"} 1"#, r#"{bound="waiters"} 0"#] {
        let line = format!("forebay_bounds_reached_total{line}");
        assert!(metrics.text().contains(&line), "{line}\n{}", metrics.text());
    }
    until("nothing under way", || rig.app.shared().flights.is_empty()).await;
    rig.finish().await;
}
