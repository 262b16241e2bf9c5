//! What is sent again when the API fails, and who waits for that.

use crate::support::{Gate, Options, Reply, Rig, until};

const PATH: &str = "/api2/json/sie/1";
const CALL: &str = "GET /api2/json/sie/1";

/// Forebay whose pauses are of no length, so that only the order of things counts.
async fn rig() -> Rig {
    Rig::with(Options { upstream: "retry: {base: 0ms}".into(), ..Options::default() }).await
}

#[tokio::test]
async fn a_read_survives_what_passes_by() {
    let rig = rig().await;
    for (path, reply) in
        [("a", Reply::reset()), ("b", Reply::status(596, "Timeout")), ("c", Reply::garbage())]
    {
        let target = format!("/api2/json/item/{path}");
        let call = format!("GET {target}");
        rig.origin().on_each(&call, [reply, Reply::numbered()]);
        let got = rig.get(&target).send().await;
        assert_eq!((got.status, got.cache()), (200, "fwd=uri-miss; stored"), "{path}");
        assert_eq!(rig.origin().count(&call), 2);
    }
    assert_eq!(rig.counter_of("forebay_retries_total", r#"class="transient",result="sent""#), 3);
    rig.finish().await;
}

#[tokio::test]
async fn what_a_rule_passes_and_what_writes_is_sent_once() {
    let rig = rig().await;
    for (method, target) in [("GET", "/api2/json/passed/1"), ("POST", "/api2/json/item/1")] {
        let call = format!("{method} {target}");
        rig.origin().on_each(&call, [Reply::reset(), Reply::numbered()]);
        assert_eq!(rig.ask(method, target).send().await.status, 502, "{call}");
        assert_eq!(rig.origin().count(&call), 1, "{call}");
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_watcher_gets_the_last_known_state_at_the_first_failure() {
    let rig = rig().await;
    let old = rig.warm(PATH).await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::status(503, "Later"), Reply::body("new").held(&gate)]);
    rig.seconds(11).await;
    // The retry is under way, and nobody waits for it.
    let got = rig.get(PATH).send().await;
    assert_eq!(got.cache(), "fwd=stale; fwd-status=503; detail=stale-if-error");
    assert_eq!(got.text(), old);
    rig.origin().came(CALL, 3).await;
    let later = rig.get(PATH).send().await;
    assert_eq!(later.text(), old, "nor does who comes later");
    gate.open();
    rig.quiet().await;
    let got = rig.get(PATH).send().await;
    assert_eq!((got.text(), got.is_hit()), ("new", true), "it was stored behind them");
    rig.finish().await;
}

#[tokio::test]
async fn whoever_wrote_waits_for_the_truth() {
    let rig = rig().await;
    rig.warm(PATH).await;
    rig.ask("POST", "/api2/json/item/9").send().await;
    let gate = Gate::new();
    rig.origin().on_each(CALL, [Reply::status(503, "Later"), Reply::body("new").held(&gate)]);
    rig.seconds(11).await;
    let reader = rig.get(PATH).spawn();
    rig.origin().came(CALL, 3).await;
    assert!(!reader.is_finished());
    gate.open();
    assert_eq!(reader.await.expect("answered").text(), "new");
    rig.finish().await;
}

#[tokio::test]
async fn classes_have_their_own_retries() {
    let upstream = "retry: {budget: 100%, base: 0ms, attempts: 4, throttled: {attempts: 1}}".to_owned();
    let rig = Rig::with(Options { upstream, ..Options::default() }).await;
    let (ill, busy) = ("/api2/json/item/ill", "/api2/json/item/busy");
    rig.origin().on(&format!("GET {ill}"), Reply::status(503, "Down"));
    rig.origin().on(&format!("GET {busy}"), Reply::status(503, "Busy").field("Retry-After", "1"));
    assert_eq!(rig.get(ill).send().await.reason, "Down");
    assert_eq!(rig.get(busy).send().await.reason, "Busy");
    assert_eq!(rig.origin().count(&format!("GET {ill}")), 4);
    assert_eq!(rig.origin().count(&format!("GET {busy}")), 1);
    until("all are counted", || rig.counter("forebay_upstream_failures_total") == 5).await;
    rig.finish().await;
}
