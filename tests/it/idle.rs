//! Endpoints that nobody calls: forebay asks after them itself, and that is all that comes of it.

use serde_json::{Value, json};

use crate::quota::admin;
use crate::support::{Options, Rig};

const QUESTION: &str = "GET /api2/json/access/domains";

fn up(rig: &Rig) -> Vec<bool> {
    rig.app.sites().all()[0].upstream.endpoints().iter().map(|endpoint| endpoint.up).collect()
}

fn asked(rig: &Rig) -> usize {
    rig.origins.iter().map(|origin| origin.count(QUESTION)).sum()
}

#[tokio::test]
async fn a_dead_standby_is_shown_before_anybody_calls_it_and_nobody_notices() {
    let mut rig = Rig::with(Options { endpoints: 2, ..Options::default() }).await;
    rig.get("/api2/json/item/1").send().await;
    // Whichever answered the call is asked ten seconds later.
    rig.pass_until("both are asked", || asked(&rig) == 3).await;
    for origin in &rig.origins {
        for call in origin.calls().iter().filter(|call| call.head.starts_with(QUESTION)) {
            let secret = ["authorization", "cookie", "x-secret", "csrfpreventiontoken"];
            assert!(secret.iter().all(|field| call.field(field).is_none()), "{}", call.head);
        }
    }
    rig.origins[1].stop().await;
    rig.pass_until("it is held back", || up(&rig) == [true, false]).await;
    let shown: Value = serde_json::from_str(&admin(&rig, "/api/upstreams").await).expect("JSON");
    let shown = &shown["upstreams"][0];
    assert_eq!((&shown["endpoints"][0]["up"], &shown["endpoints"][1]["up"]), (&json!(true), &json!(false)));
    let states = rig.app.shared().registry.render();
    let states = states.lines().filter(|line| line.starts_with("forebay_breaker_state{"));
    assert_eq!(states.filter(|line| line.ends_with(" 2")).count(), 1);
    let site = rig.app.sites().all().remove(0);
    assert_eq!((site.upstream.failing_since(), site.down_since()), (None, None));
    for n in 2..6 {
        assert_eq!(rig.get(&format!("/api2/json/item/{n}")).send().await.status, 200);
    }
    assert_eq!(rig.counter("forebay_retries_total"), 0);
    let probes = rig.counter_of("forebay_upstream_requests_total", r#"cause="probe""#);
    assert_eq!(probes, asked(&rig) as u64);
    rig.finish().await;
}

#[tokio::test]
async fn an_answer_to_a_question_accepts_nobody_and_ends_no_silence() {
    let rules = crate::support::RULES.replace("item/{id}\", ttl: 10s", "item/{id}\", ttl: 1h");
    let upstream = "breaker: {probe_every: 10s}".to_owned();
    let mut rig = Rig::with(Options { rules, upstream, ..Options::default() }).await;
    let (item, other) = ("/api2/json/item/1", "/api2/json/item/2");
    let old = rig.warm(item).await;
    rig.origins[0].stop().await;
    rig.seconds(9).await;
    assert_eq!(rig.get(other).send().await.status, 502, "the outage begins with a call");
    let silent = || rig.app.sites().all()[0].upstream.failing_since();
    let since = silent();
    assert!(since.is_some());
    rig.origins[0].restart().await;
    // It answers all questions and has no call to answer.
    for questions in 1..20 {
        rig.pass_until("it is asked", || asked(&rig) >= questions).await;
    }
    assert_eq!(silent(), since);
    assert_eq!(asked(&rig), 19);
    let got = rig.get(item).send().await;
    assert!(got.is_hit() && got.text() == old, "{}", got.cache());
    // The first that is answered ends it, and who has not been accepted for so long must be again.
    assert_eq!(rig.get(other).token("two").send().await.status, 200);
    assert_eq!(silent(), None);
    rig.seconds(61).await;
    assert!(!rig.get(item).send().await.is_hit());
    rig.finish().await;
}
